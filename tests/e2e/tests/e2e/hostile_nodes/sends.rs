//! Nodes that refuse transactions, take them and report otherwise, or do not answer sends.

use std::time::Duration;

use serde_json::{Value, json};

use super::node::{Raw, result};
use super::{ANY_CLOCK, HEALED, Pair, Report, SEND, short};

/// How long a payment is settled again while nothing can be sent. One settle waits longer.
const UNDECIDED: Duration = Duration::from_secs(2);

/// Refusals of a transaction that is good: code and message.
fn refusals() -> Vec<(&'static str, i64, String)> {
    [
        ("already known", -32000, "already known"),
        (
            "nonce too low",
            -32000,
            "nonce too low: next nonce 99, tx nonce 0",
        ),
        ("nonce too high", -32000, "nonce too high"),
        (
            "insufficient funds",
            -32000,
            "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
        ),
        (
            "an absurd minimum price",
            -32000,
            "transaction underpriced: gas tip cap 1, minimum needed 99999999999999999999999",
        ),
        (
            "replacement underpriced",
            -32000,
            "replacement transaction underpriced",
        ),
        (
            "another method is missing",
            -32601,
            "the method eth_subscribe does not exist/is not available",
        ),
        ("a range of logs", -32000, "block range is too wide"),
        ("invalid sender", -32000, "invalid sender"),
        ("intrinsic gas", -32000, "intrinsic gas too low"),
        ("a revert", 3, "execution reverted"),
        (
            "a fee cap of the node",
            -32000,
            "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)",
        ),
        (
            "a used-up plan",
            -32000,
            "monthly capacity limit exceeded, visit /billing to upgrade your tier",
        ),
        ("Chinese", -32000, "交易失败"),
        ("a megabyte", -32000, &"x".repeat(1_000_000)),
    ]
    .map(|(name, code, message)| (name, code, message.to_owned()))
    .into()
}

#[test]
fn a_first_node_that_refuses_good_transactions_stops_no_payment() {
    let pair = Pair::start();
    let mut report = Report::default();
    report.add("before", &pair.serve());
    for (name, code, message) in refusals() {
        pair.first.refuse_sends(code, &message);
        report.add(name, &pair.serve());
        pair.heal();
        report.add(&format!("after {name}"), &pair.serve());
    }
    report.add("all payments", &pair.check_earned());
    report.add("all payments", &pair.check_sent());
    report.end();
}

/// The first node drops transactions and the second refuses them: the payment stays pending, and healed nodes make it.
#[test]
fn a_payment_that_no_node_accepts_is_pending_and_made_when_one_does() {
    let pair = Pair::start_with(2, ANY_CLOCK, "settle_wait_seconds = 3");
    let mut report = Report::default();
    let hash = json!(format!("0x{}", "ab".repeat(32)));
    for (name, code, message) in refusals() {
        let hash = hash.clone();
        pair.first.on_send(move |send| Raw::json(&result(send, &hash)));
        pair.second.refuse_sends(code, &message);
        let body = pair.payment().v2();
        let before = pair.transfers();
        let open = pair.settle_until(&body, UNDECIDED).seen;
        pair.heal();
        let settled = pair.settle_until(&body, HEALED);
        let moved = pair.transfers() - before;
        if open.iter().any(|one| !one.contains("settlement_pending")) {
            report.add(name, &[format!("while nothing could be sent: {open:?}")]);
        }
        if !settled.last.is_success() || moved != 1 {
            report.add(name, &[format!("healed: {:?}, {moved} transfers", settled.seen)]);
        }
        report.add(&format!("after {name}"), &pair.serve());
    }
    report.add("all payments", &pair.check_earned());
    report.add("all payments", &pair.check_sent());
    report.end();
}

#[test]
fn a_first_node_that_accepts_transactions_and_reports_errors_stops_no_payment() {
    let pair = Pair::start();
    let mut report = Report::default();
    for (name, status, body) in [("HTML", 200, "<html>"), ("500", 500, ""), ("nothing", 200, "")] {
        pair.first.answer(Box::new(move |request, node| {
            let answer = node(request);
            if request["method"] == SEND {
                Raw::of(status, body)
            } else {
                Raw::json(&answer)
            }
        }));
        report.add(name, &pair.serve());
        pair.recover();
    }
    report.add("all payments", &pair.check_earned());
    report.add("all payments", &pair.check_sent());
    report.end();
}

#[test]
fn a_first_node_that_does_not_answer_sends_stops_no_payment() {
    let pair = Pair::start_with(2, ANY_CLOCK, "settle_wait_seconds = 20");
    let mut report = Report::default();
    report.add("before", &pair.serve());
    pair.first.on_send(|_| {
        std::thread::sleep(Duration::from_secs(60));
        None
    });
    for round in ["first", "second"] {
        report.add(&format!("{round} payment"), &pair.serve());
    }
    let bodies: Vec<Value> = (0..8).map(|_| pair.payment().v2()).collect();
    let replies = pair.facilitator.settle_all(&bodies);
    let unpaid = replies.iter().filter(|reply| !reply.is_success());
    report.add("eight at once", &unpaid.map(short).collect::<Vec<_>>());
    report.add("all payments", &pair.check_earned());
    report.end();
}
