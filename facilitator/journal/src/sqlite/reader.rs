//! Threads that answer queries.

use std::sync::{Mutex, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::{Answer, JournalError, Query, query};
use super::tables::Tables;

/// A query and who waits for its answer.
pub(super) struct Ask {
    pub(super) query: Query,
    pub(super) reply: oneshot::Sender<Result<Answer, JournalError>>,
}

/// Answers until the journal is dropped.
pub(super) fn run(connection: &Connection, asked: &Mutex<mpsc::Receiver<Ask>>) {
    loop {
        // Held while waiting: the other readers wait for the lock instead.
        let next = super::lock(asked).recv();
        let Ok(Ask { query, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        // Nobody waits any more when this fails.
        let _ = reply.send(answer(connection, &query));
    }
}

/// In one transaction, so that an answer made of several reads is one view.
fn answer(connection: &Connection, query: &Query) -> Result<Answer, JournalError> {
    let failed = |error: rusqlite::Error| JournalError(error.to_string());
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let answer = query::answer(&mut Tables::new(&transaction), query);
    transaction.finish().map_err(failed)?;
    answer
}
