//! When a slot is polled next on a network whose polls follow its blocks. Pure.
//!
//! A transaction can land only with a block, so one poll per block is enough, a moment after the block is due. What was
//! decided is read less and less often until it is final: the deeper a block is, the less likely it is to be replaced.

use crate::state::blocks::BlockClock;
use crate::state::slot::SlotState;
use std::time::Duration;

use tokio::time::Instant;

/// A block that is not there when it is due is queried again after this part of a block time.
const LATE_PART: u32 = 4;
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// A transaction that so many blocks have left out is polled once per block.
const LEFT_OUT_BLOCKS: u32 = 4;
/// The first poll of a decided block is when it is this deep, and each further one when it is twice as deep again.
const FIRST_DEPTH: u64 = 3;

/// When to poll a slot that was polled now; `None`: blocks do not tell.
pub(super) fn next_poll(
    state: &SlotState,
    blocks: &BlockClock,
    finality: u64,
    longest: Duration,
    now: Instant,
) -> Option<Instant> {
    let block_time = blocks.block_time()?;
    let Some(decision) = &state.decision else {
        let is_awaited = state.anchor.is_none() && !state.reads.guards && !state.reads.search.is_on();
        return is_awaited
            .then(|| awaited(state, blocks, block_time, longest, now))
            .flatten();
    };
    if !decision.rests_on_own_block() || decision.may_be_lost() || decision.replaced() > 0 {
        return None;
    }
    let at = decision.on.height;
    let due = match next_height(at, finality, blocks.height_at(now)?) {
        Some(height) => blocks.due_at(height)?,
        None => blocks.next_due(now)?,
    };
    let least = if block_time < longest {
        longest
    } else {
        LEAST_PAUSE
    };
    Some(due.max(now + least))
}

fn awaited(
    state: &SlotState,
    blocks: &BlockClock,
    block_time: Duration,
    longest: Duration,
    now: Instant,
) -> Option<Instant> {
    // Blocks that come faster than polls tell nothing about when to poll.
    if block_time < longest {
        return None;
    }
    let next = blocks.next_due(now)?;
    if state.last_poll.unseen_since().is_none() {
        return Some(next);
    }
    let sent = state.sends.last;
    let first = blocks.next_due(sent)?;
    if first > now {
        return Some(first);
    }
    let is_left_out = now.saturating_duration_since(sent) > block_time.saturating_mul(LEFT_OUT_BLOCKS);
    let pause = if is_left_out {
        block_time.max(longest)
    } else {
        block_time / LATE_PART
    };
    let retry = now + pause.max(LEAST_PAUSE);
    Some(if is_left_out { retry } else { retry.min(next) })
}

/// The block with which a decided block is polled next; `None`: it should be final already.
fn next_height(decided: u64, finality: u64, head: u64) -> Option<u64> {
    let final_at = decided.saturating_add(finality.saturating_sub(1));
    let mut depth = FIRST_DEPTH;
    loop {
        let height = decided.saturating_add(depth.saturating_sub(1));
        if height >= final_at {
            return (final_at > head).then_some(final_at);
        }
        if height > head {
            return Some(height);
        }
        depth = depth.saturating_mul(2).saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decided_block_is_polled_at_doubling_depths_and_when_it_is_final() {
        let polls = |finality: u64| {
            let mut polls = Vec::new();
            let mut head = 100;
            while let Some(height) = next_height(100, finality, head) {
                polls.push(height - 100 + 1);
                head = height;
            }
            polls
        };
        assert_eq!(polls(12), [3, 7, 12]);
        assert_eq!(polls(64), [3, 7, 15, 31, 63, 64]);
        assert_eq!(polls(2), [2]);
        assert_eq!(next_height(100, 1, 100), None);
        assert_eq!(next_height(100, u64::MAX, u64::MAX), None);
    }
}
