//! Sums of the payments of the last day, from the journal. Rows are read once when they are new, and again until they are
//! finished; after that only their minute's sums are kept.
//!
//! Exact, but for payments that were opened within the last seconds: those are read again at each update. A page of the journal is
//! read at a time, so that payments do not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use admin_api::view::{Latency, NetworkSeries, Series, Totals, Volume};
use base::settlement::SettlementStatus;
use journal::{Journal, JournalError, Page, SettlementRow, lookups};
use sdk_plugin::Amount;

use super::buckets::{bucket, upper};

const MINUTE_MS: u64 = 60_000;
/// How far back payments count.
pub(super) const WINDOW_MS: u64 = 24 * 60 * MINUTE_MS;
/// Steps of the plots: six hours.
const STEPS: u64 = 360;
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

/// What payments are summed by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    network: Arc<str>,
    tenant: Option<Arc<str>>,
    asset: Arc<str>,
}

#[derive(Debug, Clone, Default)]
struct Sums {
    counts: [u64; SettlementStatus::ALL.len()],
    settled: Amount,
    /// By bucket of time: see [`bucket`].
    times: BTreeMap<u64, u64>,
}

/// What one payment adds.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    minute: u64,
    labels: Labels,
    status: SettlementStatus,
    amount: Amount,
    time: Option<u64>,
}

#[derive(Debug)]
struct Watched {
    part: Part,
    read_at_ms: u64,
}

/// The sums.
#[derive(Debug, Default)]
pub(super) struct Tally {
    minutes: BTreeMap<u64, BTreeMap<Labels, Sums>>,
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
        let first = self.first_minute();
        self.minutes = self.minutes.split_off(&first);
        self.watched.retain(|_, watched| watched.part.minute >= first);
        if self.watched.is_empty() && self.minutes.is_empty() {
            self.names.clear();
        }
    }

    fn first_minute(&self) -> u64 {
        self.now_ms.saturating_sub(WINDOW_MS) / MINUTE_MS
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
        Snapshot {
            from_ms: self.first_minute().saturating_mul(MINUTE_MS),
            to_minute: self.now_ms / MINUTE_MS,
            is_complete: self.is_complete,
            minutes: all.minutes,
        }
    }
}

impl Sums {
    fn count(&mut self, part: &Part, adds: bool) {
        let change = |count: u64| match adds {
            true => count.saturating_add(1),
            false => count.saturating_sub(1),
        };
        let position = SettlementStatus::ALL
            .iter()
            .position(|status| *status == part.status);
        if let Some(count) = position.and_then(|position| self.counts.get_mut(position)) {
            *count = change(*count);
        }
        self.settled = Amount(match adds {
            true => self.settled.0.saturating_add(part.amount.0),
            false => self.settled.0.saturating_sub(part.amount.0),
        });
        if let Some(time) = part.time {
            let count = self.times.entry(time).or_default();
            *count = change(*count);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
        self.settled = Amount(self.settled.0.saturating_add(other.settled.0));
        for (time, more) in &other.times {
            let count = self.times.entry(*time).or_default();
            *count = count.saturating_add(*more);
        }
    }

    fn of(&self, wanted: SettlementStatus) -> u64 {
        let statuses = SettlementStatus::ALL.iter().zip(self.counts);
        statuses
            .filter(|(status, _)| **status == wanted)
            .map(|(_, count)| count)
            .sum()
    }

    /// The upper end of the bucket that holds this part of the times, in thousandths.
    fn percentile(&self, thousandths: u64) -> Option<u64> {
        let all: u64 = self.times.values().sum();
        let wanted = all.saturating_mul(thousandths).div_ceil(1_000).max(1);
        let mut seen = 0_u64;
        for (bucket, count) in &self.times {
            seen = seen.saturating_add(*count);
            if *count > 0 && seen >= wanted {
                return Some(upper(*bucket));
            }
        }
        None
    }
}

/// The sums at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    from_ms: u64,
    to_minute: u64,
    is_complete: bool,
    minutes: BTreeMap<u64, BTreeMap<Labels, Sums>>,
}

