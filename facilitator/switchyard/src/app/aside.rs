//! The file of payments that ended their plugin's process: which plugin, which payment, and how often. A payment that did it twice
//! is set aside, and so it is after the next start.
//!
//! An entry is about one file of a plugin: for another file the payments are served again. Each process has its own list, also where
//! nodes share the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::calls::CallTable;
use base::calls::aside::{Death, ENDS, MOST};
use base::list_file::ListFile;
use parking_lot::Mutex;
use plugin_host::crumbs;
use serde::{Deserialize, Serialize};

use super::quarantine::unreadable;

const ASIDE: ListFile = ListFile {
    name: "aside",
    max_bytes: 1 << 20,
};
/// Longest text of an entry that comes from a plugin.
const MAX_TEXT_CHARS: usize = 200;

/// A payment that ended its plugin's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The instance's name.
    pub plugin: String,
    pub sha256: String,
    /// By which the payment is known: a SHA-256 in hex.
    pub payment: String,
    /// Once it is recorded.
    pub settlement: Option<u64>,
    #[serde(default)]
    pub claim: Option<String>,
    #[serde(default)]
    pub scheme: Option<String>,
    #[serde(default)]
    pub network: Option<String>,
    /// What the plugin did at the last end: a part of a sentence.
    pub doing: String,
    pub ends: u32,
    /// Of the last end, milliseconds since the epoch.
    pub last_ms: u64,
}

impl Entry {
    /// Whether the plugin is not called about it.
    #[must_use]
    pub fn is_set_aside(&self) -> bool {
        self.ends >= ENDS
    }

    fn of_death(plugin: &str, sha256: &str, death: &Death) -> Self {
        let recorded = death.subject.recorded.as_ref();
        Self {
            settlement: recorded.map(|recorded| recorded.settlement),
            claim: recorded.map(|recorded| cut(&recorded.claim)),
            scheme: Some(cut(&death.subject.scheme)),
            network: Some(death.network.clone()),
            ..Self::first(
                plugin,
                sha256,
                &death.subject.digest,
                crumbs::Doing::Operation(death.operation),
                death.at_ms,
            )
        }
    }

    fn first(plugin: &str, sha256: &str, digest: &[u8; 32], doing: crumbs::Doing, at_ms: u64) -> Self {
        Self {
            plugin: plugin.to_owned(),
            sha256: sha256.to_owned(),
            payment: hex::encode(digest),
            settlement: None,
            claim: None,
            scheme: None,
            network: None,
            doing: doing.text(),
            ends: 1,
            last_ms: at_ms,
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARS).collect()
}

/// The entries in a folder.
///
/// # Errors
/// The file can't be read, or is damaged.
pub fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    ASIDE.read(folder).map_err(|why| unreadable(&ASIDE, folder, &why))
}

/// Settlements about which their plugin is not called, while they have no outcome.
///
/// # Errors
/// The file can't be read, or is damaged.
pub fn settlements(folder: &Path) -> io::Result<BTreeSet<u64>> {
    let aside = read(folder)?.into_iter().filter(Entry::is_set_aside);
    Ok(aside.filter_map(|entry| entry.settlement).collect())
}

/// Removes the entries of a plugin; `false`: there are none.
///
/// # Errors
/// The file can't be read or written.
pub(super) fn release(folder: &Path, name: &str) -> io::Result<bool> {
    let _lock = ASIDE.lock(folder)?;
    let mut entries = read(folder)?;
    let before = entries.len();
    entries.retain(|entry| entry.plugin != name);
    if entries.len() == before {
        return Ok(false);
    }
    ASIDE.write(folder, &entries)?;
    Ok(true)
}

