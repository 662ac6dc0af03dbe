//! The steps at which something can go wrong, and what can go wrong at each.

use journal::Event;

use crate::chain::Read;

/// A step of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The journal is read at the start.
    Boot,
    Identify,
    ClaimLookUp,
    Plan,
    Check,
    Lane,
    Quote,
    Build,
    Fill,
    /// Claim, slot and attempt: the commit before a send.
    CommitFirst,
    /// A later attempt: a replacement, a fill, a later step.
    CommitAttempt,
    Broadcast,
    Observe,
    Judge,
    /// A step that does not pay has ended.
    CommitStep,
    /// Outcome, most often with the release.
    CommitOutcome,
    /// A release alone, or its return.
    CommitRelease,
    /// A decision is undone: its block is gone.
    CommitReorg,
    /// The answer goes to a caller.
    Reply,
    /// A slot is used by something else: its steps may take another one, or never again.
    CommitFreeSlot,
    /// A slot is closed.
    CommitClose,
    /// Conflict keys are freed before the settlement is finished.
    CommitFreeKeys,
    /// A settlement is finished.
    CommitFinish,
    /// What is old is removed.
    CommitRetention,
    /// A job is scheduled, done or postponed, or a plugin's row is written.
    CommitJob,
    /// A job's handler.
    Job,
    /// A scheme's check of itself.
    SchemeCheck,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Its service is unavailable, and reports that.
    Unavailable,
    /// A defect, reported as one.
    Internal,
    /// No answer, ever.
    Hang,
    Panic,
    /// The core itself panics before the effect.
    PanicBefore,
    /// The core itself panics after the effect, before it hears of it.
    PanicAfter,
    /// An answer that makes no sense.
    Garbage,
    /// An answer after several seconds.
    Slow,
    /// The process dies before the effect.
    CrashBefore,
    /// The process dies after the effect, before it hears of it.
    CrashAfter,
    /// The disk is full for a while.
    Full,
    /// The node took the bytes and answers an error.
    TakenButError,
    /// The node took the bytes and hangs.
    TakenButHangs,
    /// The node acknowledges the bytes, and does not keep them.
    AcceptedAndForgotten,
    /// The node has fallen behind.
    Stale,
    /// One kind of read answers null during this call.
    Null(Read),
    /// The node turns out to be one of another chain.
    OtherChain,
    /// The caller hangs up.
    HangUp,
    /// The caller waits hardly at all.
    Impatient,
    /// The connection breaks before it has a byte of the answer.
    AnswerLost,
    /// All callers hang up.
    CallersLeave,
    /// The newest blocks are replaced during the call.
    Reorg,
    /// The power fails during the commit: what was not synced is there, gone or torn.
    PowerCut,
}

impl Harm {
    /// Whether the process dies of it.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter | Self::PowerCut)
    }
}

impl Point {
    /// Whether nothing can be done there without a node of the chain.
    #[must_use]
    pub fn reads_chain(self) -> bool {
        matches!(
            self,
            Self::Plan
                | Self::Check
                | Self::Lane
                | Self::Quote
                | Self::Build
                | Self::Fill
                | Self::Broadcast
                | Self::Observe
                | Self::SchemeCheck
        )
    }

    pub const ALL: [Self; 27] = [
        Self::Boot,
        Self::Identify,
        Self::ClaimLookUp,
        Self::Plan,
        Self::Check,
        Self::Lane,
        Self::Quote,
        Self::Build,
        Self::Fill,
        Self::CommitFirst,
        Self::CommitAttempt,
        Self::Broadcast,
        Self::Observe,
        Self::Judge,
        Self::CommitStep,
        Self::CommitOutcome,
        Self::CommitRelease,
        Self::CommitReorg,
        Self::Reply,
        Self::CommitFreeSlot,
        Self::CommitClose,
        Self::CommitFreeKeys,
        Self::CommitFinish,
        Self::CommitRetention,
        Self::CommitJob,
        Self::Job,
        Self::SchemeCheck,
    ];

