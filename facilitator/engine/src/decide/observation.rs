//! Decides which part of a single node's answer is trusted. Pure.

use crate::decide::head::FAR_BLOCKS;
use crate::registry::NetworkSettings;
use sdk_plugin::chain::{BlockStands, ForeignTx, Observation, TxState};

/// Searches start at least this many blocks before the first attempt.
const EARLIER_BLOCKS: u64 = 64;
/// A head more than this many blocks above the known one needs a second answer before depths are counted from it.
pub(crate) const LEAP_BLOCKS: u64 = 16;
/// The number of blocks to search when the height of the first attempt is unknown, and the most before one that is known.
const NEWEST_BLOCKS: u64 = 5_000;

/// The height where searches start. A change of a guard before our first attempt does not pay the claim, but it
/// explains the claim's failure: the node used for planning may have lagged.
///
/// A recorded height far above the head comes from a node that was wrong: the newest blocks are searched instead.
pub(crate) fn search_from(since_height: u64, head: u64, settings: &NetworkSettings) -> u64 {
    wider_search_from(since_height, head, settings, 0)
}

/// The same after some searches that found nothing: each begins twice as far back as the one before, up to
/// [`NEWEST_BLOCKS`]. A payment may wait long between its plan and its first attempt, on a chain whose blocks come fast.
pub(crate) fn wider_search_from(
    since_height: u64,
    head: u64,
    settings: &NetworkSettings,
    searches: u32,
) -> u64 {
    let since_height = if head > 0 && since_height > head.saturating_add(FAR_BLOCKS) {
        head.saturating_sub(NEWEST_BLOCKS)
    } else {
        since_height
    };
    let least = settings.finality.max(EARLIER_BLOCKS);
    let wider = EARLIER_BLOCKS.saturating_mul(2_u64.saturating_pow(searches));
    since_height.saturating_sub(wider.min(NEWEST_BLOCKS).max(least))
}

/// Counts the depths of an observation from the known head if its own head is far above it. A single answer may
/// name a head that never existed; if the head is true, the next answer confirms it.
pub(crate) fn without_leap(seen: Observation, known_head: u64) -> Observation {
    let excess = seen.head_height.saturating_sub(known_head);
    if known_head == 0 || excess <= LEAP_BLOCKS {
        return seen;
    }
    let less = |depth: u64| depth.saturating_sub(excess).max(1);
    let state = match seen.state {
        TxState::Landed { height, block, depth } => TxState::Landed {
            height,
            block,
            depth: less(depth),
        },
        TxState::Reverted {
            height,
            block,
            depth,
            message,
        } => TxState::Reverted {
            height,
            block,
            depth: less(depth),
            message,
        },
        other @ (TxState::Unknown
        | TxState::Pending
        | TxState::SlotUsed
        | TxState::Lapsed
        | TxState::Expired { .. }) => other,
    };
    let block = seen.block.map(|block| match block {
        BlockStands::Canonical { depth } => BlockStands::Canonical { depth: less(depth) },
        BlockStands::Replaced | BlockStands::Unknown => block,
    });
    let foreign = seen.foreign.into_iter().map(|tx| ForeignTx {
        depth: less(tx.depth),
        ..tx
    });
    Observation {
        state,
        block,
        foreign: foreign.collect(),
        ..seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_search_that_finds_nothing_begins_further_back_to_a_limit() {
        let settings = crate::decide::plan_check_tests::settings();
        let least = settings.finality.max(EARLIER_BLOCKS);
        let back = |searches: u32| 90_000 - wider_search_from(90_000, 90_000, &settings, searches);
        assert_eq!(search_from(90_000, 90_000, &settings), 90_000 - least);
        assert_eq!(back(0), least);
        assert_eq!(
            [back(4), back(6), back(7), back(u32::MAX)],
            [1_024, 4_096, NEWEST_BLOCKS, NEWEST_BLOCKS]
        );
        assert_eq!(wider_search_from(10, 90_000, &settings, 9), 0);
    }
}
