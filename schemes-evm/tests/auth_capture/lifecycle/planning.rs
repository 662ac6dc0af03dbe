//! What is sent for a good operation.

use alloy_sol_types::SolValue;
use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use sdk_plugin::scheme::{EvidenceWanted, Gate, LaneChoice, OnFail, ReadAt, Step};
use sdk_plugin::{Amount, HexBytes};

use super::world::*;

#[test]
fn a_capture_is_one_call_of_the_operators_signer() {
    let payment = Payment::on(V1_1);
    let plan = World::new()
        .plan(&payment.capture(750_000, balances(HELD, 0)))
        .expect("a plan");
    assert_eq!(plan.payer, lower(PAYER));
    assert!(plan.reserves.is_empty() && plan.writes.is_empty() && plan.jobs.is_empty());
    let [step] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps);
    };
    assert_eq!(
        step.lane,
        LaneChoice::Signer {
            address: lower(OPERATOR)
        }
    );
    assert!(step.pays && !step.batchable);
    assert_eq!(step.call.target, lower(V1_1.escrow));
    assert_eq!(step.call.operation, "0x3efa46e1");
    assert_eq!(step.call.native_value, Amount::ZERO);
    assert_eq!(step.call.compute_limit, Some(125_000));
    assert_eq!(step.expires_at_s, Some(NOW_S + 86_400));
    let [after, before] = step.evidence.reads.as_slice() else {
        panic!("{:?}", step.evidence);
    };
    assert!(!after.required && !before.required, "nodes forget old states");
    assert_eq!((after.at, before.at), (ReadAt::Block, ReadAt::Parent));
    assert_ne!(after.name, before.name);
    let [logs] = step.evidence.logs.as_slice() else {
        panic!("{:?}", step.evidence);
    };
    assert_eq!(logs.emitter, lower(V1_1.escrow));
    assert_eq!(logs.topics, [None, Some(HexBytes(payment.hash().to_vec()))]);
    // Any sender that moves the payment is found, in our block and elsewhere.
    assert_eq!(step.evidence.block_logs, std::slice::from_ref(logs));
    assert_eq!(step.evidence.foreign, std::slice::from_ref(logs));
}

#[test]
fn the_two_deployments_have_calls_of_their_own() {
    for (deployment, selector) in [(V1_1, "0x3efa46e1"), (V1_0, "0x644cd79a")] {
        let payment = Payment::on(deployment);
        let plan = World::new()
            .plan(&payment.capture(1, balances(HELD, 0)))
            .expect("a plan");
        assert_eq!(plan.steps[0].call.operation, selector);
        assert_eq!(plan.steps[0].call.target, lower(deployment.escrow));
    }
}

#[test]
fn the_rest_is_given_back_only_after_a_final_capture() {
    let plan = World::new()
        .plan(&Payment::on(V1_1).capture_and_void(750_000, balances(HELD, 0)))
        .expect("a plan");
    let [capture, void] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps);
    };
    assert!(capture.pays && !void.pays);
    assert_eq!(capture.on_fail, OnFail::Stop, "no void unless the capture landed");
    assert_eq!(void.gate, Gate::Final);
    assert_eq!(void.call.operation, "0xfa1cad17");
    assert_eq!(void.lane, capture.lane);
    assert_eq!(void.expires_at_s, None);
    let without_guard = |step: &Step| EvidenceWanted {
        guard: None,
        ..step.evidence.clone()
    };
    assert_eq!(
        without_guard(void),
        without_guard(capture),
        "each has evidence of its own at its own block"
    );
}

#[test]
fn the_guard_is_what_the_escrow_holds_before_each_step() {
    let state = |capturable: u64, refundable: u64| (true, units(capturable), units(refundable)).abi_encode();
    let unchanged = |step: &Step, held: Vec<u8>| step.evidence.guard.as_ref().unwrap().is_unchanged(&held);
    let payment = Payment::on(V1_1);
    let plan = World::new()
        .plan(&payment.capture_and_void(750_000, balances(HELD, 0)))
        .expect("a plan");
    let [capture, void] = plan.steps.as_slice() else {
        panic!("{:?}", plan.steps);
    };
    for (step, held) in [(capture, (HELD, 0)), (void, (250_000, 750_000))] {
        let guard = step.evidence.guard.as_ref().expect("a guard");
        assert_eq!(guard.read.target, lower(V1_1.escrow));
        assert_eq!(guard.read.data.0[4..], payment.hash().0);
        let (capturable, refundable) = held;
        assert_eq!(unchanged(step, state(capturable, refundable)), Some(true));
        assert_eq!(unchanged(step, state(capturable - 1, refundable)), Some(false));
        assert_eq!(unchanged(step, state(capturable, refundable + 1)), Some(false));
        assert_eq!(unchanged(step, vec![0; 95]), None);
    }
    let world = World::on(|chain| chain.state = state_result(true, 250_000, 750_000));
    let refund = world
        .plan(&payment.refund(500, balances(250_000, 750_000)))
        .expect("a plan");
    assert_eq!(unchanged(&refund.steps[0], state(250_000, 750_000)), Some(true));
    assert_eq!(unchanged(&refund.steps[0], state(250_000, 749_500)), Some(false));
}

#[test]
fn a_call_that_needs_too_much_gas_is_not_sent() {
    let config = schemes_evm::auth_capture::config::Config {
        max_gas: 99_999,
        ..config()
    };
    let refusal = World::with(config, |_| {})
        .plan(&Payment::on(V1_1).void())
        .expect_err("refused");
    assert_eq!(refusal.reason, "invalid_auth_capture_evm_simulation_failed");
}

#[test]
fn a_good_plan_costs_one_round_trip() {
    let world = World::new();
    world
        .plan(&Payment::on(V1_1).capture_and_void(1, balances(HELD, 0)))
        .expect("a plan");
    assert_eq!(world.host.round_trips(), 1);
}
