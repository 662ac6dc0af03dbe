//! The append-only log of events, with a checksum over each event and all before it.
//!
//! Events of one transaction share rows, because they are much alike: a row holds consecutive events, one a line, compressed
//! together. It has the number of its last event, and the checksum at that event. Rows of an earlier version hold one event.
//!
//! A changed, missing or swapped event breaks the chain from there on. The chain detects damage and mistakes. It does
//! not detect deceit: a writer of the file can compute a new chain.

use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::super::{Event, JournalError};
use super::values;

/// A row gets no further event once it has this many bytes.
const ROW_BYTES: usize = 64 << 10;
/// How many of the newest events are checked when the journal is opened: less than a second's work. Older ones were
/// checked at earlier starts, and the chain continues from the last of them. [`verify_all`] checks every one.
const CHECKED_AT_OPEN: i64 = 50_000;
/// Between the events of a row.
const LINE_BREAK: char = '\n';

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

/// Appends events inside the connection's transaction; the new head counts once that is committed.
pub(super) fn append<'e>(
    connection: &Connection,
    mut head: Head,
    events: impl IntoIterator<Item = &'e Event>,
    at_ms: u64,
) -> rusqlite::Result<Head> {
    let mut row = String::new();
    for event in events {
        if row.len() >= ROW_BYTES {
            insert(connection, head, &row, at_ms)?;
            row.clear();
        }
        // JSON of one line: a line break in a text is escaped.
        let body =
            serde_json::to_string(event).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        // 2^63 events are more than any disk holds; the insert would fail on the key anyway.
        head = head.extend(&body).unwrap_or(head);
        if !row.is_empty() {
            row.push(LINE_BREAK);
        }
        row.push_str(&body);
    }
    if !row.is_empty() {
        insert(connection, head, &row, at_ms)?;
    }
    Ok(head)
}

/// One row with events up to this head.
fn insert(connection: &Connection, head: Head, row: &str, at_ms: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO events (seq, body, checksum, at_ms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            head.seq,
            values::encode(row),
            head.checksum,
            i64::try_from(at_ms).unwrap_or(i64::MAX)
        ])
        .map(|_| ())
}

/// Removes the oldest events that were recorded before this moment, inside the connection's transaction: whole rows with at
/// most `limit` events together, or one row that has more, and never the last row. The checksum of the last removed event is
/// kept: the chain begins with it. Returns how many.
pub(super) fn drop_before(connection: &Connection, before_ms: u64, limit: u32) -> rusqlite::Result<u32> {
    let start = beginning(connection)?;
    let last = last(connection)?;
    let dated_from: i64 = connection.query_row(
        "SELECT value FROM meta WHERE key = 'events_dated_from'",
        [],
        |row| row.get(0),
    )?;
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let mut statement = connection
        .prepare_cached("SELECT seq, checksum, at_ms FROM events WHERE seq > ?1 AND seq < ?2 ORDER BY seq")?;
    let mut rows = statement.query(params![start.seq, last])?;
    let (mut bound, mut dropped) = (start, 0);
    while let Some(row) = rows.next()? {
        let at_ms: i64 = row.get(2)?;
        let seq: i64 = row.get(0)?;
        let more = u32::try_from(seq.saturating_sub(start.seq)).unwrap_or(u32::MAX);
        let is_new = (if at_ms == 0 { dated_from } else { at_ms }) >= before_ms;
        if is_new || (more > limit && dropped > 0) {
            break;
        }
        let checksum = row.get(1)?;
        (bound, dropped) = (Head { seq, checksum }, more);
    }
    if dropped == 0 {
        return Ok(0);
    }
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

/// Number of the first event that is kept and of the last one; both 0 where there is none.
pub(super) fn range(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let last = last(connection)?;
    let first = beginning(connection)?.seq.saturating_add(1);
    Ok(if last < first { (0, 0) } else { (first, last) })
}

fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))
}

/// Follows the chain to its end, over the newest events.
pub(super) fn verify(connection: &Connection) -> Result<Head, JournalError> {
    verify_newest(connection, CHECKED_AT_OPEN)
}

