//! Payments of several operations and plans of several steps: a capture, and what is left goes back once that is final.
//! Whatever happens between the two, the capture's answer stands, and nothing goes back without it.

use journal::{Event, StepState};
use sdk_plugin::StepIndex;
use simulator::clients::Ask;
use simulator::faults::{Harm, Point};
use simulator::hold::NOTHING_HELD;
use simulator::matrix::{Tour, spread};
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::Shape;
use simulator::script::{Word, held, payment, quiet};
use simulator::token::Op;

/// Held at once, closed four seconds later.
fn held_and_closed(hold: &Ask, close: &Ask) -> Scenario {
    quiet().visit(500, hold, 25_000, 8).visit(5_000, close, 25_000, 8)
}

fn hold_and_close() -> (Ask, Ask) {
    (held("ann", 10), payment("ann", 10, Shape::Close))
}

fn sweep(from: &str, nonce: u64) -> Act {
    Act::Outside(Op::Sweep {
        from: from.into(),
        nonce,
    })
}

/// Ids of the settlements of closed payments, in the order in which they were opened.
fn closes(report: &Report) -> Vec<u64> {
    let of = |event: &Event| match event {
        Event::Opened(new) if new.row.digest.contains("shape: Close") => Some(new.row.id),
        _ => None,
    };
    report.log.iter().filter_map(of).collect()
}

/// Transactions that were journaled for a step.
fn attempts(report: &Report, settlement: u64, step: StepIndex) -> usize {
    let covers = |event: &&Event| matches!(event, Event::Prepared(new) if new.row.covers.contains(&(settlement, step)));
    report.log.iter().filter(covers).count()
}

fn balance(report: &Report, of: &str) -> u64 {
    report.state.balances.get(of).copied().unwrap_or(0)
}

#[track_caller]
fn assert_closed(report: &Report, hold: &Ask, close: &Ask) {
    for ask in [hold, close] {
        let successes = report
            .words(ask)
            .into_iter()
            .filter(|word| *word == Word::Success);
        assert_eq!(successes.count(), 1, "{:?}: {:?}", ask.payload, report.words(ask));
    }
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    assert_eq!((balance(report, "shop"), balance(report, "ann")), (100, 9_900));
}

#[test]
fn a_capture_is_answered_when_it_is_confirmed_and_the_rest_goes_back_when_it_is_final() {
    let (hold, close) = hold_and_close();
    let report = held_and_closed(&hold, &close).run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.words(&close)[0], Word::Success);
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    let at = |what: &dyn Fn(&Event) -> bool| report.log.iter().position(what).expect("it is journaled");
    let paid = at(&|event| matches!(event, Event::Paid { settlement, .. } if *settlement == id));
    let released = at(&|event| matches!(event, Event::Released { settlement, .. } if *settlement == id));
    let is_final = at(
        &|event| matches!(event, Event::StepFinal { settlement, step: StepIndex::FIRST } if *settlement == id),
    );
    let begun = at(
        &|event| matches!(event, Event::Prepared(new) if new.row.covers.contains(&(id, StepIndex::new(1)))),
    );
    let freed = at(&|event| matches!(event, Event::KeysFreed { settlement } if *settlement == id));
    assert!(paid < released && released < is_final && is_final < begun && begun < freed);
}

#[test]
fn death_at_any_moment_between_the_two_steps_changes_nothing() {
    let (hold, close) = hold_and_close();
    for at_ms in (4_900..22_000).step_by(450) {
        let report = held_and_closed(&hold, &close).act(at_ms, Act::Kill).run_clean();
        assert_closed(&report, &hold, &close);
        let [id] = closes(&report)[..] else {
            panic!("one settlement")
        };
        assert_eq!(attempts(&report, id, StepIndex::new(1)), 1, "killed at {at_ms}");
    }
}

#[test]
fn a_capture_that_is_reorganised_away_lands_again_before_anything_goes_back() {
    let (hold, close) = hold_and_close();
    for (at_ms, depth) in [(6_500, 1), (7_500, 2), (8_500, 3), (9_500, 4), (10_500, 5)] {
        for lost in [0, 1_000] {
            let report = held_and_closed(&hold, &close)
                .act(at_ms - 10, Act::LoseInReorgs(lost))
                .act(at_ms, Act::Reorg(depth))
                .run_clean();
            assert_closed(&report, &hold, &close);
        }
    }
}

