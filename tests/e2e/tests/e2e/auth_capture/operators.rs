//! Contracts as operators: what is relayed to them is judged by what it does, never by what it says.

use devnet::{ARBITER_OPERATOR, AUTH_CAPTURE_V11, HOSTILE_OPERATOR, OperatorMood, USDC};
use e2e::World;
use e2e::escrow::{self, PRICE, SHOP_KEY, ask};
use e2e::hold::{Hold, Method};
use serde_json::json;

use super::reason;

fn admitting(operator: &str) -> World {
    let config = format!("custom_operators = [{{ address = {operator:?} }}]");
    escrow::world(&config).buyers(20).start()
}

fn under(world: &World, buyer: usize, operator: &str) -> Hold {
    let mut hold = Hold::v1_1(world, buyer, AUTH_CAPTURE_V11, Method::Eip3009);
    hold.info.operator = operator.to_owned();
    hold.extra["operatorType"] = json!("custom");
    hold
}

fn held(world: &World, hold: &Hold) -> (u128, u128) {
    let state = world.chain.payment_state(&AUTH_CAPTURE_V11, &hold.hash(world));
    let state = state.expect("the node answers");
    (state.capturable, state.refundable)
}

#[test]
fn t67_a_contract_that_nobody_admitted_is_not_called() {
    let world = escrow::world("").start();
    let body = under(&world, 2, ARBITER_OPERATOR).body(&world);
    world.untouched(|| {
        ask(&world, "/verify", &body, SHOP_KEY).refused(reason::NOT_ADMITTED);
        ask(&world, "/settle", &body, SHOP_KEY).refused(reason::NOT_ADMITTED);
    });
}

#[test]
fn t65_a_contract_that_lies_in_simulation_is_not_called_and_one_that_lies_later_is_not_believed() {
    let world = admitting(HOSTILE_OPERATOR);
    let chain = &world.chain;
    // Something to steal, from everybody.
    let everybody = [&chain.merchant.address, &chain.facilitators[0].address];
    for owner in everybody
        .into_iter()
        .chain(chain.buyers.iter().map(|buyer| &buyer.address))
    {
        chain
            .set_allowance(USDC, owner, HOSTILE_OPERATOR, u128::MAX)
            .expect("allowed");
    }
    for owner in [
        &chain.merchant.address,
        &chain.facilitators[0].address,
        HOSTILE_OPERATOR,
    ] {
        chain.mint(USDC, owner, PRICE).expect("minted");
    }
    for (turn, mood) in OperatorMood::ALL.into_iter().enumerate() {
        chain.set_operator_mood(mood).expect("set");
        // Each has a payer of its own, so that each has a salt of its own.
        let hold = under(&world, 2 + turn, HOSTILE_OPERATOR);
        let settle = || ask(&world, "/settle", &hold.body(&world), SHOP_KEY);
        match outcome(mood) {
            Outcome::Held => {
                let _ = settle().paid();
                assert_eq!(held(&world, &hold), (PRICE, 0), "{mood:?}");
            }
            Outcome::NotCalled => {
                println!("{mood:?}");
                world.untouched(settle).refused(reason::SIMULATION);
            }
            Outcome::NotBelieved => {
                assert_ne!(settle().failed(reason::STATE), "", "{mood:?} was sent");
                assert_eq!(held(&world, &hold), (0, 0), "{mood:?}");
            }
            Outcome::Untold => {}
        }
    }
    for owner in [&chain.merchant.address, &chain.facilitators[0].address] {
        assert_eq!(world.balance(owner), PRICE, "nobody stole");
    }
}

enum Outcome {
    Held,
    NotCalled,
    /// Sent, since the simulation was fine, and told as what it was.
    NotBelieved,
    /// Whether the simulation's block is before or after the turn is the node's matter.
    Untold,
}

fn outcome(mood: OperatorMood) -> Outcome {
    match mood {
        // The fee is a charge's matter, and a second event is noise.
        OperatorMood::Honest | OperatorMood::EchoesEvent | OperatorMood::MostFee => Outcome::Held,
        OperatorMood::NoOpWhenMined => Outcome::NotBelieved,
        OperatorMood::NoOpFromBlock => Outcome::Untold,
        OperatorMood::NoOp
        | OperatorMood::HalfAmount
        | OperatorMood::FakeEvent
        | OperatorMood::BurnsGas
        | OperatorMood::Undoes
        | OperatorMood::CapturesAtOnce
        | OperatorMood::SwapsFlow
        | OperatorMood::OwnCollector
        | OperatorMood::Reenters
        | OperatorMood::RobsReceiver
        | OperatorMood::RobsPayer
        | OperatorMood::RobsRelay => Outcome::NotCalled,
    }
}
