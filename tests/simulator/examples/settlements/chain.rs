//! A chain that makes a block at fixed times and answers each call after a fixed time. Nothing goes wrong on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sdk_plugin::chain::{BlockRef, LogEntry, TxState};
use sha2::{Digest as _, Sha256};
use simulator::chain::Tx;
use simulator::token::State;

/// How fast the chain is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// From a call to its answer.
    pub latency: Duration,
    /// From a block to the next one.
    pub block_time: Duration,
}

/// The chain, as one node shows it.
#[derive(Debug)]
pub struct Chain {
    pub pace: Pace,
    ledger: Mutex<Ledger>,
    calls: AtomicU64,
}

/// Everything that is on the chain.
#[derive(Debug)]
pub struct Ledger {
    blocks: Vec<BlockRef>,
    state: State,
    /// Sent transactions that no block has, by signer and nonce.
    pool: BTreeMap<String, BTreeMap<u64, (String, Tx)>>,
    /// The height of a transaction's block, and its logs.
    receipts: HashMap<String, (u64, Vec<LogEntry>)>,
    failed: u64,
}

/// The id of a transaction: a hash of its bytes.
pub fn tx_id(bytes: &[u8]) -> String {
    hash(bytes)
}

/// A hash as chains write it.
pub fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("0x");
    for byte in Sha256::digest(bytes) {
        // A string takes every byte.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Chain {
    /// A chain with its first block. `state`: the nonces of its signers and the balances of its payers.
    pub fn new(pace: Pace, state: State) -> Arc<Self> {
        let genesis = BlockRef {
            id: hash(b"block 1"),
            height: 1,
            time_s: 0,
        };
        Arc::new(Self {
            pace,
            ledger: Mutex::new(Ledger {
                blocks: vec![genesis],
                state,
                pool: BTreeMap::new(),
                receipts: HashMap::new(),
                failed: 0,
            }),
            calls: AtomicU64::new(0),
        })
    }

    /// What the chain shows after the time that a call takes.
    pub async fn call(&self) -> MutexGuard<'_, Ledger> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.pace.latency).await;
        self.ledger()
    }

    /// What the chain shows, without a call: what a driver has in its cache.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls were answered.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Makes blocks for ever.
    pub async fn keep_mining(self: Arc<Self>, now_s: impl Fn() -> u64) {
        let mut ticks = tokio::time::interval(self.pace.block_time);
        loop {
            ticks.tick().await;
            self.ledger().mine(now_s());
        }
    }
}

impl Ledger {
    pub fn height(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.height)
    }

    /// The block at a height.
    pub fn block(&self, height: u64) -> Option<&BlockRef> {
        let first = self.blocks.first()?.height;
        let index = usize::try_from(height.checked_sub(first)?).ok()?;
        self.blocks.get(index)
    }

    pub fn next_nonce(&self, signer: &str) -> u64 {
        self.state.nonces.get(signer).copied().unwrap_or(0)
    }

    /// What a payer has, and whether it has used an authorization.
    pub fn payer(&self, from: &str, nonce: u64) -> (u64, bool) {
        let balance = self.state.balances.get(from).copied().unwrap_or(0);
        (balance, self.state.used.contains(&(from.to_owned(), nonce)))
    }

    /// Transactions that a block has and that failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    pub fn submit(&mut self, id: String, tx: Tx) {
        self.pool
            .entry(tx.signer.clone())
            .or_default()
            .insert(tx.nonce, (id, tx));
    }

    /// Where a transaction is, and its logs.
    pub fn find(&self, id: &str) -> (TxState, &[LogEntry]) {
        let Some((height, logs)) = self.receipts.get(id) else {
            return (TxState::Pending, &[]);
        };
        let landed = TxState::Landed {
            height: *height,
            block: self
                .block(*height)
                .map(|block| block.id.clone())
                .unwrap_or_default(),
            depth: self.height().saturating_sub(*height).saturating_add(1),
        };
        (landed, logs)
    }

    fn mine(&mut self, now_s: u64) {
        let height = self.height().saturating_add(1);
        for (signer, pool) in &mut self.pool {
            let next = self.state.nonces.entry(signer.clone()).or_default();
            let mut included = Vec::new();
            while let Some((id, tx)) = pool.remove(next) {
                *next = next.saturating_add(1);
                included.push((id, tx));
            }
            for (id, tx) in included {
                let Some(op) = &tx.op else { continue };
                let Ok(mut logs) = self.state.execute(op, now_s) else {
                    self.failed = self.failed.saturating_add(1);
                    continue;
                };
                for (index, log) in logs.iter_mut().enumerate() {
                    log.id = format!("{id}#{index}");
                }
                self.receipts.insert(id, (height, logs));
            }
        }
        self.blocks.push(BlockRef {
            id: hash(format!("block {height}").as_bytes()),
            height,
            time_s: now_s,
        });
    }
}
