//! Contract operators: the honest ones keep their own rules, and every mood of the hostile one is the lie that its name
//! promises, so that a test of a relaying facilitator proves what it claims.

mod common;

use common::escrow::{FEE_RECEIVER, Method, NOBODY, Payment, UNITS, state};
use common::refusals::{STRANGER, number};
use common::{PAYEE, logs_of, revert_data, succeeded};
use devnet::{
    ARBITER, ARBITER_OPERATOR, AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, BUYER_TOKENS, Devnet,
    HOSTILE_OPERATOR, OperatorMood, Options, TIME_LOCK_OPERATOR, TIME_LOCK_OPERATOR_V10, USDC,
};
use serde_json::{Value, json};

const DAY: u64 = 86_400;

fn chain() -> Devnet {
    Devnet::start(Options::default()).expect("the chain starts")
}

/// As [`Payment::new`], but through a contract, and with days to capture.
fn payment(chain: &Devnet, deployment: &'static AuthCapture, operator: &str) -> Payment {
    let mut payment = Payment::new(chain, deployment, Method::Eip3009, &chain.buyers[1].address);
    payment.info.operator = operator.to_owned();
    payment.info.authorization_expiry += 3 * DAY;
    payment.info.refund_expiry += 4 * DAY;
    payment
}

/// Any facilitator sends the calldata to the payment's operator.
fn relay(chain: &Devnet, payment: &Payment, data: &str) -> Value {
    chain
        .send(&chain.facilitators[1].address, &payment.info.operator, data)
        .expect("the operator takes it")
}

fn hold(chain: &Devnet, payment: &Payment) {
    let signature = payment.sign(chain, &chain.buyers[1]);
    let receipt = relay(chain, payment, &payment.authorize(UNITS, &signature));
    assert!(succeeded(&receipt));
    assert_eq!(payment.state(chain), state(true, UNITS, 0));
}

fn refused(chain: &Devnet, from: &str, to: &str, data: &str) -> String {
    revert_data(chain.rpc().eth_call(Some(from), to, data))
}

#[test]
fn a_time_lock_keeps_the_money_for_a_day_and_its_owner_out_until_then() {
    let chain = chain();
    let owner = &chain.merchant.address;
    for (deployment, operator) in [
        (&AUTH_CAPTURE_V11, TIME_LOCK_OPERATOR),
        (&AUTH_CAPTURE_V10, TIME_LOCK_OPERATOR_V10),
    ] {
        let start = chain.snapshot().expect("snapshot");
        let errors = &chain.artifact("TimeLockOperator").expect("artefact").errors;
        let payment = payment(&chain, deployment, operator);
        hold(&chain, &payment);
        let capture = payment.capture(600_000, payment.fee_of(600_000));
        let early = refused(&chain, owner, operator, &capture);
        assert!(early.starts_with(&errors["StillLocked(uint256)"]), "{early}");
        let stranger = refused(&chain, STRANGER, operator, &capture);
        assert!(stranger.starts_with(&errors["NotAllowed(address)"]), "{stranger}");

        chain.increase_time(DAY).expect("time");
        chain.mine(1).expect("mine");
        chain.send_for_free(owner, operator, &capture).expect("captures");
        let void = deployment.void(&payment.info).expect("encodes");
        chain.send_for_free(owner, operator, &void).expect("voids");
        assert_eq!(payment.state(&chain), state(true, 0, 600_000));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - 600_000, 0, 594_000, 6_000]
        );
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn a_time_lock_lets_charges_through_in_either_fee_form() {
    let chain = chain();
    for (deployment, operator) in [
        (&AUTH_CAPTURE_V11, TIME_LOCK_OPERATOR),
        (&AUTH_CAPTURE_V10, TIME_LOCK_OPERATOR_V10),
    ] {
        let start = chain.snapshot().expect("snapshot");
        let payment = payment(&chain, deployment, operator);
        let signature = payment.sign(&chain, &chain.buyers[1]);
        let charge = payment.charge(UNITS, payment.fee_of(UNITS), &signature);
        assert!(succeeded(&relay(&chain, &payment, &charge)));
        assert_eq!(payment.state(&chain), state(true, 0, UNITS));
        assert_eq!(
            payment.balances(&chain),
            [BUYER_TOKENS - UNITS, 0, 990_000, 10_000]
        );
        chain.revert(&start).expect("back to the start");
    }
}

