//! Jobs of a scheme: scheduled with what they belong to, carried out however often the process dies, postponed when they
//! can't be run, and in nobody's way.

use journal::Event;
use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::hold::{KEEP_MS, WATCHES};
use simulator::run::{Act, Report};
use simulator::script::{Outcome, held, quiet};

fn balance(report: &Report, of: &str) -> u64 {
    report.state.balances.get(of).copied().unwrap_or(0)
}

/// How often jobs whose id begins so were scheduled, done and postponed.
fn counts(report: &Report, id: &str) -> (usize, usize, usize) {
    let count = |is: &dyn Fn(&Event) -> bool| report.log.iter().filter(|event| is(event)).count();
    (
        count(&|event| matches!(event, Event::JobScheduled { job, .. } if job.id.starts_with(id))),
        count(&|event| matches!(event, Event::JobDone { id: job, .. } if job.starts_with(id))),
        count(&|event| matches!(event, Event::JobPutOff { id: job, .. } if job.starts_with(id))),
    )
}

#[test]
fn an_unclosed_hold_is_returned_by_the_job_committed_with_its_outcome() {
    let hold = held("ann", 10);
    let report = quiet().settle(500, &hold, 25_000, 1).run_clean();
    assert_eq!(report.outcomes(&hold)[0], Outcome::Success);
    assert_eq!(balance(&report, "ann"), 10_000);
    assert_eq!(counts(&report, "keep:"), (1, 1, 0));
    let mut pairs = report.log.iter().zip(report.log.iter().skip(1));
    assert!(
        pairs
            .any(|(a, b)| matches!(a, Event::StepGrounded { .. }) && matches!(b, Event::JobScheduled { .. })),
        "the keeper is in the commit of the outcome"
    );
}

#[test]
fn the_job_returns_the_hold_wherever_the_process_crashes() {
    let hold = held("ann", 10);
    for at_ms in (600..4_600)
        .step_by(400)
        .chain((KEEP_MS - 1_000..KEEP_MS + 9_000).step_by(500))
    {
        let report = quiet()
            .settle(500, &hold, 25_000, 8)
            .act(at_ms, Act::Kill)
            .run_clean();
        assert!(
            report.state.escrow.is_empty(),
            "killed at {at_ms}: {:?}",
            report.state.escrow
        );
        assert_eq!(balance(&report, "ann"), 10_000, "killed at {at_ms}");
    }
}

#[test]
fn a_job_that_schedules_itself_again_while_it_runs_is_not_removed() {
    let report = quiet().settle(500, &held("ann", 10), 25_000, 1).run_clean();
    let (scheduled, done, postponed) = counts(&report, "watch:");
    let watches = usize::try_from(WATCHES).expect("few");
    assert_eq!((scheduled, done, postponed), (watches, watches, 0));
    let last = report
        .log
        .iter()
        .rfind(|event| matches!(event, Event::JobDone { id, .. } if id.starts_with("watch:")));
    let planned = report.log.iter().rev().find_map(|event| match event {
        Event::JobScheduled { job, .. } if job.id.starts_with("watch:") => Some(job.run_at_ms),
        _ => None,
    });
    assert!(
        matches!((last, planned), (Some(Event::JobDone { run_at_ms, .. }), Some(planned)) if *run_at_ms == planned),
        "{last:?} {planned:?}"
    );
}

#[test]
fn a_handler_that_fails_is_called_again_after_twice_as_long_each_time() {
    let report = quiet()
        .settle(500, &held("ann", 10), 25_000, 1)
        .harm(Point::Job, Harm::Internal, 0, 5)
        .run_clean();
    let again: Vec<u64> = report
        .log
        .iter()
        .filter_map(|event| match event {
            Event::JobPutOff { id, again_at_ms, .. } if id.starts_with("watch:") => Some(*again_at_ms),
            _ => None,
        })
        .collect();
    assert_eq!(again.len(), 5, "{again:?}");
    for (at, pair) in (1_u32..).zip(again.windows(2)) {
        let [before, after] = pair else { continue };
        let pause = after - before;
        let least = 1_000 * 2_u64.pow(at);
        // A poll each second, and the commit.
        assert!(
            (least..least + 2_500).contains(&pause),
            "{at}: {pause} in {again:?}"
        );
    }
    assert_eq!(balance(&report, "ann"), 10_000, "all others are done");
}

#[test]
fn a_slow_job_holds_up_no_other() {
    let requests: Vec<SettleRequest> = (0..6).map(|nonce| held("ann", nonce)).collect();
    let mut scenario = quiet().harm(Point::Job, Harm::Hang, 0, 1);
    for (at, request) in (0..).zip(&requests) {
        scenario = scenario.settle(500 + at * 10, request, 25_000, 12);
    }
    let report = scenario.run_clean();
    let first = report.log.iter().find_map(|event| match event {
        Event::JobDone { id, .. } => Some((true, id.clone())),
        Event::JobPutOff { id, .. } => Some((false, id.clone())),
        _ => None,
    });
    assert!(
        matches!(first, Some((true, _))),
        "others are done before the one that hangs: {first:?}"
    );
    assert_eq!(report.struck(Point::Job, Harm::Hang), 1);
    assert_eq!(balance(&report, "ann"), 10_000);
}

#[test]
fn a_settlement_of_a_job_that_was_refused_is_retried() {
    // The disk is full when the keeper's own settlement is to be started.
    let report = quiet()
        .settle(500, &held("ann", 10), 25_000, 1)
        .harm(Point::CommitFirst, Harm::Full, 1, 3)
        .run_clean();
    assert_eq!(report.struck(Point::CommitFirst, Harm::Full), 3);
    assert_eq!(counts(&report, "keep:"), (1, 1, 3));
    assert_eq!(balance(&report, "ann"), 10_000);
}

#[test]
fn jobs_of_a_network_that_is_not_ready_wait_without_a_failed_attempt() {
    let report = quiet()
        .settle(500, &held("ann", 10), 25_000, 1)
        .act(3_500, Act::Kill)
        .harm(Point::Check, Harm::Unavailable, 2, 8)
        .run_clean();
    assert!(report.struck(Point::Check, Harm::Unavailable) > 2);
    assert_eq!(counts(&report, "watch:").2, 0);
    assert_eq!(balance(&report, "ann"), 10_000);
}
