//! Threads that run reads.

use std::sync::{Mutex, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::super::{JournalError, ReadTask};
use super::counters::Counters;
use super::tables::Tables;

/// A read, and the caller that waits for its end.
pub(super) struct Read {
    pub(super) task: ReadTask,
    pub(super) done: oneshot::Sender<Result<(), JournalError>>,
}

/// Runs reads until the journal is dropped.
pub(super) fn run(connection: &Connection, reads: &Mutex<mpsc::Receiver<Read>>, counters: &Counters) {
    loop {
        // The lock is held while waiting: the other readers wait for it instead.
        let next = super::lock(reads).recv();
        let Ok(Read { task, done }) = next else { return };
        if done.is_closed() {
            continue;
        }
        // A caller that has left needs no answer.
        drop(done.send(run_one(connection, task, counters)));
    }
}

/// In one transaction, so that several statements see one state.
fn run_one(connection: &Connection, task: ReadTask, counters: &Counters) -> Result<(), JournalError> {
    let failed = |error: rusqlite::Error| JournalError(error.to_string());
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let mut tables = Tables::new(&transaction);
    task(&mut tables);
    counters.record_read(tables.statements());
    transaction.finish().map_err(failed)
}
