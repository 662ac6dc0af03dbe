//! The append-only log of events, each with a checksum over itself and all before it.
//!
//! A changed, missing or swapped event breaks the chain from there on. The chain detects damage and mistakes. It does
//! not detect deceit: a writer of the file can compute a new chain.

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::super::{Event, JournalError};

/// How many of the newest events are checked when the journal is opened: some seconds' work. Older ones were checked
/// at earlier starts, and the chain continues from the last of them.
const CHECKED_AT_OPEN: i64 = 1_000_000;

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    seq: i64,
    checksum: [u8; 32],
}

impl Head {
    const EMPTY: Self = Self {
        seq: 0,
        checksum: [0; 32],
    };

    /// Number of the last event, 0 when there is none.
    pub(super) fn seq(self) -> i64 {
        self.seq
    }

    /// Number of the next event.
    pub(super) fn next_seq(self) -> u64 {
        u64::try_from(self.seq).unwrap_or(0).saturating_add(1)
    }

    /// The head after the next event.
    fn extend(self, body: &str) -> Option<Self> {
        let seq = self.seq.checked_add(1)?;
        let mut hash = Sha256::new();
        hash.update(self.checksum);
        hash.update(seq.to_be_bytes());
        hash.update(body.as_bytes());
        Some(Self {
            seq,
            checksum: hash.finalize().into(),
        })
    }
}

/// Appends one event inside the connection's transaction; the new head counts once that is committed.
pub(super) fn append(connection: &Connection, head: Head, event: &Event) -> rusqlite::Result<Head> {
    let body =
        serde_json::to_string(event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    // 2^63 events are more than any disk holds; the insert below would fail on the key anyway.
    let next = head.extend(&body).unwrap_or(head);
    connection
        .prepare_cached("INSERT INTO events (seq, body, checksum) VALUES (?1, ?2, ?3)")?
        .execute(params![next.seq, body, next.checksum])?;
    Ok(next)
}

/// Follows the chain to its end.
pub(super) fn verify(connection: &Connection) -> Result<Head, JournalError> {
    verify_newest(connection, CHECKED_AT_OPEN)
}

fn verify_newest(connection: &Connection, newest: i64) -> Result<Head, JournalError> {
    let walk = || -> rusqlite::Result<Result<Head, i64>> {
        let last: i64 =
            connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
        let anchor = last.saturating_sub(newest).max(0);
        let mut head = if anchor == 0 {
            Head::EMPTY
        } else {
            let checksum = connection
                .query_row("SELECT checksum FROM events WHERE seq = ?1", [anchor], |row| {
                    row.get(0)
                })
                .optional()?;
            let Some(checksum) = checksum else {
                return Ok(Err(anchor));
            };
            Head {
                seq: anchor,
                checksum,
            }
        };
        let mut statement =
            connection.prepare("SELECT seq, body, checksum FROM events WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query([head.seq])?;
        while let Some(row) = rows.next()? {
            let found = Head {
                seq: row.get(0)?,
                checksum: row.get(2)?,
            };
            let body = row.get_ref(1)?.as_str()?;
            match head.extend(body) {
                Some(next) if next == found => head = next,
                Some(_) | None => return Ok(Err(found.seq)),
            }
        }
        Ok(Ok(head))
    };
    match walk() {
        Ok(Ok(head)) => Ok(head),
        Ok(Err(seq)) => Err(JournalError(format!(
            "the event log is damaged at event {seq}: its checksum does not follow from the event before; restore the \
             journal from a backup, or get help before you continue"
        ))),
        Err(error) => Err(JournalError(format!("the event log can't be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: u64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("001.sql")).unwrap();
        let mut head = Head::EMPTY;
        for attempt in 0..events {
            head = append(&connection, head, &Event::Sent { attempt }).unwrap();
        }
        assert_eq!(verify(&connection), Ok(head));
        connection
    }

    fn damage(connection: &Connection, sql: &str) {
        connection
            .execute_batch("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted;")
            .unwrap();
        assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
    }

    #[test]
    fn a_changed_missing_or_moved_event_is_found() {
        for (sql, at) in [
            (
                "UPDATE events SET body = replace(body, '4', '5') WHERE seq = 5",
                5,
            ),
            ("UPDATE events SET checksum = zeroblob(32) WHERE seq = 7", 7),
            ("UPDATE events SET checksum = randomblob(32) WHERE seq = 10", 10),
            ("UPDATE events SET body = body || ' ' WHERE seq = 1", 1),
            ("DELETE FROM events WHERE seq = 3", 4),
            ("DELETE FROM events WHERE seq = 1", 2),
            ("UPDATE events SET seq = 20 WHERE seq = 10", 20),
        ] {
            let connection = log(10);
            damage(&connection, sql);
            let error = verify(&connection).unwrap_err();
            assert!(
                error.0.contains(&format!("damaged at event {at}:")),
                "{sql}: {error}"
            );
        }
        for sql in [
            "UPDATE events SET checksum = 'x' WHERE seq = 2",
            "UPDATE events SET body = x'ff' WHERE seq = 2",
        ] {
            let connection = log(10);
            damage(&connection, sql);
            assert!(verify(&connection).is_err(), "{sql}");
        }
    }

    #[test]
    fn events_can_neither_be_changed_nor_deleted() {
        let connection = log(3);
        for sql in [
            "UPDATE events SET body = ''",
            "DELETE FROM events",
            "DELETE FROM events WHERE seq = 3",
        ] {
            let error = connection.execute(sql, []).unwrap_err();
            assert!(error.to_string().contains("events are never"), "{error}");
        }
    }

    #[test]
    fn only_the_newest_events_are_checked_and_hang_on_the_one_before() {
        let connection = log(10);
        let whole = verify(&connection).unwrap();
        assert_eq!(verify_newest(&connection, 4), Ok(whole));
        damage(&connection, "UPDATE events SET body = '' WHERE seq = 6");
        assert_eq!(verify_newest(&connection, 4), Ok(whole));
        connection
            .execute("UPDATE events SET checksum = zeroblob(32) WHERE seq = 6", [])
            .unwrap();
        assert!(verify_newest(&connection, 4).is_err());
    }
}
