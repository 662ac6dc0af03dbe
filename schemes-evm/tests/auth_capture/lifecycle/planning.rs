//! What is sent for a good operation.

use schemes_evm::auth_capture::deployment::{V1_0, V1_1};
use sdk_plugin::scheme::{Gate, LaneChoice, OnFail};
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
    let [read] = step.evidence.reads.as_slice() else {
        panic!("{:?}", step.evidence);
    };
    assert!(!read.required, "nodes forget old states");
    let [logs] = step.evidence.logs.as_slice() else {
        panic!("{:?}", step.evidence);
    };
    assert_eq!(logs.emitter, lower(V1_1.escrow));
    assert_eq!(logs.topics, [None, Some(HexBytes(payment.hash().to_vec()))]);
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
fn the_rest_is_given_back_only_behind_a_final_capture() {
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
    assert_eq!(
        void.evidence, capture.evidence,
        "each has evidence of its own at its own block"
    );
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
