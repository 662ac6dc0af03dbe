//! Requests that meet: orders about one payment at the same moment, one buyer's signature under two flows, and a payer who
//! is quicker than the facilitator.

use devnet::{AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, AuthCapture, Mining};
use e2e::escrow::{self, PRICE, SHOP_KEY, post};
use e2e::hold::{Hold, Method};
use e2e::order::{Bound, Order, fee_of};
use e2e::{Reply, World, wait};
use serde_json::{Value, json};

use super::reason;

const DUPLICATE: &str = "duplicate_settlement";
const ZERO_LEFT: &str = "invalid_auth_capture_evm_zero_authorization";
const COLLECTED: &str = "invalid_auth_capture_evm_payment_already_collected";
const REVERTED: &str = "invalid_auth_capture_evm_transaction_reverted";

fn payment(world: &World, buyer: usize, deployment: AuthCapture, name: &str) -> Bound {
    let hold = Hold::v1_1(world, buyer, deployment, Method::Eip3009);
    Bound::new(world, hold, name)
}

fn held(world: &World, buyer: usize, deployment: AuthCapture, name: &str) -> Bound {
    let bound = payment(world, buyer, deployment, name);
    let _ = post(world, "/settle", &bound.collect(world), SHOP_KEY).paid();
    bound
}

fn state(world: &World, bound: &Bound) -> (u128, u128) {
    let hash = bound.hold.hash(world);
    let state = world.chain.payment_state(&bound.hold.deployment, &hash);
    let state = state.expect("the node answers");
    (state.capturable, state.refundable)
}

fn at_once(world: &World, bodies: &[Value]) -> Vec<Reply> {
    std::thread::scope(|scope| {
        let requests: Vec<_> = bodies
            .iter()
            .map(|body| scope.spawn(|| post(world, "/settle", body, SHOP_KEY)))
            .collect();
        requests
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    })
}

#[test]
fn t60_one_order_given_many_times_at_once_is_carried_out_once() {
    let world = escrow::world("").signers(2).start();
    for (turn, deployment) in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10].into_iter().enumerate() {
        let bound = held(&world, 2 + turn, deployment, "many times");
        let body = bound.order(&world, &bound.capture(400_000, (PRICE, 0)));
        let sent = world.sent();
        let replies = at_once(&world, &vec![body; 8]);
        let (done, others): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_success());
        assert_eq!(done.len(), 1, "{replies:?}");
        for other in others {
            assert_eq!(other.failed(DUPLICATE), done[0].paid());
        }
        assert_eq!(
            (world.sent() - sent, state(&world, &bound)),
            (1, (600_000, 400_000))
        );
    }
}

#[test]
fn t60_two_captures_at_once_that_would_both_fit_are_one() {
    let world = escrow::world("").start();
    for turn in 0..4 {
        let bound = held(&world, 2 + turn, AUTH_CAPTURE_V11, "two that fit");
        let bodies = [300_000, 400_000].map(|amount| bound.order(&world, &bound.capture(amount, (PRICE, 0))));
        let replies = at_once(&world, &bodies);
        let won = replies.iter().position(Reply::is_success).expect("one of them");
        replies[1 - won].refused(reason::STATE);
        let captured = [300_000, 400_000][won];
        assert_eq!(state(&world, &bound), (PRICE - captured, captured));
    }
}

#[test]
fn t60_forged_orders_are_refused_at_once_and_a_signed_one_waits_its_turn() {
    let world = escrow::world("").start();
    let bound = held(&world, 2, AUTH_CAPTURE_V11, "in turn");
    let sent = world.sent();
    world.chain.set_mining(Mining::Manual).expect("set");
    let first = bound.order(&world, &bound.capture(300_000, (PRICE, 0)));
    let second = bound.order(&world, &bound.capture(200_000, (PRICE - 300_000, 300_000)));
    let thief = &world.chain.buyers[3].key;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| post(&world, "/settle", &first, SHOP_KEY));
        world.wait_sent(sent + 1);
        let second = scope.spawn(|| post(&world, "/settle", &second, SHOP_KEY));
        // The payment is busy; a caller without authority is refused at once, and delays no other.
        for amount in 1..=20 {
            let forged = bound.order_signed(&world, &bound.capture(amount, (PRICE, 0)), thief);
            post(&world, "/settle", &forged, SHOP_KEY).refused(reason::SIGNATURE);
        }
        assert!(!first.is_finished() && !second.is_finished());
        for order in [first, second] {
            wait::until("its turn", wait::LONG, || {
                world.chain.mine(1).expect("mines");
                order.is_finished().then_some(())
            });
            let _ = order.join().expect("an answer").paid();
        }
    });
    assert_eq!(world.sent() - sent, 2);
    assert_eq!(state(&world, &bound), (PRICE - 500_000, 500_000));
}

