//! The scripted chain: blocks and forks, a fee market, and three nodes that need not agree.
//!
//! Nothing here knows the engine. The chain keeps what an independent judge needs: every transaction that was ever in
//! a block, when a block reached a depth, and when it was reorganised away.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sdk_plugin::chain::{LogEntry, Sent};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::token::{Op, State};

mod node;
mod unnumbered;
mod weather;

use node::Node;
pub use node::{Keeps, NODES, Nodes, Read, View};
pub use weather::Weather;

/// Units of gas every transaction burns.
pub const GAS: u64 = 100;
/// Percent by which a replacement must bid more.
const BUMP_PERCENT: u64 = 10;
/// Transactions in one block.
const BLOCK_LIMIT: usize = 24;

/// A transaction, decoded from its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tx {
    pub signer: String,
    pub nonce: u64,
    /// Most it pays for one unit of gas.
    pub max_fee: u64,
    /// `None`: does nothing but use its nonce.
    pub op: Option<Op>,
    /// Further calls. One that fails leaves the others their effect, as soon as there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Op>,
    /// Makes otherwise equal transactions different.
    pub salt: u64,
    /// On a chain that does not number transactions: the last block that may have it. It lands once at most by its id,
    /// and its nonce means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_until: Option<u64>,
}

impl Tx {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Its calls, in their order.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.op.iter().chain(&self.more)
    }

    /// Units of gas it burns.
    #[must_use]
    pub fn gas(&self) -> u64 {
        GAS.saturating_mul(
            u64::try_from(self.more.len())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        )
    }

    /// What it competes for: its signer's nonce, or nothing but itself.
    fn place(&self, id: &str) -> (String, u64) {
        match self.good_until {
            None => (self.signer.clone(), self.nonce),
            Some(_) => (id.to_owned(), 0),
        }
    }
}

/// The least that replaces a bid.
#[must_use]
pub fn bumped(max_fee: u64) -> u64 {
    max_fee.saturating_add(max_fee.saturating_mul(BUMP_PERCENT) / 100)
}

/// A transaction's id: a hash of its bytes.
#[must_use]
pub fn tx_id(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("0x{:016x}", hasher.finish())
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub struct Included {
    pub id: String,
    pub tx: Tx,
    /// `Err`: it reverted.
    pub result: Result<Vec<LogEntry>, String>,
    /// Which of several calls failed, by their positions.
    pub failed: Vec<usize>,
    /// Native units it burnt.
    pub cost: u64,
}

impl Included {
    /// Whether the call at this position had its effect.
    #[must_use]
    pub fn has_done(&self, position: usize) -> bool {
        self.result.is_ok() && !self.failed.contains(&position)
    }
}

#[derive(Debug, Clone)]
pub struct Block {
    pub id: String,
    pub height: u64,
    pub mined_ms: u64,
    pub txs: Vec<Included>,
    pub state: Arc<State>,
}

/// What became of a block that was canonical.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockFate {
    pub confirmed_at_ms: Option<u64>,
    pub removed_at_ms: Option<u64>,
    /// The last moment at which a node may show it in its chain, once it was removed: nodes that were frozen show it longer.
    pub shown_until_ms: Option<u64>,
}

pub struct Chain {
    pub weather: Weather,
    pub confirmations: u64,
    rng: Rng,
    canonical: Vec<Arc<Block>>,
    /// When each height was reached first.
    reached_ms: Vec<u64>,
    /// Every block a transaction was ever in.
    places: HashMap<String, Vec<Arc<Block>>>,
    fates: HashMap<String, BlockFate>,
    nodes: [Node; NODES],
    /// Calls of others for the next block, before everything else.
    pub outside: Vec<Op>,
    /// No block comes before this moment.
    pub halted_until_ms: u64,
    base_fee: u64,
    fee_is_set: bool,
    spike_blocks: u64,
    next_block: u64,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("height", &self.height())
            .finish_non_exhaustive()
    }
}

pub const CALM_FEE: u64 = 10;

