//! What the next poll of a slot queries. Pure.

use crate::decide::observation::search_from;
use crate::registry::NetworkSettings;
use crate::state::slot::{OpenSlot, SlotDecision};
use std::time::Duration;

use journal::AttemptRow;
use sdk_plugin::Value;
use sdk_plugin::chain::Watch;
use tokio::time::Instant;

/// The block that makes a slot final is queried with the rest when the known head is at most this far below it.
const NEAR_FINAL_BLOCKS: u64 = 8;
/// From this long after a send on, a node is queried whether it knows the transaction. Most transactions land before.
const POOL_AFTER: Duration = Duration::from_secs(1);
/// The same in blocks, where their time is known.
const POOL_AFTER_BLOCKS: u32 = 3;

/// What the blocks of a network tell about when to query what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockPace {
    pub(crate) block_time: Duration,
    /// The highest block that is due now.
    pub(crate) height: u64,
}

/// What the driver is shown of an attempt's terms. Where transactions are numbered, they say nothing about where one landed.
pub(crate) fn terms_of(attempt: &AttemptRow) -> Value {
    if attempt.lane.ordered {
        Value::Null
    } else {
        attempt.bid.clone()
    }
}

/// One watch for each attempt. What concerns the slot as a whole is queried with the newest. With a pace, nothing is queried
/// that the next block may make needless.
pub(crate) fn watches_of(
    slot: &OpenSlot,
    settings: &NetworkSettings,
    head: u64,
    pace: Option<BlockPace>,
) -> Vec<Watch> {
    let evidence = slot.evidence();
    let state = slot.lock();
    let since_height = search_from(state.since_height(), head, settings);
    let decision = state.decision.as_ref();
    let may_be_lost = decision.is_none_or(SlotDecision::may_be_lost);
    // A slot that seems used is not used as long as a node has a pending transaction of ours for it.
    let seems_used = decision.is_none() && (state.anchor.is_some() || state.reads.guards);
    let pool_after = pace.map_or(POOL_AFTER, |pace| {
        let blocks = pace.block_time.saturating_mul(POOL_AFTER_BLOCKS);
        // Before a stuck transaction is replaced, which starts this time again: otherwise a used slot would never be noticed.
        POOL_AFTER.max(blocks.min(Duration::from_millis(settings.stuck_after_ms / 2)))
    });
    let pool = may_be_lost && Instant::now().saturating_duration_since(state.sends.last) >= pool_after;
    // The block that decided shows whether our transaction is still there, whatever receipts a node keeps. It does not
    // show whether the transaction reverted in it: a revert is read again from its receipt. So is what other steps need.
    let decided = decision
        .filter(|decision| {
            decision.rests_on_own_block() && !decision.is_by_revert() && !decision.is_partial()
        })
        .map(|decision| decision.on.attempt);
    let followed = state.followed();
    let final_at = followed
        .as_ref()
        .map(|block| block.height.saturating_add(settings.finality.saturating_sub(1)))
        .filter(|height| match pace {
            Some(pace) => *height <= pace.height,
            None => *height <= head.saturating_add(NEAR_FINAL_BLOCKS),
        });
    let newest = state.attempts.len().saturating_sub(1);
    state
        .attempts
        .iter()
        .enumerate()
        .map(|(index, attempt)| {
            let is_newest = index == newest;
            let by_block = decided == Some(attempt.id);
            Watch {
                attempt_id: attempt.id.to_string(),
                tx_id: attempt.tx_id.clone(),
                lane: attempt.lane.clone(),
                sequence: attempt.sequence,
                terms: terms_of(attempt),
                since_height,
                evidence: evidence.clone(),
                search_foreign: state.reads.search.is_on() && is_newest,
                pool: seems_used || (pool && is_newest),
                block: followed.clone().filter(|_| is_newest || by_block),
                by_block,
                final_at: final_at.filter(|_| is_newest),
                read_guards: state.reads.guards,
                whole_block: state.reads.whole_block,
                brief: pace.is_some(),
            }
        })
        .collect()
}
