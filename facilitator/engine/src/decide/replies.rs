//! Replies to callers, derived from the journal's row of a settlement. Pure.

use crate::decide::claim::{Decision, RequestIdentity, decide};
use crate::decide::faults::{passes_by_itself, public_message};
use base::service::SettleAnswer;
use journal::{CommitError, Outcome, PaidRow, SettlementRow, StepState};
use sdk_plugin::Fault;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::wire::{SettleReply, reason};
use serde_json::{Map, Value, json};

/// Retry delay for callers whose settlement was not started, in seconds.
pub(crate) const RETRY_AFTER_S: u64 = 2;
/// Retry delay for callers of a paused kind, in seconds.
const PAUSED_RETRY_AFTER_S: u64 = 60;
/// The extension of a settle reply with the id for look-ups.
const STATUS_EXTENSION: &str = "settlement-status";
/// The message to callers of a paused kind. It leaves out the operator's reason.
pub(crate) const PAUSED: &str = "the operator has paused this kind of payment; try again later";

/// The reply `success` for a payment that the chain shows.
#[must_use]
pub(crate) fn success(paid: &PaidRow, row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    SettleReply {
        success: true,
        error_reason: None,
        error_message: None,
        payer: if paid.reply.payer.is_empty() {
            row.payer.clone()
        } else {
            paid.reply.payer.clone()
        },
        transaction: paid.tx_id.clone(),
        network: network_as_sent.to_owned(),
        amount: paid.reply.amount.map(|amount| amount.to_string()),
        extra: paid.reply.extra.clone(),
        extensions: with_id(paid.reply.extensions.clone(), row),
    }
}

/// Adds the id by which the caller can look the settlement up.
fn with_id(extensions: Option<Map<String, Value>>, row: &SettlementRow) -> Option<Map<String, Value>> {
    if row.reference.is_empty() {
        return extensions;
    }
    let mut extensions = extensions.unwrap_or_default();
    extensions.insert(STATUS_EXTENSION.to_owned(), json!({ "id": row.reference }));
    Some(extensions)
}

/// The reply to a settle that did not succeed.
#[must_use]
pub(crate) fn failure(refusal: &Refusal, tx_id: &str, network_as_sent: &str) -> SettleReply {
    SettleReply {
        success: false,
        error_reason: Some(refusal.reason.clone()),
        error_message: refusal.message.clone(),
        payer: refusal.payer.clone(),
        transaction: tx_id.to_owned(),
        network: network_as_sent.to_owned(),
        amount: None,
        extra: None,
        extensions: refusal.extensions(),
    }
}

/// The reply to a caller whose wait ended before the outcome was known.
#[must_use]
pub(crate) fn pending(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    let refusal = Refusal::new(reason::SETTLEMENT_PENDING, row.payer.clone());
    let is_preparing = row.steps.first().is_some_and(|step| !step.pays)
        && row
            .steps
            .iter()
            .any(|step| step.pays && step.state == StepState::Waiting);
    let refusal = if is_preparing {
        refusal.with_message("this transaction prepares the payment; that of the payment follows")
    } else {
        refusal
    };
    let tx_id = row.tx_id.as_deref().unwrap_or_default();
    SettleReply {
        extensions: with_id(None, row),
        ..failure(&refusal, tx_id, network_as_sent)
    }
}

/// The reply to a caller whose time ends during a commit that may put its payment on the chain. With a hash the
/// caller can repeat its request later; without one nothing can have been started.
#[must_use]
pub(crate) fn late(row: &SettlementRow, network_as_sent: &str) -> SettleAnswer {
    if row.tx_id.is_some() {
        SettleAnswer::Reply(pending(row, network_as_sent))
    } else if row.handed_over {
        unavailable(
            "another node is to send this payment and has not yet; send the same request again, it is paid only once",
        )
    } else {
        unavailable("nothing was recorded within the time; try again")
    }
}

/// The reply `duplicate_settlement` with the hash.
#[must_use]
pub(crate) fn duplicate(row: &SettlementRow, tx_id: &str, network_as_sent: &str) -> SettleReply {
    failure(
        &Refusal::new(reason::DUPLICATE_SETTLEMENT, row.payer.clone()),
        tx_id,
        network_as_sent,
    )
}

/// The reply to another use of the claim key.
#[must_use]
pub(crate) fn replayed(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    failure(
        &Refusal::new(row.replay_reason.clone(), row.payer.clone()),
        "",
        network_as_sent,
    )
}

