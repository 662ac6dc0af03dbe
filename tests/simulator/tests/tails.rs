//! Payments of several operations and plans of several steps: a capture, and what is left goes back once that is final.
//! Whatever happens between the two, the capture's answer stands, and nothing goes back without it.

use journal::{Event, StepState};
use sdk_plugin::StepIndex;
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::hold::NOTHING_HELD;
use simulator::matrix::{Tour, spread};
use simulator::run::{Act, Report, Scenario};
use simulator::scheme::Shape;
use simulator::script::{Outcome, held, payment, quiet};
use simulator::token::Op;

/// Held at once, closed four seconds later.
fn held_and_closed(hold: &SettleRequest, close: &SettleRequest) -> Scenario {
    quiet()
        .settle(500, hold, 25_000, 8)
        .settle(5_000, close, 25_000, 8)
}

fn hold_and_close() -> (SettleRequest, SettleRequest) {
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
fn assert_closed(report: &Report, hold: &SettleRequest, close: &SettleRequest) {
    for request in [hold, close] {
        let successes = report
            .outcomes(request)
            .into_iter()
            .filter(|outcome| *outcome == Outcome::Success);
        assert_eq!(
            successes.count(),
            1,
            "{:?}: {:?}",
            request.payload,
            report.outcomes(request)
        );
    }
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    assert_eq!((balance(report, "shop"), balance(report, "ann")), (100, 9_900));
}

#[test]
fn a_capture_is_answered_when_it_is_confirmed_and_the_rest_goes_back_when_it_is_final() {
    let (hold, close) = hold_and_close();
    let report = held_and_closed(&hold, &close).run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.outcomes(&close)[0], Outcome::Success);
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    let at = |what: &dyn Fn(&Event) -> bool| report.log.iter().position(what).expect("it is journaled");
    let paid = at(&|event| matches!(event, Event::Paid { settlement, .. } if *settlement == id));
    let released = at(&|event| matches!(event, Event::Released { settlement, .. } if *settlement == id));
    let is_final = at(
        &|event| matches!(event, Event::StepFinal { settlement, step: StepIndex::FIRST } if *settlement == id),
    );
    let prepared = at(
        &|event| matches!(event, Event::Prepared(new) if new.row.covers.contains(&(id, StepIndex::new(1)))),
    );
    let freed = at(&|event| matches!(event, Event::KeysFreed { settlement } if *settlement == id));
    assert!(paid < released && released < is_final && is_final < prepared && prepared < freed);
}

#[test]
fn a_crash_at_any_moment_between_the_two_steps_changes_nothing() {
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
fn a_last_step_made_by_another_sender_keeps_the_answer_and_frees_the_payment() {
    let (hold, close) = hold_and_close();
    let again = held("ann", 20);
    // Another sender gives the rest back between the two steps.
    let report = held_and_closed(&hold, &close)
        .act(9_000, sweep("ann", 10))
        .settle(30_000, &again, 25_000, 1)
        .run_clean();
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    assert_eq!(report.outcomes(&close)[..1], [Outcome::Success]);
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
    assert_eq!(report.outcomes(&again)[..1], [Outcome::Success]);
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
        matches!(report.outcomes(&close).first(), Some(Outcome::Refused(why)) if why == "sim_transaction_failed"),
        "{:?}",
        report.outcomes(&close)
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
        .settle(7_000, &second, 25_000, 1)
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.outcomes(&second)[0], Outcome::Refused(NOTHING_HELD.into()));
    let answered_at = |request: &SettleRequest| {
        let exchange = report
            .exchanges
            .iter()
            .find(|exchange| *exchange.request == *request);
        exchange.map(|exchange| exchange.answered_ms).expect("an answer")
    };
    assert!(
        answered_at(&second) > answered_at(&close) + 3_000,
        "it waited for the last step"
    );
    assert_eq!(closes(&report).len(), 1);
}

#[test]
fn an_operation_that_can_not_wait_for_the_last_step_must_retry_and_starts_nothing() {
    let (hold, close) = hold_and_close();
    let mut second = close.clone();
    (second.payload.value, second.amount) = (50, 50);
    let report = held_and_closed(&hold, &close)
        .settle(7_000, &second, 2_000, 1)
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.outcomes(&second)[0], Outcome::Unavailable);
    assert_eq!(closes(&report).len(), 1);
}

