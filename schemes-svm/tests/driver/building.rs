//! Co-signing, and what is not co-signed.

use schemes_svm::driver::{CREATE_AND_TRANSFER, TRANSFER, WALLET_TRANSFER};
use schemes_svm::programs::SYSTEM;
use schemes_svm::testkit::{Deal, Fate, Key, Part, guard, memo, mutations};
use schemes_svm::wire::Transaction;
use sdk_plugin::chain::{Bid, Built, Slot};
use sdk_plugin::scheme::{LaneChoice, Step};
use sdk_plugin::testkit::{Recorded, block_on};
use sdk_plugin::{Amount, ChainDriver, Fault, FaultKind, HexBytes};
use serde_json::json;

use crate::node::{World, fee_payer, lane, step};

fn build(world: &World, steps: &[Step]) -> Result<Built, Fault> {
    let slot = Slot::new(lane(), 77);
    let bid = Bid {
        terms: json!({}),
        head_height: 1,
    };
    block_on(world.driver.build(&world.cx(), &slot, &bid, steps))
}

fn official() -> Step {
    step(TRANSFER, &Deal::example().official())
}

#[test]
fn the_buyers_transaction_is_signed_by_the_fee_payer_and_nothing_else_changes() {
    let world = World::new();
    let step = official();
    let built = build(&world, &[step.clone(), step.clone()]).expect("built");
    let (before, after) = (
        Transaction::decode(step.call.data.as_ref()).unwrap(),
        Transaction::decode(built.bytes.as_ref()).unwrap(),
    );
    assert_eq!(after.message_bytes(), before.message_bytes());
    assert_eq!(after.signatures[1], before.signatures[1]);
    assert!(after.signatures[0].verify(fee_payer().as_ref(), after.message_bytes()));
    assert_eq!(built.tx_id, after.signatures[0].to_string());
    assert_eq!(built.max_cost, Amount::from(10_001u64));
    assert_eq!(built.left_out, [1]);
    assert_eq!(world.host.round_trips(), 0);
}

#[test]
fn a_signer_that_returns_something_else_is_found_out() {
    for signature in [
        vec![0; 64],
        vec![1; 63],
        Key::of_seed(2).sign(b"x").as_ref().to_vec(),
    ] {
        let world = World::new();
        world.host.answer_sign(move |_| Ok(HexBytes(signature.clone())));
        assert!(build(&world, &[official()]).is_err());
    }
}

/// What the driver will not sign.
fn denied(step: Step) {
    let world = World::new();
    let fault = build(&world, std::slice::from_ref(&step)).expect_err("denied");
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    let signed = world
        .host
        .recorded()
        .iter()
        .any(|recorded| matches!(recorded, Recorded::Sign { .. }));
    assert!(!signed, "{fault}");
}

