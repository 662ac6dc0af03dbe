//! What happens in a run at set moments.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::chain::{Keeps, Nodes, Read};
use crate::token::Op;
use crate::world::World;

/// Something that happens at a set moment, whatever else does.
#[derive(Debug, Clone)]
pub enum Act {
    /// The process is killed and starts again soon.
    Kill,
    /// The process is killed and starts again after so long, milliseconds.
    KillFor(u64),
    /// The process is killed, and its plugin has another id when it starts again: the operator has adopted it.
    Adopt,
    /// So many of the last blocks are replaced.
    Reorg(u64),
    /// Of 1,000 transactions in replaced blocks, so many are forgotten by every node.
    LoseInReorgs(u64),
    /// The base fee from here on; `None`: it moves by itself again.
    Fee(Option<u64>),
    /// No block comes for so long, milliseconds.
    Halt(u64),
    /// Whether includable transactions wait.
    Delay(bool),
    /// This signer's key is used elsewhere, at its next nonce.
    KeyElsewhere(usize),
    /// Another sender calls the contract.
    Outside(Op),
    /// Whether the scheme `hold` reports that it can be served.
    HoldReady(bool),
    /// One kind of read lags so many blocks, for so long, milliseconds.
    Lag {
        nodes: Nodes,
        read: Read,
        blocks: u64,
        for_ms: u64,
    },
    /// One kind of read answers null for so long, milliseconds.
    Null { nodes: Nodes, read: Read, for_ms: u64 },
    /// Nodes keep no more than that, for good.
    Prune { nodes: Nodes, keeps: Keeps },
    /// The next head that a node shows is so many blocks too high.
    FutureHead { nodes: Nodes, blocks: u64 },
    /// A node follows no blocks for so long, milliseconds.
    Freeze { node: usize, for_ms: u64 },
    /// Nodes call every bid too low for so long, milliseconds.
    CallBidsTooLow { nodes: Nodes, for_ms: u64 },
}

/// Plays them all.
pub(crate) async fn play(world: Arc<World>, mut acts: Vec<(u64, Act)>) {
    acts.sort_by_key(|(at_ms, _)| *at_ms);
    let start = tokio::time::Instant::now();
    for (at_ms, act) in acts {
        tokio::time::sleep_until(start + Duration::from_millis(at_ms)).await;
        tracing::info!("ACT {act:?}");
        let now_ms = world.now_ms();
        let mut chain = world.chain();
        match act {
            Act::Kill => world.faults.died.notify_one(),
            Act::Reorg(depth) => chain.reorg(depth, now_ms),
            Act::LoseInReorgs(per_mille) => chain.weather.lost_in_reorg = per_mille,
            Act::Fee(fee) => chain.set_fee(fee),
            Act::Halt(millis) => chain.halted_until_ms = now_ms + millis,
            Act::Delay(delays) => chain.weather.delayed = if delays { 1_000 } else { 0 },
            Act::KeyElsewhere(signer) => chain.use_key_elsewhere(signer),
            Act::Outside(op) => chain.outside.push(op),
            Act::KillFor(millis) => {
                world.stays_down_ms.store(millis, Ordering::Relaxed);
                world.faults.died.notify_one();
            }
            Act::Adopt => {
                world.is_adopting.store(true, Ordering::Relaxed);
                world.faults.died.notify_one();
            }
            Act::Lag {
                nodes,
                read,
                blocks,
                for_ms,
            } => chain.lag(nodes, read, blocks, now_ms.saturating_add(for_ms)),
            Act::Null { nodes, read, for_ms } => chain.null(nodes, read, now_ms.saturating_add(for_ms)),
            Act::Prune { nodes, keeps } => chain.prune(nodes, keeps),
            Act::FutureHead { nodes, blocks } => chain.show_future_head(nodes, blocks),
            Act::Freeze { node, for_ms } => chain.freeze(node, now_ms, now_ms.saturating_add(for_ms)),
            Act::CallBidsTooLow { nodes, for_ms } => {
                chain.call_bids_too_low(nodes, now_ms.saturating_add(for_ms));
            }
            Act::HoldReady(ready) => world.hold_is_ready.store(ready, Ordering::Relaxed),
        }
    }
}

/// Plays the reorganisations that faults call for.
pub(super) async fn play_reorgs(world: Arc<World>) {
    loop {
        world.faults.reorg.notified().await;
        for depth in world.faults.take_reorgs() {
            world.chain().reorg(depth, world.now_ms());
        }
    }
}
