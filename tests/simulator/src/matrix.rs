//! One fault at one point of a run that goes through every step, again and again.

use crate::clients::SettleRequest;
use crate::faults::{Harm, Point};
use crate::run::{Report, Scenario, simulate, simulate_traced};
use crate::script::Outcome;

/// A run that passes every step, and its payments that must be paid in the end, whatever single fault strikes.
#[derive(Debug, Clone)]
pub struct Tour {
    pub scenario: Scenario,
    pub payments: Vec<SettleRequest>,
}

impl Tour {
    /// Runs the tour with one fault, and demands that everything comes right in the end.
    ///
    /// # Panics
    /// It does not.
    #[must_use]
    pub fn strike(&self, point: Point, harm: Harm, pass: u64, count: u64) -> Report {
        let scenario = self.scenario.clone().harm(point, harm, pass, count);
        let report = simulate(&scenario).unwrap_or_else(|error| panic!("no runtime: {error}"));
        let at = format!("{harm:?} at pass {pass} of {point:?}");
        if !report.verdict.is_clean() {
            eprintln!("{at}");
            let _ = scenario.run_clean();
        }
        for request in &self.payments {
            let outcomes = report.outcomes(request);
            if !matches!(outcomes.last(), Some(Outcome::Success | Outcome::Duplicate)) {
                let trace = simulate_traced(&scenario)
                    .map(|(_, trace)| trace)
                    .unwrap_or_default();
                panic!(
                    "{trace}\n{at}: {} was answered {outcomes:?}",
                    request.payload.from
                );
            }
        }
        report
    }
}

/// Passes to be struck one by one: all of them, or `most` that are spread evenly.
#[must_use]
pub fn spread(passes: u64, most: u64) -> Vec<u64> {
    let every = passes.div_ceil(most.max(1)).max(1);
    (0..passes).filter(|pass| pass % every == 0).collect()
}