#[test]
fn a_last_step_that_another_sender_makes_leaves_the_answer_as_it_was_and_gives_the_payment_free() {
    let (hold, close) = hold_and_close();
    let again = held("ann", 20);
    // Another sender gives the rest back between the two steps.
    let report = held_and_closed(&hold, &close)
        .act(9_000, sweep("ann", 10))
        .visit(30_000, &again, 25_000, 1)
        .run_clean();
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    assert_eq!(report.words(&close)[..1], [Word::Success]);
    // Ours reverts; theirs came after the operation had started, and counts for it.
    let made = |event: &Event| matches!(event, Event::StepDone { settlement, step, .. } if (*settlement, *step) == (id, StepIndex::new(1)));
    assert!(report.log.iter().any(made));
    assert!(
        !report
            .log
            .iter()
            .any(|event| matches!(event, Event::Failed { .. }))
    );
    let ended = |event: &Event| matches!(event, Event::Finished { settlement, .. } if *settlement == id);
    assert!(report.log.iter().any(ended));
    assert_eq!(report.words(&again)[..1], [Word::Success]);
}

#[test]
fn a_first_step_that_reverts_fails_the_operation_and_nothing_comes_after_it() {
    let (hold, close) = hold_and_close();
    let report = held_and_closed(&hold, &close)
        .act(4_900, Act::Delay(true))
        .act(5_900, sweep("ann", 10))
        .act(7_500, Act::Delay(false))
        .run_clean();
    assert!(
        matches!(report.words(&close).first(), Some(Word::Refused(why)) if why == "sim_transaction_failed"),
        "{:?}",
        report.words(&close)
    );
    for id in closes(&report) {
        assert_eq!(attempts(&report, id, StepIndex::new(1)), 0);
    }
    assert_eq!(balance(&report, "ann"), 10_000);
}

#[test]
fn another_operation_on_the_payment_waits_for_the_last_step_and_is_planned_on_what_it_left() {
    let (hold, close) = hold_and_close();
    let mut second = close.clone();
    (second.payload.value, second.amount) = (50, 50);
    let report = held_and_closed(&hold, &close)
        .visit(7_000, &second, 25_000, 1)
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.words(&second)[0], Word::Refused(NOTHING_HELD.into()));
    let told_at = |ask: &Ask| {
        let told = report.told.iter().find(|told| *told.ask == *ask);
        told.map(|told| told.at_ms).expect("an answer")
    };
    assert!(
        told_at(&second) > told_at(&close) + 3_000,
        "it waited for the last step"
    );
    assert_eq!(closes(&report).len(), 1);
}

#[test]
fn one_that_can_not_wait_so_long_must_retry_and_nothing_of_it_is_started() {
    let (hold, close) = hold_and_close();
    let mut second = close.clone();
    (second.payload.value, second.amount) = (50, 50);
    let report = held_and_closed(&hold, &close)
        .visit(7_000, &second, 2_000, 1)
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.words(&second)[0], Word::Unavailable);
    assert_eq!(closes(&report).len(), 1);
}

#[test]
fn a_retained_signer_alone_does_what_is_bound_to_it_and_is_held_for_it() {
    let (hold, close) = hold_and_close();
    let mut scenario = held_and_closed(&hold, &close).act(8_000, Act::Kill);
    scenario.terms.retained = 1;
    let report = scenario.run_clean();
    assert_closed(&report, &hold, &close);
    let mut signers = Vec::new();
    for event in &report.log {
        match event {
            Event::Prepared(new) => signers.push(new.row.lane.signer.as_str()),
            Event::Opened(new) if new.row.digest.contains("shape: Hold") => {
                let held: Vec<&str> = new.holds.iter().map(|hold| hold.signer.as_str()).collect();
                assert_eq!(held, ["signer-r0"]);
            }
            _ => {}
        }
    }
    assert_eq!(signers, ["signer-k0", "signer-r0", "signer-r0"]);
}

