//! A payment as operators see it, by commands and on the admin listener.

use base::settlement::{SettlementRecord, SettlementStatus};
use http_api::settlement_json;
use journal::{JournalError, Rows, SettlementRow, lookups, queries};
use serde_json::{Map, Value, json};

/// A payment with what only the operator sees.
#[derive(Debug)]
pub struct Payment {
    pub row: SettlementRow,
    pub record: SettlementRecord,
    /// Its plugin is not called about it, because that ended the plugin's process.
    pub is_set_aside: bool,
}

impl Payment {
    /// `newest`: the newest settlement of its claim.
    #[must_use]
    pub fn new(row: SettlementRow, newest: Option<&SettlementRow>) -> Self {
        let record = engine::record(&row, newest);
        Self {
            row,
            record,
            is_set_aside: false,
        }
    }

    /// # Errors
    /// The journal can't be read.
    pub fn of(rows: &mut dyn Rows, row: SettlementRow) -> Result<Self, JournalError> {
        let newest = queries::claim(rows, &row.claim)?;
        Ok(Self::new(row, newest.as_ref()))
    }

    /// Whether it has no outcome.
    #[must_use]
    pub fn is_open(&self) -> bool {
        is_open(&self.row)
    }

    /// What the look-up over HTTP shows, and what only the operator sees.
    #[must_use]
    pub fn json(&self) -> Map<String, Value> {
        let mut members = settlement_json::full(&self.record);
        members.insert("claim".to_owned(), json!(self.row.claim));
        members.insert("generation".to_owned(), json!(self.row.generation));
        if self.is_set_aside {
            members.insert("setAside".to_owned(), json!(true));
        }
        if let Some(tenant) = &self.row.tenant {
            members.insert("tenant".to_owned(), json!(tenant));
        }
        if let Some(key) = &self.row.idempotency_key {
            members.insert("idempotencyKey".to_owned(), json!(key));
        }
        members
    }

    /// Atomic units; empty where it is not recorded.
    #[must_use]
    pub fn amount(&self) -> String {
        self.record
            .amount
            .map(|amount| amount.to_string())
            .unwrap_or_default()
    }
}

/// Whether a settlement has no outcome.
#[must_use]
pub fn is_open(row: &SettlementRow) -> bool {
    match lookups::status(row) {
        SettlementStatus::Pending | SettlementStatus::Unknown => true,
        SettlementStatus::Settled
        | SettlementStatus::Failed
        | SettlementStatus::Expired
        | SettlementStatus::Reversed => false,
    }
}
