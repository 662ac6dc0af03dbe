//! The journal: what the facilitator knows for certain, on disk before it matters.
//!
//! Every change is a list of [`Event`]s, committed all or none and durable when [`Journal::commit`] returns. Rows are
//! projections of events, made by one function ([`project::apply`]) over whatever a back end offers as [`Rows`], so
//! that SQLite, memory and others can't differ in what they allow. The projection enforces the laws it can see: one
//! open settlement per claim and conflict key, live attempts of a step in one slot only, one claim per piece of
//! evidence, one release, reserves within what the payer has.
//!
//! Payload bytes (plans and signed transactions: bearer instruments) lie in tables of their own and not in the event
//! log, so that they can be dropped when they are of no more use.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests own their tasks and clocks")
)]

pub mod event;
pub mod jobs;
pub mod memory;
pub mod plugin_rows;
pub mod project;
pub mod query;
pub mod row;
pub mod sqlite;
mod withheld;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod spending_tests;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

use async_trait::async_trait;

pub use event::{Event, NewAttempt, NewSettlement};
pub use query::{Answer, Query};
pub use row::{
    AttemptKind, AttemptRow, Ground, GroundAt, HeldRow, JobRow, Outcome, PaidRow, Release, SettlementRow,
    SlotRow, SpentRow, StepRow, StepState, WithheldRow,
};

/// Durable, atomic record of events.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// A number never used before as a settlement's or attempt's id in this journal.
    fn new_id(&self) -> u64;

    /// All events or none; durable when it returns `Ok`. After an error nothing of it is in the journal.
    async fn commit(&self, events: Vec<Event>) -> Result<(), CommitError>;

    /// A mark that may be lost in a crash and is not waited for.
    fn note(&self, event: Event);

    /// Reads a consistent view that includes every acknowledged commit.
    async fn query(&self, query: Query) -> Result<Answer, JournalError>;
}

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// The claim has a settlement that is open, paid, or failed and not yet final.
    ClaimTaken,
    /// Another settlement holds this conflict key.
    ConflictKeyTaken(String),
    /// The payer's funds are spoken for; the scheme's reason.
    ReserveShort { reason: String },
    /// This piece of evidence pays another claim.
    EvidenceUsed(String),
    /// Somebody has the release already.
    AlreadyReleased,
    /// The condition of a write to this key of a plugin's store does not hold.
    StoreCondition(String),
    /// The rows are not in the state this event starts from: a defect, or somebody else was faster.
    Stale(String),
    /// The disk is full: take no new work in.
    Full,
    /// The journal can't be read or written.
    Io(String),
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClaimTaken => f.write_str("the claim is taken"),
            Self::ConflictKeyTaken(key) => write!(f, "conflict key {key} is taken"),
            Self::ReserveShort { reason } => write!(f, "reserved funds exceed what is available ({reason})"),
            Self::EvidenceUsed(item) => write!(f, "evidence {item} pays another claim"),
            Self::AlreadyReleased => f.write_str("already released"),
            Self::StoreCondition(key) => write!(f, "the store condition on {key} does not hold"),
            Self::Stale(what) => write!(f, "stale: {what}"),
            Self::Full => f.write_str("the journal's disk is full"),
            Self::Io(what) => write!(f, "journal: {what}"),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<JournalError> for CommitError {
    fn from(error: JournalError) -> Self {
        Self::Io(error.0)
    }
}

/// The journal can't be read, or holds what can't be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalError(pub String);

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "journal: {}", self.0)
    }
}

impl std::error::Error for JournalError {}

