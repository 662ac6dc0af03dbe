//! Decides which part of a single node's answer is trusted. Pure.

use crate::decide::head::FAR_BLOCKS;
use crate::registry::NetworkSettings;
use sdk_plugin::chain::{BlockStands, ForeignTx, Observation, TxState};

/// Searches start at least this many blocks before the first attempt.
const EARLIER_BLOCKS: u64 = 64;
/// A head more than this many blocks above the known one needs a second answer before depths are counted from it.
pub(crate) const LEAP_BLOCKS: u64 = 16;
/// The number of blocks to search when the height of the first attempt is unknown.
const NEWEST_BLOCKS: u64 = 5_000;

/// The height where searches start. A change of a guard before our first attempt does not pay the claim, but it
/// explains the claim's failure: the node used for planning may have lagged.
///
/// A recorded height far above the head comes from a node that was wrong: the newest blocks are searched instead.
pub(crate) fn search_from(since_height: u64, head: u64, settings: &NetworkSettings) -> u64 {
    let since_height = if head > 0 && since_height > head.saturating_add(FAR_BLOCKS) {
        head.saturating_sub(NEWEST_BLOCKS)
    } else {
        since_height
    };
    since_height.saturating_sub(settings.finality.max(EARLIER_BLOCKS))
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
