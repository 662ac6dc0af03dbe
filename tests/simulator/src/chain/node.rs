//! Nodes of a pool: how far each has followed the chain, how far each kind of answer lags, and what it has forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sdk_plugin::chain::{BlockRef, BlockStands};

use super::{Block, Chain, Tx};
use crate::token::State;

/// Nodes that share one address. Each batch of reads may hit another one.
pub const NODES: usize = 3;

/// A kind of read. Nodes serve each kind from an index of its own, so that one kind can lag while the others do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    Heads,
    Nonces,
    Receipts,
    /// Transactions by hash, pending ones included.
    Transactions,
    Logs,
    State,
}

impl Read {
    pub const ALL: [Self; 6] = [
        Self::Heads,
        Self::Nonces,
        Self::Receipts,
        Self::Transactions,
        Self::Logs,
        Self::State,
    ];

    fn index(self) -> usize {
        match self {
            Self::Heads => 0,
            Self::Nonces => 1,
            Self::Receipts => 2,
            Self::Transactions => 3,
            Self::Logs => 4,
            Self::State => 5,
        }
    }
}

/// Which nodes something happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    One(usize),
    All,
}

impl Nodes {
    fn has(self, node: usize) -> bool {
        match self {
            Self::One(one) => one % NODES == node,
            Self::All => true,
        }
    }
}

/// How many of the newest blocks a pruned node still knows; `None`: all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Receipts and transactions.
    pub history: Option<u64>,
    pub state: Option<u64>,
}

/// What is wrong with one kind of read.
#[derive(Debug, Clone, Copy, Default)]
struct KindFault {
    lag_blocks: u64,
    lags_until_ms: u64,
    null_until_ms: u64,
}

/// A node.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Shared with the views that were taken of it, which are gone before it grows.
    pub view: Arc<Vec<Arc<Block>>>,
    /// Follows no blocks before this moment.
    frozen_until_ms: u64,
    pub pool: BTreeMap<(String, u64), (String, Tx)>,
    kinds: [KindFault; 6],
    keeps: Keeps,
    /// The next head number it shows is too high by so much.
    future_blocks: Option<u64>,
    /// Calls every bid too low before this moment.
    underpriced_until_ms: u64,
}

impl Node {
    pub fn starting_at(genesis: &Arc<Block>) -> Self {
        Self {
            view: Arc::new(vec![Arc::clone(genesis)]),
            ..Self::default()
        }
    }

    pub fn is_frozen(&self, now_ms: u64) -> bool {
        now_ms < self.frozen_until_ms
    }

    pub fn frozen_until_ms(&self) -> u64 {
        self.frozen_until_ms
    }

    pub fn calls_all_bids_too_low(&self, now_ms: u64) -> bool {
        now_ms < self.underpriced_until_ms
    }
}

/// What one node shows during one batch of reads.
#[derive(Debug, Clone)]
pub struct View {
    pub node: usize,
    blocks: Arc<Vec<Arc<Block>>>,
    /// How many of the blocks each kind of read shows; `None`: it answers null.
    shown: [Option<usize>; 6],
    keeps: Keeps,
    pooled: BTreeSet<String>,
}

impl View {
    /// One kind of read answers null for the rest of the batch.
    pub fn silence(&mut self, read: Read) {
        if let Some(shown) = self.shown.get_mut(read.index()) {
            *shown = None;
        }
    }

    /// The blocks that one kind of read knows, oldest first; empty when it answers null.
    #[must_use]
    pub fn blocks(&self, read: Read) -> &[Arc<Block>] {
        let Some(Some(shown)) = self.shown.get(read.index()).copied() else {
            return &[];
        };
        let kept = match read {
            Read::Receipts | Read::Transactions => self.keeps.history,
            Read::State => self.keeps.state,
            Read::Heads | Read::Nonces | Read::Logs => None,
        };
        let kept = kept.map_or(usize::MAX, |blocks| usize::try_from(blocks).unwrap_or(usize::MAX));
        let first = self.blocks.len().saturating_sub(kept).min(shown);
        self.blocks.get(first..shown).unwrap_or_default()
    }

    /// Whether this kind of read answers null.
    #[must_use]
    pub fn is_silent(&self, read: Read) -> bool {
        self.shown.get(read.index()).copied().flatten().is_none()
    }

    /// The newest block whose header the node shows.
    #[must_use]
    pub fn head(&self) -> Option<&Arc<Block>> {
        self.blocks(Read::Heads).last()
    }

    /// How deep a height is by the newest header that the node shows.
    #[must_use]
    pub fn depth(&self, height: u64) -> u64 {
        let head = self.head().map_or(0, |block| block.height);
        head.saturating_sub(height) + 1
    }

    /// The block of this id, if this kind of read knows it.
    #[must_use]
    pub fn block(&self, read: Read, id: &str, height: u64) -> Option<&Arc<Block>> {
        let blocks = self.blocks(read);
        let first = blocks.first()?.height;
        let at = usize::try_from(height.checked_sub(first)?).ok()?;
        blocks.get(at).filter(|block| block.id == id)
    }

    /// The state after a block that is named by its id.
    #[must_use]
    pub fn state_at(&self, block: &BlockRef) -> Option<&Arc<State>> {
        self.block(Read::State, &block.id, block.height)
            .map(|block| &block.state)
    }

    /// The state at the newest block that the state's index knows.
    #[must_use]
    pub fn latest_state(&self) -> Option<&Arc<Block>> {
        self.blocks(Read::State).last()
    }

    /// A signer's next nonce; `None` when the node answers null.
    #[must_use]
    pub fn next_nonce(&self, signer: &str) -> Option<u64> {
        let newest = self.blocks(Read::Nonces).last()?;
        Some(newest.state.nonces.get(signer).copied().unwrap_or(0))
    }

