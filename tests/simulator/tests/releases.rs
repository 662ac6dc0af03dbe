//! `success` is answered to one caller, and only while the chain shows the payment: a recorded one may be gone, and a caller
//! that hangs up takes nothing with it.

use simulator::faults::{Harm, Point};
use simulator::run::Act;
use simulator::scheme::Shape;
use simulator::script::{Outcome, payment, quiet};
use simulator::token::Op;

/// Recorded as paid and reported to no caller; then its block is replaced, and in the new one the payer has nothing left.
#[test]
fn a_recorded_payment_that_left_the_chain_is_not_answered_from_memory() {
    let request = payment("ann", 10, Shape::Plain);
    let spend = Op::Spend {
        from: "ann".into(),
        value: 10_000,
    };
    for restarts in [false, true] {
        for at_ms in [3_451, 3_500, 3_700, 4_200, 5_500] {
            let mut scenario = quiet()
                .settle(500, &request, 200, 1)
                .act(3_440, Act::Outside(spend.clone()))
                .act(3_445, Act::LoseInReorgs(1_000))
                .act(3_450, Act::Reorg(3))
                .settle(at_ms, &request, 25_000, 4);
            if restarts {
                scenario = scenario.act(3_400, Act::Kill);
            }
            let report = scenario.run_clean();
            let outcomes = report.outcomes(&request);
            assert!(!outcomes.contains(&Outcome::Success), "at {at_ms}: {outcomes:?}");
            assert_eq!(report.payments, 0);
        }
    }
}

/// The same, and it lands again: the caller is answered when it has.
#[test]
fn a_recorded_payment_that_changes_its_block_is_answered_when_it_is_on_chain_again() {
    let request = payment("ann", 10, Shape::Plain);
    for restarts in [false, true] {
        let mut scenario = quiet()
            .settle(500, &request, 200, 1)
            .act(3_445, Act::LoseInReorgs(1_000))
            .act(3_450, Act::Reorg(3))
            .settle(3_460, &request, 25_000, 4);
        if restarts {
            scenario = scenario.act(3_400, Act::Kill);
        }
        let report = scenario.run_clean();
        report.assert_paid_once(&request);
        assert_eq!(report.payments, 1);
    }
}

/// Answered pending, then landed. The next caller hangs up while its release is on its way; the one after that gets it.
#[test]
fn a_release_whose_caller_hangs_up_goes_to_the_next() {
    let request = payment("ann", 10, Shape::Plain);
    // 30 s: the payment has ended, and is in the journal only. 3 s: it is still watched.
    for at_ms in [3_000, 30_000] {
        for after_ms in (0..12).chain([100, 1_000]) {
            for slow in [0, 1] {
                let report = quiet()
                    .settle(500, &request, 200, 1)
                    .hang_up(at_ms, &request, after_ms)
                    .harm(Point::CommitRelease, Harm::Slow, 0, slow)
                    .settle(at_ms + 20_000, &request, 25_000, 4)
                    .run_clean();
                report.assert_paid_once(&request);
                assert_eq!(report.payments, 1);
            }
        }
    }
}

#[test]
fn an_opener_that_hangs_up_while_the_outcome_is_written_leaves_the_release_to_the_next() {
    let request = payment("ann", 10, Shape::Plain);
    for after_ms in (1_500..2_500).step_by(100).chain([4_000, 8_000]) {
        for slow in [0, 1] {
            let report = quiet()
                .hang_up(500, &request, after_ms)
                .harm(Point::CommitOutcome, Harm::Slow, 0, slow)
                .settle(20_000, &request, 25_000, 4)
                .run_clean();
            let outcomes = report.outcomes(&request);
            let successes = outcomes.iter().filter(|outcome| **outcome == Outcome::Success);
            assert_eq!(
                successes.count(),
                1,
                "after {after_ms}, slow {slow}: {outcomes:?}"
            );
        }
    }
}

#[test]
fn a_disk_that_stalls_never_turns_a_paid_payment_into_a_failure() {
    let request = payment("ann", 10, Shape::Plain);
    for point in [
        Point::CommitFirst,
        Point::CommitOutcome,
        Point::CommitRelease,
        Point::CommitClose,
    ] {
        for harm in [Harm::Slow, Harm::Full] {
            for wait_ms in [200, 3_000, 25_000] {
                let report = quiet()
                    .settle(500, &request, wait_ms, 12)
                    .harm(point, harm, 0, 4)
                    .run_clean();
                report.assert_paid_once(&request);
                let without_hash = |reply: &&sdk_plugin::wire::SettleReply| reply.transaction.is_empty();
                assert_eq!(report.replies(&request).iter().find(without_hash), None);
            }
        }
    }
}

/// The scheme judges slowly, and the block is replaced meanwhile. A caller that comes after that gets nothing from what was
/// observed before it came.
#[test]
fn a_caller_that_comes_during_the_judgement_gets_no_release_from_an_older_observation() {
    let request = payment("ann", 10, Shape::Plain);
    let spend = Op::Spend {
        from: "ann".into(),
        value: 10_000,
    };
    for (point, reorg_at_ms) in [
        (Point::Judge, 2_900),
        (Point::Judge, 3_100),
        (Point::CommitOutcome, 3_100),
        (Point::CommitOutcome, 5_100),
    ] {
        let report = quiet()
            .settle(500, &request, 200, 1)
            .harm(point, Harm::Slow, 0, 1)
            .act(reorg_at_ms - 20, Act::Outside(spend.clone()))
            .act(reorg_at_ms - 10, Act::LoseInReorgs(1_000))
            .act(reorg_at_ms, Act::Reorg(reorg_at_ms / 1_000))
            .settle(reorg_at_ms + 10, &request, 25_000, 4)
            .run_clean();
        assert_eq!(report.struck(point, Harm::Slow), 1);
        let outcomes = report.outcomes(&request);
        assert!(!outcomes.contains(&Outcome::Success), "{point:?}: {outcomes:?}");
        assert_eq!(report.payments, 0);
    }
}

/// The block of the paying step is replaced, and the block of the step before it is not. The slot of that step shows nothing
/// about the payment.
#[test]
fn the_slot_of_another_step_answers_no_caller() {
    let request = payment("ann", 10, Shape::Escrow);
    for reorg_at_ms in (4_600..6_000).step_by(150) {
        let report = quiet()
            .settle(500, &request, 200, 1)
            .act(reorg_at_ms - 10, Act::LoseInReorgs(1_000))
            .act(reorg_at_ms, Act::Reorg(reorg_at_ms / 1_000 - 2))
            .settle(reorg_at_ms + 10, &request, 25_000, 4)
            .run_clean();
        report.assert_paid_once(&request);
    }
}