/// Tables of the projection. Each maps a text key to a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Claim key → id of its latest settlement.
    Claims,
    /// Hash of an opener's request → id of its latest settlement.
    Requests,
    /// Settlement id → [`SettlementRow`].
    Settlements,
    /// Ids of settlements that are not finished.
    Unfinished,
    /// Finish time and id → nothing: what housekeeping goes by.
    Finished,
    /// Settlement id → plan. Bearer instruments.
    Plans,
    /// Attempt id → [`AttemptRow`].
    Attempts,
    /// Settlement, step, attempt: which attempts carry which steps.
    AttemptSteps,
    /// Attempt id → signed bytes. Bearer instruments.
    Payloads,
    /// Lane and sequence → [`SlotRow`], slots that are not closed.
    OpenSlots,
    /// The same, closed.
    ClosedSlots,
    /// Lane → the sequence behind the highest journaled one.
    Lanes,
    /// Network and evidence item → settlement id.
    Evidence,
    /// Conflict key → settlement id.
    ConflictKeys,
    /// Network, asset, payer, settlement → reserve.
    Reserves,
    /// Network, signer, settlement → until when the signer must stay usable.
    Holds,
    /// Plugin and key → row of a plugin's store.
    Store,
    /// Plugin and id → job.
    Jobs,
    /// Network, time, plugin and id of every job → nothing.
    DueJobs,
    /// Settlements whose release is withheld → [`WithheldRow`]; reasons that were taken in → when.
    Withheld,
}

impl Table {
    pub const ALL: [Self; 20] = [
        Self::Claims,
        Self::Requests,
        Self::Settlements,
        Self::Unfinished,
        Self::Finished,
        Self::Plans,
        Self::Attempts,
        Self::AttemptSteps,
        Self::Payloads,
        Self::OpenSlots,
        Self::ClosedSlots,
        Self::Lanes,
        Self::Evidence,
        Self::ConflictKeys,
        Self::Reserves,
        Self::Holds,
        Self::Store,
        Self::Jobs,
        Self::DueJobs,
        Self::Withheld,
    ];

    /// The table's name in SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Requests => "requests",
            Self::Settlements => "settlements",
            Self::Unfinished => "unfinished",
            Self::Finished => "finished",
            Self::Plans => "plans",
            Self::Attempts => "attempts",
            Self::AttemptSteps => "attempt_steps",
            Self::Payloads => "payloads",
            Self::OpenSlots => "open_slots",
            Self::ClosedSlots => "closed_slots",
            Self::Lanes => "lanes",
            Self::Evidence => "evidence",
            Self::ConflictKeys => "conflict_keys",
            Self::Reserves => "reserves",
            Self::Holds => "holds",
            Self::Store => "store",
            Self::Jobs => "jobs",
            Self::DueJobs => "due_jobs",
            Self::Withheld => "withheld",
        }
    }
}

/// What a back end offers inside one atomic commit or one consistent read.
pub trait Rows {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<String>, JournalError>;
    fn put(&mut self, table: Table, key: &str, value: &str) -> Result<(), JournalError>;
    fn delete(&mut self, table: Table, key: &str) -> Result<(), JournalError>;
    /// Rows whose key begins with `prefix` and is greater than `after`, in key order, at most `limit`.
    fn scan(
        &mut self,
        table: Table,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, JournalError>;
    /// The greatest key of the table.
    fn last_key(&mut self, table: Table) -> Result<Option<String>, JournalError>;
}

/// A value that the journal holds durably. Only this module can make one, so code that asks for it can't be reached
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

/// Commits `before`, the attempt with its signed bytes, and nothing else: the only way from a built transaction to one
/// that may be sent.
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

/// All slots that are not closed, with their attempts: what a restart has to look after.
pub async fn open_slots(
    journal: &dyn Journal,
) -> Result<Vec<(SlotRow, Vec<Journaled<AttemptRow>>)>, JournalError> {
    match journal.query(Query::OpenSlots).await? {
        Answer::Slots(slots) => Ok(slots
            .into_iter()
            .map(|(slot, attempts)| {
                (
                    slot,
                    attempts.into_iter().map(|inner| Journaled { inner }).collect(),
                )
            })
            .collect()),
        other => Err(query::unexpected(&other)),
    }
}
