//! The contents of a plan.

use schemes_svm::exact::reason;
use schemes_svm::testkit::Deal;
use schemes_svm::wire::Transaction;
use sdk_plugin::Amount;
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail};

use crate::world::{SLOT, World, fee_payer, good, request_of};

#[test]
fn a_plan_is_the_buyers_transaction_for_the_fee_payer_that_it_names() {
    let deal = Deal::example();
    let plan = World::new().plan(&good()).expect("a plan");
    let [step] = plan.steps.as_slice() else {
        panic!("one step");
    };
    assert_eq!(plan.payer, deal.buyer.address().to_string());
    assert_eq!(step.call.target, deal.mint.to_string());
    assert_eq!(step.call.operation, "transferChecked");
    assert_eq!(step.call.data.0, deal.official().sign(&deal.buyer));
    assert_eq!(step.call.native_value, Amount::ZERO);
    assert_eq!(
        step.lane,
        LaneChoice::Signer {
            address: fee_payer().to_string()
        }
    );
    assert_eq!(
        (step.gate, step.on_fail, step.pays),
        (Gate::None, OnFail::Stop, true)
    );
    assert!(!step.batchable);
    assert_eq!(step.max_cost, Some(Amount::from(10_001u64)));
    assert!(step.evidence.foreign.is_empty() && step.evidence.guard.is_none());
    let [life] = step.evidence.reads.as_slice() else {
        panic!("how long it can land");
    };
    assert_eq!(
        (
            life.name.as_str(),
            life.target.clone(),
            life.data.as_ref(),
            life.required
        ),
        (
            "blockhash",
            deal.blockhash.to_string(),
            SLOT.to_be_bytes().as_slice(),
            false
        )
    );

    let [reserve] = plan.reserves.as_slice() else {
        panic!("one reserve");
    };
    assert_eq!(reserve.payer, deal.source().to_string());
    assert_eq!(
        (reserve.amount, reserve.available),
        (Amount::from(10_000u64), Amount::from(50_000u64))
    );
    assert_eq!(reserve.as_of_height, SLOT);
    assert_eq!(reserve.refusal_reason, reason::SIMULATION_FAILED);
    assert!(plan.writes.is_empty());
}

#[test]
fn what_was_in_the_fee_payers_slot_does_not_travel_on() {
    let deal = Deal::example();
    let bytes = deal.official().sign(&deal.buyer);
    let filled = Transaction::decode(&bytes)
        .unwrap()
        .with_fee_payer_signature([9; 64].into());
    let plan = World::new()
        .plan(&request_of(&deal, &filled.to_bytes()))
        .expect("a plan");
    assert_eq!(plan.steps[0].call.data.0, bytes);
}
