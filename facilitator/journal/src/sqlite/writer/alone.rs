//! What is no commit of a group, and has a transaction of its own: the removal of old events, and a plugin that gets another id.

use rusqlite::Connection;

use super::super::event_log::{self, Head};
use super::super::fate::{Fate, fate, reported};
use super::super::tables::Tables;
use super::{Writer, end};
use crate::{AdoptError, Adopted, Adoption, CommitError, adopt};

impl Writer {
    /// Removes old events; see [`Journal::drop_events`](crate::Journal::drop_events).
    pub(super) fn drop_events(&mut self, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
        let dropped = self.try_drop_events(before_ms, limit);
        if dropped.is_err() {
            self.undo();
        }
        dropped
    }

    fn try_drop_events(&mut self, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
        self.in_place()?;
        let drop = || {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            event_log::drop_before(&self.connection, before_ms, limit)
        };
        let dropped = drop().map_err(|error| reported(&error))?;
        commit(&self.connection)?;
        Ok(dropped)
    }

    /// Keeps everything of a plugin under another id; see [`Journal::adopt`](crate::Journal::adopt).
    pub(super) fn adopt(&mut self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        let adopted = self.try_adopt(adoption);
        match &adopted {
            // It may have written as much as the database has.
            Ok(_) => self.fold(),
            Err(_) => self.undo(),
        }
        adopted
    }

    fn try_adopt(&mut self, adoption: &Adoption) -> Result<Adopted, AdoptError> {
        self.in_place()?;
        self.connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| reported(&error))?;
        let at_ms = self.next_stamp().at_ms;
        let (adopted, head) = self.change_ids(adoption, at_ms)?;
        self.in_place()?;
        commit(&self.connection)?;
        self.head = head;
        self.mark.write(head.seq(), false);
        Ok(adopted)
    }

    /// Changes the rows and appends the event, inside the transaction. Returns the head after it.
    fn change_ids(&self, adoption: &Adoption, at_ms: u64) -> Result<(Adopted, Head), AdoptError> {
        let mut tables = Tables::of_writer(&self.connection, &self.shared.known_claims);
        let changed = adopt::change(&mut tables, adoption, &[], at_ms);
        if tables.disk_full() {
            return Err(CommitError::Full.into());
        }
        let adopted = changed?;
        if self.connection.is_autocommit() {
            // A write would now be durable on its own.
            return Err(CommitError::Io("SQLite has given up the transaction".into()).into());
        }
        let event = adoption.event(at_ms);
        let head = event_log::append(&self.connection, self.head, [&event], at_ms);
        Ok((adopted, head.map_err(|error| reported(&error))?))
    }
}

fn commit(connection: &Connection) -> Result<(), CommitError> {
    connection
        .execute_batch("COMMIT")
        .map_err(|error| match fate(&error) {
            Fate::Undo(reported) => reported,
            Fate::Unknown => end(&format!("a commit could not be synced ({error})")),
        })
}
