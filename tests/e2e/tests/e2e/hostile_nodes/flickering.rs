//! Nodes that fail and recover all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::Reply;
use serde_json::Value;

use super::node::{Answer, Raw};
use super::{ANY_CLOCK, Pair, Report, is_valid, short};

/// Whether a good payment was refused: the answer is neither pending nor that the nodes do not work.
fn is_blamed(reply: &Reply) -> bool {
    let reason = [reply.field("errorReason"), reply.field("invalidReason")].concat();
    let is_open = ["settlement_pending", "unexpected_verify_error"].contains(&reason.as_str());
    reply.status == 200 && !reply.is_success() && !is_valid(reply) && !is_open
}

/// Verifies and settles a new payment, and gives it.
fn pay(pair: &Pair, complaints: &mut Vec<String>, answers: &mut BTreeMap<&str, usize>) -> Value {
    let body = pair.payment().v2();
    let verify = pair.facilitator.verify(&body);
    let settle = pair.facilitator.settle(&body);
    complaints.extend(
        [&verify, &settle]
            .into_iter()
            .filter(|one| is_blamed(one))
            .map(short),
    );
    *answers.entry("valid").or_default() += usize::from(is_valid(&verify));
    *answers.entry("paid").or_default() += usize::from(settle.is_success());
    body
}

#[test]
fn two_nodes_that_take_turns_to_fail_each_second_refuse_no_payment() {
    let pair = Pair::start_with(2, ANY_CLOCK, "settle_wait_seconds = 8");
    let began = Instant::now();
    let turn = |good: u64| -> Answer {
        Box::new(move |request, node| {
            let second = began.elapsed().as_secs();
            if second % 2 == good {
                return Raw::json(&node(request));
            }
            match second % 6 {
                0 | 1 => None,
                2 | 3 => Raw::of(200, "<html>"),
                _ => Raw::of(429, ""),
            }
        })
    };
    pair.first.answer(turn(0));
    pair.second.answer(turn(1));
    let (mut complaints, mut answers) = (Vec::new(), BTreeMap::new());
    let mut bodies = Vec::new();
    while began.elapsed() < Duration::from_secs(24) {
        bodies.push(pay(&pair, &mut complaints, &mut answers));
    }
    pair.heal();
    pair.facilitator.wait_ready().expect("ready");
    complaints.extend(pair.finish(&bodies));
    let mut report = Report::default();
    report.add(&format!("{answers:?} of {}", bodies.len()), &complaints);
    report.end();
}

/// Three of ten requests fail, at random and the same each time.
fn unreliable(seed: u64, failure: fn() -> Option<Raw>) -> Answer {
    let state = AtomicU64::new(seed);
    Box::new(move |request, node| {
        let next = |state: u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let order = Ordering::SeqCst;
        let number = state.fetch_update(order, order, next).unwrap_or_default() >> 33;
        if number % 10 >= 3 {
            Raw::json(&node(request))
        } else {
            failure()
        }
    })
}

fn most_payments_are_served_by_unreliable(nodes: usize, failure: fn() -> Option<Raw>) {
    const PAYMENTS: usize = 24;
    let pair = Pair::start_with(nodes, ANY_CLOCK, "settle_wait_seconds = 8");
    pair.first.answer(unreliable(7, failure));
    pair.second.answer(unreliable(99, failure));
    let (mut complaints, mut answers) = (Vec::new(), BTreeMap::new());
    let mut bodies = Vec::new();
    for _ in 0..PAYMENTS {
        bodies.push(pay(&pair, &mut complaints, &mut answers));
        std::thread::sleep(Duration::from_millis(250));
    }
    pair.heal();
    pair.facilitator.wait_ready().expect("ready");
    complaints.extend(pair.finish(&bodies));
    if answers["valid"] < PAYMENTS * 2 / 3 {
        complaints.push("too few are valid".to_owned());
    }
    let mut report = Report::default();
    report.add(&format!("{answers:?} of {PAYMENTS}"), &complaints);
    report.end();
}

fn bad_gateway() -> Option<Raw> {
    Raw::of(502, "<html>Bad Gateway</html>")
}

#[test]
fn one_node_that_fails_three_of_ten_requests_serves_most_payments() {
    most_payments_are_served_by_unreliable(1, bad_gateway);
}

#[test]
fn one_node_that_closes_three_of_ten_connections_serves_most_payments() {
    most_payments_are_served_by_unreliable(1, || None);
}

#[test]
fn two_nodes_that_fail_three_of_ten_requests_serve_most_payments() {
    most_payments_are_served_by_unreliable(2, bad_gateway);
}
