//! An in-memory `store.v1` with the real one's rules.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::host::{StoreCondition, StoreRequest, StoreResponse, StoreRow, StoreWrite};

#[derive(Debug, Default)]
pub(super) struct Rows(BTreeMap<String, Row>);

#[derive(Debug)]
struct Row {
    value: Value,
    expires_at_ms: Option<u64>,
}

impl Rows {
    pub(super) fn serve(&mut self, now_ms: u64, request: StoreRequest) -> StoreResponse {
        self.0
            .retain(|_, row| row.expires_at_ms.is_none_or(|at| at > now_ms));
        match request {
            StoreRequest::Get { key } => {
                let row = self.0.get(&key).map(|row| StoreRow {
                    key,
                    value: row.value.clone(),
                });
                StoreResponse::Rows {
                    rows: row.into_iter().collect(),
                }
            }
            StoreRequest::Scan { prefix, after, limit } => {
                let rows = self.0.iter().filter(|(key, _)| key.starts_with(&prefix));
                let rows = rows.filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
                let rows = rows.take(limit.min(1_000) as usize);
                let rows = rows.map(|(key, row)| StoreRow {
                    key: key.clone(),
                    value: row.value.clone(),
                });
                StoreResponse::Rows { rows: rows.collect() }
            }
            StoreRequest::Write { writes } => self.write(writes),
        }
    }

    fn write(&mut self, writes: Vec<StoreWrite>) -> StoreResponse {
        let holds = |write: &StoreWrite| match &write.condition {
            StoreCondition::Always => true,
            StoreCondition::Absent => !self.0.contains_key(&write.key),
            StoreCondition::Equals { value } => self.0.get(&write.key).is_some_and(|row| row.value == *value),
        };
        if let Some(write) = writes.iter().find(|write| !holds(write)) {
            return StoreResponse::Conflict {
                key: write.key.clone(),
            };
        }
        for StoreWrite {
            key,
            value,
            expires_at_ms,
            ..
        } in writes
        {
            if value.is_null() {
                self.0.remove(&key);
            } else {
                self.0.insert(key, Row { value, expires_at_ms });
            }
        }
        StoreResponse::Written
    }
}
