//! A plugin that gets another manifest id: what the journal keeps under the old id is kept under the new one from then on.
//!
//! Claims, conflict keys, rows of stores and jobs have the id in their keys. A plugin with another id would find none of them: its
//! open payments would have no plugin, and every authorization that it has settled would be new. An adoption is one event and
//! one commit in every back end. It goes through the tables page by page, inside the back end's transaction and not in memory
//! ([`Group`](crate::group::Group)), because it may change every row of a large journal.
//!
//! Assumed: no process uses the journal. A back end that several nodes share checks that none lives ([`gone_nodes`]).
//!
//! Not changed: events of before, which say what was true then, and the plugin's own data in plans, rows and jobs.

mod known;
mod rows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use known::{known_ids, survey};
pub(crate) use rows::change;

use crate::lease::{Lease, NODE, Shared};
use crate::{CommitError, Event, JournalError};

/// Rows that are read at once: a page of them is in memory.
const PAGE: usize = 500;
/// The most characters of a manifest id.
const LONGEST_ID: usize = 64;
/// A node whose lease stays as it is for this long is gone: twice as long as nodes wait for each other.
const NODE_SILENT: Duration = Duration::from_secs(8);
/// Pause between two reads of the leases.
const NODE_POLL: Duration = Duration::from_millis(500);

/// Which id becomes which.
#[derive(Debug, Clone)]
pub struct Adoption {
    from: String,
    to: String,
    read: Arc<AtomicU64>,
}

/// What is kept under the old id, or was until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Settlements, finished ones included.
    pub settlements: u64,
    /// Those of them that are not finished.
    pub unfinished: u64,
    /// Rows of the plugin's store.
    pub rows: u64,
    /// Jobs of the plugin.
    pub jobs: u64,
}

/// Keys of one kind that both ids have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    /// How many.
    pub count: u64,
    /// The first of them, without the id.
    pub first: String,
}

/// Keys that both ids have: nothing says which of two rows is right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collisions {
    /// Claims.
    pub claims: Shares,
    /// Conflict keys that a settlement of either id holds.
    pub conflict_keys: Shares,
    /// Rows of stores with different values.
    pub rows: Shares,
    /// Jobs that differ.
    pub jobs: Shares,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// One of the ids can't be used.
    #[error("{0}")]
    Id(String),
    /// The journal has nothing of the old id.
    #[error("no payment, row or job is kept under {from}; known ids: {}", list(.known))]
    Nothing {
        /// The old id.
        from: String,
        /// Every id under which something is kept.
        known: Vec<String>,
    },
    /// Both ids have the same keys.
    #[error(
        "{} are kept under {from} and under {to}: {to} was used before the adoption, and nothing says which of two is right. Nothing \
         was changed. Restore a backup from before {to} was started, or serve {from} until its payments have ended",
        listed(.collisions)
    )]
    Collide {
        /// The old id.
        from: String,
        /// The new id.
        to: String,
        /// What both have.
        collisions: Box<Collisions>,
    },
    /// A process uses the journal.
    #[error("node {0} uses the journal: stop every node first, then run the command again")]
    InUse(String),
    /// This journal can't do it.
    #[error("this journal can't change the ids of plugins")]
    Unsupported,
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] CommitError),
}

impl From<JournalError> for AdoptError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.into())
    }
}

impl Adoption {
    /// What is kept under `from` is kept under `to` afterwards.
    ///
    /// # Errors
    /// [`AdoptError::Id`]: the ids are the same, or one is no manifest id.
    pub fn new(from: &str, to: &str) -> Result<Self, AdoptError> {
        // Hosts do not enforce the form of an id that is in use, so the old one may have any that fits into a key.
        if from.is_empty() || from.contains('|') {
            return Err(AdoptError::Id(format!("{from:?} is no plugin's id")));
        }
        if !is_id(to) {
            return Err(AdoptError::Id(format!(
                "{to:?} is no plugin's id: write the `id` of its manifest, 1 to {LONGEST_ID} of the characters a-z, 0-9, \".\", \"_\" \
                 and \"-\"; `switchyard plugin inspect` prints it"
            )));
        }
        if from == to {
            return Err(AdoptError::Id(format!("{from} is both the old and the new id")));
        }
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            read: Arc::default(),
        })
    }

    /// The old id.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The new id.
    #[must_use]
    pub fn to(&self) -> &str {
        &self.to
    }

    /// How many rows were read so far: first to check them, then to change them.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn count(&self, rows: usize) {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.read.fetch_add(rows, Ordering::Relaxed);
    }

    /// What the log records.
    pub(crate) fn event(&self, at_ms: u64) -> Event {
        Event::Adopted {
            from: self.from.clone(),
            to: self.to.clone(),
            at_ms,
        }
    }

    fn old_prefix(&self) -> String {
        prefix(&self.from)
    }

    /// The same key under the new id; `None`: it is not the old id's.
    fn moved(&self, key: &str) -> Option<String> {
        let own = key.strip_prefix(&self.old_prefix())?;
        Some(format!("{}{own}", prefix(&self.to)))
    }
}

/// Keys of a plugin begin with this: claims, conflict keys, rows of its store and jobs.
fn prefix(plugin: &str) -> String {
    format!("{plugin}|")
}

fn is_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    ids.join(", ")
}

impl Collisions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn listed(collisions: &Collisions) -> String {
    let Collisions {
        claims,
        conflict_keys,
        rows,
        jobs,
    } = collisions;
    let kinds = [
        (claims, "claim"),
        (conflict_keys, "conflict key"),
        (rows, "row"),
        (jobs, "job"),
    ];
    let found = kinds.into_iter().filter(|(shares, _)| shares.count > 0);
    let texts = found.map(|(Shares { count, first }, what)| match count {
        1 => format!("1 {what} ({first:?})"),
        _ => format!("{count} {what}s (the first: {first:?})"),
    });
    texts.collect::<Vec<_>>().join(", ")
}

impl Shares {
    fn add(&mut self, own_key: &str) {
        if self.count == 0 {
            own_key.clone_into(&mut self.first);
        }
        self.count = self.count.saturating_add(1);
    }
}

/// The leases of nodes that have ended without giving them up, once it is certain that no node lives.
///
/// # Errors
/// [`AdoptError::InUse`]: a node lives.
pub(crate) async fn gone_nodes(shared: &dyn Shared) -> Result<Vec<Lease>, AdoptError> {
    let seen = of_nodes(shared.leases().await?);
    let began = Instant::now();
    while !seen.is_empty() && began.elapsed() < NODE_SILENT {
        tokio::time::sleep(NODE_POLL).await;
        still_gone(&seen, shared.leases().await?)?;
    }
    Ok(seen)
}

/// Refuses leases that have changed: their nodes live.
///
/// # Errors
/// [`AdoptError::InUse`].
pub(crate) fn still_gone(seen: &[Lease], now: Vec<Lease>) -> Result<(), AdoptError> {
    match of_nodes(now).into_iter().find(|lease| !seen.contains(lease)) {
        Some(lease) => Err(AdoptError::InUse(lease.node)),
        None => Ok(()),
    }
}

/// The leases of nodes themselves that were not given up.
fn of_nodes(leases: Vec<Lease>) -> Vec<Lease> {
    let of_nodes = leases.into_iter();
    of_nodes
        .filter(|lease| lease.unit.starts_with(NODE) && !lease.node.is_empty())
        .collect()
}
