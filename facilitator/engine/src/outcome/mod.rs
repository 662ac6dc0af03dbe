//! Judged outcomes become durable, are released to one caller, and only then answered.

use crate::decide::payers::Griefing;
use crate::decide::steps::is_gate_open;
use crate::runtime::Runtime;
use crate::state::lane::{LaneCommand, Work};
use crate::state::settlement::{Phase, Settlement};
use sdk_plugin::StepIndex;
use sdk_plugin::scheme::LaneChoice;
mod answer;
pub(crate) mod delivery;
pub(crate) mod judge;
mod record;
pub(crate) mod rows;
pub(crate) mod settings;
pub(crate) mod withheld;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use journal::{Event, Outcome, StepState};

/// Judges, records, releases and answers.
pub(crate) struct Outcomes {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) griefing: Griefing,
    /// Settlements whose release was taken for an answer that has not arrived yet, or is being given back, each with
    /// the number of such answers.
    pub(crate) in_delivery: Mutex<BTreeMap<u64, u32>>,
    /// How often nodes had applied what operators allowed when this process read its settlements last.
    pub(crate) releases_applied: Mutex<Option<String>>,
    /// How many releases are withheld, as of the last change.
    pub(crate) withheld_now: AtomicU64,
}

impl Outcomes {
    pub(crate) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            runtime,
            griefing: Griefing::default(),
            in_delivery: Mutex::default(),
            releases_applied: Mutex::default(),
            withheld_now: AtomicU64::new(0),
        }
    }

    /// Reads the row again from the journal; the caller holds the settlement's `deciding` lock. An outcome ends the
    /// claim's reservation.
    pub(crate) async fn refresh_locked(&self, settlement: &Arc<Settlement>) {
        match self.runtime.journal.settlement(settlement.id).await {
            Ok(Some(row)) => {
                let is_decided = row.outcome != Outcome::Open;
                settlement.lock().row = row;
                if is_decided {
                    self.runtime.end_reservation(&settlement.claim);
                }
            }
            Ok(None) => tracing::error!(
                settlement = settlement.id,
                "the journal has no row of a settlement"
            ),
            Err(error) => tracing::error!(settlement = settlement.id, %error, "a row can't be read back"),
        }
    }

    /// After a step was decided: frees keys in memory, and starts what may start.
    fn after_step(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        if !settlement.lock().row.holds_keys() {
            self.runtime.claims.free_keys(settlement.id);
        }
        self.advance(settlement);
    }

    /// Hands the next step to a lane once its gate is open.
    pub(crate) fn advance(self: &Arc<Self>, settlement: &Arc<Settlement>) {
        let Some(plan) = settlement.plan() else { return };
        let next = {
            let state = settlement.lock();
            if state.phase != Phase::Committed {
                return;
            }
            let waiting = StepIndex::each(&state.row.steps).find(|(_, row)| row.state == StepState::Waiting);
            let Some((step, _)) = waiting else { return };
            let Some(planned) = step.of(&plan.steps) else {
                return;
            };
            // One that another node has recorded for this process goes through its lane's queue first.
            if !is_gate_open(&state.row, step, planned.gate) || state.row.handed_over {
                return;
            }
            let home = state.row.home.clone();
            let choice = home.map_or_else(|| planned.lane.clone(), |address| LaneChoice::Signer { address });
            (step, choice)
        };
        let (step, choice) = next;
        if let Some(lane) = self
            .runtime
            .run_of(settlement.network.id())
            .and_then(|run| run.choose(&choice, self.runtime.clock.now_ms()))
        {
            lane.send_command(LaneCommand::Step(Work {
                settlement: Arc::clone(settlement),
                step,
                payer: None,
            }));
        }
    }

    /// Finishes a settlement when all its steps are final, and tries again when the journal can't record that.
    pub(crate) async fn finish_if_ended(self: Arc<Self>, settlement: Arc<Settlement>) {
        loop {
            let deciding = settlement.deciding.lock().await;
            let ended = {
                let state = settlement.lock();
                !state.row.finished
                    && state.row.outcome != Outcome::Open
                    && state.row.steps.iter().all(|step| step.is_final)
            };
            if !ended {
                drop(deciding);
                return self.forget_if_finished(&settlement);
            }
            if !self.runtime.continues(&settlement) {
                return;
            }
            let id = settlement.id;
            let events = vec![
                Event::KeysFreed { settlement: id },
                Event::Finished {
                    settlement: id,
                    at_ms: self.runtime.clock.now_ms(),
                },
            ];
            let committed = self.runtime.journal.commit(events).await;
            self.refresh_locked(&settlement).await;
            drop(deciding);
            match committed {
                Ok(()) => return self.forget_if_finished(&settlement),
                Err(error) => {
                    tracing::error!(settlement = id, %error, "a settlement's end was not recorded; it is tried again");
                    tokio::time::sleep(FINISH_AGAIN).await;
                }
            }
        }
    }

    /// A finished settlement is only in the journal.
    pub(crate) fn forget_if_finished(&self, settlement: &Arc<Settlement>) {
        if settlement.lock().row.finished {
            self.runtime.claims.forget(settlement);
        }
    }
}

/// Pause between two tries to record a settlement's end.
const FINISH_AGAIN: std::time::Duration = std::time::Duration::from_secs(2);
