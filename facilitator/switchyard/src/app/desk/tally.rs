//! Sums of the payments of the last day, from the journal. Rows are read once when they are new, and again until they are
//! finished; after that only their minute's sums are kept.
//!
//! Exact, but for payments that were opened within the last seconds: those are read again at each update. A page of the journal is
//! read at a time, so that payments do not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::settlement::SettlementStatus;
use journal::{Journal, JournalError, Page, SettlementRow, lookups};

use super::buckets::bucket;
use super::snapshot::Snapshot;
use super::sums::{Labels, MINUTE_MS, Minutes, Part, WINDOW_MS, first_minute};

/// Rows that are read at once.
const PAGE: usize = 500;
/// Where one process writes the journal, a payment is in it this long after its time at the latest. Where several do, their
/// clocks differ.
const LATE_MS: u64 = 5_000;
const LATE_SHARED_MS: u64 = 30_000;
/// Different networks, tenants and assets that are summed apart: more, of hostile assets for instance, are summed together.
const MOST_NAMES: usize = 1_024;
/// Payments that are watched at once; of more, the sums are not complete.
const MOST_WATCHED: usize = 200_000;
/// Decided payments are read again after this time, until they are finished.
const DECIDED_AGAIN_MS: u64 = 60_000;
const OTHERS: &str = "(others)";

#[derive(Debug)]
struct Watched {
    part: Part,
    read_at_ms: u64,
}

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Tally {
    minutes: Minutes,
    /// Payments that are not finished, by their ids.
    watched: BTreeMap<u64, Watched>,
    names: BTreeSet<Arc<str>>,
    /// Everything up to it is in the sums.
    cursor: Option<String>,
    is_complete: bool,
    now_ms: u64,
}

impl Tally {
    /// Reads what is new.
    ///
    /// # Errors
    /// The journal can't be read: what is there stays.
    pub(super) async fn update(&mut self, journal: &dyn Journal, now_ms: u64) -> Result<(), JournalError> {
        self.now_ms = now_ms;
        self.forget();
        self.read_again(journal).await?;
        let late_ms = if journal.shared().is_some() {
            LATE_SHARED_MS
        } else {
            LATE_MS
        };
        let to_ms = now_ms.saturating_sub(late_ms);
        loop {
            let page = self.page(journal, self.cursor.as_deref(), to_ms).await?;
            for row in &page.rows {
                self.add_new(row);
            }
            // Kept for each page: after an error nothing is summed twice.
            let last = page.rows.last().map(lookups::cursor_at);
            let is_end = page.cursor.is_none();
            self.cursor = page.cursor.or(last).or(self.cursor.take());
            if is_end {
                break;
            }
        }
        self.is_complete = self.watched.len() < MOST_WATCHED;
        Ok(())
    }

