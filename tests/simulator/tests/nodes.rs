//! Nodes that are late, pruned or wrong: whatever they leave out, each payment lands once and its answer is true.

use journal::Event;
use simulator::chain::{Keeps, Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::Shape;
use simulator::script::{Outcome, held, payment, quiet};

/// Longer than any run.
const FOR_GOOD: u64 = 10_000_000;

fn lag(read: Read, blocks: u64) -> Act {
    Act::Lag {
        nodes: Nodes::All,
        read,
        blocks,
        for_ms: FOR_GOOD,
    }
}

fn null(read: Read, for_ms: u64) -> Act {
    Act::Null {
        nodes: Nodes::All,
        read,
        for_ms,
    }
}

fn hold_and_close() -> (SettleRequest, SettleRequest) {
    (held("ann", 10), payment("ann", 10, Shape::Close))
}

/// 300 are held, 100 of them captured once and the rest given back, by three transactions.
#[track_caller]
fn assert_closed(report: &Report, hold: &SettleRequest, close: &SettleRequest) {
    report.assert_paid_once(hold);
    report.assert_paid_once(close);
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    assert_eq!((report.balance("shop"), report.balance("ann")), (100, 9_900));
    assert_eq!(report.transactions, 3);
    assert_nothing_failed(report);
}

#[track_caller]
fn assert_nothing_failed(report: &Report) {
    let failed = report
        .log
        .iter()
        .find(|event| matches!(event, Event::Failed { .. } | Event::Reorged { .. }));
    assert_eq!(failed, None);
}

#[test]
fn receipts_that_come_later_than_finality_never_send_a_capture_again() {
    let (hold, close) = hold_and_close();
    for blocks in [1, 2, 3, 5, 9] {
        let mut scenario = quiet()
            .act(0, lag(Read::Receipts, blocks))
            .settle(500, &hold, 25_000, 8)
            .settle(20_500, &close, 25_000, 8);
        scenario.terms.finality = 2;
        assert_closed(&scenario.run_clean(), &hold, &close);
    }
}

#[test]
fn a_restart_long_after_the_send_waits_while_receipts_are_null() {
    let (hold, close) = hold_and_close();
    let exact = payment("bob", 20, Shape::Plain);
    let mut scenario = quiet()
        .settle(500, &hold, 25_000, 8)
        .settle(10_200, &close, 25_000, 8)
        .settle(10_200, &exact, 25_000, 8)
        .act(10_600, Act::KillFor(80_000))
        .act(90_000, null(Read::Receipts, 9_000));
    scenario.terms.finality = 64;
    let report = scenario.run_clean();
    report.assert_paid_once(&hold);
    report.assert_paid_once(&close);
    report.assert_paid_once(&exact);
    assert_eq!((report.balance("shop"), report.balance("ann")), (200, 9_900));
    assert_eq!(report.transactions, 4);
    assert_nothing_failed(&report);
}

#[test]
fn receipts_that_are_missing_for_seconds_under_load_fail_no_payment() {
    let payers = ["ann", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"];
    let requests: Vec<SettleRequest> = (0..48)
        .map(|at| payment(payers[at % payers.len()], at as u64 * 10, Shape::Plain))
        .collect();
    let mut scenario = quiet();
    scenario.terms.finality = 5;
    scenario.terms.max_in_flight = 8;
    scenario.terms.lane_queue = 32;
    for (at, request) in (0..).zip(&requests) {
        scenario = scenario.settle(500 + at * 900, request, 25_000, 10);
    }
    for (at, missing) in (0..).zip([2, 9, 5, 7, 3, 8]) {
        scenario = scenario.act(2_000 + at * 10_000, null(Read::Receipts, missing * 1_000));
    }
    let report = scenario.run_clean();
    for request in &requests {
        report.assert_paid_once(request);
    }
    assert_eq!((report.payments, report.transactions), (48, 48));
    assert_nothing_failed(&report);
}

fn held_closed_and_paid() -> (Scenario, [SettleRequest; 3]) {
    let (hold, close) = hold_and_close();
    let exact = payment("bob", 20, Shape::Plain);
    let scenario = quiet()
        .settle(500, &hold, 25_000, 8)
        .settle(12_500, &close, 25_000, 8)
        .settle(12_500, &exact, 25_000, 8);
    (scenario, [hold, close, exact])
}

#[track_caller]
fn assert_all_paid(report: &Report, requests: &[SettleRequest; 3]) {
    for request in requests {
        report.assert_paid_once(request);
    }
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    assert_eq!((report.balance("shop"), report.balance("ann")), (200, 9_900));
    assert_eq!(report.transactions, 4);
    assert_nothing_failed(report);
}

#[test]
fn a_pool_of_which_one_node_lags_in_any_kind_of_read_changes_no_answer() {
    for read in Read::ALL {
        for (node, blocks) in [(0, 2), (1, 6), (2, 10)] {
            let (scenario, requests) = held_closed_and_paid();
            let one = Act::Lag {
                nodes: Nodes::One(node),
                read,
                blocks,
                for_ms: FOR_GOOD,
            };
            let report = scenario.act(0, one).run_clean();
            assert_all_paid(&report, &requests);
        }
    }
}

#[test]
fn nodes_that_all_lag_in_one_kind_of_read_delay_the_answer_and_change_none() {
    for read in [
        Read::Heads,
        Read::Nonces,
        Read::Receipts,
        Read::Transactions,
        Read::Logs,
    ] {
        let (scenario, requests) = held_closed_and_paid();
        let report = scenario.act(12_600, lag(read, 10)).run_clean();
        assert_all_paid(&report, &requests);
    }
}

#[test]
fn null_for_any_kind_of_read_delays_the_answer_and_changes_none() {
    for read in Read::ALL {
        for at_ms in [600, 1_500, 13_000] {
            let (scenario, requests) = held_closed_and_paid();
            let report = scenario.act(at_ms, null(read, 9_000)).run_clean();
            assert_all_paid(&report, &requests);
        }
    }
}

/// A node that was down, or a new one at the address: receipts of the time before are gone for good, and logs are not.
#[test]
fn a_pruned_node_after_downtime_finds_our_transaction_by_its_logs() {
    let (hold, close) = hold_and_close();
    for shape in [Shape::Plain, Shape::Close] {
        let request = match shape {
            Shape::Close => close.clone(),
            _ => payment("bob", 20, Shape::Plain),
        };
        let keeps = Keeps {
            history: Some(20),
            state: Some(20),
        };
        let report = quiet()
            .settle(500, &hold, 25_000, 8)
            .settle(10_200, &request, 25_000, 12)
            .act(10_600, Act::KillFor(60_000))
            .act(
                65_000,
                Act::Prune {
                    nodes: Nodes::All,
                    keeps,
                },
            )
            .run_clean();
        report.assert_paid_once(&request);
        assert_eq!(report.balance("shop"), 100);
        assert_nothing_failed(&report);
    }
}

#[test]
fn one_head_far_in_the_future_does_not_keep_a_stuck_transaction_from_being_replaced() {
    let request = payment("ann", 10, Shape::Plain);
    for from_ms in [0, 400, 520, 600, 900, 1_500] {
        for node in 0..3 {
            let future = Act::FutureHead {
                nodes: Nodes::One(node),
                blocks: 1_000_000,
            };
            let report = quiet()
                .act(from_ms, future)
                .settle(500, &request, 60_000, 1)
                .act(700, Act::Fee(Some(50)))
                .run_clean();
            assert_eq!(
                report.outcomes(&request)[0],
                Outcome::Success,
                "from {from_ms}, node {node}"
            );
            assert_eq!(report.payments, 1);
            assert!(report.attempts().count() >= 2, "it was replaced");
        }
    }
}

#[test]
fn a_node_that_calls_every_bid_too_low_does_not_raise_the_price_without_end() {
    let request = payment("ann", 10, Shape::Plain);
    let one = |node| Act::CallBidsTooLow {
        nodes: Nodes::One(node),
        for_ms: 60_000,
    };
    let all = Act::CallBidsTooLow {
        nodes: Nodes::All,
        for_ms: 20_000,
    };
    for act in [one(0), one(1), one(2), all] {
        let report = quiet().act(400, act).settle(500, &request, 60_000, 2).run_clean();
        report.assert_paid_once(&request);
        let bids: Vec<_> = report.attempts().map(|attempt| attempt.max_cost).collect();
        assert!(bids.len() <= 9, "{bids:?}");
        let most = bids.iter().max().expect("a bid").0;
        assert!(
            most <= bids[0].0.saturating_mul(sdk_plugin::Amount::from(4_u64).0),
            "{bids:?}"
        );
    }
}