fn verify_newest(connection: &Connection, newest: i64) -> Result<Head, JournalError> {
    let walk = || -> rusqlite::Result<Result<Head, Broken>> {
        let mut head = before_newest(connection, newest)?;
        let mut statement =
            connection.prepare("SELECT seq, body, checksum FROM events WHERE seq > ?1 ORDER BY seq")?;
        let mut rows = statement.query([head.seq])?;
        while let Some(row) = rows.next()? {
            let found = Head {
                seq: row.get(0)?,
                checksum: row.get(2)?,
            };
            let (first, last) = (head.seq.saturating_add(1), found.seq);
            let events = match values::decode(row.get_ref(1)?) {
                Ok(events) => events,
                Err(error) => return Ok(Err(Broken::Value { first, last, error })),
            };
            match events.split(LINE_BREAK).try_fold(head, Head::extend) {
                Some(next) if next == found => head = next,
                Some(_) | None => return Ok(Err(Broken::Chain { first, last })),
            }
        }
        Ok(Ok(head))
    };
    match walk() {
        Ok(Ok(head)) => Ok(head),
        Ok(Err(Broken::Chain { first, last })) => Err(JournalError(format!(
            "the event log is damaged {}: its checksum does not follow from the event before; restore the journal from a \
             backup, or get help before you continue",
            place(first, last)
        ))),
        // Not always damage: a later version may have written it.
        Ok(Err(Broken::Value { first, last, error })) => Err(JournalError(format!(
            "the event log can't be read {}: {error}",
            place(first, last)
        ))),
        Err(error) => Err(unreadable(&error)),
    }
}

/// What is wrong with the events of a row, from the first to the last.
enum Broken {
    Chain {
        first: i64,
        last: i64,
    },
    Value {
        first: i64,
        last: i64,
        error: JournalError,
    },
}

fn place(first: i64, last: i64) -> String {
    if first < last {
        format!("in events {first} to {last}")
    } else {
        format!("at event {last}")
    }
}

