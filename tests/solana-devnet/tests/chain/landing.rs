//! When transactions land, what is reported about them at which commitment, and how levers drop and undo them.

use serde_json::{Value, json};
use solana_signature::Signature;
use solana_signer::Signer;

use crate::{Rig, wire};

const BLOCKHASH_AGE: u64 = 150;

#[test]
fn a_transaction_is_processed_then_confirmed_then_finalized() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    let mut seen = Vec::new();
    for slots in [0, 2, 8] {
        rig.chain.advance(slots);
        let status = rig.status(&signature);
        seen.push((
            status["confirmationStatus"].clone(),
            status["confirmations"].clone(),
        ));
        assert_eq!(status["err"], Value::Null);
    }
    let wanted = [
        ("processed", json!(0)),
        ("confirmed", json!(2)),
        ("finalized", Value::Null),
    ];
    assert_eq!(
        seen,
        wanted.map(|(name, confirmations)| (json!(name), confirmations))
    );
}

#[test]
fn balances_are_answered_as_of_the_commitment() {
    let mut rig = Rig::new();
    for (units, slots) in [(10, 2), (5, 0)] {
        let payment = rig.payment(units);
        rig.send(&payment);
        rig.chain.advance(slots);
    }
    assert_eq!(
        ["finalized", "confirmed", "processed"].map(|name| rig.earned(name)),
        ["0", "10", "15"]
    );
    rig.chain.advance(10);
    assert_eq!(
        ["finalized", "confirmed", "processed"].map(|name| rig.earned(name)),
        ["15", "15", "15"]
    );
}

#[test]
fn stored_transactions_appear_once_confirmed() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    let options = json!({"commitment": "confirmed", "maxSupportedTransactionVersion": 0});
    assert_eq!(
        rig.call("getTransaction", json!([signature, options])),
        Value::Null
    );
    rig.chain.advance(2);
    let found = rig.call("getTransaction", json!([signature, options]));
    let meta = &found["meta"];
    assert_eq!(meta["fee"], 10_000);
    let lamports = |name: &str| meta[name][0].as_u64().expect("a number");
    assert_eq!(lamports("preBalances") - lamports("postBalances"), 10_000);
    let balances = meta["postTokenBalances"].as_array().expect("a list");
    let merchant = rig.world.keys.merchant.address().to_string();
    let earned = balances
        .iter()
        .find(|balance| balance["owner"] == merchant.as_str())
        .expect("the merchant's");
    assert_eq!(
        earned["uiTokenAmount"],
        json!({"amount": "10", "decimals": 6, "uiAmount": 0.00001, "uiAmountString": "0.00001"})
    );
    assert_eq!(
        rig.call(
            "getTransaction",
            json!([signature, {"commitment": "finalized", "maxSupportedTransactionVersion": 0}])
        ),
        Value::Null
    );
    assert_eq!(
        rig.refused("getTransaction", json!([signature, {"commitment": "processed"}]))
            .0,
        -32602
    );
    assert_eq!(
        rig.refused("getTransaction", json!([signature, {"commitment": "confirmed"}]))
            .0,
        -32015
    );
}

#[test]
fn a_blockhash_is_good_for_150_blocks() {
    let mut rig = Rig::new();
    let (first, last) = (rig.payment(1), rig.payment(2));
    let until =
        rig.call("getLatestBlockhash", json!([{"commitment": "confirmed"}]))["value"]["lastValidBlockHeight"]
            .as_u64();
    // It was confirmed, so it is two blocks old already.
    rig.chain.advance(BLOCKHASH_AGE - 2);
    assert_eq!(
        rig.call("getBlockHeight", json!([{"commitment": "processed"}]))
            .as_u64(),
        until
    );
    let signature = rig.send(&first);
    assert_eq!(rig.status(&signature)["confirmationStatus"], "processed");
    rig.chain.advance(1);
    let (code, data) = rig.refused(
        "sendTransaction",
        json!([wire(&last), {"encoding": "base64", "preflightCommitment": "processed"}]),
    );
    assert_eq!((code, &data["err"]), (-32002, &json!("BlockhashNotFound")));
    let signature = rig.send(&last);
    assert_eq!(rig.status(&signature), Value::Null);
    let blockhash = last.message.recent_blockhash().to_string();
    assert_eq!(
        rig.call(
            "isBlockhashValid",
            json!([blockhash, {"commitment": "processed"}])
        )["value"],
        false
    );
    assert_eq!(rig.earned("processed"), "1");
}

