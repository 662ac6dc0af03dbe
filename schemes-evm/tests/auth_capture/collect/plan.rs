//! What is planned for a good collection.

use alloy_primitives::{Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use proptest::prelude::*;
use schemes_evm::auth_capture::abi::{Escrow, EscrowV10, EscrowV11};
use schemes_evm::auth_capture::deployment::{Method, V1_0, V1_1};
use sdk_plugin::host::{RpcResult, StoreCondition, StoreRequest, StoreWrite};
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail, ReadAt};
use sdk_plugin::testkit::block_on;
use sdk_plugin::{Amount, SchemeHandler};
use serde_json::json;

use super::offer::{ASSET, FACILITATOR, FACTORY, NOW_S, Offer, PAYER, TENANT, UNITS, delegating};
use super::order::Draft;
use super::world::RETAINED;

#[test]
fn a_hold_is_one_call_of_the_escrow_by_the_operators_own_key() {
    let draft = Draft::of(Offer::default());
    let plan = draft.world().plan(&draft.request()).expect("planned");
    assert_eq!(plan.payer, PAYER);
    let [step] = plan.steps.as_slice() else {
        panic!("{} steps", plan.steps.len());
    };
    assert_eq!(step.call.target, "0xf96815976523e00e65be8f34ca5e64b4f41eb19c");
    assert_eq!(step.call.operation, "0x41d66202");
    assert_eq!(step.call.native_value, Amount::ZERO);
    assert_eq!(
        step.call.compute_limit,
        Some(250_000),
        "a quarter more than 200,000"
    );
    assert_eq!(
        step.lane,
        LaneChoice::Signer {
            address: FACILITATOR.to_lowercase()
        }
    );
    assert_eq!((step.gate, step.on_fail), (Gate::None, OnFail::Stop));
    assert!(step.pays && !step.batchable);
    assert_eq!(step.expires_at_s, Some(NOW_S + 600));
    assert_eq!(step.memo["kind"], json!("collect"));

    let hash = draft.offer.hash();
    let [events] = step.evidence.logs.as_slice() else {
        panic!("one filter");
    };
    assert_eq!(events.emitter, step.call.target);
    assert_eq!(events.topics[0], None);
    assert_eq!(events.topics[1].as_ref().unwrap().0, hash.to_vec());
    let [after, before] = step.evidence.reads.as_slice() else {
        panic!("two reads");
    };
    assert_eq!((after.at, before.at), (ReadAt::Block, ReadAt::Parent));
    assert_ne!(after.name, before.name);
    for read in [after, before] {
        assert!(!read.required, "nodes forget old states");
        assert_eq!(read.target, step.call.target);
        assert_eq!(read.data.0[4..], hash.0);
    }
    // Any sender that moves the payment is found, in our block and elsewhere.
    assert_eq!(step.evidence.block_logs, std::slice::from_ref(events));
    assert_eq!(step.evidence.foreign, std::slice::from_ref(events));
    let guard = step.evidence.guard.as_ref().expect("a guard");
    assert_eq!(
        (&guard.read.target, &guard.read.data),
        (&after.target, &after.data)
    );
    let state =
        |collected: bool, capturable: u64| (collected, U256::from(capturable), U256::ZERO).abi_encode();
    assert_eq!(guard.is_unchanged(&state(false, 0)), Some(true));
    assert_eq!(guard.is_unchanged(&state(true, 0)), Some(false));
    assert_eq!(
        guard.is_unchanged(&state(false, 1)),
        Some(true),
        "the first word alone"
    );

    assert_eq!(plan.holds[0].signer, FACILITATOR.to_lowercase());
    assert_eq!(plan.holds[0].until_s, NOW_S + 86_400);
    let [reserve] = plan.reserves.as_slice() else {
        panic!("one reserve");
    };
    assert_eq!(
        (reserve.asset.as_str(), reserve.payer.as_str()),
        (ASSET, PAYER.to_lowercase().as_str())
    );
    assert_eq!(reserve.amount, Amount::from(UNITS));
    assert_eq!(reserve.available, Amount::from(5_000_000u64));
    assert_eq!(reserve.as_of_height, 100);
    assert_eq!(
        reserve.refusal_reason,
        "invalid_auth_capture_evm_insufficient_balance"
    );
}

#[test]
fn a_charge_reserves_what_the_collector_takes_for_a_moment() {
    for (method, reserved) in [(Method::Eip3009, UNITS), (Method::Permit2, 750_000)] {
        let draft = Draft::of(Offer {
            method,
            ..Offer::charged()
        });
        let plan = draft.world().plan(&draft.request()).expect("planned");
        assert_eq!(plan.steps[0].call.operation, "0xc449d17c");
        assert_eq!(plan.reserves[0].amount, Amount::from(reserved));
    }
}

#[test]
fn t72_the_wrapper_is_passed_on_as_it_was_sent() {
    let draft = Draft::of(Offer {
        wrapper: Some((FACTORY, Bytes::from_static(&[1, 2, 3]))),
        ..Offer::charged()
    });
    let sent = draft.offer.signature();
    let contains = |data: &[u8]| data.windows(sent.len()).any(|window| window == sent);
    // An allow-listed factory, and no wallet yet: the simulation is what checks the signature.
    let world = draft.world();
    let plan = world.plan(&draft.request()).expect("planned");
    assert!(contains(&plan.steps[0].call.data.0));
    assert_ne!(keccak256(&sent), keccak256(&sent[..65]));
}

