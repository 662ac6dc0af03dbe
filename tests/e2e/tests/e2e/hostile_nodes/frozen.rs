//! First nodes that are cut off from the network and take transactions for themselves.

use std::time::Duration;

use e2e::Blocks;
use serde_json::{Value, json};

use super::node::{Answer, Raw, as_of, edited, keep_for_itself, result};
use super::{ANY_CLOCK, HEALED, Pair, Report, SEND};

/// Payments are made by way of the second node, while the first one stays as it is.
fn is_paid_without_healing(make: impl Fn(&Pair) -> Answer) {
    let network = format!("finality = 3\nstuck_after_seconds = 3\n{ANY_CLOCK}");
    let pair = Pair::start_with(2, &network, "settle_wait_seconds = 5");
    let mut report = Report::default();
    report.add("before", &pair.serve());
    let reads = make(&pair);
    pair.first.answer(Box::new(move |request, node| {
        if request["method"] == SEND {
            keep_for_itself(request)
        } else {
            reads(request, node)
        }
    }));
    let blocks = Blocks::every(&pair.chain, Duration::from_millis(500));
    for round in ["first", "second"] {
        let body = pair.payment().v2();
        let before = (pair.transfers(), pair.second.calls_of(SEND));
        let settled = pair.settle_until(&body, HEALED);
        let moved = pair.transfers() - before.0;
        if !settled.last.is_success() || moved != 1 {
            let sends = pair.second.calls_of(SEND) - before.1;
            let seen = settled.seen;
            report.add(
                &format!("{round} payment"),
                &[format!(
                    "{seen:?}, {moved} transfers, {sends} sends to the second"
                )],
            );
        }
    }
    drop(blocks);
    report.end();
}

#[test]
fn a_first_node_that_keeps_transactions_and_shows_them_as_waiting_delays_payments_only() {
    is_paid_without_healing(|_| {
        edited(|call, answer| {
            if call["method"] == "eth_getTransactionByHash" {
                let hash = &call["params"][0];
                let waiting = json!({
                    "hash": hash, "blockNumber": null, "blockHash": null, "transactionIndex": null,
                });
                *answer = result(call, &waiting);
            }
        })
    });
}

#[test]
fn a_first_node_that_keeps_transactions_and_whose_head_stands_still_delays_payments_only() {
    is_paid_without_healing(|pair| {
        let (head, _) = pair.chain.head().expect("the node answers");
        Box::new(
            move |request: &Value, node: &dyn Fn(&Value) -> Value| -> Option<Raw> {
                as_of(head, request, node)
            },
        )
    });
}
