//! [`Journaled`]: what may be sent. Law 3: nothing leaves before it is durable.

use sdk_plugin::StepIndex;

use super::keys::lane_key;
use super::{AttemptRow, CommitError, Event, Journal, JournalError, NewAttempt, SlotRow, queries, read};

/// A value that the journal holds durably. Only this module can make one, so code that requires it can't be called
/// with something that was never journaled:
///
/// ```compile_fail
/// let attempt: journal::AttemptRow = panic!();
/// let sent = journal::Journaled { inner: attempt };
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Journaled<T> {
    inner: T,
}

impl<T> std::ops::Deref for Journaled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

/// Commits `before` and the attempt with its signed bytes, and nothing else. This is the only way from a built
/// transaction to one that may be sent.
pub async fn record_attempt(
    journal: &dyn Journal,
    mut before: Vec<Event>,
    attempt: NewAttempt,
) -> Result<Journaled<AttemptRow>, CommitError> {
    let row = attempt.row.clone();
    before.push(Event::Prepared(Box::new(attempt)));
    journal.commit(before).await?;
    Ok(Journaled { inner: row })
}

/// All slots that are not closed, with their attempts: a restart continues these.
pub async fn open_slots(
    journal: &dyn Journal,
) -> Result<Vec<(SlotRow, Vec<Journaled<AttemptRow>>)>, JournalError> {
    slots_with(journal, String::new()).await
}

/// The same, of one lane.
pub async fn open_slots_of(
    journal: &dyn Journal,
    network: &str,
    signer: &str,
) -> Result<Vec<(SlotRow, Vec<Journaled<AttemptRow>>)>, JournalError> {
    slots_with(journal, format!("{}|", lane_key(network, signer))).await
}

/// The slot that carries a step, or carried it, with the step's attempts in it; `None`: the step has none.
pub async fn recorded_slot(
    journal: &dyn Journal,
    settlement: u64,
    step: StepIndex,
) -> Result<Option<(SlotRow, Vec<Journaled<AttemptRow>>)>, JournalError> {
    let mut attempts = journal.attempts_of(settlement, step).await?;
    let Some(newest) = attempts.last().cloned() else {
        return Ok(None);
    };
    attempts.retain(|attempt| attempt.lane == newest.lane && attempt.sequence == newest.sequence);
    let slot = SlotRow {
        lane: newest.lane,
        sequence: newest.sequence,
        attempts: attempts.iter().map(|attempt| attempt.id).collect(),
        closed_by: None,
    };
    let attempts = attempts.into_iter().map(|inner| Journaled { inner }).collect();
    Ok(Some((slot, attempts)))
}

async fn slots_with(
    journal: &dyn Journal,
    prefix: String,
) -> Result<Vec<(SlotRow, Vec<Journaled<AttemptRow>>)>, JournalError> {
    let slots = read(journal, move |rows| queries::open_slots(rows, &prefix)).await?;
    let with_proof = |(slot, attempts): (SlotRow, Vec<AttemptRow>)| {
        let attempts = attempts.into_iter().map(|inner| Journaled { inner }).collect();
        (slot, attempts)
    };
    Ok(slots.into_iter().map(with_proof).collect())
}
