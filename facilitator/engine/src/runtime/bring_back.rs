//! Settlements from the journal back into memory.

use crate::runtime::Runtime;
use crate::state::settlement::{Phase, Settlement};
use journal::{JournalError, Outcome, SettlementRow};
use sdk_plugin::scheme::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settlements that are read at once: other reads take turns with these.
const PAGE: usize = 256;

impl Runtime {
    /// Puts every settlement that is not finished into memory. By id.
    pub(crate) async fn bring_all_back(&self) -> Result<BTreeMap<u64, Arc<Settlement>>, JournalError> {
        let mut settlements = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.journal.unfinished_after(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            for (row, plan) in page {
                after = row.id;
                if let Some(settlement) = self.bring_back(row, plan) {
                    settlements.insert(settlement.id, settlement);
                }
            }
            if is_last {
                return Ok(settlements);
            }
        }
    }

    /// Puts those of a unit that its owner continues into memory. By id. What waits to be taken over is not among them: it is
    /// queued like new work.
    pub(crate) async fn bring_unit_back(
        &self,
        unit: &str,
    ) -> Result<BTreeMap<u64, Arc<Settlement>>, JournalError> {
        let mut settlements = BTreeMap::new();
        let mut after = Some(0);
        while let Some(id) = after {
            let part = self.journal.unfinished_of(unit, id, PAGE).await?;
            for (row, plan) in part.found {
                if let Some(settlement) = self.bring_back(row, plan) {
                    settlements.insert(settlement.id, settlement);
                }
            }
            after = part.more_after;
        }
        Ok(settlements)
    }

    /// Puts a settlement that is not finished into memory. `None`: its network is not configured.
    pub(crate) fn bring_back(&self, row: SettlementRow, plan: Option<String>) -> Option<Arc<Settlement>> {
        let keys = if row.holds_keys() {
            row.conflict_keys.clone()
        } else {
            Vec::new()
        };
        let known = self
            .claims
            .holder(&row.claim)
            .filter(|holder| holder.id == row.id);
        let settlement = match known.or_else(|| self.elsewhere.remove(row.id)) {
            // Its callers keep waiting.
            Some(known) => {
                known.lock().row = row;
                known
            }
            None => self.as_recorded(row)?,
        };
        if settlement.kind.is_none() && settlement.lock().row.outcome == Outcome::Open {
            let row = settlement.lock().row.clone();
            tracing::error!(settlement = row.id, plugin = %row.plugin, scheme = %row.scheme,
                "the journal holds a settlement whose plugin is not loaded: load it again");
        }
        self.read_plan(&settlement, plan);
        self.claims.resume(&settlement, keys);
        Some(settlement)
    }

    /// A recorded settlement, without its plan. `None`: its network is not configured.
    pub(crate) fn as_recorded(&self, row: SettlementRow) -> Option<Arc<Settlement>> {
        let Some(network) = self.registry.network(&row.network) else {
            tracing::error!(settlement = row.id, network = %row.network,
                "the journal holds a settlement on a network that is not configured: configure it again");
            return None;
        };
        let kind = self
            .registry
            .kind_of(&row.plugin, &row.scheme, &row.network)
            .cloned();
        Some(Arc::new(Settlement::new(
            row,
            Phase::Committed,
            Arc::clone(network),
            kind,
            None,
        )))
    }

    /// Gives a settlement its recorded plan, if it has none yet.
    pub(crate) fn read_plan(&self, settlement: &Settlement, plan: Option<String>) {
        let plan: Option<Arc<Plan>> = plan.and_then(|text| match serde_json::from_str(&text) {
            Ok(plan) => Some(Arc::new(plan)),
            Err(error) => {
                tracing::error!(settlement = settlement.id, %error,
                    "a stored plan can't be read: its settlement stays pending until a version that reads it is used");
                None
            }
        });
        // Set before where this process made the plan.
        let _ = settlement.plan.set(plan);
    }
}
