//! What a simulation sees and reports.

use serde_json::{Value, json};
use solana_signature::Signature;

use crate::{Rig, wire};

#[test]
fn a_blockhash_is_unknown_below_the_commitment_it_was_read_at() {
    let mut rig = Rig::new();
    let payment = rig.payment(1);
    assert_eq!(rig.simulated(&payment, "finalized")["err"], "BlockhashNotFound");
    assert_eq!(rig.simulated(&payment, "confirmed")["err"], Value::Null);
}

#[test]
fn a_simulation_needs_no_fee_payers_signature_and_changes_nothing() {
    let mut rig = Rig::new();
    let mut payment = rig.payment(10);
    payment.signatures[0] = Signature::default();
    let simulated = rig.simulated(&payment, "confirmed");
    assert_eq!(simulated["err"], Value::Null);
    let units = |name: &str| {
        let balances = simulated[name].as_array().expect("a list").iter();
        balances
            .map(|balance| {
                balance["uiTokenAmount"]["amount"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    let (mut before, mut after) = (units("preTokenBalances"), units("postTokenBalances"));
    before.sort();
    after.sort();
    assert_eq!(
        (before, after),
        (
            vec!["0".into(), "1000000000".into()],
            vec!["10".into(), "999999990".into()]
        )
    );
    assert_eq!(simulated["fee"], 10_000);
    let lamports = |name: &str| simulated[name][0].as_u64().expect("a number");
    assert_eq!(lamports("preBalances") - lamports("postBalances"), 10_000);
    assert_eq!(rig.earned("processed"), "0");
    let verifying =
        json!([wire(&payment), {"encoding": "base64", "commitment": "confirmed", "sigVerify": true}]);
    assert_eq!(
        rig.call("simulateTransaction", verifying)["value"]["err"],
        "SignatureFailure"
    );
}

#[test]
fn a_simulation_sees_what_its_commitment_sees() {
    let mut rig = Rig::new();
    let all = rig.payment(1_000_000_000);
    let more = rig.payment(1);
    rig.send(&all);
    assert_eq!(rig.simulated(&more, "confirmed")["err"], Value::Null);
    let failed = rig.simulated(&more, "processed");
    assert_eq!(failed["err"], json!({"InstructionError": [0, {"Custom": 1}]}));
    assert_eq!(rig.earned("processed"), "1000000000");
}
