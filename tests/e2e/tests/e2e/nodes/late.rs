//! Receipts that come late, or not at all for a while.

use std::time::Duration;

use e2e::payment::PRICE;
use e2e::{Blocks, Fault, Lags, Turn, View, wait};
use serde_json::{Value, json};

use super::{BLOCK, DECIDED, escrow_world, held, order, settle_down, state, until_paid, world};
use crate::reason;

const RECEIPT: &str = "eth_getTransactionReceipt";
const TRANSACTION: &str = "eth_getTransactionByHash";

#[test]
fn t14_a_capture_whose_receipt_is_two_blocks_late_at_finality_2_moves_its_amount_once() {
    let world = escrow_world(2).start();
    let bound = held(&world, 2, 10_000, "late receipt");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.set_view(View::lagging(Lags::index(2)));
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_paid(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 8);
    assert_eq!((world.mined(), state(&world, &bound)), (2, (8_000, 2_000)));
}

#[test]
fn t14_a_payment_whose_receipt_is_two_blocks_late_at_finality_2_is_made_and_answered_once() {
    let world = world(2).start();
    world.proxy.set_view(View::lagging(Lags::index(2)));
    let _blocks = Blocks::every(&world.chain, BLOCK);
    for buyer in 2..6 {
        let body = world.payment(buyer).v2();
        let hash = until_paid(|| world.settle(&body));
        assert_eq!(world.settle(&body).failed(reason::DUPLICATE), hash);
    }
    settle_down(&world, 4);
    assert_eq!(
        (world.sent(), world.transfers(), world.earned()),
        (4, 4, 4 * PRICE)
    );
}

#[test]
fn t14_receipts_that_are_missing_for_seconds_under_load_fail_no_payment_and_reverse_none() {
    let world = world(5).buyers(22).start();
    let _blocks = Blocks::every(&world.chain, BLOCK);
    let bodies: Vec<Value> = (2..22).map(|buyer| world.payment(buyer).v2()).collect();
    let hide = || {
        for method in [RECEIPT, TRANSACTION] {
            world
                .proxy
                .on_for(method, Fault::Answer(json!(null)), Duration::from_secs(5));
        }
    };
    hide();
    let first = world.settle_all(&bodies);
    let open: Vec<usize> = (0..first.len()).filter(|at| !first[*at].is_success()).collect();
    for at in open.iter().filter(|at| first[**at].status != 503) {
        let _ = first[*at].pending();
    }
    std::thread::sleep(Duration::from_secs(6));
    // Some have landed and are seen; then nothing is known of them again.
    hide();
    let mut successes = first.len() - open.len();
    std::thread::scope(|scope| {
        let (world, bodies) = (&world, &bodies);
        let waiting: Vec<_> = open
            .iter()
            .map(|at| scope.spawn(move || until_paid(|| world.settle(&bodies[*at]))))
            .collect();
        for one in waiting {
            let _ = one.join().expect("success");
            successes += 1;
        }
    });
    world.wait_slots_closed();
    assert_eq!((successes, world.transfers(), world.mined()), (20, 20, 20));
    let log = world.facilitator.log();
    assert!(
        !log.contains("REVERSED") && !log.contains("settlement_reversed"),
        "{log}"
    );
    for outcome in ["failed", "reversed"] {
        let labels = format!("outcome=\"{outcome}\"");
        assert_eq!(
            world.metric("switchyard_settlements_total", &labels),
            0,
            "{outcome}"
        );
    }
}

#[test]
fn t14_a_batch_whose_calls_are_answered_by_different_nodes_pays_once_at_finality_2() {
    let world = escrow_world(2).start();
    let bound = held(&world, 2, 10_000, "torn batch");
    // In a batch of four the nonce comes from the first while receipt and transaction come from the others.
    let late = View::lagging(Lags::all(4));
    let nodes = vec![View::default(), late.clone(), late];
    world.proxy.balance(nodes, Turn::Call);
    let _blocks = Blocks::every(&world.chain, BLOCK);
    let mut left = 10_000;
    for turn in 0..3 {
        let body = bound.order(&world, &bound.capture(1_000, (left, 10_000 - left)));
        // A node that is behind may still show the balances from before the last order.
        let _ = wait::until("success", DECIDED, || {
            let reply = order(&world, &body);
            if reply.is_success() {
                return Some(reply.paid());
            }
            let refused = reply.field("transaction").is_empty();
            if reply.status == 200 && !refused {
                let _ = reply.pending();
            }
            None
        });
        left -= 1_000;
        assert_eq!(state(&world, &bound), (left, 10_000 - left), "order {turn}");
    }
    settle_down(&world, 4);
    assert_eq!((world.mined(), state(&world, &bound)), (4, (7_000, 3_000)));
}

#[test]
fn t14_a_node_that_does_not_know_blocks_by_hash_and_is_late_pays_a_capture_once() {
    let world = escrow_world(2).start();
    let bound = held(&world, 2, 10_000, "without EIP-1898");
    let body = bound.order(&world, &bound.capture(2_000, (10_000, 0)));
    world.proxy.set_view(View {
        refuses_block_objects: true,
        ..View::lagging(Lags::index(2))
    });
    let blocks = Blocks::every(&world.chain, BLOCK);
    let _ = until_paid(|| order(&world, &body));
    drop(blocks);
    settle_down(&world, 8);
    assert_eq!((world.mined(), state(&world, &bound)), (2, (8_000, 2_000)));
}
