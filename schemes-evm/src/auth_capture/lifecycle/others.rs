//! Whether operations of others explain, as a whole, that our operation on a payment did not happen.
//!
//! The operator's key may be used elsewhere, and the payer may reclaim. Events carry no operation id, so an event of exactly
//! our operation in a transaction that is not known as ours decides nothing. Logs arrive later than state, so the events
//! that were found may not be all: they explain the change when they result in the state that was read, or when they leave
//! no room for ours, at any position among them.

use alloy_primitives::U256;
use sdk_plugin::chain::{Evidence, ForeignTx, Shown};
use sdk_plugin::scheme::ReadAt;

use super::super::fold::{self, Move};
use super::super::reason::Reason;
use super::super::records::OperationKind;
use super::super::state::State;
use super::plan::Memo;

/// Why the operation can't have happened.
pub(super) struct Others {
    /// What the escrow does with the operation in the state that others left.
    pub(super) reason: Reason,
    pub(super) message: String,
}

/// The balances alone rule it out: others moved them, or what the operation relied on was reorganised away.
pub(super) fn ruled_out() -> Others {
    Others {
        reason: Reason::UnexpectedPaymentState,
        message: "the payment's balances are not those that the order counted on, and could not be so if it had happened"
            .into(),
    }
}

/// `None`: what was found is not all, or may be ours.
pub(super) fn explanation(memo: &Memo, evidence: &Evidence) -> Option<Others> {
    let before = State {
        collected: true,
        balances: memo.before,
    };
    let all = fold::of_others(memo.escrow, memo.hash, &evidence.foreign)?;
    let is_earlier = |done: &Move| {
        let of = |tx: &&ForeignTx| tx.tx_id.eq_ignore_ascii_case(&done.tx_id);
        evidence.foreign.iter().find(of).is_some_and(|tx| tx.earlier)
    };
    let first = all.iter().take_while(|done| is_earlier(done)).count();
    let explains = |from: usize| {
        let moves = all.get(from..)?;
        if moves.iter().any(|done| memo.is_reported_by(&done.event)) {
            return None;
        }
        let left = fold::fold(before, moves)?;
        let came_to_it = came_to_what_was_read(before, moves, evidence);
        // There are moves from before our attempt that `memo.before` includes already: only a state that was read shows
        // where to begin.
        let enough = came_to_it || (from == first && leaves_no_room(memo, left));
        (enough && !moves.is_empty()).then_some((moves, left))
    };
    // Which moves came before the plan is known by height alone, and heights may be some blocks old.
    let (moves, left) = explains(first).or_else(|| (0..all.len()).rev().find_map(explains))?;
    let last = moves.last()?;
    let reason = match memo.operation {
        OperationKind::Capture if left.balances.capturable < memo.amount => Reason::InsufficientAuthorization,
        OperationKind::Void if left.balances.capturable.is_zero() => Reason::ZeroAuthorization,
        OperationKind::Refund if left.balances.refundable < memo.amount => Reason::RefundExceedsCapture,
        OperationKind::Authorize
        | OperationKind::Charge
        | OperationKind::Capture
        | OperationKind::Void
        | OperationKind::Refund => Reason::UnexpectedPaymentState,
    };
    Some(Others {
        reason,
        message: format!("transaction {} moved the payment's balances", last.tx_id),
    })
}

/// Whether ours fits at no position among these moves, even if there are more that were not found. What is capturable never
/// grows, and a void or reclaim names all that was left of it.
fn leaves_no_room(memo: &Memo, left: State) -> bool {
    let (capturable, refundable) = (left.balances.capturable, left.balances.refundable);
    match memo.operation {
        OperationKind::Capture => capturable < memo.amount,
        OperationKind::Void => capturable.is_zero(),
        // Captures that were not found would leave more to refund; with nothing capturable there are none.
        OperationKind::Refund => capturable == U256::ZERO && refundable < memo.amount,
        OperationKind::Authorize | OperationKind::Charge => false,
    }
}

/// Whether the moves result in the state that was read, at the block of our reverted transaction or at that of the guard: with
/// ours among them they would not.
fn came_to_what_was_read(before: State, moves: &[Move], evidence: &Evidence) -> bool {
    let until: Vec<&Move> = match evidence.shown {
        Shown::Reverted { height, .. } => moves.iter().filter(|done| done.height <= height).collect(),
        Shown::Dead { .. } => moves.iter().collect(),
        Shown::Landed { .. } => return false,
    };
    let read = State::in_evidence(&evidence.reads, ReadAt::Block);
    !until.is_empty() && read.is_some() && fold::fold(before, until) == read
}