/// Two plans were made on the same row: one of them is refused with its first commit.
#[test]
fn a_condition_that_does_not_hold_begins_nothing_and_the_next_try_is_planned_afresh() {
    let asks: Vec<Ask> = (0..5).map(|nonce| held("ann", nonce)).collect();
    let mut scenario = quiet();
    scenario.terms.max_in_flight = 8;
    for ask in &asks {
        scenario = scenario.visit(500, ask, 25_000, 12);
    }
    let report = scenario.run_clean();
    let words: Vec<Vec<Word>> = asks.iter().map(|ask| report.words(ask)).collect();
    assert!(
        words.iter().flatten().any(|word| *word == Word::Unavailable),
        "{words:?}"
    );
    for words in &words {
        assert_eq!(
            words.iter().filter(|word| **word == Word::Success).count(),
            1,
            "{words:?}"
        );
    }
    let row = report.rows.iter().find(|row| row.key == "count:ann");
    assert_eq!(
        row.map(|row| row.value.clone()),
        Some(5.into()),
        "each counted once"
    );
}

/// The row that comes with the second judgement has a condition that does not hold: the payment has happened.
#[test]
fn a_judgement_whose_rows_are_refused_is_recorded_and_answered_all_the_same() {
    let mut scenario = quiet();
    let closed: Vec<Ask> = [10, 20].map(|nonce| payment("ann", nonce, Shape::Close)).to_vec();
    for (at, close) in (0..).zip(&closed) {
        let start = 500 + at * 20_000;
        scenario = scenario
            .visit(start, &held("ann", close.payload.nonce), 25_000, 1)
            .visit(start + 5_000, close, 25_000, 1);
    }
    let report = scenario.run_clean();
    for close in &closed {
        assert_eq!(report.words(close)[..1], [Word::Success]);
    }
    let row = report.rows.iter().find(|row| row.key == "closed:ann");
    assert_eq!(
        row.map(|row| row.value.clone()),
        Some(10.into()),
        "the first one's"
    );
}

/// Every fault at every point of two payments: one is closed, the other given back by its keeper.
#[test]
fn law4_law5_any_single_fault_in_a_payment_of_several_operations_harms_nothing() {
    let (hold, close) = hold_and_close();
    let kept = held("bob", 30);
    // Each is retried later, as after an answer that says that the facilitator has failed.
    let tour = Tour {
        scenario: held_and_closed(&hold, &close)
            .visit(700, &kept, 25_000, 8)
            .visit(2_900, &hold, 25_000, 8)
            .visit(3_000, &kept, 25_000, 8)
            .visit(33_000, &close, 25_000, 8),
        payments: vec![hold, close, kept],
    };
    let calm = tour.scenario.run_clean();
    assert_eq!(balance(&calm, "bob"), 10_000, "given back");
    let mut struck = 0;
    for point in Point::ALL {
        let passes = calm.passes.get(&point).copied().unwrap_or(0);
        for harm in point.harms() {
            for pass in spread(passes, 10) {
                let report = tour.strike(point, *harm, pass, 1);
                struck += report.struck(point, *harm);
                let at = format!("{harm:?} at pass {pass} of {point:?}");
                assert!(report.state.escrow.is_empty(), "{at}: {:?}", report.state.escrow);
                assert_eq!(
                    (balance(&report, "bob"), balance(&report, "shop")),
                    (10_000, 100),
                    "{at}"
                );
            }
        }
    }
    assert!(struck > 500, "{struck}");
    let commits = [Harm::CrashBefore, Harm::CrashAfter];
    for (point, harm) in [
        Point::CommitFirst,
        Point::CommitOutcome,
        Point::CommitClose,
        Point::CommitOther,
    ]
    .into_iter()
    .flat_map(|point| commits.map(|harm| (point, harm)))
    {
        for pass in 0..calm.passes.get(&point).copied().unwrap_or(0) {
            let report = tour.strike(point, harm, pass, 1);
            assert!(
                report.state.escrow.is_empty(),
                "{harm:?} at pass {pass} of {point:?}"
            );
        }
    }
}

