//! Answers without their method's shape: a fault that names the method, never a value.

use sdk_plugin::host::RpcResult;
use sdk_plugin::testkit::block_on;
use sdk_plugin::{ChainDriver, Fault, FaultKind, Value};
use serde_json::json;

use crate::node::{World, hash, hex, lane, watch};
use crate::reading::try_check;

fn answering(method: &str, answer: Value) -> World {
    let world = World::new();
    world
        .host
        .answer_rpc(method, move |_| RpcResult::Ok(answer.clone()));
    world
}

fn block_with(member: &str, value: Value) -> Value {
    let mut block = json!({
        "number": "0x64", "hash": crate::node::block_id(100), "timestamp": hex(crate::node::NOW_S),
        "parentHash": crate::node::block_id(99), "baseFeePerGas": "0x3e8",
    });
    block[member] = value;
    block
}

fn absurd_counts() -> Vec<Value> {
    vec![
        Value::Null,
        json!(7),
        json!("7"),
        json!({}),
        json!(true),
        json!("0x"),
        json!("0x8000000000000000"),
        json!("0xffffffffffffffff"),
        json!(format!("0x1{}", "0".repeat(16))),
    ]
}

fn is_named(fault: &Fault, method: &str, what: &Value) {
    assert_eq!(fault.kind, FaultKind::Unavailable, "{method} {what}: {fault}");
    assert!(fault.message.contains(method), "{method} {what}: {fault}");
}

#[test]
fn a_lanes_state_is_read_of_well_formed_answers_only() {
    let fault = |world: &World| block_on(world.driver.lane(&world.cx(), &lane())).expect_err("a fault");
    for answer in absurd_counts() {
        let method = "eth_getTransactionCount";
        is_named(&fault(&answering(method, answer.clone())), method, &answer);
        let method = "eth_getBlockByNumber";
        let world = answering(method, block_with("number", answer.clone()));
        is_named(&fault(&world), method, &answer);
    }
    for answer in [Value::Null, json!({}), json!("0x64"), json!([])] {
        let method = "eth_getBlockByNumber";
        is_named(&fault(&answering(method, answer.clone())), method, &answer);
    }
    for answer in [Value::Null, json!({}), json!(100), json!("100")] {
        let method = "eth_getBalance";
        is_named(&fault(&answering(method, answer.clone())), method, &answer);
    }
    let world = answering("eth_getTransactionCount", json!("0x7"));
    let state = block_on(world.driver.lane(&world.cx(), &lane())).expect("no fault");
    assert_eq!(state.next_sequence, 7);
    // The fault names the kind of what the node answered.
    let message = fault(&answering("eth_getTransactionCount", Value::Null)).message;
    assert!(message.contains("null"), "{message}");
    let message = fault(&answering("eth_getTransactionCount", json!("0xffffffffffffffff"))).message;
    assert!(message.contains("0xffffffffffffffff"), "{message}");
}

#[test]
fn nothing_is_observed_by_a_malformed_head_or_by_a_nonce_that_no_account_has() {
    let observed = |world: &World| block_on(world.driver.observe(&world.cx(), &[watch(1, 7)]));
    for answer in absurd_counts() {
        let world = answering("eth_getTransactionCount", answer.clone());
        is_named(
            &observed(&world).expect_err("a fault"),
            "eth_getTransactionCount",
            &answer,
        );
        for member in ["number", "timestamp"] {
            let world = answering("eth_getBlockByNumber", block_with(member, answer.clone()));
            let fault = observed(&world).expect_err("a fault");
            is_named(&fault, "eth_getBlockByNumber", &answer);
            assert!(fault.message.contains(member), "{fault}");
        }
    }
    for answer in [
        Value::Null,
        json!("0xab"),
        json!(1),
        json!(hash(1).replace("0x", "")),
    ] {
        let world = answering("eth_getBlockByNumber", block_with("hash", answer.clone()));
        let fault = observed(&world).expect_err("a fault");
        is_named(&fault, "eth_getBlockByNumber", &answer);
        assert!(fault.message.contains("hash"), "{fault}");
    }
}

#[test]
fn a_check_and_a_quote_take_no_malformed_answer_for_a_value() {
    for answer in absurd_counts() {
        let world = answering("eth_getBlockByNumber", block_with("number", answer.clone()));
        is_named(
            &try_check(&world).expect_err("a fault"),
            "eth_getBlockByNumber",
            &answer,
        );
        let quoted = block_on(world.driver.quote(&world.cx(), &lane(), None));
        is_named(&quoted.expect_err("a fault"), "eth_getBlockByNumber", &answer);
    }
    for answer in [Value::Null, json!("84532"), json!(84_532)] {
        let world = answering("eth_chainId", answer.clone());
        is_named(&try_check(&world).expect_err("a fault"), "eth_chainId", &answer);
    }
    for answer in [Value::Null, json!({}), json!("0xabc")] {
        let world = answering("eth_getCode", answer.clone());
        is_named(&try_check(&world).expect_err("a fault"), "eth_getCode", &answer);
    }
}
