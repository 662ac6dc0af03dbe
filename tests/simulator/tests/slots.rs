//! Slots that others use, prices above the limit, and authorizations that end: each step lands once or fails, and
//! the answer stays the same.

use journal::Event;
use simulator::chain::GAS;
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::Shape;
use simulator::script::{EPOCH_S, Outcome, good_until, payment, quiet, transfer};
use simulator::token::Op;

/// From the first answer that is no `pending` on, every answer is the same failure.
#[track_caller]
fn assert_fails_for_good(report: &Report, request: &SettleRequest) {
    let replies = report.replies(request);
    let decided: Vec<_> = replies
        .iter()
        .filter(|reply| reply.error_reason.as_deref() != Some("settlement_pending"))
        .map(|reply| (reply.success, &reply.error_reason, &reply.transaction))
        .collect();
    assert!(decided.len() >= 2, "{replies:?}");
    assert!(
        decided.iter().all(|one| *one == decided[0] && !one.0),
        "{decided:?}"
    );
    assert_eq!(report.payments, 0);
}

/// The signer's key is used elsewhere in each slot that the step takes, and ours waits meanwhile.
fn three_times_elsewhere(mut scenario: Scenario) -> Scenario {
    scenario = scenario.act(0, Act::Delay(true));
    for at_ms in [1_500, 13_500, 25_500] {
        scenario = scenario
            .act(at_ms, Act::KeyElsewhere(0))
            .act(at_ms + 100, Act::Delay(false))
            .act(at_ms + 600, Act::Delay(true));
    }
    scenario.act(45_000, Act::Delay(false))
}

#[test]
fn a_step_that_loses_three_slots_fails_and_frees_its_keys() {
    for shape in [Shape::Escrow, Shape::Plain] {
        let request = payment("ann", 10, shape);
        let next = payment("ann", 20, Shape::Escrow);
        let report = three_times_elsewhere(quiet())
            .settle(500, &request, 50_000, 1)
            .settle(50_000, &next, 25_000, 8)
            .run_clean();
        let mut slots: Vec<u64> = report
            .attempts()
            .filter(|attempt| attempt.prepared_at_ms < EPOCH_S * 1_000 + 45_000)
            .map(|attempt| attempt.sequence)
            .collect();
        // In each slot it may have been replaced at a higher price.
        slots.dedup();
        assert_eq!(slots, [0, 1, 2]);
        let outcomes = report.outcomes(&request);
        assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
        report.assert_paid_once(&next);
    }
}

#[test]
fn a_step_that_loses_its_slot_once_takes_another_when_that_is_final() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &request, 60_000, 2)
        .act(1_500, Act::KeyElsewhere(0))
        .act(1_600, Act::Delay(false))
        .run_clean();
    report.assert_paid_once(&request);
    let slots: Vec<u64> = report.attempts().map(|attempt| attempt.sequence).collect();
    assert_eq!(slots, [0, 1]);
    // Block 2 has the other transaction, and block 7 makes it final.
    let second = report.attempts().nth(1).map(|attempt| attempt.prepared_at_ms);
    assert!(
        second.is_some_and(|at| at >= EPOCH_S * 1_000 + 7_000),
        "{second:?}"
    );
}

/// What the signer's key did elsewhere counts when it is final, and not before.
#[test]
fn a_jump_of_the_signers_nonce_is_adopted_when_it_is_final() {
    let request = payment("ann", 10, Shape::Plain);
    for (lost, payer_waits_ms) in [(false, 1_200), (true, 1_200), (false, 9_000)] {
        let mut scenario = quiet()
            .act(500, Act::KeyElsewhere(0))
            .settle(payer_waits_ms, &request, 60_000, 4);
        if lost {
            scenario = scenario
                .act(3_500, Act::LoseInReorgs(1_000))
                .act(3_600, Act::Reorg(4));
        }
        let report = scenario.run_clean();
        report.assert_paid_once(&request);
        assert_eq!(report.payments, 1);
        for attempt in report.attempts().filter(|attempt| attempt.sequence > 0) {
            assert!(attempt.prepared_at_ms >= EPOCH_S * 1_000 + 6_000, "{attempt:?}");
        }
    }
}