/// A step that ended stays ended in the record, whatever became of the plan's other steps.
#[test]
fn every_step_of_a_closed_payment_is_done_in_the_record() {
    let (hold, close) = hold_and_close();
    let report = held_and_closed(&hold, &close).run_clean();
    let states: Vec<&Event> = report
        .log
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::StepDone { .. } | Event::StepFailed { .. } | Event::StepSkipped { .. }
            )
        })
        .collect();
    assert!(
        matches!(states[..], [Event::StepDone { step, .. }] if *step == StepIndex::new(1)),
        "{states:?}"
    );
    let opened = report.log.iter().find_map(|event| match event {
        Event::Opened(new) if new.row.digest.contains("shape: Close") => Some(&new.row.steps),
        _ => None,
    });
    let opened = opened.expect("it was opened");
    assert!(opened.iter().all(|step| step.state == StepState::Waiting) && opened.len() == 2);
}

/// A scheme that says that it can't be served takes nothing new; what is open continues, and so do the others.
#[test]
fn a_scheme_that_is_not_ready_finishes_what_is_open_and_its_jobs_wait() {
    let (hold, close) = hold_and_close();
    let (late, mut other) = (payment("dan", 50, Shape::Close), payment("cyd", 40, Shape::Plain));
    (other.payload.to, other.pay_to) = ("cafe".into(), "cafe".into());
    let kept = held("dan", 50);
    let report = held_and_closed(&hold, &close)
        .visit(600, &kept, 25_000, 1)
        // The next poll is a minute after the first, or at the start.
        .act(7_400, Act::HoldReady(false))
        .act(7_500, Act::Kill)
        .visit(14_000, &late, 20_000, 1)
        .visit(14_000, &other, 20_000, 1)
        .act(80_000, Act::HoldReady(true))
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.words(&late)[0], Word::Unavailable);
    assert_eq!(report.words(&other)[0], Word::Success);
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    assert_eq!(
        attempts(&report, id, StepIndex::new(1)),
        1,
        "the rest goes back meanwhile"
    );
    // The keeper's settlement is started when the scheme is ready again, and not before.
    assert_eq!(report.words(&late)[1..], [Word::Refused(NOTHING_HELD.into())]);
    let returned_ms = report.log.iter().find_map(|event| match event {
        Event::Opened(new) if new.row.digest.contains("shape: Return") && new.row.payer == "dan" => {
            Some(new.row.opened_at_ms)
        }
        _ => None,
    });
    assert!(
        returned_ms.is_some_and(|at_ms| at_ms % 1_000_000_000 >= 80_000),
        "{returned_ms:?}"
    );
    assert_eq!(balance(&report, "dan"), 10_000);
}

/// What could not be sent is not started: the caller retries when the signer has been topped up.
#[test]
fn an_operation_whose_signer_can_not_pay_is_turned_away_before_anything_is_recorded() {
    let (hold, close) = hold_and_close();
    let mut scenario = quiet()
        .visit(500, &hold, 25_000, 1)
        .visit(5_000, &close, 10_000, 2);
    (scenario.terms.retained, scenario.terms.retained_are_poor) = (1, true);
    let report = scenario.run_clean();
    assert_eq!(report.words(&hold)[..1], [Word::Success]);
    assert_eq!(report.words(&close)[..2], [Word::Unavailable, Word::Unavailable]);
    assert!(closes(&report).is_empty());
}

/// A payer whose payments keep failing has to wait, and what is held of theirs for others does not.
#[test]
fn failed_payments_of_a_payer_do_not_keep_what_is_held_from_being_closed() {
    let (hold, close) = hold_and_close();
    let mut scenario = quiet().visit(500, &hold, 25_000, 1);
    for (at, nonce) in (0..).zip([20, 30, 40]) {
        let start = 4_000 + at * 6_000;
        // Cancelled between plan and landing.
        scenario = scenario
            .visit(start, &payment("ann", nonce, Shape::Plain), 25_000, 1)
            .act(
                start + 50,
                Act::Outside(Op::Cancel {
                    from: "ann".into(),
                    nonce,
                }),
            );
    }
    let next = payment("ann", 50, Shape::Plain);
    let report = scenario
        .visit(23_000, &next, 25_000, 1)
        .visit(23_000, &close, 25_000, 1)
        .run_clean();
    let failed = report
        .log
        .iter()
        .filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failed.count(), 3);
    assert!(
        matches!(report.words(&next).first(), Some(Word::Refused(_))),
        "{:?}",
        report.words(&next)
    );
    assert_eq!(report.words(&close)[..1], [Word::Success]);
}