/// Counts an end that a plugin's code in this process caused while it was busy with a payment. Returns whether that sets the
/// payment aside.
///
/// # Errors
/// The file can't be read or written.
pub(super) fn add_blamed(
    folder: &Path,
    plugin: &str,
    sha256: &str,
    busy: &crumbs::Busy,
    at_ms: u64,
) -> io::Result<bool> {
    let (Some(payment), Some(doing)) = (busy.payment, busy.doing) else {
        return Ok(false);
    };
    let entry = Entry {
        settlement: payment.settlement,
        ..Entry::first(plugin, sha256, &payment.digest, doing, at_ms)
    };
    Ok(add(folder, entry)? >= ENDS)
}

/// Adds an end. Returns how many there are of its payment.
fn add(folder: &Path, new: Entry) -> io::Result<u32> {
    let _lock = ASIDE.lock(folder)?;
    let mut entries = read(folder)?;
    // Another file of this name is another plugin.
    entries.retain(|entry| entry.plugin != new.plugin || entry.sha256 == new.sha256);
    let before = entries
        .iter()
        .position(|entry| entry.plugin == new.plugin && entry.payment == new.payment)
        .map(|at| entries.remove(at));
    let ends = before.as_ref().map_or(0, |before| before.ends).saturating_add(1);
    entries.push(match before {
        None => new,
        // What is known of it stays known: the crumbs of a process name less.
        Some(before) => Entry {
            settlement: new.settlement.or(before.settlement),
            claim: new.claim.or(before.claim),
            scheme: new.scheme.or(before.scheme),
            network: new.network.or(before.network),
            ends,
            ..new
        },
    });
    if entries.len() > MOST {
        let oldest = entries
            .iter()
            .enumerate()
            .min_by_key(|(_, entry)| (entry.settlement.is_some(), entry.last_ms));
        if let Some((oldest, _)) = oldest {
            entries.remove(oldest);
        }
    }
    ASIDE.write(folder, &entries)?;
    Ok(ends)
}

/// Which file each instance of this process runs, so that what it does to its process is recorded.
#[derive(Debug)]
pub(super) struct AsideRecord {
    folder: PathBuf,
    calls: Arc<CallTable>,
    /// Name and digest, by the instance's id in the registry.
    instances: Mutex<BTreeMap<u64, (String, String)>>,
}

impl AsideRecord {
    /// Records ends from now on.
    pub(super) fn begin(folder: &Path, calls: &Arc<CallTable>) -> Arc<Self> {
        let record = Arc::new(Self {
            folder: folder.to_owned(),
            calls: Arc::clone(calls),
            instances: Mutex::default(),
        });
        // Weak: the table outlives the record, and holds the sink.
        let weak = Arc::downgrade(&record);
        calls.aside.set_sink(move |death| {
            let Some(record) = weak.upgrade() else { return };
            // The disk must not hold up the task that starts the process again.
            tokio::task::spawn_blocking(move || record.write(&death));
        });
        record
    }

    fn write(&self, death: &Death) {
        let Some((name, sha256)) = self.instances.lock().get(&death.instance).cloned() else {
            return;
        };
        if let Err(error) = add(&self.folder, Entry::of_death(&name, &sha256, death)) {
            tracing::warn!(plugin = name, %error,
                "aside_not_recorded: a payment that ended the plugin's process is forgotten at the next start");
        }
    }

    /// Records which file an instance runs from now on, and counts what the list has about that file.
    pub(super) fn follow(&self, instance: u64, name: &str, sha256: &str, now_ms: u64) {
        self.instances
            .lock()
            .insert(instance, (name.to_owned(), sha256.to_owned()));
        let entries = match read(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(plugin = name, %error,
                    "aside_not_read: the plugin is called again about payments that ended its process");
                return;
            }
        };
        let of_it = entries
            .iter()
            .filter(|entry| entry.plugin == name && entry.sha256 == sha256);
        let ends = of_it.filter_map(|entry| {
            let mut digest = [0; 32];
            hex::decode_to_slice(&entry.payment, &mut digest).ok()?;
            let age = Duration::from_millis(now_ms.saturating_sub(entry.last_ms));
            Some((digest, entry.ends, age, entry.settlement.is_some()))
        });
        self.calls.aside.load(instance, ends);
    }
}