/// The end of a row with at least `newest` events after it, or of what was removed.
fn before_newest(connection: &Connection, newest: i64) -> rusqlite::Result<Head> {
    let start = beginning(connection)?;
    let at_most = last(connection)?.saturating_sub(newest);
    let head = |row: &rusqlite::Row<'_>| {
        Ok(Head {
            seq: row.get(0)?,
            checksum: row.get(1)?,
        })
    };
    let anchor = connection
        .query_row(
            "SELECT seq, checksum FROM events WHERE seq <= ?1 AND seq > ?2 ORDER BY seq DESC LIMIT 1",
            [at_most, start.seq],
            head,
        )
        .optional()?;
    Ok(anchor.unwrap_or(start))
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
            head = append(&connection, head, [&Event::Sent { attempt }], 1_000 + attempt).unwrap();
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
                "UPDATE events SET body = '{\"Sent\":{\"attempt\":5}}' WHERE seq = 5",
                "at event 5",
            ),
            (
                "UPDATE events SET checksum = zeroblob(32) WHERE seq = 7",
                "at event 7",
            ),
            (
                "UPDATE events SET checksum = randomblob(32) WHERE seq = 10",
                "at event 10",
            ),
            (
                "UPDATE events SET body = '{\"Sent\":{\"attempt\":0}} ' WHERE seq = 1",
                "at event 1",
            ),
            ("DELETE FROM events WHERE seq = 3", "in events 3 to 4"),
            ("DELETE FROM events WHERE seq = 1", "in events 1 to 2"),
            ("UPDATE events SET seq = 20 WHERE seq = 10", "in events 10 to 20"),
        ] {
            let connection = log(10);
            damage(&connection, sql);
            let error = verify(&connection).unwrap_err();
            assert!(error.0.contains(&format!("damaged {at}:")), "{sql}: {error}");
        }
        let connection = log(10);
        damage(&connection, "UPDATE events SET checksum = 'x' WHERE seq = 2");
        assert!(verify(&connection).is_err());
    }

    #[test]
    fn events_that_another_version_compressed_are_not_called_damaged() {
        for (body, why) in [
            ("x'21012a'", "restore a backup"),
            ("x'ff'", "restore a backup"),
            // A frame of 16 bytes with dictionary 2.
            (
                "x'210210000000'",
                "dictionary 2, which this version of switchyard does not have",
            ),
        ] {
            let connection = log(10);
            damage(
                &connection,
                &format!("UPDATE events SET body = {body} WHERE seq = 6"),
            );
            let error = verify(&connection).unwrap_err().0;
            assert!(
                error.contains("can't be read at event 6: ") && error.contains(why),
                "{error}"
            );
        }
    }

    /// Ten transactions of a hundred events each.
    fn shared_rows() -> (Connection, Head) {
        let connection = log(0);
        let mut head = Head::EMPTY;
        for transaction in 0..10 {
            let events: Vec<Event> = (0..100).map(|attempt| Event::Sent { attempt }).collect();
            head = append(&connection, head, &events, 1_000 + transaction).unwrap();
        }
        (connection, head)
    }

    #[test]
    fn events_of_a_transaction_share_a_row_and_are_one_chain() {
        let (connection, head) = shared_rows();
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM events", [], |row| row.get(0))
            .unwrap();
        assert_eq!((rows, head.seq), (10, 1_000));
        assert_eq!(verify(&connection), Ok(head));
        // The newest 150 events are in the last two rows.
        assert_eq!(verify_newest(&connection, 150), Ok(head));
        let alone = Connection::open_in_memory().unwrap();
        for migration in super::super::files::MIGRATIONS {
            alone.execute_batch(migration).unwrap();
        }
        let mut one_by_one = Head::EMPTY;
        for attempt in (0..10).flat_map(|_| 0..100) {
            one_by_one = append(&alone, one_by_one, [&Event::Sent { attempt }], 1_000).unwrap();
        }
        assert_eq!(one_by_one, head, "the checksums are over the events");
        damage(&connection, "UPDATE events SET body = '' WHERE seq = 500");
        assert!(
            verify(&connection)
                .unwrap_err()
                .0
                .contains("damaged in events 401 to 500:")
        );
    }

    #[test]
    fn rows_are_short_enough_to_be_read_one_by_one() {
        let connection = log(0);
        let refusal = |number: u64| Event::StepFailed {
            settlement: number,
            step: sdk_plugin::StepIndex::FIRST,
            reason: "r".repeat(ROW_BYTES / 3),
        };
        let events: Vec<Event> = (0..10).map(refusal).collect();
        let head = append(&connection, Head::EMPTY, &events, 1).unwrap();
        let mut statement = connection.prepare("SELECT seq FROM events ORDER BY seq").unwrap();
        let seqs = statement.query_map([], |row| row.get(0)).unwrap();
        let seqs: Vec<i64> = seqs.map(Result::unwrap).collect();
        assert_eq!(seqs, [3, 6, 9, 10]);
        assert_eq!(verify(&connection), Ok(head));
    }

    #[test]
    fn whole_rows_go_and_at_least_one() {
        let (connection, whole) = shared_rows();
        // Transaction n was recorded at 1,000 + n.
        for (before_ms, limit, dropped, first) in [
            (1_000, 999, 0, 1),
            (1_009, 20, 100, 101),
            (1_009, 250, 200, 301),
            (1_005, 999, 200, 501),
            (9_999, 999, 400, 901),
            (9_999, 999, 0, 901),
        ] {
            assert_eq!(
                drop_before(&connection, before_ms, limit),
                Ok(dropped),
                "{before_ms}"
            );
            assert_eq!(range(&connection), Ok((first, 1_000)), "{before_ms}");
            assert_eq!(verify_all(&connection), Ok((first, 1_000)), "{before_ms}");
        }
        assert_eq!(verify(&connection), Ok(whole));
        assert_eq!(range(&log(0)), Ok((0, 0)));
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