#[test]
fn an_arbiters_payment_flows_by_milestones_until_the_payer_objects() {
    let chain = chain();
    let payment = payment(&chain, &AUTH_CAPTURE_V11, ARBITER_OPERATOR);
    hold(&chain, &payment);
    let errors = &chain.artifact("ArbiterOperator").expect("artefact").errors;
    let call = |function: &str, amount: Option<u128>| {
        let amount: Vec<_> = amount
            .map(|amount| ("uint256", number(amount)))
            .into_iter()
            .collect();
        let data = chain.payment_call("ArbiterOperator", function, &payment.info, &amount);
        data.expect("encodes")
    };
    let act = |from: &str, data: &str| chain.send_for_free(from, ARBITER_OPERATOR, data).expect("acts");
    let no = |from: &str, data: &str, error: &str| {
        let answer = refused(&chain, from, ARBITER_OPERATOR, data);
        assert!(answer.starts_with(&errors[error]), "{error}, not {answer}");
    };
    let (release, dispute) = (call("release", None), call("dispute", None));
    let (payer, milestone) = (&payment.info.payer, call("announce", Some(400_000)));

    no(PAYEE, &release, "NoMilestone(bytes32)");
    no(payer, &milestone, "NotAllowed(address)");
    act(PAYEE, &milestone);
    no(PAYEE, &release, "NotPayableYet(uint256)");
    chain.increase_time(3_600).expect("time");
    chain.mine(1).expect("mine");
    no(payer, &release, "NotAllowed(address)");
    act(PAYEE, &release);
    assert_eq!(payment.state(&chain), state(true, 600_000, 400_000));

    // The next milestone meets an objection; the arbiter gives half of it to the payee, and the rest back.
    act(PAYEE, &call("announce", Some(200_000)));
    let decision = call("decide", Some(100_000));
    no(ARBITER, &decision, "NoDispute(bytes32)");
    no(PAYEE, &dispute, "NotAllowed(address)");
    act(payer, &dispute);
    chain.increase_time(3_600).expect("time");
    chain.mine(1).expect("mine");
    no(PAYEE, &release, "InDispute(bytes32)");
    no(payer, &decision, "NotAllowed(address)");
    act(ARBITER, &decision);
    assert_eq!(payment.state(&chain), state(true, 0, 500_000));
    assert_eq!(
        payment.balances(&chain),
        [BUYER_TOKENS - 500_000, 0, 495_000, 5_000]
    );
}

#[test]
fn an_arbiter_cannot_be_charged_through() {
    let chain = chain();
    let payment = payment(&chain, &AUTH_CAPTURE_V11, ARBITER_OPERATOR);
    let signature = payment.sign(&chain, &chain.buyers[1]);
    let charge = payment.charge(UNITS, payment.fee_of(UNITS), &signature);
    assert_eq!(refused(&chain, STRANGER, ARBITER_OPERATOR, &charge), "0x");
}

/// A relayed payment's traces: state (capturable, refundable; `None` when nothing was collected), then what the payer,
/// the payee, the fee receiver and the operator itself have more or less.
type Traces = (Option<(u128, u128)>, [i128; 4]);

const HELD: Traces = (Some((1_000_000, 0)), [-1_000_000, 0, 0, 0]);
const CHARGED: Traces = (Some((0, 1_000_000)), [-1_000_000, 990_000, 10_000, 0]);
const NOTHING: Traces = (None, [0; 4]);

