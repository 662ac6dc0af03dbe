//! What callers are told when nothing of their request is journaled.

use sdk_plugin::Fault;
use sdk_plugin::scheme::Refusal;
use sdk_plugin::wire::reason;

use super::RETRY_AFTER_S;
use crate::decide::Decision;
use crate::paused;
use crate::settlement::{self, Settlement};
use crate::{passes_by_itself, public_message};
use base::service::SettleAnswer;
use journal::{CommitError, SettlementRow};

/// Suggested to callers of a paused kind, seconds.
const PAUSED_RETRY_AFTER_S: u64 = 60;

pub(super) fn plain(decision: Decision, row: &SettlementRow, network: &str) -> SettleAnswer {
    match decision {
        Decision::Replay(body) => SettleAnswer::Replay(body),
        Decision::Duplicate { tx_id } => SettleAnswer::Reply(settlement::duplicate(row, &tx_id, network)),
        Decision::ReplayReason => SettleAnswer::Reply(settlement::replayed(row, network)),
        Decision::SameFailure => SettleAnswer::Reply(settlement::same_failure(row, network)),
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

/// Nothing was begun, and nothing will be for a while.
pub(crate) fn paused() -> SettleAnswer {
    SettleAnswer::Unavailable {
        retry_after_s: PAUSED_RETRY_AFTER_S,
        message: paused::MESSAGE.to_owned(),
    }
}

pub(crate) fn refuse(settlement: &Settlement, refusal: &Refusal) {
    let payer = settlement.lock().row.payer.clone();
    let refusal = if refusal.payer.is_empty() {
        Refusal {
            payer,
            ..refusal.clone()
        }
    } else {
        refusal.clone()
    };
    settlement
        .give_up(|waiter| SettleAnswer::Reply(settlement::failure(&refusal, "", &waiter.network_as_sent)));
}

/// `unexpected_settle_error` for every caller; nothing was begun.
pub(super) fn unexpected(settlement: &Settlement, message: &str) {
    refuse(
        settlement,
        &Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(message),
    );
}

/// What a fault means to a caller of whose request nothing is journaled. Trouble that passes by itself decides nothing:
/// 503, whether a node refused or hung. The rest is the handler's own failure.
pub(super) fn stopped(fault: &Fault, network_as_sent: &str) -> SettleAnswer {
    if passes_by_itself(fault.kind) {
        return unavailable(public_message(fault));
    }
    let refusal = Refusal::new(reason::UNEXPECTED_SETTLE_ERROR, "").with_message(public_message(fault));
    SettleAnswer::Reply(settlement::failure(&refusal, "", network_as_sent))
}

/// What a caller gets when the first commit was refused.
pub(crate) fn refusal_of_commit(error: &CommitError, row: &SettlementRow, network: &str) -> SettleAnswer {
    match error {
        CommitError::ReserveShort { reason } => {
            let refusal = Refusal::new(reason.clone(), row.payer.clone())
                .with_message("the balance is too low beside what this payer's other open payments use");
            SettleAnswer::Reply(settlement::failure(&refusal, "", network))
        }
        CommitError::Full => unavailable("the journal's disk is full"),
        CommitError::ClaimTaken
        | CommitError::ConflictKeyTaken(_)
        | CommitError::EvidenceUsed(_)
        | CommitError::AlreadyReleased
        | CommitError::StoreCondition(_)
        | CommitError::Stale(_) => unavailable("another request for the same thing was faster; try again"),
        CommitError::Io(_) => unavailable("the journal can't be written"),
    }
}
