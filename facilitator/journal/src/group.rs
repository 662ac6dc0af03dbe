//! A group of commits over a back end: fetch what they read, apply them in memory, write what has changed.
//!
//! A commit that is refused is undone alone, and the others of the group stay.

use crate::lease::Fence;
use crate::overlay::{Overlay, Reads, Stamp};
use crate::{CommitError, Event, JournalError, Storage, Table, project};

/// A group of commits that share one transaction of the back end.
#[derive(Debug)]
pub struct Group<'a> {
    rows: Overlay<'a>,
}

impl<'a> Group<'a> {
    /// Over a back end's rows, which nothing else changes before [`Group::flush`]. Fetches what these events read, and the
    /// leases of the fence.
    ///
    /// # Errors
    /// When the back end can't be read.
    pub fn fetch<'e>(
        below: &'a mut dyn Storage,
        events: impl Iterator<Item = &'e Event> + Clone,
        fence: Option<&Fence>,
    ) -> Result<Self, JournalError> {
        let mut rows = Overlay::new(below);
        rows.set_fence(fence);
        // First the keys that stand in an event, then those that stand in the rows of the first ones, and so on.
        loop {
            let mut wanted = Reads::default();
            for unit in fence.iter().flat_map(|fence| fence.units()) {
                wanted.row(Table::Leases, unit.to_owned());
            }
            for event in events.clone() {
                project::reads::of(event, &rows, &mut wanted);
            }
            if !rows.fetch(wanted)? {
                return Ok(Self { rows });
            }
        }
    }

    /// Applies one commit: all of its events, or none.
    ///
    /// # Errors
    /// When the projection refuses an event, or the back end can't be read.
    pub fn apply(&mut self, events: &[Event], stamp: Stamp) -> Result<(), CommitError> {
        self.rows.begin(stamp);
        for event in events {
            if let Err(error) = project::apply(&mut self.rows, event) {
                self.rows.roll_back();
                return Err(error);
            }
            self.rows.next_event();
        }
        Ok(())
    }

    /// Writes every changed row to the back end, once.
    ///
    /// # Errors
    /// When a row can't be written. Others may be: the caller undoes its transaction.
    pub fn flush(self) -> Result<(), JournalError> {
        self.rows.flush()
    }

    /// The rows as the group sees them.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> &Overlay<'a> {
        &self.rows
    }
}
