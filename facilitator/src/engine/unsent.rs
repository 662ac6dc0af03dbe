//! Steps of a journaled settlement that have no transaction and get none any more: their time has run out between two
//! slots, or before the first. No attempt of theirs can land, so they are judged as dead, and finally.

use std::sync::Arc;
use std::time::Duration;

use sdk_plugin::chain::{Evidence, ForeignTx, Shown, Watch};
use sdk_plugin::scheme::Step;

use super::Engine;
use super::settlement::Settlement;
use crate::journal::{Answer, AttemptRow, Query, StepState};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);

impl Engine {
    /// Has an expired step judged that is in no slot.
    pub(super) async fn end_unsent(self: Arc<Self>, settlement: Arc<Settlement>, step: u32) {
        let index = usize::try_from(step).unwrap_or(usize::MAX);
        loop {
            let waits = settlement
                .lock()
                .row
                .steps
                .get(index)
                .is_some_and(|row| row.state == StepState::Waiting);
            let planned = settlement.plan().and_then(|plan| plan.steps.get(index)).cloned();
            let (true, Some(planned)) = (waits, planned) else {
                return;
            };
            if let Some((foreign, head_height)) = self.others_payment(&settlement, step, &planned).await {
                let evidence = Evidence {
                    step,
                    shown: Shown::Dead {
                        why: "it expired before it could be sent".into(),
                    },
                    tx_id: settlement.lock().row.tx_id.clone().unwrap_or_default(),
                    head_height,
                    logs: Vec::new(),
                    deltas: Vec::new(),
                    reads: Vec::new(),
                    foreign,
                };
                if self.judge_step(&settlement, &evidence, None).await {
                    self.advance(&settlement);
                    return self.finish_if_ended(settlement).await;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Final transactions of others that may have made the payment, when the step had attempts before, and the head
    /// they were seen from. `None`: it can't be told yet.
    async fn others_payment(
        &self,
        settlement: &Settlement,
        step: u32,
        planned: &Step,
    ) -> Option<(Vec<ForeignTx>, u64)> {
        if planned.evidence.foreign.is_empty() {
            return Some((Vec::new(), 0));
        }
        let query = Query::AttemptsOf {
            settlement: settlement.id,
            step,
        };
        let attempts: Vec<AttemptRow> = match self.journal.query(query).await {
            Ok(Answer::Attempts(attempts)) => attempts,
            Ok(other) => {
                tracing::error!("the journal answered out of shape: {other:?}");
                return None;
            }
            Err(error) => {
                tracing::error!(%error, settlement = settlement.id, "a step's attempts can't be read");
                return None;
            }
        };
        // A payment counts only when it came after an attempt of ours.
        let Some(newest) = attempts.last() else {
            return Some((Vec::new(), 0));
        };
        let since_height = attempts
            .iter()
            .map(|attempt| attempt.since_height)
            .min()
            .unwrap_or(0);
        let watch = Watch {
            attempt_id: newest.id.to_string(),
            tx_id: newest.tx_id.clone(),
            lane: newest.lane.clone(),
            sequence: newest.sequence,
            since_height,
            evidence: vec![planned.evidence.clone()],
            search_foreign: true,
        };
        let seen = if settlement.lock().row.second_source {
            self.agreed_foreign(&settlement.network, watch).await?
        } else {
            let seen = self.ops.observe(&settlement.network, &[watch]).await.ok()?;
            seen.into_iter().next()?
        };
        if !seen.foreign_searched {
            return None;
        }
        let foreign: Vec<ForeignTx> = seen
            .foreign
            .into_iter()
            .filter(|tx| tx.height > since_height)
            .collect();
        let all_final = foreign
            .iter()
            .all(|tx| tx.depth >= settlement.network.settings.finality);
        all_final.then_some((foreign, seen.head_height))
    }
}
