//! The append-only log of events: one chain for each writer, which is one process from its start to its end.
//!
//! Each event has a checksum over itself and all before it of the same writer. A writer's row holds the end of its chain.
//! It is locked by every transaction of the writer and written by each that commits, so it tells whether a commit was
//! carried out whose answer was lost.

use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::{CommitError, Event, JournalError};
use super::transaction::{Link, Mode, NotCommitted, Statement};
use super::trouble::Trouble;

/// Events that one statement reads.
const PAGE: i64 = 1_000;

/// The end of a writer's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) checksum: [u8; 32],
}

impl Head {
    pub(super) const EMPTY: Self = Self {
        seq: 0,
        checksum: [0; 32],
    };

    /// The head after the next event.
    fn extend(self, writer: i64, at_ms: i64, body: &str) -> Self {
        let seq = self.seq.saturating_add(1);
        let mut hash = Sha256::new();
        hash.update(self.checksum);
        hash.update(writer.to_be_bytes());
        hash.update(seq.to_be_bytes());
        hash.update(at_ms.to_be_bytes());
        hash.update(body.as_bytes());
        Self {
            seq,
            checksum: hash.finalize().into(),
        }
    }
}

/// Locks the writer's row and reads its head.
pub(super) fn lock_head(writer: i64) -> Statement {
    Statement::new("SELECT seq, checksum FROM switchyard.writers WHERE id = $1 FOR UPDATE")
        .with(writer, Type::INT8)
}

/// The head in a row of [`lock_head`].
pub(super) fn head_of(row: &Row) -> Option<Head> {
    let checksum: Vec<u8> = row.try_get(1).ok()?;
    Some(Head {
        seq: row.try_get(0).ok()?,
        checksum: checksum.try_into().ok()?,
    })
}

/// What the database has as the end of a writer's chain. Waits for a transaction of the writer that has not ended.
pub(super) async fn read_head(link: &Link, writer: i64) -> Result<Option<Head>, Trouble> {
    let mut transaction = link.begin(Mode::Commit).await?;
    let rows = transaction.run(vec![lock_head(writer)]).await?;
    transaction.roll_back().await;
    Ok(rows.first().and_then(|rows| rows.first()).and_then(head_of))
}

/// The statements that append these events after `head`, and the head after them.
pub(super) fn append<'e>(
    writer: i64,
    mut head: Head,
    at_ms: i64,
    events: impl Iterator<Item = &'e Event>,
) -> Result<(Vec<Statement>, Head), JournalError> {
    let (mut seqs, mut bodies, mut checksums) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let body = serde_json::to_string(event)
            .map_err(|error| JournalError(format!("an event can't be written: {error}")))?;
        head = head.extend(writer, at_ms, &body);
        seqs.push(head.seq);
        bodies.push(body);
        checksums.push(head.checksum.to_vec());
    }
    let events = Statement::new(
        "INSERT INTO switchyard.events (writer, seq, at_ms, body, checksum) SELECT $1, e.seq, $2, e.body, e.checksum FROM \
         unnest($3::int8[], $4::text[], $5::bytea[]) AS e(seq, body, checksum)",
    )
    .with(writer, Type::INT8)
    .with(at_ms, Type::INT8)
    .with(seqs, Type::INT8_ARRAY)
    .with(bodies, Type::TEXT_ARRAY)
    .with(checksums, Type::BYTEA_ARRAY);
    let end =
        Statement::new("UPDATE switchyard.writers SET seq = $2, checksum = $3, at_ms = $4 WHERE id = $1")
            .with(writer, Type::INT8)
            .with(head.seq, Type::INT8)
            .with(head.checksum.to_vec(), Type::BYTEA)
            .with(at_ms, Type::INT8);
    Ok((vec![events, end], head))
}

/// Removes events of every writer that were recorded before this moment, from the beginning of its chain, at most `limit`
/// in all. The last checksum that was removed is kept: the chain continues from it. Returns how many.
pub(super) async fn drop_before(link: &Link, before_ms: u64, limit: u32) -> Result<u32, CommitError> {
    let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
    let writers = Statement::new("SELECT id FROM switchyard.writers WHERE dropped_to < seq ORDER BY id");
    let writers = link
        .query(writers)
        .await
        .map_err(|trouble| CommitError::from(&trouble))?;
    let mut dropped: u32 = 0;
    for row in writers {
        let writer: i64 = row
            .try_get(0)
            .map_err(|error| CommitError::Io(error.to_string()))?;
        let left = limit.saturating_sub(dropped);
        if left == 0 {
            break;
        }
        let of_it = drop_of(link, writer, before_ms, left).await;
        dropped = dropped.saturating_add(of_it.map_err(|trouble| CommitError::from(&trouble))?);
    }
    Ok(dropped)
}

