//! Rows of one group of commits, in memory: what the commits read is fetched at once, what they change is written at
//! once. Nothing reaches the back end before [`Overlay::flush`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::lease::Fence;
use crate::{JournalError, RowKey, Rows, Storage, Table, Write};

/// Rows that events read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    rows: BTreeSet<RowKey>,
    /// All rows whose keys begin with these.
    prefixes: BTreeSet<RowKey>,
}

impl Reads {
    pub(crate) fn row(&mut self, table: Table, key: String) {
        self.rows.insert((table, key));
    }

    pub(crate) fn prefix(&mut self, table: Table, prefix: String) {
        self.prefixes.insert((table, prefix));
    }
}

/// A row as the group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// `None`: there is no such row.
    value: Option<String>,
    /// It differs from the back end's, or may.
    changed: bool,
    /// The back end had no such row when it was fetched.
    was_absent: bool,
    /// The commit that has changed it last, in the order of the group.
    changed_by: Option<u64>,
}

/// When a commit is made, and its position in the event log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// Number of its first event: greater than that of every earlier one.
    pub seq: u64,
}

/// The rows that a group of commits reads and changes.
pub struct Overlay<'a> {
    below: &'a mut dyn Storage,
    stamp: Stamp,
    /// Number of the commit's first event.
    first_event: u64,
    /// Of the group: the current one's number.
    commits: u64,
    /// What this node may change; `None`: everything.
    fence: Option<Fence>,
    rows: BTreeMap<RowKey, Known>,
    /// All rows with these prefixes are in `rows`.
    prefixes: BTreeSet<RowKey>,
    /// What the current commit replaced, oldest first.
    undo: Vec<(RowKey, Option<Known>)>,
    /// Reads that no event named.
    #[cfg(test)]
    unnamed: Vec<RowKey>,
}

impl std::fmt::Debug for Overlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rows hold signed payments.
        f.debug_struct("Overlay").finish_non_exhaustive()
    }
}

impl<'a> Overlay<'a> {
    /// Over a back end's rows, which nothing else changes before [`Overlay::flush`].
    pub fn new(below: &'a mut dyn Storage) -> Self {
        Self {
            below,
            stamp: Stamp::default(),
            first_event: 0,
            commits: 0,
            fence: None,
            rows: BTreeMap::new(),
            prefixes: BTreeSet::new(),
            undo: Vec::new(),
            #[cfg(test)]
            unnamed: Vec::new(),
        }
    }

    /// Fetches those of these rows that are not known. Returns whether there were any.
    ///
    /// # Errors
    /// When the back end can't be read.
    pub(crate) fn fetch(&mut self, mut wanted: Reads) -> Result<bool, JournalError> {
        wanted.rows.retain(|key| !self.rows.contains_key(key));
        wanted.prefixes.retain(|prefix| !self.prefixes.contains(prefix));
        let any = !wanted.rows.is_empty() || !wanted.prefixes.is_empty();
        if !any {
            return Ok(false);
        }
        let prefixes: Vec<RowKey> = wanted.prefixes.into_iter().collect();
        let keys: Vec<RowKey> = wanted.rows.into_iter().collect();
        let fetched = self.below.fetch(&keys, &prefixes)?;
        for ((table, prefix), rows) in prefixes.into_iter().zip(fetched.scans) {
            for (key, value) in rows {
                self.learn((table, key), Some(value));
            }
            self.prefixes.insert((table, prefix));
        }
        for (key, value) in keys.into_iter().zip(fetched.rows) {
            self.learn(key, value);
        }
        Ok(true)
    }

    /// Only what this node may change is changed from here on.
    pub(crate) fn set_fence(&mut self, fence: Option<&Fence>) {
        self.fence = fence.cloned();
    }

    /// What this node may change; `None`: everything.
    pub(crate) fn fence(&self) -> Option<Fence> {
        self.fence.clone()
    }

    /// Begins a commit: [`Overlay::roll_back`] undoes what changes from here on.
    pub(crate) fn begin(&mut self, stamp: Stamp) {
        self.stamp = stamp;
        self.first_event = stamp.seq;
        self.commits = self.commits.saturating_add(1);
        self.undo.clear();
    }

