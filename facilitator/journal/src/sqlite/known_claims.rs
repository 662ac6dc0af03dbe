//! Which claims are certainly unknown, without a read: a blocked Bloom filter over the keys of [`Table::Claims`].
//!
//! Nearly every `/verify` is about a claim that no settlement has, and a read of the database costs two changes of threads.
//! The filter answers "unknown" or "maybe"; "maybe" is followed by the read.
//!
//! "Unknown" is never wrong (laws 4 and 5):
//! - The writer adds a key before the transaction that writes it commits, so that no acknowledged commit is missing. A commit
//!   that fails after that, and a row that retention removes, only leave a needless "maybe".
//! - Until every key that was in the database at the start is in the filter, it answers nothing. The writer adds keys from its
//!   first transaction on, and the scan begins after that: each key is found by one of them.
//! - No other process writes: the journal's lock excludes it. A backup is restored while no process holds the lock, and the
//!   next start reads the restored rows.
//!
//! A journal that several nodes share (PostgreSQL) has no such filter: another node's commit would be missing from it.

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::{JournalError, Rows as _, Table};
use super::files;
use super::tables::Tables;

/// Bits of a block: one cache line.
const BLOCK_BITS: u64 = 512;
const WORDS: u64 = BLOCK_BITS / 64;
/// Bits that each key sets in its block.
const BITS_OF_KEY: u32 = 6;
/// Bits of the hash that choose one of a block's bits.
const CHOICE: u32 = BLOCK_BITS.ilog2();
/// Bits per id of a settlement or attempt: at least 16 per claim, at which one unknown claim in about 500 is a "maybe".
const BITS_PER_ID: u64 = 8;
/// Room for new claims even in a small journal: 1 MiB in all.
const FEWEST_IDS: u64 = 1 << 20;
/// 16 MiB in all. Beyond this many ids, more and more claims are read as before.
const MOST_IDS: u64 = 1 << 24;
/// Keys that are read at once: no read stays open for long, because it keeps the write-ahead log from being folded.
const PAGE: usize = 1_000;

/// The keys of all claims, as far as a filter can know them.
pub(super) struct KnownClaims {
    words: Vec<AtomicU64>,
    /// Chooses the block, and the bits in it.
    hashers: [RandomState; 2],
    /// Every key of the start is in it.
    complete: AtomicBool,
    /// The journal is closed.
    stopped: AtomicBool,
}

