//! Tokens, look-up tables, levers, and the JSON-RPC around them.

use base64::Engine;
use serde_json::{Value, json};
use solana_address::Address;
use solana_devnet::{answer, associated_account};
use solana_message::AddressLookupTableAccount;
use solana_signer::Signer;

use crate::{Rig, wire};

#[test]
fn a_slot_that_is_not_there_yet_is_refused() {
    let mut rig = Rig::new();
    let slot = rig
        .call("getSlot", json!([{"commitment": "confirmed"}]))
        .as_u64()
        .expect("a slot");
    let options = json!([{"commitment": "confirmed", "minContextSlot": slot + 1}]);
    assert_eq!(
        rig.refused("getLatestBlockhash", options),
        (-32016, json!({"contextSlot": slot}))
    );
}

#[test]
fn the_clock_continues_without_transactions() {
    let mut rig = Rig::new();
    let read = |rig: &mut Rig| {
        let options = json!({"encoding": "base64", "commitment": "confirmed"});
        let clock = "SysvarC1ock11111111111111111111111111111111";
        let answer = rig.call("getAccountInfo", json!([clock, options]));
        let data = answer["value"]["data"][0].as_str().expect("data").to_owned();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64");
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        assert_eq!(Some(number(0)), answer["context"]["slot"].as_u64());
        (number(0), number(32))
    };
    let (slot, time_s) = read(&mut rig);
    rig.call("devnet_advance", json!([1_000]));
    let (later, later_s) = read(&mut rig);
    assert!(
        later >= slot + 1_000 && later_s > time_s,
        "{slot} {later}, {time_s} {later_s}"
    );
}

#[test]
fn a_payment_with_an_address_lookup_table_lands() {
    let mut rig = Rig::new();
    let buyer = rig.buyer();
    let table = AddressLookupTableAccount {
        key: rig.world.lookup_table,
        addresses: rig.world.table_addresses.clone(),
    };
    let instruction = rig.transfer(&buyer.pubkey(), 10);
    let payment = rig.signed_with_tables(&[instruction], &[&buyer], &[table]);
    assert_eq!(
        payment.message.static_account_keys().len(),
        3,
        "payer, buyer and the token program are static"
    );
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["err"], Value::Null);
    assert_eq!(
        simulated["loadedAddresses"]["writable"].as_array().map(Vec::len),
        Some(2)
    );
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "10");
}

#[test]
fn a_token_with_a_transfer_fee_delivers_less() {
    let mut rig = Rig::new();
    let fee = rig.world.tokens[2];
    let buyer = rig.buyer();
    let of = |owner: &Address| associated_account(owner, &fee.mint, &fee.program);
    let mut instruction = rig.transfer(&buyer.pubkey(), 1_000);
    let merchant = rig.world.keys.merchant.address();
    instruction.program_id = fee.program;
    instruction.accounts[0].pubkey = of(&buyer.pubkey());
    instruction.accounts[1].pubkey = fee.mint;
    instruction.accounts[2].pubkey = of(&merchant);
    let payment = rig.signed(&[instruction], &[&buyer]);
    rig.send(&payment);
    let balance = rig.call(
        "getTokenAccountBalance",
        json!([of(&merchant).to_string(), {"commitment": "processed"}]),
    );
    assert_eq!(balance["value"]["amount"], "990");
}

#[test]
fn an_edited_account_is_visible_at_every_commitment() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    rig.send(&payment);
    let buyer = rig.buyer().pubkey().to_string();
    let mint = rig.world.tokens[0].mint.to_string();
    let account = rig.call("devnet_setTokenBalance", json!([buyer, mint, "3"]));
    for commitment in ["processed", "confirmed", "finalized"] {
        let balance = rig.call(
            "getTokenAccountBalance",
            json!([account, {"commitment": commitment}]),
        );
        assert_eq!(balance["value"]["amount"], "3", "{commitment}");
    }
    assert_eq!(
        rig.refused("devnet_setTokenBalance", json!([buyer, buyer, "3"]))
            .0,
        -32602
    );
}

#[test]
fn a_batch_is_answered_in_order() {
    let mut rig = Rig::new();
    let calls = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "getHealth"},
        {"jsonrpc": "2.0", "id": "b", "method": "nonsense", "params": []},
    ]);
    let replies = answer(&mut rig.chain, &rig.world, calls.to_string().as_bytes());
    assert_eq!(
        (&replies[0]["id"], &replies[0]["result"]),
        (&json!("a"), &json!("ok"))
    );
    assert_eq!(
        (&replies[1]["id"], &replies[1]["error"]["code"]),
        (&json!("b"), &json!(-32601))
    );
}

#[test]
fn malformed_transactions_get_a_json_rpc_error() {
    let mut rig = Rig::new();
    let whole = wire(&rig.payment(1));
    let cut = whole.get(..whole.len() - 8).expect("longer").to_owned();
    for (text, encoding) in [
        ("", "base64"),
        ("!", "base64"),
        (cut.as_str(), "base64"),
        ("0", "base58"),
        ("x", "hex"),
    ] {
        let (code, _) = rig.refused("sendTransaction", json!([text, {"encoding": encoding}]));
        assert_eq!(code, -32602, "{text} as {encoding}");
    }
    let huge = "A".repeat(2_000);
    assert_eq!(
        rig.refused("simulateTransaction", json!([huge, {"encoding": "base64"}]))
            .0,
        -32602
    );
    assert_eq!(answer(&mut rig.chain, &rig.world, b"{")["error"]["code"], -32700);
    assert_eq!(rig.refused("getBalance", json!(["Wrong!"])).0, -32602);
}

#[test]
fn the_newest_150_blockhashes_are_listed_in_their_sysvar() {
    let mut rig = Rig::new();
    let options = json!({"encoding": "base64", "commitment": "confirmed"});
    let sysvar = "SysvarRecentB1ockHashes11111111111111111111";
    let answer = rig.call("getMultipleAccounts", json!([[sysvar], options]));
    let data = answer["value"][0]["data"][0].as_str().expect("data").to_owned();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .expect("base64");
    assert_eq!(bytes.len(), 8 + 150 * 40);
    assert_eq!(bytes[..8], 150u64.to_le_bytes());
    let newest = rig.call("getLatestBlockhash", json!([{"commitment": "confirmed"}]));
    if newest["context"]["slot"] == answer["context"]["slot"] {
        let hash = Address::new_from_array(bytes[8..40].try_into().expect("32 bytes"));
        assert_eq!(newest["value"]["blockhash"], json!(hash.to_string()));
    }
}
