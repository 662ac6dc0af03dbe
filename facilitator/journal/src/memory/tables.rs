//! The rows in memory, as the projection and queries read and write them.

use std::collections::BTreeMap;

use super::Tables;
use crate::{JournalError, Rows, Storage, Table, Write};

impl Rows for Tables {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError> {
        Ok(BTreeMap::get(self, &(table, key.to_owned())).cloned())
    }

    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError> {
        let found = self
            .range((table, prefix.to_owned())..)
            .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
            .filter(|((_, key), _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        Ok(found)
    }
}

impl Storage for Tables {
    fn write(&mut self, table: Table, key: &str, write: &Write) -> Result<(), JournalError> {
        let row = (table, key.to_owned());
        match write {
            Write::Insert(_) if self.contains_key(&row) => {
                let table = table.name();
                return Err(JournalError(format!("table {table} has a row {key:?} already")));
            }
            Write::Insert(value) | Write::Put(value) => self.insert(row, value.clone()),
            Write::Delete => self.remove(&row),
        };
        Ok(())
    }
}