    /// When the current commit is made.
    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The number of the commit's first event.
    pub(crate) fn first_event(&self) -> u64 {
        self.first_event
    }

    /// The number of the commit's next event.
    pub(crate) fn next_event(&mut self) {
        self.stamp.seq = self.stamp.seq.saturating_add(1);
    }

    /// Undoes what has changed since [`Overlay::begin`].
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(before) => self.rows.insert(key, before),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Writes every changed row to the back end.
    ///
    /// # Errors
    /// When a row can't be written. Some may be: the caller undoes its transaction.
    pub fn flush(self) -> Result<(), JournalError> {
        let changed = self.rows.into_iter().filter(|(_, known)| known.changed);
        let write = |(key, known): (RowKey, Known)| match (known.value, known.was_absent) {
            (Some(value), true) => Some((key, Write::Insert(value))),
            (Some(value), false) => Some((key, Write::Put(value))),
            (None, false) => Some((key, Write::Delete)),
            (None, true) => None,
        };
        let writes: Vec<(RowKey, Write)> = changed.filter_map(write).collect();
        self.below.write_all(&writes)
    }

    /// A row that was fetched or changed. `None`: it is not known; `Some(None)`: there is no such row.
    pub(crate) fn known(&self, table: Table, key: &str) -> Option<Option<&str>> {
        self.rows
            .get(&(table, key.to_owned()))
            .map(|known| known.value.as_deref())
    }

    /// A row as the current commit has written it; `None`: it has not.
    pub(crate) fn written(&self, table: Table, key: &str) -> Option<&str> {
        let known = self.rows.get(&(table, key.to_owned()))?;
        let is_written = known.changed_by == Some(self.commits);
        known.value.as_deref().filter(|_| is_written)
    }

    /// The keys of the known rows with this prefix.
    pub(crate) fn known_keys(&self, table: Table, prefix: &str) -> Vec<String> {
        self.known_rows(table, prefix)
            .filter(|(_, known)| known.value.is_some())
            .map(|(key, _)| key.to_owned())
            .collect()
    }

    /// Keys that were read although no event named them, and were fetched alone.
    #[cfg(test)]
    pub(crate) fn unnamed(&self) -> &[RowKey] {
        &self.unnamed
    }

    fn known_rows<'s>(&'s self, table: Table, prefix: &'s str) -> impl Iterator<Item = (&'s str, &'s Known)> {
        self.rows
            .range((Bound::Included((table, prefix.to_owned())), Bound::Unbounded))
            .take_while(move |((of, key), _)| *of == table && key.starts_with(prefix))
            .map(|((_, key), known)| (key.as_str(), known))
    }

    fn learn(&mut self, key: RowKey, value: Option<String>) {
        let was_absent = value.is_none();
        self.rows.entry(key).or_insert(Known {
            value,
            changed: false,
            was_absent,
            changed_by: None,
        });
    }

    /// Writes the row at `key`, over one that is there.
    pub(crate) fn put(&mut self, table: Table, key: &str, value: &str) {
        self.change(table, key, Some(value.to_owned()));
    }

    /// Removes the row at `key`, if there is one.
    pub(crate) fn delete(&mut self, table: Table, key: &str) {
        self.change(table, key, None);
    }

    fn change(&mut self, table: Table, key: &str, value: Option<String>) {
        let key = (table, key.to_owned());
        let was_absent = self.rows.get(&key).is_some_and(|known| known.was_absent);
        let known = Known {
            value,
            changed: true,
            was_absent,
            changed_by: Some(self.commits),
        };
        let before = self.rows.insert(key.clone(), known);
        self.undo.push((key, before));
    }
}

