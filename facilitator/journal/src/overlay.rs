//! Rows of one group of commits, in memory: what the commits read is fetched at once, what they change is written at
//! once. Between the two, events are applied without any access to the back end.
//!
//! A commit that is refused is undone here, and the others of the group stay. Nothing reaches the back end before
//! [`Overlay::flush`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::project::reads::{self, Reads};
use crate::{CommitError, Event, JournalError, RowKey, Rows, Table, project};

/// A row as the group sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// `None`: there is no such row.
    value: Option<String>,
    /// It differs from the back end's, or may.
    changed: bool,
}

/// The rows that a group of commits reads and changes.
pub struct Overlay<'a> {
    below: &'a mut dyn Rows,
    rows: BTreeMap<RowKey, Known>,
    /// All rows with these prefixes are in `rows`.
    prefixes: BTreeSet<RowKey>,
    /// What the current commit replaced, oldest first.
    undo: Vec<(RowKey, Option<Known>)>,
    /// Reads that no event named.
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
    pub fn new(below: &'a mut dyn Rows) -> Self {
        Self {
            below,
            rows: BTreeMap::new(),
            prefixes: BTreeSet::new(),
            undo: Vec::new(),
            unnamed: Vec::new(),
        }
    }

    /// Fetches the rows that these events read.
    ///
    /// # Errors
    /// When the back end can't be read.
    pub fn fetch<'e>(&mut self, events: impl Iterator<Item = &'e Event> + Clone) -> Result<(), JournalError> {
        // Keys in an event, keys in the rows that those name, and the same once more. Rows that a commit has changed are
        // not named any further: they are known.
        loop {
            let mut wanted = Reads::default();
            for event in events.clone() {
                reads::of(event, self, &mut wanted);
            }
            wanted.rows.retain(|key| !self.rows.contains_key(key));
            wanted.prefixes.retain(|prefix| !self.prefixes.contains(prefix));
            if wanted.is_empty() {
                return Ok(());
            }
            for (table, prefix) in wanted.prefixes {
                for (key, value) in self.below.scan(table, &prefix, None, usize::MAX)? {
                    self.learn((table, key), Some(value));
                }
                self.prefixes.insert((table, prefix));
            }
            let keys: Vec<RowKey> = wanted.rows.into_iter().collect();
            let values = self.below.get_all(&keys)?;
            for (key, value) in keys.into_iter().zip(values) {
                self.learn(key, value);
            }
        }
    }

    /// Applies one commit: all of its events, or none.
    ///
    /// # Errors
    /// When the projection refuses an event, or the back end can't be read.
    pub fn apply(&mut self, events: &[Event]) -> Result<(), CommitError> {
        self.undo.clear();
        for event in events {
            if let Err(error) = project::apply(self, event) {
                self.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes every changed row to the back end.
    ///
    /// # Errors
    /// When a row can't be written. Some may be: the caller undoes its transaction.
    pub fn flush(self) -> Result<(), JournalError> {
        let changed = self.rows.into_iter().filter(|(_, known)| known.changed);
        self.below
            .write_all(changed.map(|(key, known)| (key, known.value)).collect())
    }

    /// A row that was fetched or changed. `None`: it is not known; `Some(None)`: there is no such row.
    pub(crate) fn known(&self, table: Table, key: &str) -> Option<Option<&str>> {
        self.rows
            .get(&(table, key.to_owned()))
            .map(|known| known.value.as_deref())
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
        let changed = false;
        self.rows.entry(key).or_insert(Known { value, changed });
    }

    fn change(&mut self, table: Table, key: &str, value: Option<String>) {
        let key = (table, key.to_owned());
        let changed = true;
        let before = self.rows.insert(key.clone(), Known { value, changed });
        self.undo.push((key, before));
    }

    fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(before) => self.rows.insert(key, before),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl Rows for Overlay<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        let name = (table, key.to_owned());
        if let Some(known) = self.rows.get(&name) {
            return Ok(known.value.clone());
        }
        let value = self.below.get(table, key)?;
        self.unnamed.push(name.clone());
        self.learn(name, value.clone());
        Ok(value)
    }

    fn put(&mut self, table: Table, key: &str, value: &str) -> Result<(), JournalError> {
        self.change(table, key, Some(value.to_owned()));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &str) -> Result<(), JournalError> {
        self.change(table, key, None);
        Ok(())
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

    fn last_key(&mut self, table: Table) -> Result<Option<String>, JournalError> {
        Ok(self.scan(table, "", None, usize::MAX)?.pop().map(|(key, _)| key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Tables;

    fn put(rows: &mut dyn Rows, keys: &[&str]) {
        for key in keys {
            rows.put(Table::Store, key, "below").unwrap();
        }
    }

    fn keys(rows: &mut dyn Rows, prefix: &str, after: Option<&str>, limit: usize) -> String {
        let found = rows.scan(Table::Store, prefix, after, limit).unwrap();
        found.into_iter().map(|(key, _)| key + " ").collect()
    }

    #[test]
    fn a_scan_sees_the_changes_of_the_group_and_keeps_its_limit() {
        let mut tables = Tables::default();
        put(&mut tables, &["a1", "a2", "a3", "a4", "b"]);
        let mut overlay = Overlay::new(&mut tables);
        overlay.delete(Table::Store, "a1").unwrap();
        overlay.delete(Table::Store, "a3").unwrap();
        overlay.put(Table::Store, "a25", "here").unwrap();
        assert_eq!(keys(&mut overlay, "a", None, 2), "a2 a25 ");
        assert_eq!(keys(&mut overlay, "a", Some("a2"), 9), "a25 a4 ");
        assert_eq!(keys(&mut overlay, "", None, 9), "a2 a25 a4 b ");
        assert_eq!(overlay.last_key(Table::Store).unwrap().as_deref(), Some("b"));
        overlay.flush().unwrap();
        assert_eq!(keys(&mut tables, "", None, 9), "a2 a25 a4 b ");
    }

    #[test]
    fn a_refused_commit_leaves_what_the_group_had_before_it() {
        use crate::testkit::{opened, paid};
        let mut tables = Tables::default();
        let mut overlay = Overlay::new(&mut tables);
        overlay.apply(&[opened(1, "c")]).unwrap();
        let before = overlay.rows.clone();
        let refused = overlay.apply(&[opened(2, "d"), paid(2, "x"), paid(2, "x")]);
        assert!(matches!(refused, Err(CommitError::Stale(_))), "{refused:?}");
        // What was read stays; what was changed is gone.
        overlay.rows.retain(|_, known| known.changed);
        assert_eq!(
            overlay.rows.len(),
            before.iter().filter(|(_, k)| k.changed).count()
        );
        assert!(
            overlay
                .rows
                .iter()
                .all(|(key, known)| before.get(key) == Some(known))
        );
    }
}
