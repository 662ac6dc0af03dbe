//! Lets one claim have what a call uses up, where the chain itself does not see to it.
//!
//! A scheme may give one authorization two claims. Where the chain refuses its second use, that costs a fee. Elsewhere the
//! driver names what it decoded of the call, and the commit of the first attempt keeps that name for the step.

use super::{LaneTask, Stop};
use crate::lane::first::refused;
use crate::state::settlement::Settlement;
use journal::{CommitError, Event, REPLAY_KEYS};
use sdk_plugin::chain::Built;
use sdk_plugin::host::{StoreCondition, StoreWrite};
use sdk_plugin::{StepIndex, Value};

/// The most characters of a replay key.
const LONGEST: usize = 256;

impl LaneTask {
    /// The events that keep a step's replay key for it, for the commit of its attempt; none where the chain has its own rule.
    pub(super) async fn replay_events(
        &self,
        settlement: &Settlement,
        step: StepIndex,
        built: &Built,
    ) -> Result<Vec<Event>, Stop> {
        if !self.run.network.settings.replay_keys {
            return Ok(Vec::new());
        }
        let key = match built.replay_keys.as_slice() {
            [key] if (1..=LONGEST).contains(&key.chars().count()) => key,
            _ => {
                tracing::error!(network = %self.lane.network, settlement = settlement.id,
                    "the driver named no replay key of a call, or one that is too long: the step is not sent");
                return Err(refused("the driver did not say what authorizes the transaction"));
            }
        };
        let key = format!("{}|{key}", self.lane.network);
        let holder = Value::String(format!("{}#{}", settlement.claim, step.number()));
        let runtime = &self.lanes.runtime;
        let now_ms = runtime.clock.now_ms();
        match runtime.journal.store_get(REPLAY_KEYS, &key, now_ms).await {
            Ok(None) => Ok(vec![Event::Stored {
                plugin: REPLAY_KEYS.to_owned(),
                write: StoreWrite {
                    key,
                    value: holder,
                    condition: StoreCondition::Absent,
                    expires_at_ms: None,
                },
                now_ms,
            }]),
            Ok(Some(row)) if row.value == holder => Ok(Vec::new()),
            Ok(Some(row)) => {
                tracing::error!(network = %self.lane.network, settlement = settlement.id, claim = settlement.claim,
                    holder = ?row.value, "authorization_claimed_twice: a scheme has planned a call whose authorization another \
                     claim has used. Nothing was sent for it. Its plugin has a defect or lies");
                runtime.metrics.add(
                    "switchyard_authorization_claimed_twice_total",
                    &[("network", &self.lane.network)],
                    1,
                );
                Err(Stop::Commit(CommitError::PayloadClaimed(
                    settlement.claim.clone(),
                )))
            }
            Err(_) => Err(Stop::Unavailable("the journal can't be read")),
        }
    }
}