#[cfg(test)]
mod tests {
    use base::calls::Operation;
    use base::calls::aside::{Recorded, SetAside, Subject};

    use super::*;

    fn busy(settlement: Option<u64>) -> crumbs::Busy {
        crumbs::Busy {
            instance: 1,
            thread: 70,
            doing: Some(crumbs::Doing::Operation(Operation::Judge)),
            payment: Some(crumbs::Payment {
                digest: [7; 32],
                settlement,
            }),
        }
    }

    fn subject(digest: u8) -> Subject {
        Subject {
            digest: [digest; 32],
            scheme: "exact".into(),
            recorded: Some(Recorded {
                settlement: 5,
                claim: "claim".into(),
            }),
        }
    }

    fn death(digest: u8, at_ms: u64) -> Death {
        Death {
            instance: 1,
            operation: Operation::Judge,
            network: "eip155:1".into(),
            subject: subject(digest),
            at_ms,
        }
    }

    #[test]
    fn ends_of_both_kinds_count_together_and_for_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        assert!(!add_blamed(folder, "bad", "one", &busy(Some(5)), 1).expect("written"));
        assert_eq!(
            add(folder, Entry::of_death("bad", "one", &death(7, 2))).expect("written"),
            2
        );
        let entries = read(folder).expect("read");
        let entry = entries.first().expect("one");
        assert!(entries.len() == 1 && entry.is_set_aside());
        assert_eq!(entry.claim.as_deref(), Some("claim"));
        // The crumbs of a later process do not know the claim.
        assert!(add_blamed(folder, "bad", "one", &busy(None), 3).expect("written"));
        let entries = read(folder).expect("read");
        let entry = entries.first().expect("one");
        assert_eq!(
            (entry.settlement, entry.claim.as_deref()),
            (Some(5), Some("claim"))
        );
        // Another file of the plugin begins anew.
        assert!(!add_blamed(folder, "bad", "two", &busy(Some(5)), 4).expect("written"));
        assert_eq!(read(folder).expect("read").len(), 1);
        assert!(!release(folder, "evm").expect("read"));
        assert!(release(folder, "bad").expect("written"));
        assert_eq!(read(folder).expect("read"), []);
    }

    #[tokio::test]
    async fn the_next_process_knows_what_is_set_aside_until_it_is_released() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for at_ms in [1, 2] {
            add(folder, Entry::of_death("bad", "one", &death(7, at_ms))).expect("written");
        }
        let calls = Arc::new(CallTable::default());
        let record = AsideRecord::begin(folder, &calls);
        record.follow(3, "bad", "one", 100);
        assert_eq!(calls.aside.check(3, &subject(7)), Some(SetAside::News));
        assert_eq!(calls.aside.check(3, &subject(8)), None);
        record.follow(3, "bad", "two", 100);
        assert_eq!(calls.aside.check(3, &subject(7)), None, "another file");
        record.follow(3, "bad", "one", 100);
        assert!(calls.aside.check(3, &subject(7)).is_some());
        assert!(release(folder, "bad").expect("written"));
        record.follow(3, "bad", "one", 100);
        assert_eq!(calls.aside.check(3, &subject(7)), None, "released");
    }

    #[test]
    fn the_list_stays_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let all: Vec<Entry> = (0..MOST)
            .map(|number| Entry {
                payment: number.to_string(),
                settlement: (number == 0).then_some(1),
                ..Entry::of_death("bad", "one", &death(7, u64::try_from(number).expect("small")))
            })
            .collect();
        ASIDE.write(folder, &all).expect("written");
        add(folder, Entry::of_death("bad", "one", &death(9, 9_999))).expect("written");
        let entries = read(folder).expect("read");
        assert_eq!(entries.len(), MOST);
        let has = |payment: &str| entries.iter().any(|entry| entry.payment == payment);
        assert!(has("0") && has("2"), "recorded ones stay");
    }
}
