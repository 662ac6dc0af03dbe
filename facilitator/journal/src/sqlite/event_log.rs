//! The append-only log of events, each with a checksum over itself and all before it.
//!
//! A changed, missing or swapped event breaks the chain from there on. The chain detects damage and mistakes. It does
//! not detect deceit: a writer of the file can compute a new chain.

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::super::{Event, JournalError};

/// How many of the newest events are checked when the journal is opened: less than a second's work. Older ones were
/// checked at earlier starts, and the chain continues from the last of them. [`verify_all`] checks every one.
const CHECKED_AT_OPEN: i64 = 50_000;

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    seq: i64,
    checksum: [u8; 32],
}

impl Head {
    #[cfg(test)]
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
pub(super) fn append(
    connection: &Connection,
    head: Head,
    event: &Event,
    at_ms: u64,
) -> rusqlite::Result<Head> {
    let body =
        serde_json::to_string(event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
    // 2^63 events are more than any disk holds; the insert below would fail on the key anyway.
    let next = head.extend(&body).unwrap_or(head);
    connection
        .prepare_cached("INSERT INTO events (seq, body, checksum, at_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            next.seq,
            body,
            next.checksum,
            i64::try_from(at_ms).unwrap_or(i64::MAX)
        ])?;
    Ok(next)
}

/// Removes the oldest events that were recorded before this moment, at most `limit` and never the last one, inside the
/// connection's transaction. The checksum of the last removed event is kept: the chain begins with it. Returns how many.
pub(super) fn drop_before(connection: &Connection, before_ms: u64, limit: u32) -> rusqlite::Result<u32> {
    let start = beginning(connection)?;
    let last: i64 = connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
    let dated_from: i64 = connection.query_row(
        "SELECT value FROM meta WHERE key = 'events_dated_from'",
        [],
        |row| row.get(0),
    )?;
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT seq, checksum, at_ms FROM events WHERE seq > ?1 AND seq < ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![start.seq, last, limit])?;
    let (mut bound, mut dropped) = (None, 0);
    while let Some(row) = rows.next()? {
        let at_ms: i64 = row.get(2)?;
        if (if at_ms == 0 { dated_from } else { at_ms }) >= before_ms {
            break;
        }
        bound = Some(Head {
            seq: row.get(0)?,
            checksum: row.get(1)?,
        });
        dropped += 1;
    }
    let Some(bound) = bound else { return Ok(0) };
    connection
        .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'events_dropped_to'")?
        .execute([bound.seq])?;
    connection
        .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'events_dropped_checksum'")?
        .execute([bound.checksum])?;
    connection
        .prepare_cached("DELETE FROM events WHERE seq <= ?1")?
        .execute([bound.seq])?;
    Ok(dropped)
}

/// The last event that was removed: the chain begins after it.
fn beginning(connection: &Connection) -> rusqlite::Result<Head> {
    let value = |key| format!("SELECT value FROM meta WHERE key = '{key}'");
    Ok(Head {
        seq: connection.query_row(&value("events_dropped_to"), [], |row| row.get(0))?,
        checksum: connection.query_row(&value("events_dropped_checksum"), [], |row| row.get(0))?,
    })
}

/// Follows the whole chain to its end. Returns the number of its first event and of its last one.
pub(super) fn verify_all(connection: &Connection) -> Result<(i64, i64), JournalError> {
    let start = beginning(connection).map_err(|error| unreadable(&error))?;
    let head = verify_newest(connection, i64::MAX)?;
    Ok((start.seq.saturating_add(1), head.seq))
}

/// Follows the chain to its end, over the newest events.
pub(super) fn verify(connection: &Connection) -> Result<Head, JournalError> {
    verify_newest(connection, CHECKED_AT_OPEN)
}

fn verify_newest(connection: &Connection, newest: i64) -> Result<Head, JournalError> {
    let walk = || -> rusqlite::Result<Result<Head, i64>> {
        let last: i64 =
            connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?;
        let start = beginning(connection)?;
        let anchor = last.saturating_sub(newest).max(start.seq);
        let mut head = if anchor == start.seq {
            start
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
        Err(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &rusqlite::Error) -> JournalError {
    JournalError(format!("the event log can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: u64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for migration in super::super::files::MIGRATIONS {
            connection.execute_batch(migration).unwrap();
        }
        let mut head = Head::EMPTY;
        for attempt in 0..events {
            head = append(&connection, head, &Event::Sent { attempt }, 1_000 + attempt).unwrap();
        }
        assert_eq!(verify(&connection), Ok(head));
        connection
    }

    fn damage(connection: &Connection, sql: &str) {
        connection
            .execute_batch(
                "DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_deleted_from_the_beginning;",
            )
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
        for (sql, why) in [
            ("UPDATE events SET body = ''", "events are never changed"),
            ("DELETE FROM events", "events are deleted from the beginning"),
            (
                "DELETE FROM events WHERE seq = 3",
                "events are deleted from the beginning",
            ),
        ] {
            let error = connection.execute(sql, []).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn old_events_go_from_the_beginning_and_what_is_left_hangs_on_the_last_of_them() {
        let connection = log(10);
        let whole = verify(&connection).unwrap();
        let seqs = || -> (i64, i64) {
            connection
                .query_row("SELECT min(seq), max(seq) FROM events", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap()
        };
        // Event n was recorded at 999 + n.
        for (before_ms, limit, dropped, left) in [
            (1_000, 9, 0, (1, 10)),
            (1_005, 2, 2, (3, 10)),
            (1_005, 9, 3, (6, 10)),
            (9_999, 99, 4, (10, 10)),
            (9_999, 99, 0, (10, 10)),
        ] {
            assert_eq!(
                drop_before(&connection, before_ms, limit),
                Ok(dropped),
                "{before_ms}"
            );
            assert_eq!(seqs(), left, "{before_ms}");
            assert_eq!(verify(&connection), Ok(whole), "{before_ms}");
            assert_eq!(verify_all(&connection), Ok((left.0, 10)), "{before_ms}");
        }
        damage(&connection, "UPDATE events SET body = '' WHERE seq = 10");
        assert!(verify(&connection).is_err());
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