impl Chain {
    #[must_use]
    pub fn new(weather: Weather, confirmations: u64, state: State, rng: Rng) -> Self {
        let genesis = Arc::new(Block {
            id: "b0".into(),
            height: 0,
            mined_ms: 0,
            txs: Vec::new(),
            state: Arc::new(state),
        });
        let nodes = std::array::from_fn(|_| Node::starting_at(&genesis));
        Self {
            weather,
            confirmations,
            rng,
            canonical: vec![Arc::clone(&genesis)],
            reached_ms: vec![0],
            places: HashMap::new(),
            fates: HashMap::new(),
            nodes,
            outside: Vec::new(),
            halted_until_ms: 0,
            base_fee: CALM_FEE,
            fee_is_set: false,
            spike_blocks: 0,
            next_block: 1,
        }
    }

    fn tip(&self) -> &Arc<Block> {
        self.canonical
            .last()
            .unwrap_or_else(|| unreachable!("there is always the genesis block"))
    }

    #[must_use]
    pub fn height(&self) -> u64 {
        self.tip().height
    }

    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.tip().state)
    }

    #[must_use]
    pub fn base_fee(&self) -> u64 {
        self.base_fee
    }

    #[must_use]
    pub fn canonical(&self) -> &[Arc<Block>] {
        &self.canonical
    }

    /// Every block the transaction was ever in, with what became of the block.
    #[must_use]
    pub fn places(&self, id: &str) -> Vec<(Arc<Block>, BlockFate)> {
        let places = self.places.get(id).cloned().unwrap_or_default();
        places
            .into_iter()
            .map(|block| (Arc::clone(&block), self.fate(&block.id)))
            .collect()
    }

    #[must_use]
    pub fn fate(&self, block: &str) -> BlockFate {
        self.fates.get(block).copied().unwrap_or_default()
    }

    /// Whether this block or another of its height was ever reorganised away.
    #[must_use]
    pub fn had_rival(&self, block: &str) -> bool {
        let height = |id: &str| id.split('.').next().map(str::to_owned);
        let removed = self.fates.iter().filter(|(_, fate)| fate.removed_at_ms.is_some());
        removed.into_iter().any(|(id, _)| height(id) == height(block))
    }

    /// The highest block that there was by this moment.
    #[must_use]
    pub fn height_at(&self, now_ms: u64) -> u64 {
        let blocks = self.reached_ms.partition_point(|reached| *reached <= now_ms);
        u64::try_from(blocks.saturating_sub(1)).unwrap_or(u64::MAX)
    }

    /// Every block that was ever canonical and has transactions, with what became of it; each once.
    #[must_use]
    pub fn blocks_ever(&self) -> BTreeMap<&str, (&Arc<Block>, BlockFate)> {
        self.places
            .values()
            .flatten()
            .map(|block| (block.id.as_str(), (block, self.fate(&block.id))))
            .collect()
    }

    /// Every node forgets a transaction that is in no block.
    pub fn forget(&mut self, id: &str) {
        for node in &mut self.nodes {
            node.pool.retain(|_, (known, _)| known != id);
        }
    }

    /// A node is handed bytes.
    pub fn submit(&mut self, node: usize, bytes: &[u8], now_ms: u64) -> Sent {
        let Some(tx) = Tx::decode(bytes) else {
            return Sent::Rejected {
                message: "not a transaction".into(),
            };
        };
        let id = tx_id(bytes);
        if let Some(last) = tx.good_until {
            return self.submit_unnumbered(node, id, tx, last, now_ms);
        }
        let node = node % NODES;
        self.follow(node, now_ms);
        let next = self.nodes[node]
            .view
            .last()
            .and_then(|b| b.state.nonces.get(&tx.signer).copied())
            .unwrap_or(0);
        if tx.nonce < next {
            return Sent::SequenceUsed;
        }
        if tx.max_fee < self.base_fee / 2 || self.nodes[node].calls_all_bids_too_low(now_ms) {
            return Sent::Underpriced;
        }
        let pool = &mut self.nodes[node].pool;
        let place = tx.place(&id);
        match pool.get(&place) {
            Some((known, _)) if *known == id => Sent::Accepted,
            Some((_, old)) if tx.max_fee < bumped(old.max_fee) => Sent::Underpriced,
            _ => {
                pool.insert(place, (id, tx));
                Sent::Accepted
            }
        }
    }

    /// One tick of the chain's own clock: perhaps a reorganisation, then a block.
    pub fn tick(&mut self, now_ms: u64) -> Vec<String> {
        let mut events = Vec::new();
        let weather = self.weather;
        self.trouble_nodes(now_ms, &mut events);
        if self.rng.chance(weather.key_elsewhere) {
            let signer = self.rng.index(3);
            self.use_key_elsewhere(signer);
            events.push("a signer's key is used elsewhere".into());
        }
        self.move_fee();
        if self.rng.chance(weather.reorg) {
            let depth = self.rng.between(1, weather.reorg_depth.max(1));
            events.push(format!("reorganisation of {depth} blocks"));
            self.reorg(depth, now_ms);
        }
        self.mine(now_ms);
        self.gossip();
        events
    }

    /// Holds the base fee at a height, or lets it move again.
    pub fn set_fee(&mut self, fee: Option<u64>) {
        self.fee_is_set = fee.is_some();
        self.spike_blocks = 0;
        self.base_fee = fee.unwrap_or(CALM_FEE);
    }

    fn move_fee(&mut self) {
        if self.fee_is_set {
            return;
        }
        if self.spike_blocks == 0 && self.rng.chance(self.weather.spike) {
            self.spike_blocks = self.rng.between(2, 12);
            self.base_fee = CALM_FEE * self.rng.between(2, 30);
        } else if self.spike_blocks > 0 {
            self.spike_blocks -= 1;
            if self.spike_blocks == 0 {
                self.base_fee = CALM_FEE;
            }
        } else {
            self.base_fee = self.rng.between(CALM_FEE - 2, CALM_FEE + 3);
        }
    }

    /// The key of one of the signers makes a transaction that the engine knows nothing of.
    pub fn use_key_elsewhere(&mut self, signer: usize) {
        let signers: Vec<(String, u64)> = self
            .tip()
            .state
            .nonces
            .iter()
            .map(|(signer, nonce)| (signer.clone(), *nonce))
            .collect();
        let Some((signer, nonce)) = signers.get(signer % signers.len().max(1)).cloned() else {
            return;
        };
        let tx = Tx {
            signer,
            nonce,
            max_fee: self.base_fee * 3,
            op: None,
            more: Vec::new(),
            salt: self.rng.draw(),
            good_until: None,
        };
        let bytes = tx.encode();
        for node in &mut self.nodes {
            node.pool
                .insert((tx.signer.clone(), nonce), (tx_id(&bytes), tx.clone()));
        }
    }

    /// Takes `depth` blocks back and puts as many others in their place.
    pub fn reorg(&mut self, depth: u64, now_ms: u64) {
        // Nodes that are not frozen show these blocks up to this moment.
        (0..NODES).for_each(|node| self.follow(node, now_ms));
        let mut redo = Vec::new();
        for _ in 0..depth {
            if self.canonical.len() <= 1 {
                break;
            }
            if let Some(block) = self.canonical.pop() {
                let frozen = self.nodes.iter().filter(|node| {
                    node.is_frozen(now_ms) && node.view.iter().any(|known| known.id == block.id)
                });
                let shown_until_ms = frozen.map(Node::frozen_until_ms).max();
                let fate = self.fates.entry(block.id.clone()).or_default();
                fate.removed_at_ms = Some(now_ms);
                fate.shown_until_ms = shown_until_ms.max(Some(now_ms));
                redo.push(block);
            }
        }
        for block in redo.iter().rev() {
            for included in &block.txs {
                if self.rng.chance(self.weather.lost_in_reorg) {
                    continue;
                }
                if included.tx.signer.is_empty() {
                    self.outside.extend(included.tx.op.clone());
                    continue;
                }
                for node in &mut self.nodes {
                    node.pool
                        .entry(included.tx.place(&included.id))
                        .or_insert((included.id.clone(), included.tx.clone()));
                }
            }
        }
        for _ in 0..redo.len() {
            self.mine(now_ms);
        }
    }

    fn gossip(&mut self) {
        let pairs = (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            for (place, (id, tx)) in self.nodes[from].pool.clone() {
                let better = match self.nodes[to].pool.get(&place) {
                    None => true,
                    Some((_, old)) => tx.max_fee >= bumped(old.max_fee),
                };
                if better && self.rng.chance(800) {
                    self.nodes[to].pool.insert(place, (id, tx));
                }
            }
        }
    }

    fn mine(&mut self, now_ms: u64) {
        let mut state = (*self.tip().state).clone();
        let height = self.height() + 1;
        let mut txs: Vec<Included> = Vec::new();
        for op in std::mem::take(&mut self.outside) {
            let tx = Tx {
                signer: String::new(),
                nonce: 0,
                max_fee: self.base_fee,
                op: Some(op),
                more: Vec::new(),
                salt: self.rng.draw(),
                good_until: None,
            };
            txs.push(self.include(&mut state, tx, now_ms));
        }
        let signers: Vec<String> = state.nonces.keys().cloned().collect();
        for signer in signers {
            while txs.len() < BLOCK_LIMIT {
                let place = (signer.clone(), state.nonces.get(&signer).copied().unwrap_or(0));
                let offers = self.nodes.iter().filter_map(|node| node.pool.get(&place));
                let Some((_, tx)) = offers.max_by_key(|(_, tx)| tx.max_fee).cloned() else {
                    break;
                };
                if tx.max_fee < self.base_fee || self.rng.chance(self.weather.delayed) {
                    break;
                }
                state.nonces.insert(signer.clone(), place.1 + 1);
                let included = self.include(&mut state, tx, now_ms);
                txs.push(included);
            }
        }
        self.mine_unnumbered(&mut state, &mut txs, height, now_ms);
        let block = Arc::new(Block {
            id: format!("b{height}.{}", self.next_block),
            height,
            mined_ms: now_ms,
            txs,
            state: Arc::new(state),
        });
        self.next_block += 1;
        for included in &block.txs {
            self.places
                .entry(included.id.clone())
                .or_default()
                .push(Arc::clone(&block));
        }
        for node in &mut self.nodes {
            node.pool.retain(|(signer, nonce), (id, tx)| match tx.good_until {
                None => block.state.nonces.get(signer).is_none_or(|next| nonce >= next),
                Some(last) => last > height && !block.state.landed.contains_key(id),
            });
        }
        self.canonical.push(block);
        if self.canonical.len() > self.reached_ms.len() {
            self.reached_ms.push(now_ms);
        }
        let deep = usize::try_from(self.confirmations).unwrap_or(usize::MAX);
        if let Some(confirmed) = self
            .canonical
            .len()
            .checked_sub(deep)
            .and_then(|at| self.canonical.get(at))
        {
            self.fates
                .entry(confirmed.id.clone())
                .or_default()
                .confirmed_at_ms
                .get_or_insert(now_ms);
        }
    }

    fn include(&mut self, state: &mut State, tx: Tx, now_ms: u64) -> Included {
        let id = tx_id(&tx.encode());
        let now_s = now_ms / 1_000;
        let mut tried = state.clone();
        let mut failed = Vec::new();
        let result = match &tx.op {
            None => Ok(Vec::new()),
            Some(op) if tx.more.is_empty() => tried.execute(op, now_s),
            Some(_) => Ok(tried.execute_each(tx.ops(), now_s, &mut failed)),
        };
        let result = result.map(|mut logs| {
            *state = tried;
            for (at, log) in logs.iter_mut().enumerate() {
                log.id = format!("{id}#{at}");
            }
            logs
        });
        Included {
            id,
            cost: tx.gas() * self.base_fee,
            failed,
            tx,
            result,
        }
    }
}
