//! Whether the moves that an escrow reports lead from one state of a payment to another.
//!
//! Events carry no id of the operation that caused them, and balances are read at the ends of blocks only. What happened in
//! a block with several operations, or since a plan was made, is known when all events of the payment, in their order, come
//! to the state that the chain shows. An event that can't be read, an id without a position, or a move that the state does
//! not allow: then nothing is known.

use alloy_primitives::{Address, B256};
use sdk_plugin::chain::{Evidence, ForeignTx, LogEntry};

use super::authorizer::Balances;
use super::state::{self, Event, State};
use crate::text;

/// A move of a payment's balances at its position in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub height: u64,
    /// Position of its log in the block.
    pub index: u64,
    pub tx_id: String,
    pub event: Event,
}

/// The state after each of these moves in turn; `None`: no escrow allows one of them.
#[must_use]
pub fn fold<'a>(from: State, moves: impl IntoIterator<Item = &'a Move>) -> Option<State> {
    moves
        .into_iter()
        .try_fold(from, |now, done| now.after(&done.event))
}

/// Whether `own`, an event of our transaction with its log's id, is among the payment's events of its block, and all of
/// them together lead from the state before the block to `state`, the one after it.
#[must_use]
pub fn proves(
    escrow: Address,
    payment_info_hash: B256,
    evidence: &Evidence,
    own: (&str, &Event),
    before: State,
    state: State,
) -> bool {
    // All of one block: heights don't matter.
    let Some(moves) = moves(escrow, payment_info_hash, [(0, evidence.block_logs.as_slice())]) else {
        return false;
    };
    let (id, event) = own;
    let Some((tx_id, index)) = position(id) else {
        return false;
    };
    let is_own = |done: &Move| done.index == index && done.tx_id == tx_id && done.event == *event;
    tx_id == evidence.tx_id.to_lowercase() && moves.iter().any(is_own) && fold(before, &moves) == Some(state)
}

/// What others did with the payment, in order. `None`: it can't be read as a whole, or one transaction is shown at two
/// positions of the chain, which would count it twice.
#[must_use]
pub fn of_others(escrow: Address, payment_info_hash: B256, foreign: &[ForeignTx]) -> Option<Vec<Move>> {
    let logs = foreign.iter().map(|tx| (tx.height, tx.logs.as_slice()));
    let moves = moves(escrow, payment_info_hash, logs)?;
    let is_at_one_position = |done: &Move| {
        moves
            .iter()
            .all(|other| other.tx_id != done.tx_id || other.height == done.height)
    };
    moves.iter().all(is_at_one_position).then_some(moves)
}

/// All moves that these logs report, by height and position.
fn moves<'a>(
    escrow: Address,
    payment_info_hash: B256,
    logs: impl IntoIterator<Item = (u64, &'a [LogEntry])>,
) -> Option<Vec<Move>> {
    let logs = logs
        .into_iter()
        .flat_map(|(height, logs)| logs.iter().map(move |log| (height, log)))
        .filter(|(_, log)| is_of_payment(escrow, payment_info_hash, log));
    let mut moves: Vec<Move> = logs
        .map(|(height, log)| {
            let (tx_id, index) = position(&log.id)?;
            let event = state::event(payment_info_hash, log)?;
            Some(Move {
                height,
                index,
                tx_id,
                event,
            })
        })
        .collect::<Option<_>>()?;
    moves.sort_by_key(|done| (done.height, done.index));
    // Two searches may have found the same log.
    moves.dedup();
    let is_one_each = moves.windows(2).all(|pair| match pair {
        [first, second] => (first.height, first.index) != (second.height, second.index),
        _ => true,
    });
    is_one_each.then_some(moves)
}

fn is_of_payment(escrow: Address, payment_info_hash: B256, log: &LogEntry) -> bool {
    text::address(&log.emitter) == Some(escrow)
        && log
            .topics
            .get(1)
            .is_some_and(|topic| topic.as_ref() == payment_info_hash.as_slice())
}

/// Transaction, lower case, and position in the block, of a log's id.
fn position(id: &str) -> Option<(String, u64)> {
    let (tx_id, index) = id.rsplit_once('/')?;
    Some((tx_id.to_lowercase(), index.parse().ok()?))
}

impl State {
    /// What an escrow holds after a move. `None`: no escrow allows it from here.
    #[must_use]
    pub fn after(self, event: &Event) -> Option<Self> {
        let Balances {
            capturable,
            refundable,
        } = self.balances;
        let holding = |capturable, refundable| {
            self.collected.then_some(Self {
                collected: true,
                balances: Balances {
                    capturable,
                    refundable,
                },
            })
        };
        match event {
            Event::Authorized { amount, .. } if !amount.is_zero() && self.is_untouched() => {
                Some(Self::held(*amount))
            }
            Event::Charged { amount, .. } if !amount.is_zero() && self.is_untouched() => {
                Some(Self::charged(*amount))
            }
            Event::Captured { amount, .. } if !amount.is_zero() => {
                holding(capturable.checked_sub(*amount)?, refundable.checked_add(*amount)?)
            }
            // Always the whole rest.
            Event::Voided { amount } | Event::Reclaimed { amount }
                if !amount.is_zero() && *amount == capturable =>
            {
                holding(capturable.checked_sub(*amount)?, refundable)
            }
            Event::Refunded { amount, .. } if !amount.is_zero() => {
                holding(capturable, refundable.checked_sub(*amount)?)
            }
            Event::Authorized { .. }
            | Event::Charged { .. }
            | Event::Captured { .. }
            | Event::Voided { .. }
            | Event::Reclaimed { .. }
            | Event::Refunded { .. } => None,
        }
    }
}
