//! The rows and jobs that come with a scheme's judgement.

use crate::state::settlement::Settlement;
use sdk_plugin::host::{Job, StoreWrite};

/// A judgement's rows and jobs, or none if they exceed what is allowed: the payment has happened in any case.
pub(crate) fn judged_rows(
    settlement: &Settlement,
    writes: Vec<StoreWrite>,
    jobs: Vec<Job>,
) -> (Vec<StoreWrite>, Vec<Job>) {
    let Some(kind) = &settlement.kind else {
        return (Vec::new(), Vec::new());
    };
    match crate::decide::rows::check(&writes, &jobs, kind) {
        Ok(()) => (writes, jobs),
        Err(what) => {
            rows_lost(settlement, &format!("with its judgement comes {what}"));
            (Vec::new(), Vec::new())
        }
    }
}

pub(crate) fn rows_lost(settlement: &Settlement, why: &str) {
    tracing::error!(settlement = settlement.id, kind = ?settlement.kind,
        "a payment is recorded without the rows of its scheme, which is the scheme's defect: {why}");
}
