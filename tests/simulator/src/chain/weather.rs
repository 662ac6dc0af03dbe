//! How restless the chain and its nodes are, drawn anew with each block.

use super::{Chain, Keeps, NODES, Nodes, Read};

/// Chances per block and in 1,000 where no other unit is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    pub block_ms: u64,
    /// A reorganisation of 1 to `reorg_depth` blocks.
    pub reorg: u64,
    pub reorg_depth: u64,
    /// A transaction of a reorganised block is forgotten by every node.
    pub lost_in_reorg: u64,
    /// A node forgets a transaction it has.
    pub dropped: u64,
    /// An includable transaction waits another block.
    pub delayed: u64,
    /// The base fee multiplies for a while.
    pub spike: u64,
    /// A node falls behind for some blocks.
    pub stale: u64,
    /// No block comes for a while.
    pub halt: u64,
    /// The operator's key is used from elsewhere.
    pub key_elsewhere: u64,
    /// One kind of a node's reads lags for a while, by more blocks than make a block final at times.
    pub lag: u64,
    /// One kind of a node's reads answers null for a while.
    pub null: u64,
    /// A node has forgotten older receipts and states for a while.
    pub pruned: u64,
    /// A node shows a head far in the future, once.
    pub future_head: u64,
    /// A node calls every bid too low for a while.
    pub underpriced: u64,
}

/// Blocks by which a head is too high that is far in the future.
const FAR_FUTURE: u64 = 1_000_000;

impl Chain {
    /// Draws what happens to each node with this block.
    pub(super) fn trouble_nodes(&mut self, now_ms: u64, events: &mut Vec<String>) {
        let weather = self.weather;
        for node in 0..NODES {
            if self.rng.chance(weather.stale) {
                let until = now_ms + weather.block_ms * self.rng.between(1, 5);
                self.freeze(node, now_ms, until);
                events.push(format!("node {node} falls behind"));
            }
            self.trouble_reads(node, now_ms, events);
            let rng = &mut self.rng;
            self.nodes[node].pool.retain(|_, _| !rng.chance(weather.dropped));
        }
    }

    fn trouble_reads(&mut self, node: usize, now_ms: u64, events: &mut Vec<String>) {
        let weather = self.weather;
        let one = Nodes::One(node);
        if self.rng.chance(weather.lag) {
            let read = Read::ALL[self.rng.index(Read::ALL.len())];
            let blocks = self.rng.between(1, 12);
            let until = now_ms + weather.block_ms * self.rng.between(2, 20);
            self.lag(one, read, blocks, until);
            events.push(format!("node {node}: {read:?} lag {blocks} blocks"));
        }
        if self.rng.chance(weather.null) {
            let read = Read::ALL[self.rng.index(Read::ALL.len())];
            let until = now_ms + weather.block_ms * self.rng.between(1, 10);
            self.null(one, read, until);
            events.push(format!("node {node}: {read:?} answer null"));
        }
        if self.rng.chance(weather.pruned) {
            let keeps = if self.rng.chance(500) {
                Keeps {
                    history: Some(self.rng.between(2, 30)),
                    state: Some(self.rng.between(2, 10)),
                }
            } else {
                Keeps::default()
            };
            self.prune(one, keeps);
            events.push(format!("node {node} keeps {keeps:?}"));
        }
        if self.rng.chance(weather.future_head) {
            self.show_future_head(one, FAR_FUTURE);
            events.push(format!("node {node} will show a head far in the future"));
        }
        if self.rng.chance(weather.underpriced) {
            let until = now_ms + weather.block_ms * self.rng.between(1, 10);
            self.call_bids_too_low(one, until);
            events.push(format!("node {node} calls every bid too low"));
        }
    }
}
