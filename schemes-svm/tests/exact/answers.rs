//! Protocol v1's reasons, the operator's list of assets, and faults of nodes, which are never a refusal.

use schemes_svm::exact::reason;
use schemes_svm::testkit::{Deal, memo};
use sdk_plugin::Fault;
use sdk_plugin::host::{RpcError, RpcResult};
use serde_json::json;

use crate::checks::{positional, wallet, wallets, with_table};
use crate::world::{World, at_slot, changed, good, internal_error, v1};

#[test]
fn protocol_v1_has_its_own_names() {
    for (request, expected) in [
        (
            {
                let mut request = good();
                request.accepted.scheme = "upto".into();
                request
            },
            "unsupported_scheme",
        ),
        (
            {
                let mut request = good();
                request.accepted.network = "solana:other".into();
                request
            },
            "network_mismatch",
        ),
        (
            {
                let mut request = good();
                request.requirements.extra["feePayer"] = json!("nobody");
                request
            },
            "fee_payer_not_managed_by_facilitator",
        ),
        (with_table(), reason::UNDECODABLE),
        (
            changed(|draft| draft.parts[2].data[1] -= 1),
            reason::AMOUNT_MISMATCH,
        ),
    ] {
        assert_eq!(World::new().refused(&v1(request)), expected);
    }
    let world = World::new().with(|chain| chain.error = json!("BlockhashNotFound"));
    assert_eq!(world.refused(&v1(good())), "transaction_simulation_failed");
    let seven = changed(|draft| draft.parts.extend([memo("x"), memo("y"), memo("z")]));
    assert!(
        World::configured(positional).verify(&seven).is_ok(),
        "v2 has room for seven"
    );
    assert_eq!(
        World::configured(positional).refused(&v1(seven)),
        reason::INSTRUCTIONS_LENGTH
    );
    assert!(
        World::configured(wallets).verify(&v1(wallet(|_| {}))).is_err(),
        "v1 knows no smart wallets"
    );
    assert_eq!(
        World::new().verify(&v1(good())),
        Ok(Deal::example().buyer.address().to_string())
    );
}

#[test]
fn an_asset_that_is_not_listed_is_refused_before_any_read() {
    let mut world = World::new();
    world.assets = Some(vec!["EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v".into()]);
    assert_eq!(world.refused(&good()), reason::INVALID_PAYMENT_REQUIREMENTS);
    assert!(world.batches().is_empty());
}

#[test]
fn trouble_of_a_node_is_a_fault_and_never_a_refusal() {
    let world = World::new();
    world.host.queue_rpc_fault(Fault::unavailable("no node"));
    assert!(world.try_verify(&good()).is_err());
    for answer in [
        internal_error(),
        RpcResult::Ok(json!(null)),
        RpcResult::Ok(json!({"context": {"slot": 1}, "value": {}})),
        at_slot(json!({"err": null, "preBalances": [1], "postBalances": ["x"]})),
        at_slot(json!({"err": null, "preTokenBalances": [{}], "postTokenBalances": []})),
        at_slot(json!({"err": null, "innerInstructions": [{}]})),
        // That our own fee payer is unfunded is not the buyer's fault.
        at_slot(json!({"err": "InsufficientFundsForFee"})),
        at_slot(json!({"err": {"InsufficientFundsForRent": {"account_index": 0}}})),
    ] {
        let world = World::new().with(|chain| chain.simulation = Some(answer.clone()));
        assert!(world.try_verify(&good()).is_err(), "{answer:?}");
    }
    let refused = RpcResult::Error(RpcError {
        code: -32602,
        message: "invalid transaction: Transaction failed to sanitize accounts offsets correctly".into(),
        data: json!(null),
    });
    let world = World::new().with(|chain| chain.simulation = Some(refused));
    assert_eq!(world.refused(&good()), reason::SIMULATION_FAILED);
}