impl Snapshot {
    /// The payments of everything, of a network, or of a tenant.
    pub(super) fn totals(&self, network: Option<&str>, tenant: Option<&str>) -> Totals {
        let mut all = Sums::default();
        let mut volume: BTreeMap<(Arc<str>, Arc<str>), Sums> = BTreeMap::new();
        for (labels, sums) in self.minutes.values().flatten() {
            let is_wanted = network.is_none_or(|network| *labels.network == *network)
                && tenant.is_none_or(|tenant| labels.tenant.as_deref() == Some(tenant));
            if !is_wanted {
                continue;
            }
            all.merge(sums);
            let of_asset = (Arc::clone(&labels.network), Arc::clone(&labels.asset));
            volume.entry(of_asset).or_default().merge(sums);
        }
        let mut volume: Vec<Volume> = volume
            .into_iter()
            .map(|((network, asset), sums)| Volume {
                network: network.to_string(),
                asset: asset.to_string(),
                amount: sums.settled.to_string(),
                payments: sums.of(SettlementStatus::Settled),
            })
            .filter(|volume| volume.payments > 0)
            .collect();
        volume.sort_by_key(|volume| std::cmp::Reverse(volume.payments));
        let latency = all.percentile(500).zip(all.percentile(950));
        Totals {
            from_ms: self.from_ms,
            complete: self.is_complete,
            pending: all.of(SettlementStatus::Pending),
            settled: all.of(SettlementStatus::Settled),
            failed: all.of(SettlementStatus::Failed),
            expired: all.of(SettlementStatus::Expired),
            reversed: all.of(SettlementStatus::Reversed),
            unknown: all.of(SettlementStatus::Unknown),
            latency_ms: latency.map(|(p50, p95)| Latency { p50, p95 }),
            volume,
        }
    }

    /// The steps of these networks.
    pub(super) fn series(&self, networks: &[String]) -> Series {
        let first = self.to_minute.saturating_sub(STEPS.saturating_sub(1));
        let of = |id: &String| {
            let steps = (first..=self.to_minute).map(|minute| {
                let mut sums = Sums::default();
                let here = self.minutes.get(&minute).into_iter().flatten();
                here.filter(|(labels, _)| *labels.network == **id)
                    .for_each(|(_, more)| sums.merge(more));
                sums
            });
            let steps: Vec<Sums> = steps.collect();
            let count = |statuses: &[SettlementStatus]| {
                let of_step = |sums: &Sums| statuses.iter().map(|status| sums.of(*status)).sum();
                steps.iter().map(of_step).collect()
            };
            NetworkSeries {
                id: id.clone(),
                settled: count(&[SettlementStatus::Settled]),
                failed: count(&[
                    SettlementStatus::Failed,
                    SettlementStatus::Expired,
                    SettlementStatus::Reversed,
                ]),
                pending: count(&[SettlementStatus::Pending, SettlementStatus::Unknown]),
                p95_ms: steps.iter().map(|sums| sums.percentile(950)).collect(),
            }
        };
        Series {
            from_ms: first.saturating_mul(MINUTE_MS),
            step_ms: MINUTE_MS,
            networks: networks.iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::memory::MemoryJournal;
    use journal::testkit::{NETWORK, opened_with, paid, prepared};

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

    #[test]
    fn percentiles_are_of_the_counted_times() {
        let mut sums = Sums::default();
        assert_eq!(sums.percentile(500), None);
        for time in [1, 2, 3, 4, 1_000] {
            *sums.times.entry(bucket(time)).or_default() += 1;
        }
        assert_eq!(sums.percentile(500), Some(3));
        assert_eq!(sums.percentile(950), Some(upper(bucket(1_000))));
    }
}
