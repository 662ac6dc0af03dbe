//! Why the journal refused a commit, or could not be read.

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The claim has a settlement that is open, paid, or failed and not yet final.
    #[error("the claim is taken")]
    ClaimTaken,
    /// The payload was settled, or is being settled, under this other claim: its plugin names one payment in two ways.
    #[error("the same payload has the claim {0}")]
    PayloadClaimed(String),
    /// Another settlement holds this conflict key.
    #[error("conflict key {0} is taken")]
    ConflictKeyTaken(String),
    /// The payer's other open payments need the rest of its funds; the scheme's reason.
    #[error("reserved funds exceed what is available ({reason})")]
    ReserveShort {
        /// The scheme's reason for the caller.
        reason: String,
    },
    /// This piece of evidence pays another claim.
    #[error("evidence {0} pays another claim")]
    EvidenceUsed(String),
    /// Another caller has the release.
    #[error("already released")]
    AlreadyReleased,
    /// The condition of a write to this key of a plugin's store does not hold.
    #[error("the store condition on {0} does not hold")]
    StoreCondition(String),
    /// Another node owns the lane now: this node may record nothing about it.
    #[error("another node owns {0}")]
    Fenced(String),
    /// The rows are not in the state that this event starts from: a defect, or another writer was faster.
    #[error("stale: {0}")]
    Stale(String),
    /// The disk is full: accept no new payments.
    #[error("the journal's disk is full")]
    Full,
    /// The journal can't be read or written.
    #[error("journal: {0}")]
    Io(String),
}

impl From<JournalError> for CommitError {
    fn from(error: JournalError) -> Self {
        Self::Io(error.0)
    }
}

/// The journal can't be read, or contains what can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);
