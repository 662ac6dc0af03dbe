//! The rows and jobs that come with a scheme's judgement.

use crate::outcome::Outcomes;
use crate::state::settlement::Settlement;
use journal::{Event, SettlementRow, StepState};
use sdk_plugin::StepIndex;
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

impl Outcomes {
    /// What the transaction in the step's slot cost, as far as a block has shown it and it is not recorded.
    pub(super) fn fee_to_record(
        &self,
        settlement: &Settlement,
        row: &SettlementRow,
        step: StepIndex,
    ) -> Option<Event> {
        let Some(StepState::InSlot { lane, sequence }) = step.of(&row.steps).map(|row| &row.state) else {
            return None;
        };
        let run = self.runtime.run_of(settlement.network.id())?;
        run.slot(&(lane.signer.clone(), *sequence))?.fee_to_record()
    }
}