#[test]
fn the_same_message_lands_once() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "10");
    let options = json!({"encoding": "base64", "preflightCommitment": "processed"});
    let (code, data) = rig.refused("sendTransaction", json!([wire(&payment), options]));
    assert_eq!((code, &data["err"]), (-32002, &json!("AlreadyProcessed")));
    // A view that is older than the transaction does not know it yet, and sending it again is harmless.
    let again = rig.call(
        "sendTransaction",
        json!([wire(&payment), {"encoding": "base64", "preflightCommitment": "confirmed"}]),
    );
    assert_eq!(again, signature.as_str());
    assert_eq!(rig.earned("processed"), "10");
}

#[test]
fn a_missing_signature_is_refused_by_preflight_and_dropped_without_it() {
    let mut rig = Rig::new();
    let mut payment = rig.payment(10);
    payment.signatures[0] = Signature::default();
    let (code, data) = rig.refused("sendTransaction", json!([wire(&payment), {"encoding": "base64"}]));
    assert_eq!((code, &data["err"]), (-32002, &json!("SignatureFailure")));
    rig.send(&payment);
    assert_eq!(rig.earned("processed"), "0");
    assert!(rig.chain.landed().is_empty());
}

#[test]
fn a_failed_transaction_lands_and_pays_its_fee() {
    let mut rig = Rig::new();
    let payment = rig.payment(2_000_000_000);
    let signature = rig.send(&payment);
    let status = rig.status(&signature);
    assert_eq!(status["err"], json!({"InstructionError": [0, {"Custom": 1}]}));
    assert_eq!(
        status["status"],
        json!({"Err": {"InstructionError": [0, {"Custom": 1}]}})
    );
    let payer = rig.payer().pubkey().to_string();
    let balance = rig.call("getBalance", json!([payer, {"commitment": "processed"}]));
    assert_eq!(balance["value"], 99_999_990_000_u64);
}

#[test]
fn transactions_are_dropped_on_request() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    rig.call("devnet_dropIncoming", json!([true]));
    let signature = rig.send(&payment);
    assert_eq!(rig.status(&signature), Value::Null);
    rig.call("devnet_dropIncoming", json!([false]));
    rig.send(&payment);
    assert_eq!(rig.status(&signature)["confirmationStatus"], "processed");
}

#[test]
fn a_forgotten_transaction_is_undone_and_may_land_again() {
    let mut rig = Rig::new();
    let (first, second) = (rig.payment(10), rig.payment(5));
    let (gone, kept) = (rig.send(&first), rig.send(&second));
    rig.chain.advance(2);
    assert_eq!(rig.status(&gone)["confirmationStatus"], "confirmed");
    rig.call("devnet_forgetTransaction", json!([gone]));
    assert_eq!(rig.status(&gone), Value::Null);
    assert_eq!(rig.status(&kept)["confirmationStatus"], "confirmed");
    assert_eq!(rig.earned("confirmed"), "5");
    rig.send(&first);
    assert_eq!(rig.status(&gone)["confirmationStatus"], "processed");
    assert_eq!(rig.earned("processed"), "15");
    rig.chain.advance(10);
    assert_eq!(rig.refused("devnet_forgetTransaction", json!([gone])).0, -32602);
}

/// The slots at commitments finalized and confirmed.
fn slots(rig: &mut Rig) -> [u64; 2] {
    ["finalized", "confirmed"].map(|name| {
        let slot = rig.call("getSlot", json!([{"commitment": name}]));
        slot.as_u64().expect("a slot")
    })
}

