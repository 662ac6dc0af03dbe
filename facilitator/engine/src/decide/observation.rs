//! From what one node answered to what may be believed of it. Pure.

use crate::decide::head::FAR_BLOCKS;
use crate::registry::NetworkSettings;
use sdk_plugin::chain::{BlockStands, ForeignTx, Observation, TxState};

/// Blocks before the first attempt that searches look into at least.
const EARLIER_BLOCKS: u64 = 64;
/// A head that is more than this above the known one is confirmed by a second answer before depths are counted from it.
pub(crate) const LEAP_BLOCKS: u64 = 16;
/// Blocks that are searched where it is not known when a transaction was made.
const NEWEST_BLOCKS: u64 = 5_000;

/// Where searches begin. What changed a guard before our first attempt does not pay the claim, and explains its failure: the
/// node that planned may have lagged.
///
/// A journaled height far above the head is that of a node that was wrong: the newest blocks are searched.
pub(crate) fn search_from(since_height: u64, head: u64, settings: &NetworkSettings) -> u64 {
    let since_height = if head > 0 && since_height > head.saturating_add(FAR_BLOCKS) {
        head.saturating_sub(NEWEST_BLOCKS)
    } else {
        since_height
    };
    since_height.saturating_sub(settings.finality.max(EARLIER_BLOCKS))
}

/// An observation whose head is far above what was known counts its depths from the known head: one answer alone may name a
/// head that never was, and the next one confirms a true one.
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