    /// Where a block stands in the chain of headers that the node shows.
    #[must_use]
    pub fn stands(&self, block: &BlockRef) -> BlockStands {
        let headers = self.blocks(Read::Heads);
        let here = usize::try_from(block.height).ok().and_then(|at| headers.get(at));
        match here {
            None => BlockStands::Unknown,
            Some(here) if here.id == block.id => BlockStands::Canonical {
                depth: self.depth(block.height),
            },
            Some(_) => BlockStands::Replaced,
        }
    }

    /// Whether the node has the transaction in its pool.
    #[must_use]
    pub fn is_pooled(&self, id: &str) -> bool {
        !self.is_silent(Read::Transactions) && self.pooled.contains(id)
    }
}

impl Chain {
    /// What a node shows now.
    pub fn view(&mut self, node: usize, now_ms: u64) -> View {
        let node = node % NODES;
        self.follow(node, now_ms);
        let at = &self.nodes[node];
        let shown = at.kinds.map(|kind| {
            let lag = if now_ms < kind.lags_until_ms {
                usize::try_from(kind.lag_blocks).unwrap_or(usize::MAX)
            } else {
                0
            };
            // The genesis block is known to every index.
            let shown = at.view.len().saturating_sub(lag).max(1);
            (now_ms >= kind.null_until_ms).then_some(shown)
        });
        View {
            node,
            blocks: Arc::clone(&at.view),
            shown,
            keeps: at.keeps,
            pooled: at.pool.values().map(|(id, _)| id.clone()).collect(),
        }
    }

    /// The head number that a node shows, which may be far in the future once; `None` when it answers null.
    pub fn head_number(&mut self, view: &View) -> Option<u64> {
        let head = view.head()?.height;
        let future = self.nodes[view.node].future_blocks.take();
        Some(head.saturating_add(future.unwrap_or(0)))
    }

    /// The block in which one kind of a node's reads shows a transaction.
    #[must_use]
    pub fn find(&self, view: &View, read: Read, id: &str) -> Option<Arc<Block>> {
        let places = self.places.get(id)?;
        places
            .iter()
            .find(|block| view.block(read, &block.id, block.height).is_some())
            .cloned()
    }

    /// Brings a node's view up to date unless it is frozen.
    pub(super) fn follow(&mut self, node: usize, now_ms: u64) {
        let node = &mut self.nodes[node];
        if node.is_frozen(now_ms) {
            return;
        }
        let is_canonical = |block: &Arc<Block>| {
            let at = usize::try_from(block.height).unwrap_or(usize::MAX);
            self.canonical.get(at).is_some_and(|here| here.id == block.id)
        };
        if node.view.len() == self.canonical.len() && node.view.last().is_some_and(is_canonical) {
            return;
        }
        let view = Arc::make_mut(&mut node.view);
        while view.last().is_some_and(|last| !is_canonical(last)) {
            view.pop();
        }
        view.extend_from_slice(&self.canonical[view.len()..]);
    }

    /// A node follows no blocks until then.
    pub fn freeze(&mut self, node: usize, now_ms: u64, until_ms: u64) {
        let node = node % NODES;
        self.follow(node, now_ms);
        let frozen = &mut self.nodes[node];
        frozen.frozen_until_ms = frozen.frozen_until_ms.max(until_ms);
        let until_ms = frozen.frozen_until_ms;
        for block in frozen.view.iter() {
            if let Some(fate) = self.fates.get_mut(&block.id)
                && fate.removed_at_ms.is_some()
            {
                fate.shown_until_ms = fate.shown_until_ms.max(Some(until_ms));
            }
        }
    }

    /// One kind of read shows the chain as it was so many blocks ago.
    pub fn lag(&mut self, nodes: Nodes, read: Read, blocks: u64, until_ms: u64) {
        for kind in self.kinds(nodes, read) {
            kind.lag_blocks = blocks;
            kind.lags_until_ms = until_ms;
        }
    }

    /// One kind of read answers null.
    pub fn null(&mut self, nodes: Nodes, read: Read, until_ms: u64) {
        for kind in self.kinds(nodes, read) {
            kind.null_until_ms = until_ms;
        }
    }

    fn kinds(&mut self, nodes: Nodes, read: Read) -> impl Iterator<Item = &mut KindFault> {
        self.each(nodes)
            .filter_map(move |node| node.kinds.get_mut(read.index()))
    }

    fn each(&mut self, nodes: Nodes) -> impl Iterator<Item = &mut Node> {
        let all = self.nodes.iter_mut().enumerate();
        all.filter(move |(at, _)| nodes.has(*at)).map(|(_, node)| node)
    }

    /// Nodes forget what is older than so many blocks.
    pub fn prune(&mut self, nodes: Nodes, keeps: Keeps) {
        self.each(nodes).for_each(|node| node.keeps = keeps);
    }

    /// The next head that a node shows is so many blocks too high.
    pub fn show_future_head(&mut self, nodes: Nodes, blocks: u64) {
        self.each(nodes)
            .for_each(|node| node.future_blocks = Some(blocks));
    }

    /// Nodes call every bid too low.
    pub fn call_bids_too_low(&mut self, nodes: Nodes, until_ms: u64) {
        self.each(nodes)
            .for_each(|node| node.underpriced_until_ms = until_ms);
    }

    /// Every node works as it should.
    pub fn heal(&mut self, now_ms: u64) {
        for node in &mut self.nodes {
            node.frozen_until_ms = node.frozen_until_ms.min(now_ms);
            node.kinds = Default::default();
            node.keeps = Keeps::default();
            node.future_blocks = None;
            node.underpriced_until_ms = 0;
        }
    }
}