#[test]
fn only_a_retained_signer_sends_the_operations_that_are_bound_to_it() {
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
fn a_failed_condition_starts_nothing_and_the_next_try_is_planned_again() {
    let requests: Vec<SettleRequest> = (0..5).map(|nonce| held("ann", nonce)).collect();
    let mut scenario = quiet();
    scenario.terms.max_in_flight = 8;
    for request in &requests {
        scenario = scenario.settle(500, request, 25_000, 12);
    }
    let report = scenario.run_clean();
    let outcomes: Vec<Vec<Outcome>> = requests.iter().map(|request| report.outcomes(request)).collect();
    assert!(
        outcomes
            .iter()
            .flatten()
            .any(|outcome| *outcome == Outcome::Unavailable),
        "{outcomes:?}"
    );
    for outcomes in &outcomes {
        assert_eq!(
            outcomes
                .iter()
                .filter(|outcome| **outcome == Outcome::Success)
                .count(),
            1,
            "{outcomes:?}"
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
fn a_judgement_whose_rows_are_refused_is_still_recorded_and_answered() {
    let mut scenario = quiet();
    let closed: Vec<SettleRequest> = [10, 20].map(|nonce| payment("ann", nonce, Shape::Close)).to_vec();
    for (at, close) in (0..).zip(&closed) {
        let start = 500 + at * 20_000;
        scenario = scenario
            .settle(start, &held("ann", close.payload.nonce), 25_000, 1)
            .settle(start + 5_000, close, 25_000, 1);
    }
    let report = scenario.run_clean();
    for close in &closed {
        assert_eq!(report.outcomes(close)[..1], [Outcome::Success]);
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
    // Each is retried later, as after an answer that the facilitator has failed.
    let tour = Tour {
        scenario: held_and_closed(&hold, &close)
            .settle(700, &kept, 25_000, 8)
            .settle(2_900, &hold, 25_000, 8)
            .settle(3_000, &kept, 25_000, 8)
            .settle(33_000, &close, 25_000, 8),
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
        Point::CommitFinish,
        Point::CommitJob,
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
fn every_step_of_a_closed_payment_is_recorded_as_done() {
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

/// A scheme that reports that it can't be served takes nothing new; what is open continues, and so do the others.
#[test]
fn a_scheme_that_is_not_ready_finishes_what_is_open_and_its_jobs_wait() {
    let (hold, close) = hold_and_close();
    let (late, mut other) = (payment("dan", 50, Shape::Close), payment("cyd", 40, Shape::Plain));
    (other.payload.to, other.pay_to) = ("cafe".into(), "cafe".into());
    let kept = held("dan", 50);
    let report = held_and_closed(&hold, &close)
        .settle(600, &kept, 25_000, 1)
        // The next poll is a minute after the first, or at the start.
        .act(7_400, Act::HoldReady(false))
        .act(7_500, Act::Kill)
        .settle(14_000, &late, 20_000, 1)
        .settle(14_000, &other, 20_000, 1)
        .act(80_000, Act::HoldReady(true))
        .run_clean();
    assert_closed(&report, &hold, &close);
    assert_eq!(report.outcomes(&late)[0], Outcome::Unavailable);
    assert_eq!(report.outcomes(&other)[0], Outcome::Success);
    let [id] = closes(&report)[..] else {
        panic!("one settlement")
    };
    assert_eq!(
        attempts(&report, id, StepIndex::new(1)),
        1,
        "the rest goes back meanwhile"
    );
    // The keeper's settlement is started when the scheme is ready again, and not before.
    assert_eq!(
        report.outcomes(&late)[1..],
        [Outcome::Refused(NOTHING_HELD.into())]
    );
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
fn an_operation_whose_signer_can_not_pay_is_refused_before_anything_is_recorded() {
    let (hold, close) = hold_and_close();
    let mut scenario = quiet()
        .settle(500, &hold, 25_000, 1)
        .settle(5_000, &close, 10_000, 2);
    (scenario.terms.retained, scenario.terms.retained_are_unfunded) = (1, true);
    let report = scenario.run_clean();
    assert_eq!(report.outcomes(&hold)[..1], [Outcome::Success]);
    assert_eq!(
        report.outcomes(&close)[..2],
        [Outcome::Unavailable, Outcome::Unavailable]
    );
    assert!(closes(&report).is_empty());
}

/// A payer whose payments keep failing has to wait, and what is held of theirs for others does not.
#[test]
fn failed_payments_of_a_payer_do_not_prevent_closing_what_is_held() {
    let (hold, close) = hold_and_close();
    let mut scenario = quiet().settle(500, &hold, 25_000, 1);
    for (at, nonce) in (0..).zip([20, 30, 40]) {
        let start = 4_000 + at * 6_000;
        // Cancelled between plan and landing.
        scenario = scenario
            .settle(start, &payment("ann", nonce, Shape::Plain), 25_000, 1)
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
        .settle(23_000, &next, 25_000, 1)
        .settle(23_000, &close, 25_000, 1)
        .run_clean();
    let failed = report
        .log
        .iter()
        .filter(|event| matches!(event, Event::Failed { .. }));
    assert_eq!(failed.count(), 3);
    assert!(
        matches!(report.outcomes(&next).first(), Some(Outcome::Refused(_))),
        "{:?}",
        report.outcomes(&next)
    );
    assert_eq!(report.outcomes(&close)[..1], [Outcome::Success]);
}