impl KnownClaims {
    /// An empty filter for a journal that has used this many ids.
    pub(super) fn new(ids: u64) -> Self {
        let bits = ids
            .clamp(FEWEST_IDS, MOST_IDS)
            .saturating_mul(BITS_PER_ID)
            .next_multiple_of(BLOCK_BITS);
        Self {
            words: (0..bits / 64).map(|_| AtomicU64::new(0)).collect(),
            // Chosen at random: nobody can make keys that collide.
            hashers: [RandomState::new(), RandomState::new()],
            complete: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// The transaction that writes this key has not committed yet.
    pub(super) fn add(&self, key: &str) {
        for (word, bit) in self.bits_of(key) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Whether no acknowledged commit has written this key. `false` says nothing.
    pub(super) fn is_unknown(&self, key: &str) -> bool {
        self.complete.load(Ordering::Acquire)
            && self
                .bits_of(key)
                .any(|(word, bit)| word.load(Ordering::Acquire) & bit == 0)
    }

    fn bits_of(&self, key: &str) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let [block, bits] = [0, 1].map(|which: usize| self.hashers[which].hash_one(key));
        let blocks = (self.words.len() as u64 / WORDS).max(1);
        let first = (block % blocks) * WORDS;
        (0..BITS_OF_KEY).filter_map(move |number| {
            let bit = (bits >> (number * CHOICE)) % BLOCK_BITS;
            let word = usize::try_from(first + bit / 64).ok()?;
            Some((self.words.get(word)?, 1 << (bit % 64)))
        })
    }

    /// Ends [`Self::scan`].
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Adds every key of the database. The writer adds new ones already.
    pub(super) fn scan(&self, path: &Path) -> Result<(), JournalError> {
        let connection = files::connect_read_only(path)?;
        let mut tables = Tables::new(&connection);
        let mut after: Option<String> = None;
        while !self.stopped.load(Ordering::Acquire) {
            let page = tables.scan(Table::Claims, "", after.as_deref(), PAGE)?;
            for (key, _) in &page {
                self.add(key);
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                Some(_) | None => {
                    self.complete.store(true, Ordering::Release);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Fills the filter on a thread of its own. Without it every claim is read, as long as the process runs.
pub(super) fn run(known: &KnownClaims, path: &Path) {
    if let Err(error) = known.scan(path) {
        tracing::warn!(%error, "known_claims_not_read: each claim is looked up in the database instead");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteJournal;
    use crate::testkit::opened;
    use crate::{Event, Journal as _};

    fn filled(keys: u64) -> KnownClaims {
        let known = KnownClaims::new(0);
        for key in 0..keys {
            known.add(&format!("evm|eip155:8453|claim {key}"));
        }
        known.complete.store(true, Ordering::Release);
        known
    }

    #[test]
    fn what_was_added_is_never_unknown_and_most_else_is() {
        const KEYS: u64 = 100_000;
        let known = filled(KEYS);
        let is_unknown = |key: u64| known.is_unknown(&format!("evm|eip155:8453|claim {key}"));
        assert!(!(0..KEYS).any(is_unknown));
        let maybe = (KEYS..2 * KEYS).filter(|key| !is_unknown(*key)).count();
        assert!(maybe < 200, "{maybe} of {KEYS} unknown keys");
    }

    #[test]
    fn an_incomplete_filter_calls_nothing_unknown() {
        let known = KnownClaims::new(0);
        assert!(!known.is_unknown("claim"));
        known.complete.store(true, Ordering::Release);
        assert!(known.is_unknown("claim"));
        known.add("claim");
        assert!(!known.is_unknown("claim"));
    }

    #[test]
    fn its_size_is_bounded() {
        assert_eq!(KnownClaims::new(0).words.len() * 8, 1 << 20);
        assert_eq!(KnownClaims::new(u64::MAX).words.len() * 8, 16 << 20);
    }

    /// The claims of these ids, each found; and those of others, each unknown.
    async fn check(journal: &SqliteJournal, ids: std::ops::Range<u64>) {
        for id in ids.clone() {
            let row = journal.claim(&format!("c{id}")).await.unwrap();
            assert_eq!(row.map(|row| row.id), Some(id));
        }
        for id in ids.end..ids.end + 50 {
            assert_eq!(journal.claim(&format!("c{id}")).await.unwrap(), None);
        }
    }

    fn opening(id: u64) -> Vec<Event> {
        vec![opened(id, &format!("c{id}"))]
    }

    async fn until_complete(journal: &SqliteJournal) {
        while !journal.known_claims.complete.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn claims_are_found_as_soon_as_they_are_committed_and_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let first = SqliteJournal::open(folder.path()).unwrap();
        until_complete(&first).await;
        for id in 1..20 {
            first.commit(opening(id)).await.unwrap();
            check(&first, 1..id + 1).await;
        }
        drop(first);
        let second = SqliteJournal::open(folder.path()).unwrap();
        // While the keys of the start are read, and afterwards.
        for id in 20..40 {
            check(&second, 1..id).await;
            second.commit(opening(id)).await.unwrap();
        }
        until_complete(&second).await;
        check(&second, 1..40).await;
    }

    #[tokio::test]
    async fn an_unknown_claim_costs_no_statement() {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(folder.path()).unwrap();
        journal.commit(opening(1)).await.unwrap();
        until_complete(&journal).await;
        let before = journal.counts();
        assert_eq!(journal.claim("c2").await.unwrap(), None);
        assert_eq!(journal.counts(), before);
        assert!(journal.claim("c1").await.unwrap().is_some());
        assert_ne!(journal.counts(), before);
    }

    #[tokio::test]
    async fn more_keys_than_one_page_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = SqliteJournal::open(folder.path()).unwrap();
        let last = 2 * PAGE as u64 + 1;
        first
            .commit((1..=last).flat_map(opening).collect())
            .await
            .unwrap();
        drop(first);
        let second = SqliteJournal::open(folder.path()).unwrap();
        until_complete(&second).await;
        assert!((1..=last).all(|id| !second.known_claims.is_unknown(&format!("c{id}"))));
    }
}