#[test]
fn blocks_are_listed_and_shown_as_far_as_the_commitment_goes() {
    let mut rig = Rig::new();
    let [finalized, confirmed] = slots(&mut rig);
    let listed = |rig: &mut Rig, params: Value| {
        let listed = rig.call("getBlocks", params);
        serde_json::from_value::<Vec<u64>>(listed).expect("slots")
    };
    let all = |from: u64, to: u64| (from..=to).collect::<Vec<u64>>();
    assert_eq!(
        listed(&mut rig, json!([finalized - 3])),
        all(finalized - 3, finalized)
    );
    assert_eq!(
        listed(
            &mut rig,
            json!([finalized - 3, confirmed + 100, {"commitment": "confirmed"}])
        ),
        all(finalized - 3, confirmed)
    );
    assert_eq!(
        listed(&mut rig, json!([finalized - 3, {"commitment": "confirmed"}])),
        all(finalized - 3, confirmed)
    );
    assert_eq!(
        listed(&mut rig, json!([finalized - 3, finalized - 2])),
        all(finalized - 3, finalized - 2)
    );
    assert_eq!(
        listed(&mut rig, json!([finalized, finalized - 1])),
        Vec::<u64>::new()
    );
    assert_eq!(rig.refused("getBlocks", json!([0, 500_001])).0, -32602);

    let options = |commitment: &str| json!({"commitment": commitment, "transactionDetails": "signatures"});
    for (slot, commitment, code) in [
        (finalized + 1, "finalized", -32004),
        (confirmed + 1, "confirmed", -32004),
        (finalized, "processed", -32602),
    ] {
        assert_eq!(
            rig.refused("getBlock", json!([slot, options(commitment)])).0,
            code
        );
    }
    assert_eq!(
        rig.refused("getBlock", json!([finalized])).0,
        -32602,
        "no full blocks here"
    );
    // Heights count the blocks of the list.
    let mut height =
        |slot: u64| rig.call("getBlock", json!([slot, options("finalized")]))["blockHeight"].as_u64();
    assert_eq!(height(finalized), height(finalized - 3).map(|first| first + 3));
    let at_finalized = rig.call("getBlockHeight", json!([{"commitment": "finalized"}]));
    assert_eq!(
        rig.call("getBlock", json!([finalized, options("finalized")]))["blockHeight"],
        at_finalized
    );
}

#[test]
fn a_pruned_node_forgets_old_blocks_and_reports_its_first_available_block() {
    const RECENT_SLOTS: u64 = 300;
    let mut rig = Rig::new();
    let first = rig
        .call("getFirstAvailableBlock", json!([]))
        .as_u64()
        .expect("a slot");
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    let found = |rig: &mut Rig, search: bool| {
        let params = json!([[signature], {"searchTransactionHistory": search}]);
        let status = rig.call("getSignatureStatuses", params)["value"][0].take();
        status["slot"].as_u64()
    };
    let slot = found(&mut rig, false).expect("it landed");
    assert!(first < slot);
    let vote = {
        rig.chain.advance(11);
        let block = rig.call("getBlock", json!([slot, {"transactionDetails": "signatures"}]));
        block["signatures"][0].as_str().expect("a vote").to_owned()
    };
    // What is recent is known without any history.
    rig.call("devnet_prune", json!([slot + 1]));
    assert_eq!(rig.call("getFirstAvailableBlock", json!([])), json!(slot + 1));
    assert_eq!(
        [true, false].map(|search| found(&mut rig, search)),
        [Some(slot); 2]
    );
    rig.chain.advance(RECENT_SLOTS + 10);
    assert_eq!([true, false].map(|search| found(&mut rig, search)), [None; 2]);
    let params = json!([[vote], {"searchTransactionHistory": true}]);
    assert_eq!(rig.call("getSignatureStatuses", params)["value"][0], Value::Null);
    assert_eq!(rig.call("getTransaction", json!([signature])), Value::Null);
    let options = json!({"transactionDetails": "signatures"});
    assert_eq!(rig.refused("getBlock", json!([slot, options])).0, -32001);
    assert_eq!(
        rig.call("getBlocks", json!([slot, slot + 2])),
        json!([slot + 1, slot + 2])
    );
    // It never forgets what is not final, and never remembers again.
    rig.call("devnet_prune", json!([u64::MAX]));
    let [finalized, _] = slots(&mut rig);
    assert_eq!(rig.call("getFirstAvailableBlock", json!([])), json!(finalized));
    rig.call("devnet_prune", json!([0]));
    assert_eq!(rig.call("getFirstAvailableBlock", json!([])), json!(finalized));
}

#[test]
fn the_history_knows_what_is_no_longer_recent() {
    let mut rig = Rig::new();
    let payment = rig.payment(10);
    let signature = rig.send(&payment);
    rig.chain.advance(1_000);
    for (search, known) in [(false, false), (true, true)] {
        let params = json!([[signature], {"searchTransactionHistory": search}]);
        let status = rig.call("getSignatureStatuses", params)["value"][0].take();
        assert_eq!(status["confirmationStatus"] == "finalized", known);
    }
}