/// The reply with the failure that was proven before.
#[must_use]
pub(crate) fn same_failure(row: &SettlementRow, network_as_sent: &str) -> SettleReply {
    match &row.outcome {
        Outcome::Failed { refusal, tx_id, .. } => failure(refusal, tx_id, network_as_sent),
        Outcome::Reversed {
            refusal: Some(refusal),
            ..
        } => {
            // No hash: the transaction that was reported before is no longer on the chain.
            let refusal = refusal.clone().with_message(REVERSED);
            failure(&refusal, "", network_as_sent)
        }
        Outcome::Reversed { refusal: None, .. } => duplicate(row, "", network_as_sent),
        Outcome::Open | Outcome::Paid(_) => pending(row, network_as_sent),
    }
}

const REVERSED: &str =
    "this payment was answered as success before; its block was replaced, and it is gone from the chain";

pub(crate) fn plain(decision: Decision, row: &SettlementRow, network: &str) -> SettleAnswer {
    match decision {
        Decision::Replay(body) => SettleAnswer::Replay(body),
        Decision::Duplicate { tx_id } => SettleAnswer::Reply(duplicate(row, &tx_id, network)),
        Decision::ReplayReason => SettleAnswer::Reply(replayed(row, network)),
        Decision::SameFailure => SettleAnswer::Reply(same_failure(row, network)),
        Decision::Wait | Decision::TakeRelease | Decision::Reopen => {
            unavailable("the claim changed; try again")
        }
    }
}

pub(crate) fn unavailable(message: &str) -> SettleAnswer {
    SettleAnswer::Unavailable {
        retry_after_s: RETRY_AFTER_S,
        message: message.to_owned(),
    }
}

/// The reply of a paused kind: nothing was started, and nothing will be for a while.
pub(crate) fn paused() -> SettleAnswer {
    SettleAnswer::Unavailable {
        retry_after_s: PAUSED_RETRY_AFTER_S,
        message: PAUSED.to_owned(),
    }
}

/// The reply after a fault, to a caller whose request left nothing in the journal. A temporary fault decides
/// nothing: the reply is 503, whether a node refused or hung. Any other fault is the handler's own failure.
pub(crate) fn stopped(fault: &Fault, network_as_sent: &str) -> SettleAnswer {
    if passes_by_itself(fault.kind) {
        return unavailable(public_message(fault));
    }
    let refusal = Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(public_message(fault));
    SettleAnswer::Reply(failure(&refusal, "", network_as_sent))
}

/// The reply when another settlement has the claim; `row` is that one, as far as it can be read.
pub(crate) fn lost_the_race(
    row: Option<&SettlementRow>,
    identity: &RequestIdentity,
    network_as_sent: &str,
) -> SettleAnswer {
    let busy = || unavailable("another request for the same payment was faster; try again");
    let Some(row) = row else { return busy() };
    match decide(row, identity) {
        Decision::ReplayReason => SettleAnswer::Reply(replayed(row, network_as_sent)),
        Decision::Duplicate { tx_id } => SettleAnswer::Reply(duplicate(row, &tx_id, network_as_sent)),
        Decision::Wait
        | Decision::TakeRelease
        | Decision::Replay(_)
        | Decision::SameFailure
        | Decision::Reopen => busy(),
    }
}

/// The reply when the first commit was refused.
pub(crate) fn refusal_of_commit(error: &CommitError, row: &SettlementRow, network: &str) -> SettleAnswer {
    match error {
        CommitError::ReserveShort { reason } => {
            let refusal = Refusal::new(reason.clone(), row.payer.clone())
                .with_message("the balance is too low beside what this payer's other open payments use");
            SettleAnswer::Reply(failure(&refusal, "", network))
        }
        CommitError::PayloadClaimed(_) => {
            let refusal = Refusal::new(row.replay_reason.clone(), row.payer.clone())
                .with_message("this payload was presented before, and its scheme gave it another claim");
            SettleAnswer::Reply(failure(&refusal, "", network))
        }
        CommitError::Full => unavailable("the journal's disk is full"),
        CommitError::ClaimTaken
        | CommitError::ConflictKeyTaken(_)
        | CommitError::EvidenceUsed(_)
        | CommitError::AlreadyReleased
        | CommitError::StoreCondition(_)
        | CommitError::Fenced(_)
        | CommitError::Stale(_) => unavailable("another request for the same thing was faster; try again"),
        CommitError::Io(_) => unavailable("the journal can't be written"),
    }
}
