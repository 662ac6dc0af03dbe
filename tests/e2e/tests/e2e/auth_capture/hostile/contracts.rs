//! Contracts that lie, answer badly or burn gas: operators, wallets, tokens. Whatever they do, verify leaves no trace, a
//! transaction costs at most what one call of an escrow may, and `success` means that the money is where it should be.

use devnet::{
    AUTH_CAPTURE_V11, BUYER_TOKENS, FEE_TOKEN, HOSTILE_OPERATOR, LYING_TOKEN, MOCK_WALLET, OperatorMood,
    PERMIT2, USDC, WALLET,
};
use e2e::World;
use e2e::escrow::{self, FEE_BPS, PRICE, SHOP_KEY, post};
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, fee_of};
use e2e::sign::{hex0x, keccak};
use serde_json::{Value, json};

use super::bench::wrapper;
use super::{all_assets, is_known};

const MOST_GAS: u128 = 1_500_000;
/// Loops until its gas is gone.
const BURNS: &str = "0x5b600056";
/// The same in a transaction only, which has a gas price.
const BURNS_WHEN_MINED: &str = "0x3a156009575b6005565b00";
const BOMB: &str = "0x00000000000000000000000000000000000b0b0b";

/// What came of a settle that was judged.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Paid,
    /// Refused without a transaction.
    Refused,
    /// A transaction was paid for, and the answer reports what it did.
    Failed,
}

#[derive(Debug, PartialEq, Eq)]
struct Money {
    payer: u128,
    store: u128,
    receiver: u128,
    fees: u128,
    signer: u128,
}

fn money(world: &World, hold: &Hold) -> Money {
    let (chain, info) = (&world.chain, &hold.info);
    let store = chain
        .token_store(&hold.deployment, &info.operator)
        .expect("the node answers");
    let of = |holder: &str| chain.balance_of(&info.token, holder).expect("the node answers");
    Money {
        payer: of(&info.payer),
        store: of(&store),
        receiver: of(&info.receiver),
        fees: of(&info.fee_receiver),
        signer: of(&chain.facilitators[0].address),
    }
}