#[test]
fn t60_an_authorizer_that_orders_too_much_at_once_must_retry() {
    let world = escrow::world("").start();
    let bound = held(&world, 2, AUTH_CAPTURE_V11, "too much");
    let sent = world.sent();
    world.chain.set_mining(Mining::Manual).expect("set");
    let bodies: Vec<Value> = (1..=12)
        .map(|amount| bound.order(&world, &bound.capture(amount * 1_000, (PRICE, 0))))
        .collect();
    let replies = std::thread::scope(|scope| {
        let requests = scope.spawn(|| at_once(&world, &bodies));
        world.wait_sent(sent + 1);
        wait::until("all answers", wait::LONG, || {
            world.chain.mine(1).expect("mines");
            requests.is_finished().then_some(())
        });
        requests.join().expect("answers")
    });
    let of = |is: &dyn Fn(&Reply) -> bool| replies.iter().filter(|reply| is(reply)).count();
    assert_eq!(of(&Reply::is_success), 1, "{replies:?}");
    let away: Vec<&Reply> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert!(!away.is_empty(), "{replies:?}");
    for reply in away {
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        assert!(reply.text.contains("too many operations"), "{reply:?}");
    }
    assert_eq!(world.sent() - sent, 1);
}

#[test]
fn a_capture_and_a_void_at_once_share_what_is_held() {
    let world = escrow::world("").start();
    for turn in 0..4 {
        let bound = held(&world, 2 + turn, AUTH_CAPTURE_V11, "capture and void");
        let before = world.balance(&bound.hold.info.payer);
        let capture = bound.order(&world, &bound.capture(400_000, (PRICE, 0)));
        let void = bound.order(&world, &Order::Void);
        let replies = at_once(&world, &[capture, void]);
        let _ = replies[1].paid();
        // The void takes what there is; a capture after it finds other balances than it was signed for.
        let captured = if replies[0].is_success() {
            400_000
        } else {
            replies[0].refused(reason::STATE);
            0
        };
        assert_eq!(state(&world, &bound), (0, captured), "{replies:?}");
        assert_eq!(world.balance(&bound.hold.info.payer), before + PRICE - captured);
    }
}

#[test]
fn t60_one_payment_collected_many_times_at_once_is_collected_once() {
    let world = escrow::world("").signers(2).start();
    let bound = payment(&world, 2, AUTH_CAPTURE_V11, "collected");
    let before = world.balance(&bound.hold.info.payer);
    let replies = at_once(&world, &vec![bound.collect(&world); 8]);
    assert_eq!(
        replies.iter().filter(|reply| reply.is_success()).count(),
        1,
        "{replies:?}"
    );
    assert_eq!((world.sent(), state(&world, &bound)), (1, (PRICE, 0)));
    assert_eq!(world.balance(&bound.hold.info.payer), before - PRICE);
}

#[test]
fn one_signature_settled_as_hold_and_as_charge_has_the_effect_that_was_answered() {
    let world = escrow::world("").start();
    for turn in 0..6 {
        let bound = payment(&world, 2 + turn, AUTH_CAPTURE_V11, "either");
        let hold = bound.collect(&world);
        let fee = fee_of(&AUTH_CAPTURE_V11, PRICE, 100);
        let charge = bound.clone().charged().charge(&world, PRICE, fee);
        // Whichever comes first: both orders are tried.
        let bodies = if turn % 2 == 0 {
            [hold, charge]
        } else {
            [charge, hold]
        };
        let replies = at_once(&world, &bodies);
        let won = replies.iter().position(Reply::is_success).expect("one of them");
        replies[1 - won].refused(COLLECTED);
        let is_hold = won == turn % 2;
        let expected = if is_hold { (PRICE, 0) } else { (0, PRICE) };
        assert_eq!(state(&world, &bound), expected, "{replies:?}");
    }
}

