//! What this process knows of the journal that several nodes share: whether the database answers, which lanes some node serves,
//! and which open payments none does. Always empty where this process has its journal alone.

use base::service::JournalReadiness;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a count of waiting settlements is used.
const COUNTED_FOR: Duration = Duration::from_millis(250);

/// As of the last round of leases.
#[derive(Debug, Default)]
pub(crate) struct SharedJournal {
    /// Why the database can't be used.
    trouble: Mutex<Option<String>>,
    /// Units with open payments that no node continues.
    unserved: Mutex<BTreeSet<String>>,
    /// Lanes of other nodes that live and that can send and observe.
    served: Mutex<BTreeSet<String>>,
    /// By unit: how many settlements wait for its owner, and when they were counted.
    waiting: Mutex<BTreeMap<String, (usize, Instant)>>,
}

impl SharedJournal {
    /// Returns whether that is news.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) -> bool {
        let before = std::mem::replace(&mut *self.trouble.lock(), trouble.clone());
        before.is_some() != trouble.is_some()
    }

    pub(crate) fn set_served(&self, units: BTreeSet<String>) {
        *self.served.lock() = units;
    }

    /// Whether another node that lives can send from a lane.
    pub(crate) fn is_served(&self, unit: &str) -> bool {
        self.served.lock().contains(unit)
    }

    /// Counts a settlement that is about to be opened for the owner of a unit. `false`: as many wait as the lane's queue can hold.
    /// `None`: the caller reads how many wait, and enters again.
    pub(crate) fn enter(&self, unit: &str, places: usize, now: Instant) -> Option<bool> {
        let mut waiting = self.waiting.lock();
        let (count, at) = waiting.get_mut(unit)?;
        if now.saturating_duration_since(*at) >= COUNTED_FOR {
            // One caller counts; the others go by the last count until it has.
            *at = now;
            return None;
        }
        let has_room = *count < places;
        if has_room {
            *count = count.saturating_add(1);
        }
        Some(has_room)
    }

    pub(crate) fn set_waiting(&self, unit: &str, count: usize, now: Instant) {
        self.waiting.lock().insert(unit.to_owned(), (count, now));
    }

    /// Returns those that were not known to be unserved.
    pub(crate) fn set_unserved(&self, units: BTreeSet<String>) -> Vec<String> {
        let before = std::mem::replace(&mut *self.unserved.lock(), units.clone());
        units.difference(&before).cloned().collect()
    }

    /// For `/ready`.
    pub(crate) fn readiness(&self) -> JournalReadiness {
        let why_not = self.trouble.lock().as_ref().map(|why| unreachable(why));
        JournalReadiness {
            why_not,
            alarms: self.unserved.lock().iter().map(|unit| unserved(unit)).collect(),
        }
    }
}

fn unreachable(why: &str) -> String {
    format!(
        "the database of the journal does not answer ({why}): nothing is recorded, and payments get 503, until it does"
    )
}

/// What to do about open payments that no node continues.
pub(crate) fn unserved(unit: &str) -> String {
    let (network, signer) = unit.rsplit_once('|').unwrap_or((unit, ""));
    format!(
        "payments of lane {unit} are open and no node continues them: write networks.{network:?} with the signer {signer} under \
         `signers` or `retained_signers` in the configuration of a node, and restart it; remove it once they have ended"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_settlements_wait_for_an_owner_than_there_are_places() {
        let start = Instant::now();
        let journal = SharedJournal::default();
        assert_eq!(journal.enter("u", 2, start), None, "nothing was counted");
        journal.set_waiting("u", 1, start);
        assert_eq!(journal.enter("u", 2, start), Some(true));
        assert_eq!(journal.enter("u", 2, start), Some(false));
        let later = start + COUNTED_FOR;
        assert_eq!(journal.enter("u", 2, later), None);
        assert_eq!(
            journal.enter("u", 2, later),
            Some(false),
            "another one is counting"
        );
        journal.set_waiting("u", 0, later);
        assert_eq!(journal.enter("u", 2, later), Some(true));
    }

    #[test]
    fn an_outage_and_open_payments_without_a_node_are_said_until_they_are_over() {
        let journal = SharedJournal::default();
        assert_eq!(journal.readiness(), JournalReadiness::default());
        assert!(journal.set_trouble(Some("connection refused".into())));
        assert!(
            !journal.set_trouble(Some("no answer in time".into())),
            "the same outage"
        );
        let why_not = journal.readiness().why_not.unwrap();
        assert!(
            why_not.contains("does not answer (no answer in time)"),
            "{why_not}"
        );
        assert!(journal.set_trouble(None));
        let units = BTreeSet::from(["eip155:1|0xa".to_owned()]);
        assert_eq!(journal.set_unserved(units.clone()), ["eip155:1|0xa"]);
        assert_eq!(journal.set_unserved(units), Vec::<String>::new(), "no news");
        let alarms = journal.readiness().alarms;
        let [alarm] = &alarms[..] else {
            panic!("{alarms:?}")
        };
        for part in ["lane eip155:1|0xa", "networks.\"eip155:1\"", "signer 0xa under"] {
            assert!(alarm.contains(part), "{alarm}");
        }
        journal.set_unserved(BTreeSet::new());
        assert_eq!(journal.readiness(), JournalReadiness::default());
    }
}
