//! A plugin that gets another id between two starts keeps its payments, rows and jobs.

use journal::Event;
use simulator::hold::KEEP_MS;
use simulator::run::{Act, Report};
use simulator::scheme::Shape;
use simulator::script::{Outcome, held, payment, quiet};
use simulator::world::{PLUGIN, RENAMED};

fn adoptions(report: &Report) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for event in &report.log {
        if let Event::Adopted { from, to, .. } = event {
            found.push((from.as_str(), to.as_str()));
        }
    }
    found
}

#[test]
fn law5_what_the_old_id_has_settled_is_a_duplicate_under_the_new_one() {
    let request = payment("ann", 10, Shape::Plain);
    let report = quiet()
        .settle(500, &request, 25_000, 1)
        .act(60_000, Act::Adopt)
        .settle(80_000, &request, 25_000, 1)
        .run_clean();
    assert_eq!(adoptions(&report), [(PLUGIN, RENAMED)]);
    let outcomes = report.outcomes(&request);
    assert_eq!(outcomes[..2], [Outcome::Success, Outcome::Duplicate]);
    assert_eq!(report.payments, 1);
}

/// Adopted while the payment is planned, signed, sent, on chain, final; the seller keeps requesting it.
#[test]
fn law5_what_is_open_under_the_old_id_is_finished_by_the_new_one_wherever_it_was() {
    let request = payment("ann", 10, Shape::Plain);
    for at_ms in (520..6_000).step_by(240) {
        let report = quiet()
            .settle(500, &request, 3_000, 12)
            .act(at_ms, Act::Adopt)
            .run_clean();
        let successes = report.outcomes(&request);
        let successes = successes.iter().filter(|outcome| **outcome == Outcome::Success);
        assert_eq!(
            successes.count(),
            1,
            "adopted at {at_ms}: {:?}",
            report.outcomes(&request)
        );
        assert_eq!(report.payments, 1, "adopted at {at_ms}");
    }
}

#[test]
fn the_jobs_and_rows_of_the_old_id_are_those_of_the_new_one() {
    let hold = held("ann", 10);
    let report = quiet()
        .settle(500, &hold, 25_000, 8)
        .act(KEEP_MS / 2, Act::Adopt)
        .run_clean();
    assert_eq!(adoptions(&report), [(PLUGIN, RENAMED)]);
    // The job that was scheduled under the old id has run.
    assert!(report.state.escrow.is_empty(), "{:?}", report.state.escrow);
    let done = report.log.iter().any(|event| {
        matches!(event, Event::JobDone { plugin, id, .. } if plugin == RENAMED && id.starts_with("keep:"))
    });
    assert!(done);
}