#[test]
fn a_price_above_the_limit_is_never_paid_and_the_answer_is_true() {
    let request = good_until(payment("ann", 10, Shape::Plain), 30);
    let report = quiet()
        .settle(500, &request, 5_000, 20)
        .act(700, Act::Fee(Some(250)))
        .act(70_000, Act::Fee(None))
        .settle(100_000, &request, 25_000, 1)
        .run_clean();
    assert_fails_for_good(&report, &request);
    let limit = sdk_plugin::Amount::from(GAS * 200);
    let costs = report.log.iter().filter_map(|event| match event {
        Event::Prepared(new) => Some(new.row.max_cost),
        _ => None,
    });
    assert!(costs.max().is_some_and(|most| most <= limit));
}

#[test]
fn a_price_above_the_limit_delays_a_payment_that_is_still_good() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .settle(500, &request, 5_000, 30)
        .act(700, Act::Fee(Some(250)))
        .act(70_000, Act::Fee(None))
        .run_clean();
    report.assert_paid_once(&request);
    assert_eq!(report.payments, 1);
}

#[test]
fn a_payment_that_expired_and_was_filled_has_one_answer() {
    let request = good_until(payment("ann", 10, Shape::Plain), 14);
    let report = quiet()
        .act(0, Act::Delay(true))
        .settle(500, &request, 2_000, 20)
        .act(20_000, Act::Delay(false))
        .settle(40_000, &request, 25_000, 1)
        .settle(70_000, &request, 25_000, 1)
        .run_clean();
    assert_fails_for_good(&report, &request);
}

/// Decided by another sender's transaction, which stays; ours reverted after it and is reorganised away. Its nonce is unused
/// again, and everything after it waits.
#[test]
fn a_slot_that_was_decided_by_another_and_is_unused_again_does_not_hold_up_the_lane() {
    let (request, next) = (payment("ann", 10, Shape::Plain), payment("bob", 20, Shape::Plain));
    let cancel = Op::Cancel {
        from: "ann".into(),
        nonce: 10,
    };
    for by in [cancel, transfer(&request)] {
        for kill in [false, true] {
            let mut scenario = quiet()
                .act(0, Act::Delay(true))
                .settle(500, &request, 25_000, 1)
                .act(700, Act::Outside(by.clone()))
                .act(1_500, Act::Delay(false))
                .act(3_550, Act::LoseInReorgs(1_000))
                .act(3_600, Act::Reorg(2))
                .settle(12_000, &next, 25_000, 4);
            if kill {
                scenario = scenario.act(3_610, Act::Kill);
            }
            scenario.run_clean().assert_paid_once(&next);
        }
    }
}

#[test]
fn a_judgement_that_hangs_keeps_no_other_payment_waiting() {
    let (slow, other) = (payment("ann", 10, Shape::Plain), payment("bob", 10, Shape::Plain));
    let scenario = quiet()
        .settle(500, &slow, 25_000, 8)
        .settle(1_100, &other, 25_000, 8);
    let answered_ms = |report: &Report, request: &SettleRequest| {
        report.assert_paid_once(request);
        let of = report
            .exchanges
            .iter()
            .find(|exchange| *exchange.request == *request);
        of.map_or(0, |exchange| exchange.answered_ms)
    };
    let before = scenario.clone().run_clean();
    let (slow_ms, other_ms) = (answered_ms(&before, &slow), answered_ms(&before, &other));
    assert!(
        slow_ms + 500 < other_ms,
        "{slow_ms} {other_ms}: they land in two blocks"
    );
    // The first one hangs for the two seconds that a judgement may take.
    let report = scenario.harm(Point::Judge, Harm::Hang, 0, 1).run_clean();
    assert!(answered_ms(&report, &slow) >= slow_ms + 2_000);
    let late_ms = answered_ms(&report, &other).saturating_sub(other_ms);
    assert!(late_ms < 500, "{late_ms}");
}