impl Rows for Overlay<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        let name = (table, key.to_owned());
        if let Some(known) = self.rows.get(&name) {
            return Ok(known.value.clone());
        }
        let value = self.below.get(table, key)?;
        #[cfg(test)]
        self.unnamed.push(name.clone());
        self.learn(name, value.clone());
        Ok(value)
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let follows = |key: &str| after.is_none_or(|after| key > after);
        let mut found = BTreeMap::new();
        if !self.prefixes.contains(&(table, prefix.to_owned())) {
            // As many rows more as the group may have deleted.
            let deleted = self
                .known_rows(table, prefix)
                .filter(|(key, known)| known.value.is_none() && follows(key))
                .count();
            let more = limit.saturating_add(deleted);
            found.extend(self.below.scan(table, prefix, after, more)?);
        }
        for (key, known) in self.known_rows(table, prefix).filter(|(key, _)| follows(key)) {
            match &known.value {
                Some(value) => found.insert(key.to_owned(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(found.into_iter().take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Tables;

    #[test]
    fn a_row_that_was_absent_when_it_was_read_is_inserted_and_nothing_is_overwritten() {
        let mut tables = Tables::default();
        let mut first = Overlay::new(&mut tables);
        assert_eq!(first.get(Table::Claims, "c").unwrap(), None);
        first.put(Table::Claims, "c", "1");
        let first = first.rows;
        // Another writer is faster.
        put(&mut tables, Table::Claims, "c", "2");
        let mut late = Overlay::new(&mut tables);
        late.rows = first;
        assert!(late.flush().unwrap_err().0.contains("claims"));
        assert_eq!(
            Rows::get(&mut tables, Table::Claims, "c").unwrap().as_deref(),
            Some("2")
        );
    }

    #[test]
    fn a_row_that_was_made_and_removed_in_the_group_is_not_written() {
        let mut tables = Tables::default();
        let mut overlay = Overlay::new(&mut tables);
        assert_eq!(overlay.get(Table::Store, "k").unwrap(), None);
        overlay.put(Table::Store, "k", "1");
        overlay.delete(Table::Store, "k");
        overlay.flush().unwrap();
        assert_eq!(tables, Tables::default());
    }

    #[test]
    fn a_row_counts_as_written_by_its_own_commit_alone() {
        let mut tables = Tables::default();
        put(&mut tables, Table::Store, "k", "below");
        let mut overlay = Overlay::new(&mut tables);
        overlay.begin(Stamp::default());
        assert_eq!(overlay.get(Table::Store, "k").unwrap().as_deref(), Some("below"));
        assert_eq!(overlay.written(Table::Store, "k"), None);
        overlay.put(Table::Store, "k", "first");
        assert_eq!(overlay.written(Table::Store, "k"), Some("first"));
        overlay.begin(Stamp::default());
        assert_eq!(overlay.written(Table::Store, "k"), None);
        overlay.put(Table::Store, "k", "second");
        overlay.roll_back();
        assert_eq!(overlay.written(Table::Store, "k"), None);
        assert_eq!(overlay.get(Table::Store, "k").unwrap().as_deref(), Some("first"));
    }

    fn put(tables: &mut Tables, table: Table, key: &str, value: &str) {
        tables.write(table, key, &Write::Put(value.into())).unwrap();
    }

    fn keys(rows: &mut dyn Rows, prefix: &str, after: Option<&str>, limit: usize) -> String {
        let found = rows.scan(Table::Store, prefix, after, limit).unwrap();
        found.into_iter().map(|(key, _)| key + " ").collect()
    }

    #[test]
    fn a_scan_sees_the_changes_of_the_group_and_keeps_its_limit() {
        let mut tables = Tables::default();
        for key in ["a1", "a2", "a3", "a4", "b"] {
            put(&mut tables, Table::Store, key, "below");
        }
        let mut overlay = Overlay::new(&mut tables);
        overlay.delete(Table::Store, "a1");
        overlay.delete(Table::Store, "a3");
        overlay.put(Table::Store, "a25", "here");
        assert_eq!(keys(&mut overlay, "a", None, 2), "a2 a25 ");
        assert_eq!(keys(&mut overlay, "a", Some("a2"), 9), "a25 a4 ");
        assert_eq!(keys(&mut overlay, "", None, 9), "a2 a25 a4 b ");
        overlay.flush().unwrap();
        assert_eq!(keys(&mut tables, "", None, 9), "a2 a25 a4 b ");
    }
}