/// The payer's transaction waits for a block, and pays more for its position there than ours.
fn reclaims_ahead(world: &World, bound: &Bound) {
    let (chain, info) = (&world.chain, &bound.hold.info);
    let ether = 1_000_000_000_000_000_000;
    chain.set_wei(&info.payer, ether).expect("set");
    let reclaim = AUTH_CAPTURE_V11.reclaim(info).expect("encodes");
    let call = |method: &str, params: Value| chain.rpc().call(method, params).expect("the node answers");
    call("anvil_impersonateAccount", json!([info.payer]));
    let transaction = json!({
        "from": info.payer, "to": AUTH_CAPTURE_V11.escrow, "data": reclaim, "gas": "0x493e0",
        "maxFeePerGas": "0x174876e800", "maxPriorityFeePerGas": "0x174876e800",
    });
    call("eth_sendTransaction", json!([transaction]));
}

#[test]
fn a_void_after_a_capture_that_comes_too_late_is_shown_as_skipped_and_why() {
    const TAKEN: u128 = 250_000;
    let world = escrow::world("").server("settle_wait_seconds = 1").start();
    let chain = &world.chain;
    let bound = held(&world, 2, AUTH_CAPTURE_V11, "too late");
    chain.set_mining(Mining::Manual).expect("set");
    let capture = Order::Capture {
        amount: TAKEN,
        fee: fee_of(&AUTH_CAPTURE_V11, TAKEN, 100),
        fee_receiver: bound.hold.info.fee_receiver.clone(),
        expected: (PRICE, 0),
        close_out: true,
    };
    let capture = bound.order(&world, &capture);
    let captured = post(&world, "/settle", &capture, SHOP_KEY).pending();
    chain.mine(1).expect("mines");
    wait::until("the capture", wait::LONG, || {
        post(&world, "/settle", &capture, SHOP_KEY)
            .is_success()
            .then_some(())
    });
    let path = format!("/auth-capture/payments/{}", bound.hold.hash(&world));
    let shown = || {
        let key = format!("Bearer {SHOP_KEY}");
        let headers = [("authorization", key.as_str())];
        let reply = world.facilitator.client().send("GET", &path, &[], &headers);
        reply.expect("an answer").json["voidRemainder"].clone()
    };
    let waiting = shown();
    assert_eq!(
        (&waiting["state"], &waiting["capture"]),
        (&json!("waiting"), &json!(captured)),
        "{waiting}"
    );

    // The void is ordered when the capture is final, which is the block in which the payer takes the money back.
    chain.increase_time(3_600).expect("time passes");
    reclaims_ahead(&world, &bound);
    chain.mine(1).expect("mines");
    assert_eq!(state(&world, &bound), (0, TAKEN));
    let skipped = wait::until("what came of the void", wait::LONG, || {
        chain.mine(1).expect("mines");
        let shown = shown();
        shown["skippedAt"].is_u64().then_some(shown)
    });
    assert_eq!(
        (&skipped["state"], &skipped["capture"]),
        (&json!("skipped"), &json!(captured)),
        "{skipped}"
    );
    let reason = skipped["reason"].as_str().unwrap_or_default();
    assert!([ZERO_LEFT, REVERTED].contains(&reason), "{skipped}");
}

#[test]
fn a_payer_who_reclaims_before_the_void_lands_gets_the_money_once() {
    let world = escrow::world("").server("settle_wait_seconds = 1").start();
    let chain = &world.chain;
    let bound = held(&world, 2, AUTH_CAPTURE_V11, "overtaken");
    let info = &bound.hold.info;
    chain.increase_time(3_600).expect("time passes");
    chain.mine(1).expect("mines");
    chain.set_mining(Mining::Manual).expect("set");
    let before = world.balance(&info.payer);
    let void = bound.order(&world, &Order::Void);
    let hash = post(&world, "/settle", &void, SHOP_KEY).pending();
    reclaims_ahead(&world, &bound);
    chain.mine(1).expect("mines");
    assert_eq!(state(&world, &bound), (0, 0));
    assert_eq!(world.balance(&info.payer), before + PRICE, "once");
    let reply = wait::until("what came of the void", wait::LONG, || {
        let reply = post(&world, "/settle", &void, SHOP_KEY);
        (reply.field("errorReason") != "settlement_pending").then_some(reply)
    });
    let receipt = chain
        .receipt(&hash)
        .expect("the node answers")
        .expect("a receipt");
    assert_eq!(receipt["status"], "0x0", "the payer was quicker");
    assert!(!reply.is_success(), "{reply:?}");
    assert!(
        [ZERO_LEFT, REVERTED].contains(&reply.field("errorReason")),
        "{reply:?}"
    );
    assert_eq!(world.balance(&info.payer), before + PRICE, "and not again");
}