#[test]
fn more_gas_than_is_allowed_is_refused_and_never_bought() {
    let mut draft = Draft::of(Offer::default());
    draft.config.max_gas = 210_000;
    let plan = draft.world().plan(&draft.request()).expect("planned");
    assert_eq!(plan.steps[0].call.compute_limit, Some(210_000));
    draft.config.max_gas = 199_999;
    let refusal = draft.world().plan(&draft.request()).expect_err("refused");
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_simulation_failed");
    // No estimate at all: the call works, and gets the ceiling.
    draft.chain.estimate = RpcResult::Ok(json!("0x0"));
    let plan = draft.world().plan(&draft.request()).expect("planned");
    assert_eq!(plan.steps[0].call.compute_limit, Some(199_999));
}

#[test]
fn the_record_is_written_with_the_first_commit() {
    let mut draft = Draft::of(Offer::default());
    draft.tenant = Some(TENANT);
    let plan = draft.world().plan(&draft.request()).expect("planned");
    let record = &plan.writes[0];
    assert_eq!(record.key, format!("payment/eip155:84532/{}", draft.offer.hash()));
    assert_eq!(record.condition, StoreCondition::Absent);
    assert_eq!(record.value["tenant"], json!(TENANT));
    assert_eq!(record.value["saltNonce"], json!("0xab"));
    assert_eq!(record.value["charged"], json!(false));
}

#[test]
fn t63_a_record_that_came_to_nothing_is_replaced_and_an_unreachable_store_binds_nothing() {
    let mut draft = Draft::of(Offer::default());
    draft.config = delegating();
    draft.tenant = Some("another");
    let world = draft.world();
    let first = world.plan(&draft.request()).expect("planned");
    let written = block_on(world.cx().store(StoreRequest::Write {
        writes: first.writes.clone(),
    }));
    assert_eq!(written, Ok(sdk_plugin::host::StoreResponse::Written));
    draft.tenant = Some(TENANT);
    // Inside the conflict key, with a payment that is not collected: the other attempt is over.
    let second = world.plan(&draft.request()).expect("planned");
    let StoreWrite { value, condition, .. } = &second.writes[0];
    assert_eq!(value["tenant"], json!(TENANT));
    assert_eq!(
        *condition,
        StoreCondition::Equals {
            value: first.writes[0].value.clone()
        }
    );
    let unbound = block_on(world.scheme.plan(&world.cx_failing(None), &draft.request()));
    let sdk_plugin::scheme::Planned::Refused(refusal) = unbound.expect("no fault") else {
        panic!("planned");
    };
    assert_eq!(
        refusal.reason,
        "invalid_auth_capture_evm_delegated_auth_unavailable"
    );
}

#[test]
fn a_retained_signers_payment_uses_its_lane() {
    let draft = Draft::of(Offer {
        operator: RETAINED,
        ..Offer::default()
    });
    let plan = draft.world().plan(&draft.request()).expect("planned");
    assert_eq!(
        plan.steps[0].lane,
        LaneChoice::Signer {
            address: RETAINED.into()
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is agreed on and whichever party cheats: the plan is inside what the buyer signed.
    #[test]
    fn nothing_is_planned_that_was_not_signed(
        accepted in 1u64..3_000_000, asked in 1u64..3_000_000, value in 1u64..3_000_000, agree in 0u8..3,
        amount in 0u64..3_000_000, fee in 0u64..40_000, min in 0u16..300, more in 0u16..300,
        charge in any::<bool>(), bps in any::<bool>(), permit2 in any::<bool>(),
    ) {
        let (asked, value) = match agree {
            0 => (asked, value),
            1 => (accepted, accepted),
            _ => (asked.min(accepted), accepted),
        };
        let deployment = if bps { V1_0 } else { V1_1 };
        let draft = Draft::of(Offer {
            deployment,
            method: if permit2 { Method::Permit2 } else { Method::Eip3009 },
            charge,
            completion: charge.then_some((amount, if bps { fee % 600 } else { fee })),
            accepted,
            asked,
            value,
            min_bps: min,
            max_bps: min + more,
            ..Offer::default()
        });
        let Ok(plan) = draft.world().plan(&draft.request()) else {
            return Ok(());
        };
        prop_assert_eq!(value, accepted);
        prop_assert!(asked <= accepted);
        let data = &plan.steps[0].call.data.0;
        let (info, taken, collector, signature) = match (charge, bps) {
            (false, _) => {
                let call = Escrow::authorizeCall::abi_decode(data).unwrap();
                prop_assert_eq!(asked, accepted);
                (call.paymentInfo, call.amount, call.tokenCollector, call.collectorData)
            }
            (true, true) => {
                let call = EscrowV10::chargeCall::abi_decode(data).unwrap();
                prop_assert!((min..=min + more).contains(&call.feeBps));
                prop_assert_eq!(call.feeReceiver, draft.offer.recipient);
                (call.paymentInfo, call.amount, call.tokenCollector, call.collectorData)
            }
            (true, false) => {
                let call = EscrowV11::chargeCall::abi_decode(data).unwrap();
                let share = |bps: u16| U256::from(amount) * U256::from(bps) / U256::from(10_000);
                prop_assert!(share(min) <= call.feeAmount && call.feeAmount <= share(min + more));
                prop_assert_eq!(call.feeReceiver, draft.offer.recipient);
                (call.paymentInfo, call.amount, call.tokenCollector, call.collectorData)
            }
        };
        prop_assert_eq!(info, draft.offer.info());
        prop_assert_eq!(collector, draft.offer.collector());
        prop_assert_eq!(signature.to_vec(), draft.offer.signature());
        prop_assert_eq!(taken, U256::from(if charge { amount } else { accepted }));
        prop_assert!(!taken.is_zero() && taken <= U256::from(value));
        prop_assert!(plan.reserves[0].amount.0 >= taken);
    }
}
