//! Several steps in one transaction.

use alloy_consensus::Transaction;
use alloy_sol_types::SolCall;
use schemes_evm::abi::{MULTICALL3, Multicall};
use sdk_plugin::chain::{Built, Slot};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{ChainDriver, Fault, FaultKind, HexBytes};

use crate::building::{bid, build, decode, step};
use crate::node::{ASSET, World, slot};

/// A transfer whose calldata ends with this byte.
fn transfer(mark: u8) -> Step {
    let mut step = step();
    step.call.data.0.push(mark);
    step
}

fn steps(count: u8) -> Vec<Step> {
    (0..count).map(transfer).collect()
}

fn world(works: &[bool]) -> World {
    let world = World::new();
    world.node().works = works.to_vec();
    world
}

fn replace(world: &World, steps: &[Step]) -> Result<Built, Fault> {
    let slot = Slot {
        replaces: true,
        ..slot(7)
    };
    block_on(world.driver.build(&world.cx(), &slot, &bid(), steps))
}

/// The calls of a transaction of Multicall3: their data, in order.
fn calls(built: &Built) -> Vec<Vec<u8>> {
    let transaction = decode(built);
    assert_eq!(transaction.to(), Some(MULTICALL3));
    let all = Multicall::aggregate3Call::abi_decode(transaction.input()).expect("aggregate3");
    assert_eq!(
        all.abi_encode(),
        transaction.input().as_ref(),
        "nothing follows it"
    );
    let call = |call: &Multicall::Call3| {
        assert!(call.allowFailure, "one that fails leaves the others their effect");
        assert_eq!(call.target.to_string().to_lowercase(), ASSET);
        call.callData.to_vec()
    };
    all.calls.iter().map(call).collect()
}

fn data(steps: &[Step]) -> Vec<Vec<u8>> {
    steps.iter().map(|step| step.call.data.0.clone()).collect()
}

fn signatures(world: &World) -> usize {
    let recorded = world.host.recorded();
    let is_signature = |one: &&Recorded| matches!(one, Recorded::Sign { .. });
    recorded.iter().filter(is_signature).count()
}

#[test]
fn steps_share_a_transaction_that_was_simulated_as_a_whole() {
    let world = world(&[true, true, true]);
    let steps = steps(3);
    let built = build(&world, &bid(), &steps).expect("built");
    assert_eq!(calls(&built), data(&steps));
    assert!(built.left_out.is_empty());
    let transaction = decode(&built);
    assert_eq!((transaction.nonce(), transaction.gas_limit()), (7, 300_000));
    assert!(transaction.value().is_zero());
    // One unit of data fee for each 512 bytes, rounded up.
    let units = u64::try_from(built.bytes.as_ref().len().div_ceil(512)).expect("short");
    assert_eq!(built.max_cost, (300_000 * 3_000 + 7 * units).into());
    assert_eq!((world.host.round_trips(), signatures(&world)), (1, 1));
}

#[test]
fn a_call_that_would_fail_is_left_out_and_one_that_is_left_goes_alone() {
    let all = steps(3);
    let built = build(&world(&[true, false, true]), &bid(), &all).expect("built");
    assert_eq!(built.left_out, [1]);
    assert_eq!(calls(&built), data(&[all[0].clone(), all[2].clone()]));

    let built = build(&world(&[false, true, false]), &bid(), &all).expect("built");
    assert_eq!(built.left_out, [0, 2]);
    let alone = decode(&built);
    assert_eq!(alone.input().as_ref(), all[1].call.data.as_ref(), "no Multicall3");
    assert_eq!(alone.gas_limit(), 100_000);

    let none = world(&[false, false, false]);
    let built = build(&none, &bid(), &all).expect("an answer");
    assert_eq!(
        (built.left_out.as_slice(), built.tx_id.as_str()),
        (&[0, 1, 2][..], "")
    );
    assert!(built.would_fail.is_some());
    assert_eq!(signatures(&none), 0, "nothing was signed");
}

#[test]
fn a_replacement_has_the_steps_of_the_transaction_before_it() {
    let world = world(&[false, false, false]);
    let all = steps(3);
    let built = replace(&world, &all).expect("built");
    assert_eq!(calls(&built), data(&all));
    assert!(built.left_out.is_empty());
    assert_eq!(world.host.round_trips(), 0, "it is not simulated again");
}

#[test]
fn what_is_too_much_gas_for_one_transaction_is_left_out() {
    let mut all = steps(3);
    for step in &mut all {
        step.call.compute_limit = Some(5_000_000);
    }
    let built = build(&world(&[true, true, true]), &bid(), &all).expect("built");
    assert_eq!(built.left_out, [2]);
    assert_eq!(decode(&built).gas_limit(), 10_000_000);
}

#[test]
fn without_multicall3_or_a_whole_answer_nothing_is_shared() {
    let missing = world(&[true, true]);
    missing.node().multicall = false;
    let fault = build(&missing, &bid(), &steps(2)).expect_err("no contract");
    assert_eq!(fault.kind, FaultKind::Unsupported);
    let short = world(&[true]);
    let fault = build(&short, &bid(), &steps(2)).expect_err("one result for two calls");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    for world in [missing, short] {
        assert_eq!(signatures(&world), 0);
    }
}

#[test]
fn t62_only_declared_calls_of_batchable_steps_share_a_transaction() {
    type Change = fn(&mut Step);
    let changes: [(&str, Change); 6] = [
        ("not batchable", |step| step.batchable = false),
        ("value", |step| step.call.native_value = 1u64.into()),
        ("foreign", |step| step.lane = LaneChoice::Foreign),
        ("another signer", |step| {
            step.lane = LaneChoice::Signer {
                address: ASSET.into(),
            }
        }),
        ("another operation", |step| {
            step.call.operation = "0xa9059cbb".into()
        }),
        ("a call of Multicall3", |step| {
            step.call.target = MULTICALL3.to_string().to_lowercase();
            step.call.operation = "0x82ad56cb".into();
            step.call.data = HexBytes([&[0x82, 0xad, 0x56, 0xcb][..], &[0; 64]].concat());
        }),
    ];
    for (name, change) in changes {
        let world = world(&[true, true]);
        let mut steps = steps(2);
        change(&mut steps[1]);
        let fault = build(&world, &bid(), &steps).expect_err(name);
        assert_eq!(fault.kind, FaultKind::Denied, "{name}: {fault}");
        assert_eq!(signatures(&world), 0, "{name}");
    }
}