fn traces(chain: &Devnet, mood: OperatorMood, charges: bool) -> (Value, Traces) {
    let start = chain.snapshot().expect("snapshot");
    let mut payment = payment(chain, &AUTH_CAPTURE_V11, HOSTILE_OPERATOR);
    payment.info.max_fee_bps = 300;
    let relayer = &chain.facilitators[1].address;
    for victim in [&payment.info.payer, PAYEE, relayer] {
        chain
            .set_allowance(USDC, victim, HOSTILE_OPERATOR, 5)
            .expect("allowance");
    }
    for holder in [HOSTILE_OPERATOR, PAYEE, relayer] {
        chain.mint(USDC, holder, UNITS).expect("mint");
    }
    let signature = payment.sign(chain, &chain.buyers[1]);
    chain.set_operator_mood(mood).expect("mood");
    let balances = || {
        [payment.info.payer.as_str(), PAYEE, FEE_RECEIVER, HOSTILE_OPERATOR]
            .map(|holder| i128::try_from(chain.balance_of(USDC, holder).expect("balance")).expect("fits"))
    };
    let before = balances();
    let data = if charges {
        payment.charge(UNITS, 10_000, &signature)
    } else {
        payment.authorize(UNITS, &signature)
    };
    // A limit instead of an estimate: an estimate is a call, which some moods treat differently.
    let receipt = chain
        .send_with_gas(relayer, HOSTILE_OPERATOR, &data, 4_000_000)
        .expect("is mined");
    let after = balances();
    let known = payment.state(chain);
    let state = known.collected.then_some((known.capturable, known.refundable));
    let moved = [0, 1, 2, 3].map(|at| after[at] - before[at]);
    chain.revert(&start).expect("back to the start");
    (receipt, (state, moved))
}

#[test]
fn t65_every_mood_of_the_hostile_operator_is_the_lie_that_it_is_named_after() {
    let chain = chain();
    for mood in OperatorMood::ALL {
        let robbed = |[payer, payee, fee, operator]: [i128; 4], victim: usize| {
            let mut moved = [payer, payee, fee, operator + 5];
            if let Some(of_victim) = moved.get_mut(victim) {
                *of_victim -= 5;
            }
            moved
        };
        let half = [-500_000, 495_000, 5_000, 0];
        let least_fee = Some((0, 1_000_000));
        let (held, charged): (Traces, Traces) = match mood {
            OperatorMood::Honest | OperatorMood::EchoesEvent | OperatorMood::BurnsGas => (HELD, CHARGED),
            // Without a turning block every block is after it.
            OperatorMood::NoOp
            | OperatorMood::FakeEvent
            | OperatorMood::Reenters
            | OperatorMood::NoOpWhenMined
            | OperatorMood::NoOpFromBlock => (NOTHING, NOTHING),
            OperatorMood::HalfAmount => (
                (Some((500_000, 0)), [-500_000, 0, 0, 0]),
                (Some((0, 500_000)), half),
            ),
            OperatorMood::Undoes => ((Some((0, 0)), [0; 4]), (Some((0, 0)), [0; 4])),
            OperatorMood::CapturesAtOnce => (CHARGED, CHARGED),
            OperatorMood::SwapsFlow => (CHARGED, HELD),
            OperatorMood::OwnCollector => (
                (HELD.0, [0, 0, 0, -1_000_000]),
                (least_fee, [0, 990_000, 10_000, -1_000_000]),
            ),
            OperatorMood::MostFee => (HELD, (CHARGED.0, [-1_000_000, 970_000, 30_000, 0])),
            OperatorMood::RobsPayer => ((HELD.0, robbed(HELD.1, 0)), (CHARGED.0, robbed(CHARGED.1, 0))),
            OperatorMood::RobsReceiver => ((HELD.0, robbed(HELD.1, 1)), (CHARGED.0, robbed(CHARGED.1, 1))),
            // The victim is none of the four.
            OperatorMood::RobsRelay => ((HELD.0, robbed(HELD.1, 4)), (CHARGED.0, robbed(CHARGED.1, 4))),
        };
        for (charges, expected) in [(false, held), (true, charged)] {
            let (receipt, found) = traces(&chain, mood, charges);
            assert_eq!(found, expected, "{mood:?}, charges: {charges}");
            assert_eq!(
                succeeded(&receipt),
                mood != OperatorMood::Reenters,
                "{mood:?}, charges: {charges}"
            );
            let gas = gas_of(&receipt);
            assert_eq!(
                gas > 1_000_000,
                mood == OperatorMood::BurnsGas,
                "{mood:?} used {gas}"
            );
        }
    }
}

fn gas_of(receipt: &Value) -> u64 {
    let text = common::text(&receipt["gasUsed"]).trim_start_matches("0x");
    u64::from_str_radix(text, 16).expect("a number")
}