async fn drop_of(link: &Link, writer: i64, before_ms: i64, limit: u32) -> Result<u32, Trouble> {
    let mut transaction = link.begin(Mode::Commit).await?;
    // Not the row's lock: the writer needs it for every commit. Two nodes that drop at once delete the same events.
    let start =
        Statement::new("SELECT dropped_to FROM switchyard.writers WHERE id = $1").with(writer, Type::INT8);
    let rows = transaction.run(vec![start]).await?;
    let start: i64 = first(&rows).unwrap_or(i64::MAX);
    let old = Statement::new(
        "SELECT seq, checksum, at_ms FROM switchyard.events WHERE writer = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .with(writer, Type::INT8)
    .with(start, Type::INT8)
    .with(i64::from(limit), Type::INT8);
    let rows = transaction.run(vec![old]).await?;
    let mut bound = None;
    let mut count: u32 = 0;
    for row in rows.iter().flatten() {
        let at_ms: i64 = row
            .try_get(2)
            .map_err(|error| Trouble::Answer(error.to_string()))?;
        let Some(head) = head_of(row).filter(|_| at_ms < before_ms) else {
            break;
        };
        bound = Some(head);
        count = count.saturating_add(1);
    }
    let Some(bound) = bound else {
        transaction.roll_back().await;
        return Ok(0);
    };
    let statements = vec![
        Statement::new(
            "UPDATE switchyard.writers SET dropped_to = $2, dropped_checksum = $3 WHERE id = $1 AND dropped_to < $2",
        )
        .with(writer, Type::INT8)
        .with(bound.seq, Type::INT8)
        .with(bound.checksum.to_vec(), Type::BYTEA),
        Statement::new("DELETE FROM switchyard.events WHERE writer = $1 AND seq <= $2")
            .with(writer, Type::INT8)
            .with(bound.seq, Type::INT8),
    ];
    match transaction.commit(statements).await {
        Ok(()) => Ok(count),
        // Dropped again by the next call, if they are still there.
        Err(NotCommitted::Undone(trouble) | NotCommitted::Unknown(trouble)) => Err(trouble),
    }
}

fn first(rows: &[Vec<Row>]) -> Option<i64> {
    rows.first()?.first()?.try_get(0).ok()
}

/// Follows every writer's chain to its end. Returns how many writers and events there are.
pub(super) async fn verify(link: &Link) -> Result<(usize, u64), JournalError> {
    let writers = Statement::new(
        "SELECT seq, checksum, dropped_to, dropped_checksum, id FROM switchyard.writers ORDER BY id",
    );
    let writers = link.query(writers).await?;
    let mut events = 0;
    for row in &writers {
        let damaged = |seq: i64, writer: i64| {
            JournalError(format!(
                "the event log is damaged at event {seq} of writer {writer}: its checksum does not follow from the event \
                 before; restore the database from a backup, or get help before you continue"
            ))
        };
        let unreadable =
            |error: tokio_postgres::Error| JournalError(format!("table switchyard.writers: {error}"));
        let writer: i64 = row.try_get(4).map_err(unreadable)?;
        let end = head_of(row).ok_or_else(|| damaged(0, writer))?;
        let checksum: Vec<u8> = row.try_get(3).map_err(unreadable)?;
        let mut head = Head {
            seq: row.try_get(2).map_err(unreadable)?,
            checksum: checksum.try_into().map_err(|_| damaged(0, writer))?,
        };
        while head.seq < end.seq {
            let page = Statement::new(
                "SELECT seq, checksum, at_ms, body FROM switchyard.events WHERE writer = $1 AND seq > $2 AND seq <= $3 \
                 ORDER BY seq LIMIT $4",
            )
            .with(writer, Type::INT8)
            .with(head.seq, Type::INT8)
            .with(end.seq, Type::INT8)
            .with(PAGE, Type::INT8);
            let page = link.query(page).await?;
            if page.is_empty() {
                return Err(damaged(head.seq.saturating_add(1), writer));
            }
            for row in page {
                let at_ms: i64 = row.try_get(2).map_err(unreadable)?;
                let body: String = row.try_get(3).map_err(unreadable)?;
                let next = head.extend(writer, at_ms, &body);
                if head_of(&row) != Some(next) {
                    return Err(damaged(next.seq, writer));
                }
                head = next;
                events += 1;
            }
        }
        if head != end {
            return Err(damaged(end.seq, writer));
        }
    }
    Ok((writers.len(), events))
}
