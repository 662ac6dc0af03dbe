//! What a node knows of the chain: some kinds of reads lag others, old blocks are forgotten, and not every form of
//! a question is understood.

use serde_json::Value;

/// Kinds of reads that real nodes serve from separate backends, each with a delay of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `eth_blockNumber`, blocks, fee history.
    Heads,
    /// `eth_getTransactionCount`.
    Nonces,
    Receipts,
    Transactions,
    Logs,
    /// Calls, estimates, balances, code.
    State,
}

impl Kind {
    pub const ALL: [Kind; 6] = [
        Kind::Heads,
        Kind::Nonces,
        Kind::Receipts,
        Kind::Transactions,
        Kind::Logs,
        Kind::State,
    ];

    /// The kind of a method; nothing for those that depend on no block.
    #[must_use]
    pub fn of(method: &str) -> Option<Kind> {
        match method {
            "eth_blockNumber" | "eth_getBlockByNumber" | "eth_getBlockByHash" | "eth_feeHistory" => {
                Some(Kind::Heads)
            }
            "eth_getTransactionCount" => Some(Kind::Nonces),
            "eth_getTransactionReceipt" | "eth_getBlockReceipts" => Some(Kind::Receipts),
            "eth_getTransactionByHash" => Some(Kind::Transactions),
            "eth_getLogs" => Some(Kind::Logs),
            "eth_call" | "eth_estimateGas" | "eth_getBalance" | "eth_getCode" | "eth_getStorageAt"
            | "eth_simulateV1" => Some(Kind::State),
            _ => None,
        }
    }
}

/// Blocks by which each kind of read lags the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lags {
    pub heads: u64,
    pub nonces: u64,
    pub receipts: u64,
    pub transactions: u64,
    pub logs: u64,
    pub state: u64,
}

impl Lags {
    /// A node that is behind as a whole.
    #[must_use]
    pub fn all(blocks: u64) -> Lags {
        let mut lags = Lags::default();
        for kind in Kind::ALL {
            *lags.mut_of(kind) = blocks;
        }
        lags
    }

    /// A node of which one kind of read lags.
    #[must_use]
    pub fn only(kind: Kind, blocks: u64) -> Lags {
        let mut lags = Lags::default();
        *lags.mut_of(kind) = blocks;
        lags
    }

    /// A node whose index of transactions lags its state: it knows neither them nor their receipts.
    #[must_use]
    pub fn index(blocks: u64) -> Lags {
        Lags {
            receipts: blocks,
            transactions: blocks,
            ..Lags::default()
        }
    }

    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Heads => self.heads,
            Kind::Nonces => self.nonces,
            Kind::Receipts => self.receipts,
            Kind::Transactions => self.transactions,
            Kind::Logs => self.logs,
            Kind::State => self.state,
        }
    }

    fn mut_of(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Heads => &mut self.heads,
            Kind::Nonces => &mut self.nonces,
            Kind::Receipts => &mut self.receipts,
            Kind::Transactions => &mut self.transactions,
            Kind::Logs => &mut self.logs,
            Kind::State => &mut self.state,
        }
    }
}

/// A node as its callers see it. The default is a node that knows everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    pub lags: Lags,
    /// Transactions and receipts in blocks that are further below the head than this are null.
    pub keeps_history: Option<u64>,
    /// State and nonces at blocks that are further below the head than this are `missing trie node`.
    pub keeps_state: Option<u64>,
    /// A block that is named by an object (EIP-1898) is an invalid argument.
    pub refuses_block_objects: bool,
    /// Nonces at `latest` are this much too high.
    pub nonces_ahead: u64,
    /// Kinds whose answers are null, or empty for logs, whatever the chain holds.
    pub empty: Vec<Kind>,
}

impl View {
    #[must_use]
    pub fn lagging(lags: Lags) -> View {
        View {
            lags,
            ..View::default()
        }
    }

    /// A node that keeps history and state of so many blocks.
    #[must_use]
    pub fn pruned(blocks: u64) -> View {
        View {
            keeps_history: Some(blocks),
            keeps_state: Some(blocks),
            ..View::default()
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == View::default()
    }
}

/// The number of a quantity.
pub(super) fn number(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok()
}