#[test]
fn t65_only_the_emitter_distinguishes_a_fake_event_from_the_escrows() {
    let chain = chain();
    let events = |mood, charges| {
        let (receipt, _) = traces(&chain, mood, charges);
        let known = &chain.artifact("AuthCaptureEscrowV11").expect("artefact").events;
        let wanted: Vec<_> = known
            .iter()
            .filter(|(signature, _)| {
                signature.starts_with("PaymentAuthorized") || signature.starts_with("PaymentCharged")
            })
            .map(|(_, topic)| topic.clone())
            .collect();
        let logs = logs_of(&receipt).into_iter();
        logs.filter(|(_, topics, _)| wanted.contains(&topics[0]))
            .collect::<Vec<_>>()
    };
    for charges in [false, true] {
        let honest = events(OperatorMood::Honest, charges).remove(0);
        let mut fake = events(OperatorMood::FakeEvent, charges).remove(0);
        assert_eq!(honest.0, AUTH_CAPTURE_V11.escrow.to_lowercase());
        assert_eq!(fake.0, HOSTILE_OPERATOR);
        fake.0.clone_from(&honest.0);
        assert_eq!((&fake.1[0], fake.2.len()), (&honest.1[0], honest.2.len()));
        assert_eq!(events(OperatorMood::EchoesEvent, charges).len(), 2);
    }
}

#[test]
fn t65_an_open_fee_receiver_lets_the_operator_pay_itself() {
    let chain = chain();
    let mut payment = payment(&chain, &AUTH_CAPTURE_V11, HOSTILE_OPERATOR);
    payment.info.fee_receiver = NOBODY.to_owned();
    (payment.info.min_fee_bps, payment.info.max_fee_bps) = (0, 300);
    let signature = payment.sign(&chain, &chain.buyers[1]);
    chain.set_operator_mood(OperatorMood::MostFee).expect("mood");
    relay(&chain, &payment, &payment.charge(UNITS, 0, &signature));
    assert_eq!(chain.balance_of(USDC, HOSTILE_OPERATOR).expect("balance"), 30_000);
    assert_eq!(chain.balance_of(USDC, PAYEE).expect("balance"), 970_000);
}

#[test]
fn t65_reentering_the_escrow_reverts_everything() {
    let chain = chain();
    let payment = payment(&chain, &AUTH_CAPTURE_V11, HOSTILE_OPERATOR);
    let authorize = payment.authorize(UNITS, &payment.sign(&chain, &chain.buyers[1]));
    chain.set_operator_mood(OperatorMood::Reenters).expect("mood");
    let relayer = &chain.facilitators[1].address;
    assert_eq!(
        refused(&chain, relayer, HOSTILE_OPERATOR, &authorize),
        "0xab143c06"
    );
}

#[test]
fn t66_an_operator_can_change_between_simulation_and_block() {
    let chain = chain();
    let payment = payment(&chain, &AUTH_CAPTURE_V11, HOSTILE_OPERATOR);
    let authorize = payment.authorize(UNITS, &payment.sign(&chain, &chain.buyers[1]));
    let relayer = &chain.facilitators[1].address;
    // What a whole-call simulation sees: the number of logs of the operator's call.
    let simulated = || {
        let call = json!({"from": relayer, "to": HOSTILE_OPERATOR, "data": authorize});
        let blocks = json!([{"blockStateCalls": [{"calls": [call]}]}, "latest"]);
        let answer = chain.rpc().call("eth_simulateV1", blocks).expect("simulates");
        let call = &answer[0]["calls"][0];
        assert_eq!(call["status"], "0x1", "{call}");
        call["logs"].as_array().expect("logs").len()
    };
    let (number, _) = chain.head().expect("head");
    chain.set_operator_turn(number + 2).expect("turn");
    for mood in [OperatorMood::NoOpWhenMined, OperatorMood::NoOpFromBlock] {
        let start = chain.snapshot().expect("snapshot");
        chain.set_operator_mood(mood).expect("mood");
        assert!(simulated() > 0, "{mood:?} is honest in a simulation");
        chain.mine(1).expect("mine");
        let receipt = chain
            .send_with_gas(relayer, HOSTILE_OPERATOR, &authorize, 1_000_000)
            .expect("is mined");
        assert!(succeeded(&receipt));
        assert_eq!(payment.state(&chain), state(false, 0, 0), "{mood:?}");
        chain.revert(&start).expect("back to the start");
    }
    chain.set_operator_mood(OperatorMood::NoOp).expect("mood");
    assert_eq!(simulated(), 0, "an upgrade shows in the next simulation");
}
