//! Settlements that another node continues, and for which callers wait here.

use crate::state::settlement::Settlement;
use journal::SettlementRow;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// By id.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    settlements: Mutex<BTreeMap<u64, Arc<Settlement>>>,
    /// Wakes the task that reads them.
    pub(crate) added: Notify,
}

impl Elsewhere {
    pub(crate) fn all(&self) -> Vec<Arc<Settlement>> {
        self.settlements.lock().values().cloned().collect()
    }

    /// The one with this id; `make` makes it where there is none.
    pub(crate) fn get_or(&self, id: u64, make: impl FnOnce() -> Arc<Settlement>) -> Arc<Settlement> {
        Arc::clone(self.settlements.lock().entry(id).or_insert_with(make))
    }

    pub(crate) fn add(&self, settlement: &Arc<Settlement>) {
        self.settlements
            .lock()
            .insert(settlement.id, Arc::clone(settlement));
        self.added.notify_one();
    }

    /// The same, where it may be there already, or another one in its place that has callers of its own.
    pub(crate) fn add_again(&self, settlement: &Arc<Settlement>) {
        self.settlements
            .lock()
            .entry(settlement.id)
            .or_insert_with(|| Arc::clone(settlement));
        self.added.notify_one();
    }

    /// Changes the row of one that is still continued by another node. `false`: this process has taken it over.
    pub(crate) fn set_row(&self, settlement: &Arc<Settlement>, row: SettlementRow) -> bool {
        let settlements = self.settlements.lock();
        let is_it = settlements
            .get(&settlement.id)
            .is_some_and(|known| Arc::ptr_eq(known, settlement));
        if is_it {
            settlement.lock().row = row;
        }
        is_it
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Arc<Settlement>> {
        self.settlements.lock().remove(&id)
    }

    /// Removes it if nobody waits for it.
    pub(crate) fn remove_deserted(&self, settlement: &Arc<Settlement>) -> bool {
        let mut settlements = self.settlements.lock();
        let is_deserted = {
            let mut state = settlement.lock();
            state.waiters.retain(|waiter| !waiter.reply.is_closed());
            state.waiters.is_empty()
        };
        if is_deserted {
            settlements.remove(&settlement.id);
        }
        is_deserted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.settlements.lock().is_empty()
    }
}