/// Verifies and settles, and compares the answer with where the money is.
#[track_caller]
fn judged(world: &World, hold: &Hold, body: &Value, charged: bool, what: &str) -> Outcome {
    let chain = &world.chain;
    let verify = world.untouched(|| post(world, "/verify", body, SHOP_KEY));
    assert!(verify.status == 200, "{what}: {verify:?}");
    let (before, sent) = (money(world, hold), world.sent());
    let reply = post(world, "/settle", body, SHOP_KEY);
    let after = money(world, hold);
    let state = chain
        .payment_state(&hold.deployment, &hold.hash(world))
        .expect("the node answers");
    let transaction = reply.field("transaction");
    if transaction.is_empty() {
        assert_eq!(world.sent(), sent, "{what}: {reply:?}");
    } else {
        let receipt = chain
            .receipt(transaction)
            .expect("the node answers")
            .expect("a receipt");
        let gas = receipt["gasUsed"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("0x");
        let gas = u128::from_str_radix(gas, 16).expect("hex");
        assert!(gas <= MOST_GAS, "{what} burnt {gas}: {reply:?}");
    }
    if !reply.is_success() {
        assert!(is_known(reply.field("errorReason")), "{what}: {reply:?}");
        assert!(!state.collected, "{what}: {state:?} and {reply:?}");
        assert_eq!(after, before, "{what}: {reply:?}");
        return if transaction.is_empty() {
            Outcome::Refused
        } else {
            Outcome::Failed
        };
    }
    let fee = if charged { PRICE * FEE_BPS / 10_000 } else { 0 };
    let (capturable, refundable) = if charged { (0, PRICE) } else { (PRICE, 0) };
    assert_eq!(
        (state.collected, state.capturable, state.refundable),
        (true, capturable, refundable),
        "{what}: {reply:?}"
    );
    let expected = Money {
        payer: before.payer - PRICE,
        store: before.store + capturable,
        receiver: before.receiver + if charged { PRICE - fee } else { 0 },
        fees: before.fees + fee,
        signer: before.signer,
    };
    assert_eq!(after, expected, "{what}: {reply:?}");
    Outcome::Paid
}

fn salted(mut hold: Hold, what: &str) -> Hold {
    hold.info.salt = keccak(what.as_bytes());
    hold
}

/// Of a wallet that answers for itself.
fn of_wallet(world: &World, wallet: &str, method: Method, what: &str) -> Hold {
    let mut hold = salted(Hold::v1_1(world, 1, AUTH_CAPTURE_V11, method), what);
    hold.info.payer = wallet.to_owned();
    hold
}

#[test]
fn t27_a_wallet_that_answers_badly_or_otherwise_when_mined_has_not_paid() {
    let world = escrow::world("").start();
    let chain = &world.chain;
    chain
        .set_allowance(USDC, MOCK_WALLET, PERMIT2, u128::MAX)
        .expect("allowed");
    for method in [Method::Eip3009, Method::Permit2] {
        for mood in 0..=11 {
            chain.set_wallet_mood(mood).expect("set");
            // It refuses in the next block.
            let (height, _) = chain.head().expect("the node answers");
            chain.set_wallet_turn(height + 1).expect("set");
            let what = format!("mood {mood} by {method:?}");
            let hold = of_wallet(&world, MOCK_WALLET, method, &what);
            let outcome = judged(&world, &hold, &hold.body(&world), false, &what);
            match mood {
                0 => assert_eq!(outcome, Outcome::Paid, "{what}"),
                1 | 3 | 5 | 6 | 7 => assert_eq!(outcome, Outcome::Refused, "{what}"),
                9 => assert_ne!(outcome, Outcome::Paid, "{what}"),
                _ => {}
            }
        }
    }
}

#[test]
fn t28_a_wrapper_around_a_signature_is_no_gas_bomb() {
    // The operator allowed the target, in good faith.
    let world = escrow::world(&format!("wallet_factories = [{BOMB:?}]")).start();
    let chain = &world.chain;
    chain.set_wallet_mood(0).expect("set");
    for wallet in [MOCK_WALLET, WALLET] {
        chain
            .set_allowance(USDC, wallet, PERMIT2, u128::MAX)
            .expect("allowed");
    }
    for (code, name) in [
        ("0x", "nothing"),
        (BURNS, "a bomb"),
        (BURNS_WHEN_MINED, "a late bomb"),
    ] {
        chain.set_code(BOMB, code).expect("set");
        for (wallet, whose) in [(MOCK_WALLET, "mock"), (WALLET, "owned")] {
            for method in [Method::Eip3009, Method::Permit2] {
                let what = format!("{name} around the signature of the {whose} wallet by {method:?}");
                let hold = of_wallet(&world, wallet, method, &what);
                let mut body = hold.body(&world);
                let signature = body["paymentPayload"]["payload"]["signature"]
                    .as_str()
                    .unwrap_or_default();
                let inner = hex::decode(signature.trim_start_matches("0x")).expect("hex");
                body["paymentPayload"]["payload"]["signature"] = json!(hex0x(&wrapper(BOMB, &inner)));
                let outcome = judged(&world, &hold, &body, false, &what);
                match code {
                    "0x" => assert_eq!(outcome, Outcome::Paid, "{what}"),
                    BURNS => assert_eq!(outcome, Outcome::Refused, "{what}"),
                    _ => assert_ne!(outcome, Outcome::Refused, "{what}"),
                }
            }
        }
        // A wallet that is not there yet has no factory that is allowed here, bomb or not.
        let hold = salted(Hold::v1_1(&world, 3, AUTH_CAPTURE_V11, Method::Eip3009), name);
        let mut body = hold.body(&world);
        body["paymentPayload"]["payload"]["signature"] = json!(hex0x(&wrapper(BOMB, &[7; 65])));
        assert_eq!(judged(&world, &hold, &body, false, name), Outcome::Refused);
    }
    // So long that its calldata alone would cost too much.
    let hold = of_wallet(&world, MOCK_WALLET, Method::Eip3009, "long");
    let mut body = hold.body(&world);
    body["paymentPayload"]["payload"]["signature"] = json!(hex0x(&wrapper(BOMB, &[0xff; 60_000])));
    world.untouched(|| {
        for path in ["/verify", "/settle"] {
            let reply = post(&world, path, &body, SHOP_KEY);
            assert!(
                reply.json["isValid"] != true && reply.json["success"] != true,
                "{reply:?}"
            );
        }
    });
}

#[test]
fn a_lying_token_makes_no_false_success() {
    let world = escrow::world("").network(&all_assets()).buyers(40).start();
    let chain = &world.chain;
    let mut buyer = 2;
    for method in [Method::Eip3009, Method::Permit2] {
        for (token, name, moods) in [
            (LYING_TOKEN, "Lying Dollar", 0..=10),
            (FEE_TOKEN, "Fee Dollar", 0..=0),
        ] {
            for mood in moods {
                if token == LYING_TOKEN {
                    chain.set_token_mood(mood).expect("set");
                }
                let mut hold = Hold::v1_1(&world, buyer, AUTH_CAPTURE_V11, method);
                buyer += 1;
                token.clone_into(&mut hold.info.token);
                hold.extra["name"] = json!(name);
                hold.extra["version"] = json!("1");
                chain
                    .set_allowance(token, &hold.info.payer, PERMIT2, u128::MAX)
                    .expect("allowed");
                let what = format!("{name} in mood {mood} by {method:?}");
                let outcome = judged_token(&world, &hold, &what);
                if token == FEE_TOKEN {
                    assert_eq!(outcome, Outcome::Refused, "{what}");
                }
                if mood == 0 && token == LYING_TOKEN {
                    assert_eq!(outcome, Outcome::Paid, "{what}");
                }
            }
        }
    }
}

/// Tokens keep books that only they believe; what a mood moved aside is no payment of ours.
fn judged_token(world: &World, hold: &Hold, what: &str) -> Outcome {
    let outcome = judged(world, hold, &hold.body(world), false, what);
    if outcome != Outcome::Paid {
        let left = world.chain.balance_of(&hold.info.token, &hold.info.payer);
        assert_eq!(left.expect("the node answers"), BUYER_TOKENS, "{what}");
    }
    outcome
}

#[test]
fn t65_operators_that_lie_get_neither_holds_nor_charges_believed() {
    let config = format!("custom_operators = [{{ address = {HOSTILE_OPERATOR:?} }}]");
    let world = escrow::world(&config).buyers(60).start();
    let chain = &world.chain;
    let signer = chain.facilitators[0].address.clone();
    // Something to steal, from every account.
    for owner in [&chain.merchant.address, &signer, HOSTILE_OPERATOR] {
        chain.mint(USDC, owner, 10 * PRICE).expect("minted");
    }
    for owner in chain
        .buyers
        .iter()
        .chain([&chain.merchant, &chain.facilitators[0]])
    {
        chain
            .set_allowance(USDC, &owner.address, HOSTILE_OPERATOR, u128::MAX)
            .expect("allowed");
    }
    let mut buyer = 2;
    for charged in [false, true] {
        for mood in OperatorMood::ALL {
            chain.set_operator_mood(mood).expect("set");
            let (height, _) = chain.head().expect("the node answers");
            chain.set_operator_turn(height + 1).expect("set");
            let mut hold = Hold::v1_1(&world, buyer, AUTH_CAPTURE_V11, Method::Eip3009);
            buyer += 1;
            HOSTILE_OPERATOR.clone_into(&mut hold.info.operator);
            hold.extra["operatorType"] = json!("custom");
            let what = format!("{mood:?}, charged: {charged}");
            let bound = Bound::new(&world, hold, &what);
            let (bound, body) = if charged {
                let bound = bound.charged();
                let fee = fee_of(&AUTH_CAPTURE_V11, PRICE, 100);
                let body = bound.charge(&world, PRICE, fee);
                (bound, body)
            } else {
                let body = bound.collect(&world);
                (bound, body)
            };
            let outcome = judged(&world, &bound.hold, &body, charged, &what);
            match mood {
                OperatorMood::Honest => assert_eq!(outcome, Outcome::Paid, "{what}"),
                OperatorMood::NoOpWhenMined => assert_eq!(outcome, Outcome::Failed, "{what}"),
                OperatorMood::EchoesEvent | OperatorMood::MostFee | OperatorMood::NoOpFromBlock => {}
                OperatorMood::CapturesAtOnce if charged => {}
                _ => assert_eq!(outcome, Outcome::Refused, "{what}"),
            }
        }
    }
    assert_eq!(
        world.balance(&signer),
        10 * PRICE,
        "nobody robbed the facilitator"
    );
}