    /// The name of its row in a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "start: read the journal",
            Self::Identify => "identify",
            Self::ClaimLookUp => "look the claim up",
            Self::Plan => "plan",
            Self::Check => "check of the network",
            Self::Lane => "read the lane",
            Self::Quote => "quote",
            Self::Build => "build and sign",
            Self::Fill => "build a fill",
            Self::CommitFirst => "first commit",
            Self::CommitAttempt => "commit of an attempt",
            Self::Broadcast => "send",
            Self::Observe => "observe",
            Self::Judge => "judge",
            Self::CommitStep => "commit of a step",
            Self::CommitOutcome => "outcome commit",
            Self::CommitRelease => "release commit",
            Self::CommitReorg => "commit: undone",
            Self::Reply => "reply",
            Self::CommitFreeSlot => "commit: slot freed",
            Self::CommitClose => "commit: slot closed",
            Self::CommitFreeKeys => "commit: keys freed",
            Self::CommitFinish => "commit: finished",
            Self::CommitRetention => "commit: retention",
            Self::CommitJob => "commit: jobs and rows",
            Self::Job => "job",
            Self::SchemeCheck => "check of the scheme",
        }
    }

    /// Whether it is a commit to the journal.
    #[must_use]
    pub fn is_commit(self) -> bool {
        match self {
            Self::CommitFirst
            | Self::CommitAttempt
            | Self::CommitStep
            | Self::CommitOutcome
            | Self::CommitRelease
            | Self::CommitReorg
            | Self::CommitFreeSlot
            | Self::CommitClose
            | Self::CommitFreeKeys
            | Self::CommitFinish
            | Self::CommitRetention
            | Self::CommitJob => true,
            Self::Boot
            | Self::Identify
            | Self::ClaimLookUp
            | Self::Plan
            | Self::Check
            | Self::Lane
            | Self::Quote
            | Self::Build
            | Self::Fill
            | Self::Broadcast
            | Self::Observe
            | Self::Judge
            | Self::Reply
            | Self::Job
            | Self::SchemeCheck => false,
        }
    }

    /// Whether a wrong answer of this call can be decoded. Any other one is reported as a defect of the plugin.
    #[must_use]
    pub(super) fn makes_garbage(self) -> bool {
        matches!(self, Self::Plan | Self::Judge | Self::Observe)
    }

    /// Whether only the weather brings a run here, or time: a run in calm weather passes all others.
    #[must_use]
    pub fn is_rare(self) -> bool {
        matches!(
            self,
            Self::CommitReorg | Self::CommitFreeSlot | Self::CommitRetention
        )
    }

    /// What can go wrong here. [`Harm::PowerCut`] needs a journal in files.
    #[must_use]
    pub fn harms(self) -> &'static [Harm] {
        use Harm::{
            AcceptedAndForgotten, AnswerLost, CallersLeave, CrashAfter, CrashBefore, Full, Garbage, Hang,
            HangUp, Impatient, Internal, Null, OtherChain, Panic, PanicAfter, PanicBefore, Reorg, Slow,
            Stale, TakenButError, TakenButHangs, Unavailable,
        };
        match self {
            Self::Identify | Self::Job | Self::SchemeCheck | Self::Judge => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::ClaimLookUp => &[Unavailable, Slow, CrashBefore, CallersLeave, Reorg],
            Self::Boot => &[Unavailable, Slow, CrashBefore, Reorg],
            Self::Fill => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                OtherChain,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::Plan | Self::Build => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                Null(Read::State),
                OtherChain,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::Check | Self::Quote => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                Null(Read::Heads),
                OtherChain,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::Lane => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                Null(Read::Heads),
                Null(Read::Nonces),
                Null(Read::State),
                OtherChain,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::Broadcast => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                TakenButError,
                TakenButHangs,
                AcceptedAndForgotten,
                OtherChain,
                CrashBefore,
                CrashAfter,
                CallersLeave,
                Reorg,
            ],
            Self::Observe => &[
                Unavailable,
                Internal,
                Hang,
                Panic,
                Garbage,
                Slow,
                Stale,
                Null(Read::Heads),
                Null(Read::Nonces),
                Null(Read::Receipts),
                Null(Read::Transactions),
                Null(Read::Logs),
                Null(Read::State),
                OtherChain,
                CrashBefore,
                CallersLeave,
                Reorg,
            ],
            Self::CommitFirst
            | Self::CommitAttempt
            | Self::CommitStep
            | Self::CommitOutcome
            | Self::CommitRelease
            | Self::CommitReorg
            | Self::CommitFreeSlot
            | Self::CommitClose
            | Self::CommitFreeKeys
            | Self::CommitFinish
            | Self::CommitRetention
            | Self::CommitJob => &[
                Full,
                Slow,
                PanicBefore,
                PanicAfter,
                CrashBefore,
                CrashAfter,
                CallersLeave,
                Reorg,
            ],
            Self::Reply => &[HangUp, Impatient, AnswerLost, CrashBefore, CrashAfter, Reorg],
        }
    }

    /// The commit that these events make.
    #[must_use]
    pub fn of_commit(events: &[Event]) -> Self {
        let has = |what: fn(&Event) -> bool| events.iter().any(what);
        if has(|e| matches!(e, Event::Opened(_))) {
            Self::CommitFirst
        } else if has(|e| matches!(e, Event::Prepared(_))) {
            Self::CommitAttempt
        } else if has(|e| matches!(e, Event::Paid { .. } | Event::Failed { .. })) {
            Self::CommitOutcome
        } else if has(|e| matches!(e, Event::Released { .. } | Event::ReleaseReturned { .. })) {
            Self::CommitRelease
        } else if has(|e| matches!(e, Event::Reorged { .. })) {
            Self::CommitReorg
        } else if has(|e| matches!(e, Event::StepFreed { .. } | Event::StepUnexplained { .. })) {
            Self::CommitFreeSlot
        } else if has(|e| matches!(e, Event::Finished { .. })) {
            Self::CommitFinish
        } else if has(|e| matches!(e, Event::SlotClosed { .. })) {
            Self::CommitClose
        } else if has(|e| matches!(e, Event::KeysFreed { .. })) {
            Self::CommitFreeKeys
        } else if has(|e| matches!(e, Event::StepDone { .. } | Event::StepFailed { .. })) {
            Self::CommitStep
        } else if has(|e| matches!(e, Event::Dropped { .. } | Event::Expired { .. })) {
            Self::CommitRetention
        } else {
            Self::CommitJob
        }
    }
}
