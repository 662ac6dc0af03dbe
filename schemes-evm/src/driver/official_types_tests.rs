//! Why receipts, fee histories and heads are not read with `alloy-rpc-types-eth`: its types accept what we refuse, and refuse
//! what we must read. What they write is read the same by both.

use alloy_rpc_types_eth::{Block, FeeHistory, TransactionReceipt};
use sdk_plugin::Value;
use sdk_plugin::host::RpcResult;
use serde_json::json;

use super::market::Market;
use super::observe::Header;
use super::receipt::Receipt;
use crate::rpc;

const TX: &str = "0xabababababababababababababababababababababababababababababababab";
const BLOCK: &str = "0xcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";
const ACCOUNT: &str = "0x2222222222222222222222222222222222222222";

fn receipt() -> Value {
    json!({
        "type": "0x2", "status": "0x1", "cumulativeGasUsed": "0x5208", "gasUsed": "0x5208",
        "effectiveGasPrice": "0x7", "logsBloom": format!("0x{}", "00".repeat(256)),
        "transactionHash": TX, "transactionIndex": "0x0", "blockHash": BLOCK, "blockNumber": "0x10",
        "from": ACCOUNT, "to": ACCOUNT, "contractAddress": null,
        "logs": [log(0)],
    })
}

fn log(index: u64) -> Value {
    json!({
        "address": ACCOUNT, "topics": [TX], "data": "0x01", "blockHash": BLOCK, "blockNumber": "0x10",
        "transactionHash": TX, "transactionIndex": "0x0", "logIndex": format!("{index:#x}"), "removed": false,
    })
}

fn head() -> Value {
    let zero = format!("0x{}", "00".repeat(32));
    json!({
        "hash": BLOCK, "parentHash": zero, "sha3Uncles": zero, "miner": ACCOUNT, "stateRoot": zero,
        "transactionsRoot": zero, "receiptsRoot": zero, "logsBloom": format!("0x{}", "00".repeat(256)),
        "difficulty": "0x0", "number": "0x10", "gasLimit": "0x1c9c380", "gasUsed": "0x0", "timestamp": "0x20",
        "extraData": "0x", "mixHash": zero, "nonce": "0x0000000000000000", "baseFeePerGas": "0x7",
        "uncles": [], "transactions": [],
    })
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().expect("an object").remove(name);
    object
}

/// Whether their type and our reader accept a receipt.
fn receipt_is_read(receipt: &Value) -> (bool, bool) {
    let theirs = serde_json::from_value::<TransactionReceipt>(receipt.clone()).is_ok();
    let ours = Receipt::read(receipt, TX).is_ok_and(|receipt| receipt.is_some());
    (theirs, ours)
}

#[test]
fn what_the_official_types_write_is_read_the_same() {
    let theirs: TransactionReceipt = serde_json::from_value(receipt()).expect("a receipt");
    let ours = Receipt::read(&serde_json::to_value(&theirs).expect("JSON"), TX);
    let ours = ours.expect("no fault").expect("in a block");
    assert_eq!(
        (Some(ours.height), Some(ours.block)),
        (theirs.block_number, theirs.block_hash)
    );
    assert_eq!(ours.success, theirs.status());

    let theirs: Block = serde_json::from_value(head()).expect("a block");
    let ours = Header::read(&serde_json::to_value(&theirs).expect("JSON")).expect("a head");
    assert_eq!(
        (ours.height, ours.hash),
        (theirs.header.number, theirs.header.hash)
    );
    let ours = rpc::head(RpcResult::Ok(serde_json::to_value(&theirs).expect("JSON")));
    assert_eq!(ours, Ok((theirs.header.number, theirs.header.timestamp)));
}

#[test]
fn the_official_types_accept_what_no_node_may_answer() {
    let five: Vec<&str> = std::iter::repeat_n(TX, 5).collect();
    for (why, hostile) in [
        ("a decimal number", with(receipt(), "blockNumber", json!("16"))),
        (
            "a height above 2^53",
            with(receipt(), "blockNumber", json!("0xffffffffffffffff")),
        ),
        ("no prefix", with(receipt(), "blockHash", json!(&BLOCK[2..]))),
        (
            "another transaction",
            with(receipt(), "transactionHash", json!(BLOCK)),
        ),
        ("a log twice", with(receipt(), "logs", json!([log(1), log(1)]))),
        (
            "a removed log",
            with(receipt(), "logs", json!([with(log(0), "removed", json!(true))])),
        ),
        (
            "a log without a number",
            with(receipt(), "logs", json!([with(log(0), "logIndex", Value::Null)])),
        ),
        (
            "five topics",
            with(receipt(), "logs", json!([with(log(0), "topics", json!(five))])),
        ),
    ] {
        assert_eq!(receipt_is_read(&hostile), (true, false), "{why}");
    }
}

#[test]
fn the_official_types_refuse_what_nodes_of_other_chains_answer() {
    for (why, good) in [
        ("a type of a rollup", with(receipt(), "type", json!("0x7e"))),
        ("no bloom filter", without(receipt(), "logsBloom")),
        ("no gas total", without(receipt(), "cumulativeGasUsed")),
    ] {
        assert_eq!(receipt_is_read(&good), (false, true), "{why}");
    }
    let head = without(head(), "receiptsRoot");
    assert!(serde_json::from_value::<Block>(head.clone()).is_err());
    assert!(Header::read(&head).is_some());

    // One absurd number does not make the other ones useless.
    let absurd = format!("0x1{}", "0".repeat(40));
    let history = json!({"baseFeePerGas": ["0x7", absurd], "gasUsedRatio": [0.5], "oldestBlock": "0xf"});
    assert!(serde_json::from_value::<FeeHistory>(history.clone()).is_err());
    let market = Market::read(
        RpcResult::Ok(head),
        RpcResult::Ok(history),
        RpcResult::Ok(json!("0x7")),
    );
    assert_eq!(market.map(|(market, _)| market.base_fee), Ok(Some(7)));
}