    /// The payments since [`Tally::update`] has read last: too new to be in its sums.
    pub(super) async fn newest(&self, journal: &dyn Journal) -> Result<Vec<SettlementRow>, JournalError> {
        let mut rows = Vec::new();
        let mut cursor = self.cursor.clone();
        loop {
            let page = self.page(journal, cursor.as_deref(), u64::MAX).await?;
            rows.extend(page.rows);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Payments after the cursor, or of the whole window.
    async fn page(
        &self,
        journal: &dyn Journal,
        cursor: Option<&str>,
        to_ms: u64,
    ) -> Result<Page, JournalError> {
        let from_ms = self.now_ms.saturating_sub(WINDOW_MS);
        journal.oldest_first(from_ms, to_ms, cursor, PAGE).await
    }

    async fn read_again(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        let is_due = |watched: &Watched| match watched.part.status {
            SettlementStatus::Pending | SettlementStatus::Unknown => true,
            SettlementStatus::Settled
            | SettlementStatus::Failed
            | SettlementStatus::Expired
            | SettlementStatus::Reversed => {
                self.now_ms.saturating_sub(watched.read_at_ms) >= DECIDED_AGAIN_MS
            }
        };
        let due: Vec<u64> = self
            .watched
            .iter()
            .filter(|(_, watched)| is_due(watched))
            .map(|(id, _)| *id)
            .collect();
        for ids in due.chunks(PAGE) {
            for row in journal.settlements(ids).await? {
                if let Some(watched) = self.watched.remove(&row.id) {
                    self.sum(&watched.part, false);
                    self.add(&row, watched.part.time);
                }
            }
        }
        Ok(())
    }

    fn add_new(&mut self, row: &SettlementRow) {
        if !self.watched.contains_key(&row.id) {
            self.add(row, None);
        }
    }

    /// `time`: as it was read before.
    fn add(&mut self, row: &SettlementRow, time: Option<u64>) {
        let mut part = self.part(row);
        if part.status == SettlementStatus::Settled {
            part.time = time.or(part.time);
        }
        self.sum(&part, true);
        if !row.finished && self.watched.len() < MOST_WATCHED {
            let read_at_ms = self.now_ms;
            self.watched.insert(row.id, Watched { part, read_at_ms });
        }
    }

    fn part(&mut self, row: &SettlementRow) -> Part {
        let labels = Labels {
            network: self.name(&row.network),
            tenant: row.tenant.as_ref().map(|tenant| self.name(tenant)),
            asset: self.name(&row.asset),
        };
        let status = lookups::status(row);
        let is_settled = status == SettlementStatus::Settled;
        let amount = lookups::amount(row).filter(|_| is_settled);
        // Rows change after their outcome, at finality for instance: the first reading says when it was recorded, and of one that
        // is finished that is not known.
        let time = (is_settled && !row.finished && row.updated_at_ms > 0)
            .then(|| bucket(row.updated_at_ms.saturating_sub(row.opened_at_ms)));
        Part {
            minute: row.opened_at_ms / MINUTE_MS,
            labels,
            status,
            amount: amount.unwrap_or_default(),
            time,
        }
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(if self.names.len() < MOST_NAMES {
            text
        } else {
            OTHERS
        });
        self.names.insert(Arc::clone(&name));
        name
    }

    fn sum(&mut self, part: &Part, adds: bool) {
        let minute = self.minutes.entry(part.minute).or_default();
        minute.entry(part.labels.clone()).or_default().count(part, adds);
    }

    fn forget(&mut self) {
        let first = first_minute(self.now_ms);
        self.minutes = self.minutes.split_off(&first);
        self.watched.retain(|_, watched| watched.part.minute >= first);
        if self.watched.is_empty() && self.minutes.is_empty() {
            self.names.clear();
        }
    }

    /// A copy with the newest payments.
    pub(super) fn with(&self, newest: &[SettlementRow]) -> Snapshot {
        let mut all = Self {
            minutes: self.minutes.clone(),
            names: self.names.clone(),
            now_ms: self.now_ms,
            ..Self::default()
        };
        for row in newest.iter().filter(|row| !self.watched.contains_key(&row.id)) {
            let part = all.part(row);
            all.sum(&part, true);
        }
        Snapshot::new(self.now_ms, self.is_complete, all.minutes)
    }
}

#[cfg(test)]
mod tests {
    use journal::memory::MemoryJournal;
    use journal::testkit::{NETWORK, opened_with, paid, prepared};
    use sdk_plugin::Amount;

    use super::*;

    const NOW_MS: u64 = 1_000_000_000;

    async fn open(journal: &dyn Journal, id: u64, opened_at_ms: u64, units: u64) {
        let opened = opened_with(id, &format!("evm|{NETWORK}|{id}"), |row, _, _| {
            row.opened_at_ms = opened_at_ms;
            row.amount = Some(Amount::from(units));
            row.asset = "0xusd".to_owned();
        });
        let events = vec![opened, prepared(id + 100, id, id)];
        journal.commit(events).await.unwrap();
    }

    #[tokio::test]
    async fn each_payment_is_summed_once_and_as_the_journal_has_it_now() {
        let journal = MemoryJournal::default();
        // Outside the window, old, and too new to be settled in the sums.
        open(&journal, 1, NOW_MS - WINDOW_MS - MINUTE_MS, 1_000).await;
        open(&journal, 2, NOW_MS - 2 * MINUTE_MS, 7).await;
        open(&journal, 3, NOW_MS - 1, 5).await;
        let mut tally = Tally::default();
        let mut now_ms = NOW_MS;
        for settled in [0, 1, 1, 2] {
            match (settled, now_ms) {
                (1, now) if now == NOW_MS + 1_000 => journal.commit(vec![paid(2, "i2")]).await.unwrap(),
                (2, _) => journal.commit(vec![paid(3, "i3")]).await.unwrap(),
                _ => {}
            }
            tally.update(&journal, now_ms).await.unwrap();
            let newest = tally.newest(&journal).await.unwrap();
            let totals = tally.with(&newest).totals(Some(NETWORK), None);
            assert_eq!(
                (totals.pending, totals.settled),
                (2 - settled, settled),
                "{now_ms}"
            );
            assert!(totals.complete);
            let amount = totals.volume.first().map(|volume| volume.amount.clone());
            let wanted = [None, Some("7".to_owned()), Some("12".to_owned())];
            assert_eq!(amount, wanted[usize::try_from(settled).unwrap()]);
            now_ms += if settled == 0 { 1_000 } else { 2 * LATE_MS };
        }
        let totals = tally.with(&[]).totals(Some("eip155:1"), None);
        assert_eq!((totals.pending, totals.settled), (0, 0));
        // A day later nothing is left.
        tally
            .update(&journal, NOW_MS + WINDOW_MS + 10 * MINUTE_MS)
            .await
            .unwrap();
        let totals = tally.with(&[]).totals(None, None);
        assert_eq!((totals.pending, totals.settled), (0, 0));
        assert!(tally.minutes.is_empty() && tally.watched.is_empty());
    }
}
