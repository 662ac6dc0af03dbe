//! Every step of the pipeline fails on purpose, in every way it can, at every pass of a run that goes through all of
//! them; and the process dies before and after every commit.

use simulator::faults::{Harm, Point};
use simulator::matrix::{Tour, spread};
use simulator::scheme::Shape;
use simulator::script::{Outcome, payment, quiet, tour, tour_payments};

/// Passes of one point that are struck one by one; those of a point that is passed more often are spread evenly.
const PASSES: u64 = 24;

fn strike(point: Point, harm: Harm, pass: u64, count: u64) -> u64 {
    let tour = Tour {
        scenario: tour(),
        payments: tour_payments(),
    };
    tour.strike(point, harm, pass, count).struck(point, harm)
}

#[test]
fn the_tour_passes_every_step() {
    let report = tour().run_clean();
    for point in Point::ALL.into_iter().filter(|point| !point.is_rare()) {
        assert!(
            report.passes.get(&point).is_some_and(|passes| *passes > 0),
            "{point:?} is not passed"
        );
    }
    assert_eq!(report.payments, 8);
    for request in tour_payments() {
        let successes = report
            .outcomes(&request)
            .iter()
            .filter(|outcome| **outcome == Outcome::Success)
            .count();
        assert_eq!(
            successes,
            1,
            "{}: {:?}",
            request.payload.from,
            report.outcomes(&request)
        );
    }
}

#[test]
fn law4_law5_any_single_fault_at_any_pass_of_any_step_harms_nothing() {
    let passes = tour().run_clean().passes;
    let (mut runs, mut struck) = (0_u64, 0);
    for point in Point::ALL {
        for harm in point.harms() {
            for pass in spread(passes.get(&point).copied().unwrap_or(0), PASSES) {
                struck += strike(point, *harm, pass, 1);
                runs += 1;
            }
        }
    }
    eprintln!("{runs} runs, {struck} faults");
    assert_eq!(struck, runs, "every scripted fault strikes");
}

#[test]
fn faults_that_last_several_passes_harm_nothing() {
    for point in Point::ALL {
        for harm in point.harms() {
            let fatal = matches!(harm, Harm::CrashBefore | Harm::CrashAfter);
            for count in if fatal { [2, 3] } else { [5, 12] } {
                strike(point, *harm, 0, count);
            }
        }
    }
}

#[test]
fn law3_law5_a_crash_before_or_after_any_commit_of_any_payment_harms_nothing() {
    let passes = tour().run_clean().passes;
    let commits = [
        Point::CommitFirst,
        Point::CommitAttempt,
        Point::CommitOutcome,
        Point::CommitRelease,
        Point::CommitClose,
        Point::CommitFinish,
        Point::CommitFreeKeys,
        Point::CommitStep,
        Point::CommitJob,
    ];
    let mut runs = 0;
    for point in commits {
        for pass in 0..passes.get(&point).copied().unwrap_or(0) {
            for harm in [Harm::CrashBefore, Harm::CrashAfter] {
                assert_eq!(strike(point, harm, pass, 1), 1);
                runs += 1;
            }
        }
    }
    assert!(runs >= 60, "{runs}");
}

/// The answer to the first caller when the first pass of a step fails.
#[test]
fn a_fault_at_the_first_pass_of_a_step_is_answered_by_its_class() {
    use Harm::{
        AcceptedAndForgotten, Full, Garbage, Hang, Internal, Panic, Slow, Stale, TakenButError,
        TakenButHangs, Unavailable,
    };
    let request = payment("ann", 10, Shape::Plain);
    let cases: [(Point, &[Harm], Outcome); 14] = [
        // One cause, one answer: what passes by itself decides nothing, whether it refuses or hangs.
        (Point::Identify, &[Unavailable, Hang], Outcome::Unavailable),
        (Point::Plan, &[Unavailable, Hang], Outcome::Unavailable),
        (Point::Identify, &[Internal, Panic], Outcome::Unexpected),
        (Point::Plan, &[Internal, Panic, Garbage], Outcome::Unexpected),
        (Point::Build, &[Internal, Panic], Outcome::Unexpected),
        (Point::Quote, &[Internal, Panic], Outcome::Unexpected),
        (Point::ClaimLookUp, &[Unavailable], Outcome::Unavailable),
        (Point::CommitFirst, &[Full], Outcome::Unavailable),
        (Point::Identify, &[Slow], Outcome::Success),
        (Point::Quote, &[Unavailable, Hang, Stale], Outcome::Success),
        (Point::Build, &[Unavailable, Hang], Outcome::Success),
        (
            Point::Broadcast,
            &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                TakenButError,
                TakenButHangs,
                AcceptedAndForgotten,
            ],
            Outcome::Success,
        ),
        (
            Point::Observe,
            &[Unavailable, Internal, Hang, Panic, Garbage, Stale],
            Outcome::Success,
        ),
        (
            Point::Judge,
            &[Unavailable, Internal, Hang, Panic, Garbage],
            Outcome::Success,
        ),
    ];
    for (point, harms, expected) in cases {
        for harm in harms {
            let report = quiet()
                .settle(500, &request, 25_000, 1)
                .harm(point, *harm, 0, 1)
                .run_clean();
            assert_eq!(
                report.outcomes(&request).first(),
                Some(&expected),
                "{harm:?} at {point:?}"
            );
            let last = report.outcomes(&request).pop();
            assert!(
                matches!(last, Some(Outcome::Success | Outcome::Duplicate)),
                "{harm:?} at {point:?}: {last:?}"
            );
        }
    }
}
