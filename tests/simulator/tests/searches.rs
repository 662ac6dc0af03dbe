//! A guard that is changed, and no receipt that shows by what: logs are searched until the transaction is found, and only
//! what was found decides.

use simulator::chain::{Nodes, Read};
use simulator::clients::SettleRequest;
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::{REPLAY, Shape};
use simulator::script::{Outcome, held, payment, quiet, transfer};
use simulator::token::Op;

const FOR_GOOD: u64 = 10_000_000;

fn lag(read: Read, blocks: u64) -> Act {
    Act::Lag {
        nodes: Nodes::All,
        read,
        blocks,
        for_ms: FOR_GOOD,
    }
}

fn cancel(request: &SettleRequest) -> Act {
    Act::Outside(Op::Cancel {
        from: request.payload.from.clone(),
        nonce: request.payload.nonce,
    })
}

/// The request, and a stranger whose call comes into the same block in front of ours.
fn overtaken(request: &SettleRequest, by: Act, lag_blocks: u64) -> Scenario {
    quiet()
        .act(0, lag(Read::Logs, lag_blocks))
        .settle(500, request, 60_000, 4)
        .act(700, by)
}

/// Asserts that the first answer other than pending is `last`.
#[track_caller]
fn assert_ends_with(report: &Report, request: &SettleRequest, last: &Outcome) {
    let outcomes = report.outcomes(request);
    let decided: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| **outcome != Outcome::Pending)
        .collect();
    assert_eq!(decided.first(), Some(&last), "{outcomes:?}");
}

#[test]
fn t33_a_front_runner_whose_logs_come_late_is_found_and_pays() {
    let request = payment("ann", 10, Shape::Plain);
    for blocks in [0, 1, 2, 5, 12] {
        let report = overtaken(&request, Act::Outside(transfer(&request)), blocks).run_clean();
        report.assert_paid_once(&request);
        assert_eq!(report.payments, 1);
    }
}

#[test]
fn a_cancelled_authorization_is_detected_by_its_event() {
    let request = payment("ann", 10, Shape::Plain);
    for blocks in [0, 2, 12] {
        let report = overtaken(&request, cancel(&request), blocks).run_clean();
        assert_ends_with(&report, &request, &Outcome::Refused(REPLAY.into()));
        assert_eq!(report.payments, 0);
    }
}

#[test]
fn the_same_nonce_for_another_payee_is_a_replay() {
    let request = payment("ann", 10, Shape::Plain);
    let mut other = request.clone();
    other.payload.to = "cafe".into();
    for blocks in [0, 2, 12] {
        let report = overtaken(&request, Act::Outside(transfer(&other)), blocks).run_clean();
        assert_ends_with(&report, &request, &Outcome::Refused(REPLAY.into()));
        assert_eq!((report.balance("shop"), report.balance("cafe")), (0, 100));
    }
}

/// The authorization was cancelled before ours was sent: the node that planned had not seen it.
#[test]
fn a_cancellation_that_the_planning_node_had_not_seen_ends_the_payment() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(0, lag(Read::State, 6))
        .act(18_000, cancel(&request))
        .settle(20_500, &request, 60_000, 4)
        .run_clean();
    assert_ends_with(&report, &request, &Outcome::Refused(REPLAY.into()));
    assert_eq!(report.payments, 0);
}

/// The slot is used from elsewhere, no receipt is shown, and the buyer's transfer was sent by another sender.
#[test]
fn a_slot_used_elsewhere_and_a_payment_by_another_are_distinguished_from_a_failure() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(0, Act::Delay(true))
        .act(0, lag(Read::Logs, 4))
        .settle(500, &request, 60_000, 2)
        .act(1_500, Act::KeyElsewhere(0))
        .act(1_600, Act::Delay(false))
        .act(1_700, Act::Outside(transfer(&request)))
        .run_clean();
    report.assert_paid_once(&request);
    assert_eq!(report.payments, 1);
}

fn capture(nonce: u64, value: u64) -> Act {
    Act::Outside(Op::Capture {
        from: "ann".into(),
        nonce,
        to: "cafe".into(),
        value,
    })
}

#[track_caller]
fn assert_closed_beside(report: &Report, hold: &SettleRequest, close: &SettleRequest) {
    report.assert_paid_once(hold);
    report.assert_paid_once(close);
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    let balances = ["shop", "cafe", "ann"].map(|name| report.balance(name));
    assert_eq!(balances, [100, 50, 9_850]);
}

#[test]
fn two_captures_of_one_payment_in_one_block_are_distinguished() {
    let (hold, close) = (held("ann", 10), payment("ann", 10, Shape::Close));
    let report = quiet()
        .settle(500, &hold, 25_000, 1)
        .settle(8_500, &close, 25_000, 4)
        .act(8_700, capture(10, 50))
        .run_clean();
    assert_closed_beside(&report, &hold, &close);
    assert_eq!(report.outcomes(&close)[0], Outcome::Success);
}

#[test]
fn a_reorganisation_that_puts_two_captures_into_one_block_changes_no_answer() {
    let (hold, close) = (held("ann", 10), payment("ann", 10, Shape::Close));
    for at_ms in [9_600, 10_600, 11_600] {
        let report = quiet()
            .settle(500, &hold, 25_000, 1)
            .settle(8_500, &close, 25_000, 4)
            .act(9_200, capture(10, 50))
            .act(at_ms, Act::Reorg(4))
            .run_clean();
        assert_closed_beside(&report, &hold, &close);
    }
}

/// Another sender takes so much that ours reverts: what was found must explain all of the change.
#[test]
fn a_capture_by_another_that_leaves_too_little_fails_ours() {
    let (hold, close) = (held("ann", 10), payment("ann", 10, Shape::Close));
    for blocks in [0, 3, 12] {
        let report = quiet()
            .act(0, lag(Read::Logs, blocks))
            .settle(500, &hold, 25_000, 1)
            .settle(8_500, &close, 60_000, 4)
            .act(8_700, capture(10, 250))
            .run_clean();
        assert_ends_with(
            &report,
            &close,
            &Outcome::Refused("sim_transaction_failed".into()),
        );
        assert_eq!((report.balance("shop"), report.balance("cafe")), (0, 250));
    }
}
