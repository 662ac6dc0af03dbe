//! Signers that recorded payments still need. Removing the key of such a signer from the configuration would strand
//! money: its transactions may have to be replaced, or a scheme holds it for a payment. Therefore the process does
//! not start, and a network whose signers became known only later is not ready.

use crate::health::Checks;
use crate::state::network::NetworkRun;
use std::collections::BTreeMap;

use sdk_plugin::scheme::LaneChoice;

use journal::{JournalError, StepState};

/// Why a signer is still needed.
#[derive(Debug, Default)]
struct Bound {
    /// The name of its key when its transactions were made.
    key: Option<String>,
    /// Slots of its lane that are not final.
    slots: usize,
    /// A payment names it until this time, in seconds since the epoch.
    until_s: Option<u64>,
    /// A step of an open settlement waits for it.
    waiting: bool,
}

impl Checks {
    /// Reads the signers that must stay usable.
    pub(crate) async fn read_holds(&self, run: &NetworkRun) -> Result<(), JournalError> {
        let held = self.runtime.journal.held(run.network.id()).await?;
        let held = held.into_iter().map(|row| (row.signer, row.until_s));
        *run.held.lock() = held.collect();
        Ok(())
    }

    /// Why a network's configured signers are not enough: a sentence that says what to write.
    pub(crate) fn unserved_signer(&self, run: &NetworkRun) -> Option<String> {
        let mut bound: BTreeMap<String, Bound> = BTreeMap::new();
        for slot in run.slots() {
            let bound = bound.entry(slot.lane.signer.clone()).or_default();
            bound.slots = bound.slots.saturating_add(1);
            bound.key = Some(slot.lane.key.clone());
        }
        let now_s = self.runtime.clock.now_s();
        for (signer, until_s) in run.held.lock().iter().filter(|(_, until_s)| **until_s > now_s) {
            bound.entry(signer.clone()).or_default().until_s = Some(*until_s);
        }
        for settlement in self.runtime.claims.holders_on(run.network.id()) {
            let Some(plan) = settlement.plan() else { continue };
            let state = settlement.lock();
            for (step, row) in plan.steps.iter().zip(&state.row.steps) {
                if let (LaneChoice::Signer { address }, StepState::Waiting) = (&step.lane, &row.state) {
                    bound.entry(address.clone()).or_default().waiting = true;
                }
            }
        }
        let lanes = run.network.all_lanes();
        let settings = &run.network.settings;
        let named = |name: &String| {
            let mut keys = settings.keys.iter().chain(&settings.retained_keys);
            keys.any(|key| key.name == *name)
        };
        // Addresses decide. Until a node has answered, only the names of keys are known.
        let is_served = |signer: &str, bound: &Bound| {
            if lanes.is_empty() {
                bound.key.as_ref().is_none_or(named)
            } else {
                lanes.iter().any(|lane| lane.signer == signer)
            }
        };
        let (signer, bound) = bound.iter().find(|(signer, bound)| !is_served(signer, bound))?;
        Some(sentence(run.network.id(), signer, bound))
    }
}

fn sentence(network: &str, signer: &str, bound: &Bound) -> String {
    let mut why = Vec::new();
    if bound.slots > 0 {
        why.push(format!(
            "{} of its transactions are recorded and not final",
            bound.slots
        ));
    }
    if let Some(until_s) = bound.until_s {
        why.push(format!("payments name it until {until_s} (seconds since 1970)"));
    }
    if bound.waiting {
        why.push("an open settlement waits for it".to_owned());
    }
    let key = match &bound.key {
        Some(key) => format!("its key was called {key:?}"),
        None => "the key with this address".to_owned(),
    };
    format!(
        "networks.{network:?}: signer {signer} is needed and not configured: {}. Write it under retained_signers, with \
         its [keys.NAME] section ({key}); remove it once that is over",
        why.join(", ")
    )
}