#[test]
fn law6_a_transaction_that_is_not_what_its_call_declares_is_not_signed() {
    let deal = Deal::example();
    let mut other_target = official();
    other_target.call.target = deal.pay_to.to_string();
    denied(other_target);
    let mut no_target = official();
    no_target.call.target = "mint".into();
    denied(no_target);
    let mut no_operation = official();
    no_operation.call.operation = "transfer".into();
    denied(no_operation);
    let mut native = official();
    native.call.native_value = Amount::from(1u64);
    denied(native);
    for lane in [
        LaneChoice::Any,
        LaneChoice::Foreign,
        LaneChoice::Signer {
            address: deal.pay_to.to_string(),
        },
    ] {
        denied(Step { lane, ..official() });
    }
    let mut garbage = official();
    garbage.call.data = HexBytes(vec![1; 40]);
    denied(garbage);

    let mut not_signed = official();
    not_signed.call.data = HexBytes(deal.official().sign(&Key::of_seed(9)));
    denied(not_signed);
    let mut other_payer = deal.official();
    other_payer.fee_payer = Key::of_seed(9).address();
    denied(step(TRANSFER, &other_payer));
    denied(step(TRANSFER, &deal.draft(vec![memo("nothing else")])));
    denied(step(
        TRANSFER,
        &deal.draft(vec![deal.transfer(), deal.transfer()]),
    ));
    // Creation at the fee payer's cost is an operation of its own, and exactly one.
    let create = deal.create(fee_payer());
    denied(step(TRANSFER, &deal.draft(vec![create.clone(), deal.transfer()])));
    denied(step(CREATE_AND_TRANSFER, &deal.draft(vec![deal.transfer()])));
    denied(step(
        CREATE_AND_TRANSFER,
        &deal.draft(vec![create.clone(), create.clone(), deal.transfer()]),
    ));
    let sponsored = build(
        &World::new(),
        &[step(
            CREATE_AND_TRANSFER,
            &deal.draft(vec![create, deal.transfer()]),
        )],
    );
    assert_eq!(
        sponsored.expect("built").max_cost,
        Amount::from(10_000 + 2_500_000u64)
    );
    // A wallet's transaction never names the fee payer.
    denied(step(
        WALLET_TRANSFER,
        &deal.draft(vec![guard(6, vec![(fee_payer(), false)])]),
    ));
    assert!(build(&World::new(), &[step(WALLET_TRANSFER, &deal.official())]).is_ok());
}

#[test]
fn t47_t48_the_fee_payer_is_signed_for_only_where_nothing_can_be_taken_from_it() {
    let deal = Deal::example();
    let with = |part: Part| {
        let mut draft = deal.official();
        draft.parts.push(part);
        step(TRANSFER, &draft)
    };
    for writing in [0, 1] {
        denied(with(guard(writing, vec![(fee_payer(), true)])));
    }
    let mut named = memo("x");
    named.accounts.push((fee_payer(), false));
    denied(with(named));
    denied(with(Part {
        program: SYSTEM,
        accounts: vec![(fee_payer(), true), (deal.pay_to, true)],
        data: vec![2, 0, 0, 0],
    }));
    assert!(build(&World::new(), &[with(guard(2, vec![(fee_payer(), false)]))]).is_ok());
}

#[test]
fn t55_a_durable_nonce_is_not_signed() {
    let deal = Deal::example();
    let mut draft = deal.official();
    draft.parts.insert(
        0,
        Part {
            program: SYSTEM,
            accounts: vec![(Key::of_seed(60).address(), true), (deal.buyer.address(), false)],
            data: vec![4, 0, 0, 0],
        },
    );
    denied(step(TRANSFER, &draft));
    denied(step(WALLET_TRANSFER, &draft));
}

#[test]
fn no_mutation_that_takes_from_the_fee_payer_is_signed() {
    let deal = Deal::example();
    for mutation in mutations(&deal) {
        let mut step = official();
        step.call.data = HexBytes(mutation.transaction.clone());
        let Ok(built) = build(&World::new(), &[step]) else {
            assert_ne!(mutation.fate, Fate::Pays, "{}", mutation.name);
            continue;
        };
        let transaction = Transaction::decode(built.bytes.as_ref()).unwrap();
        for instruction in &transaction.message().instructions {
            let is_guard =
                transaction.message().program(instruction) == Some(schemes_svm::programs::LIGHTHOUSE);
            assert!(
                is_guard || !instruction.accounts.contains(&0),
                "{}",
                mutation.name
            );
        }
    }
}

#[test]
fn nothing_is_filled_and_nothing_built_of_nothing() {
    let world = World::new();
    let slot = Slot::new(lane(), 1);
    let bid = Bid {
        terms: json!({}),
        head_height: 1,
    };
    let fault = block_on(world.driver.fill(&world.cx(), &slot, &bid)).expect_err("unsupported");
    assert_eq!(fault.kind, FaultKind::Unsupported);
    assert!(build(&world, &[]).is_err());
}
