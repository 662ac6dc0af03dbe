//! Reads by one statement outside of a transaction: one round trip instead of three. They see every acknowledged commit.

use serde::de::DeserializeOwned;
use tokio_postgres::types::Type;

use super::super::{JournalError, SettlementRow, Table, queries};
use super::transaction::Statement;
use super::trouble::Trouble;
use super::{PostgresJournal, writes};

/// The claim's newest settlement.
const CLAIM: &str = "SELECT convert_from(s.value, 'UTF8') FROM switchyard.rows c JOIN switchyard.rows s ON s.tab = $2 AND s.key = \
                     convert_to(lpad(convert_from(c.value, 'UTF8'), 20, '0'), 'UTF8') WHERE c.tab = $1 AND c.key = $3";
const ROW: &str = "SELECT convert_from(value, 'UTF8') FROM switchyard.rows WHERE tab = $1 AND key = $2";

impl PostgresJournal {
    /// The newest settlement of a claim.
    pub(super) async fn read_claim(&self, key: &str) -> Result<Option<SettlementRow>, JournalError> {
        let statement = Statement::new(CLAIM)
            .with(writes::code(Table::Claims), Type::INT2)
            .with(writes::code(Table::Settlements), Type::INT2)
            .with(key.as_bytes().to_vec(), Type::BYTEA);
        let text = self.query(statement).await?;
        text.map(|text| queries::decode(Table::Settlements, key, &text))
            .transpose()
    }

    /// The row at a key.
    pub(super) async fn read_row<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &str,
    ) -> Result<Option<T>, JournalError> {
        let statement = Statement::new(ROW)
            .with(writes::code(table), Type::INT2)
            .with(key.as_bytes().to_vec(), Type::BYTEA);
        let text = self.query(statement).await?;
        text.map(|text| queries::decode(table, key, &text)).transpose()
    }

    /// The first column of the first row that a statement finds.
    pub(super) async fn query(&self, statement: Statement) -> Result<Option<String>, JournalError> {
        let link = self.link.clone();
        let permit = self.reader().await?;
        let rows = self.on_runtime(async move {
            let rows = link.query(statement).await;
            drop(permit);
            rows
        });
        let rows = rows.await??;
        let value = rows.first().map(|row| row.try_get(0)).transpose();
        value.map_err(|error| Trouble::Answer(error.to_string()).into())
    }
}
