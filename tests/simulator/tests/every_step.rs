//! Every step of the pipeline fails on purpose, in every way it can, at every pass of a run that goes through all of
//! them; and the process dies before and after every commit.

use simulator::faults::{Harm, Point};
use simulator::matrix::{Tour, spread};
use simulator::scheme::Shape;
use simulator::script::{Word, payment, quiet, tour, tour_payments};

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
    for point in Point::ALL {
        assert!(
            report.passes.get(&point).is_some_and(|passes| *passes > 0),
            "{point:?} is not passed"
        );
    }
    assert_eq!(report.payments, 7);
    for ask in tour_payments() {
        let successes = report
            .words(&ask)
            .iter()
            .filter(|word| **word == Word::Success)
            .count();
        assert_eq!(successes, 1, "{}: {:?}", ask.payload.from, report.words(&ask));
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
fn faults_that_last_a_while_harm_nothing_either() {
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
fn law3_law5_death_before_and_after_every_commit_of_every_payment() {
    let passes = tour().run_clean().passes;
    let commits = [
        Point::CommitFirst,
        Point::CommitAttempt,
        Point::CommitOutcome,
        Point::CommitRelease,
        Point::CommitClose,
        Point::CommitOther,
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

/// What the first caller hears when the first pass of a step fails.
#[test]
fn each_fault_has_its_class_of_answer() {
    use Harm::{
        AcceptedAndForgotten, Full, Garbage, Hang, Internal, Panic, Slow, Stale, TakenButError,
        TakenButHangs, Unavailable,
    };
    let ask = payment("ann", 10, Shape::Plain);
    let cases: [(Point, &[Harm], Word); 14] = [
        // One cause, one answer: what passes by itself decides nothing, whether it refuses or hangs.
        (Point::Identify, &[Unavailable, Hang], Word::Unavailable),
        (Point::Plan, &[Unavailable, Hang], Word::Unavailable),
        (Point::Identify, &[Internal, Panic], Word::Unexpected),
        (Point::Plan, &[Internal, Panic, Garbage], Word::Unexpected),
        (Point::Build, &[Internal, Panic], Word::Unexpected),
        (Point::Quote, &[Internal, Panic], Word::Unexpected),
        (Point::ClaimLookUp, &[Unavailable], Word::Unavailable),
        (Point::CommitFirst, &[Full], Word::Unavailable),
        (Point::Identify, &[Slow], Word::Success),
        (Point::Quote, &[Unavailable, Hang, Stale], Word::Success),
        (Point::Build, &[Unavailable, Hang], Word::Success),
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
            Word::Success,
        ),
        (
            Point::Observe,
            &[Unavailable, Internal, Hang, Panic, Garbage, Stale],
            Word::Success,
        ),
        (
            Point::Judge,
            &[Unavailable, Internal, Hang, Panic, Garbage],
            Word::Success,
        ),
    ];
    for (point, harms, expected) in cases {
        for harm in harms {
            let report = quiet()
                .visit(500, &ask, 25_000, 1)
                .harm(point, *harm, 0, 1)
                .run_clean();
            assert_eq!(
                report.words(&ask).first(),
                Some(&expected),
                "{harm:?} at {point:?}"
            );
            let last = report.words(&ask).pop();
            assert!(
                matches!(last, Some(Word::Success | Word::Duplicate)),
                "{harm:?} at {point:?}: {last:?}"
            );
        }
    }
}
