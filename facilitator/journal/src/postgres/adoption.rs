//! A plugin that gets another id, in a database: one transaction that keeps every other writer away.
//!
//! It locks the row that each node's commits lock, and the row that a start locks. So nothing is committed and no node starts
//! before it ends, and its reads need no locks of their own. Pages of rows are written as they are changed, and not with the
//! COMMIT. The event is the only one of a chain of its own: a command is no node.
//!
//! Not guaranteed: a node that was stopped for long and wakes may commit until it reads, within a second, that its lease is gone.

use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::chain::{self, Head};
use super::rows::{Tables, after_prefix};
use super::transaction::{Link, Mode, NotCommitted, Statement, Transaction};
use super::trouble::Trouble;
use super::{PostgresJournal, stopped};
use crate::lease::Lease;
use crate::{AdoptError, Adopted, Adoption, CommitError, adopt};

/// What a start locks before it registers its writer.
const LOCK_STARTS: &str = "SELECT value FROM switchyard.meta WHERE name = 'schema' FOR UPDATE";
/// What each commit of a node locks first.
const LOCK_WRITERS: &str = "SELECT 1 FROM switchyard.writers ORDER BY id FOR UPDATE";
const REGISTER: &str = "INSERT INTO switchyard.writers (id, seq, checksum, dropped_to, dropped_checksum, started_at_ms, at_ms) SELECT \
                        coalesce(max(id), 0) + 1, 0, $1, 0, $1, now.ms, now.ms FROM (SELECT (extract(epoch FROM clock_timestamp()) \
                        * 1000)::int8 AS ms) AS now LEFT JOIN switchyard.writers ON true GROUP BY now.ms RETURNING id, at_ms";
/// Reservations of verifies: promises to sellers, which are no payments.
const END_PROMISES: &str = "DELETE FROM switchyard.promises WHERE claim >= $1 AND claim < $2";

impl PostgresJournal {
    /// See [`Journal::adopt`](crate::Journal::adopt).
    pub(super) async fn change_ids(&self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        let gone = adopt::gone_nodes(self).await?;
        let (handle, link, adoption) = (self.handle.clone(), self.link.clone(), adoption.clone());
        let changed = self
            .handle
            .spawn_blocking(move || change_ids(&handle, &link, &adoption, &gone));
        changed.await.map_err(|_| AdoptError::from(stopped()))?
    }
}

fn change_ids(
    handle: &Handle,
    link: &Link,
    adoption: &Adoption,
    gone: &[Lease],
) -> Result<Adopted, AdoptError> {
    let mut transaction = handle.block_on(link.begin(Mode::Schema)).map_err(failed)?;
    let (adopted, statements) = match prepare(handle, &mut transaction, adoption, gone) {
        Ok(prepared) => prepared,
        Err(error) => {
            handle.block_on(transaction.roll_back());
            return Err(error);
        }
    };
    match handle.block_on(transaction.commit(statements)) {
        Ok(()) => Ok(adopted),
        Err(NotCommitted::Undone(trouble)) => Err(failed(trouble)),
        Err(NotCommitted::Unknown(trouble)) => Err(AdoptError::Journal(CommitError::Io(format!(
            "{trouble}: it is not known whether the ids were changed. Run the command again: if nothing is kept under {} any more, \
             they were",
            adoption.from()
        )))),
    }
}

/// Changes the rows. Returns what is sent with the COMMIT.
fn prepare(
    handle: &Handle,
    transaction: &mut Transaction,
    adoption: &Adoption,
    gone: &[Lease],
) -> Result<(Adopted, Vec<Statement>), AdoptError> {
    let locks = vec![Statement::new(LOCK_STARTS), Statement::new(LOCK_WRITERS)];
    handle.block_on(transaction.run(locks)).map_err(failed)?;
    // A statement after the locks: it finds every writer.
    let register = Statement::new(REGISTER).with(Head::EMPTY.checksum.to_vec(), Type::BYTEA);
    let registered = handle.block_on(transaction.run(vec![register])).map_err(failed)?;
    let (writer, at_ms) = registered
        .first()
        .and_then(|rows| rows.first())
        .and_then(writer_of)
        .ok_or_else(|| failed(Trouble::Answer("it gave no number to this command".into())))?;
    let now_ms = u64::try_from(at_ms).unwrap_or(0);
    let mut tables = Tables::alone(handle, transaction);
    let changed = adopt::change(&mut tables, adoption, gone, now_ms);
    // What the database said, rather than what became of it.
    if let (_, Some(trouble)) = tables.end() {
        return Err(failed(trouble));
    }
    let adopted = changed?;
    let event = adoption.event(now_ms);
    let (mut statements, _) = chain::append(writer, Head::EMPTY, at_ms, std::iter::once(&event))?;
    let claims = format!("{}|", adoption.from());
    statements.push(
        Statement::new(END_PROMISES)
            .with(claims.as_bytes().to_vec(), Type::BYTEA)
            .with(after_prefix(&claims), Type::BYTEA),
    );
    Ok((adopted, statements))
}

/// The number of the command as a writer, and the database's time in milliseconds since the epoch.
fn writer_of(row: &Row) -> Option<(i64, i64)> {
    Some((row.try_get(0).ok()?, row.try_get(1).ok()?))
}

fn failed(trouble: Trouble) -> AdoptError {
    AdoptError::Journal((&trouble).into())
}
