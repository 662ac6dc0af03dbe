//! Why a transaction that can't land any more is not called expired yet.

use std::fmt;

use sdk_plugin::Fault;

/// What is missing, with what the node showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unproven {
    /// The nodes did not answer.
    NoAnswer(String),
    /// The node has no history from the transaction's first slot on.
    Pruned(String),
    /// The node does not search its history for statuses.
    NoHistory(String),
    /// The node does not list or show the blocks in which the transaction could land.
    NoBlocks(String),
    /// No transaction of these blocks is known to the node that should know it.
    NoCanary(String),
    /// The node's answers contradict each other.
    Contradicted(String),
    /// A finalized block has one of them, of which the node knows no status.
    Contained { id: String, slot: u64 },
    /// The node serves another chain.
    WrongChain(String),
    /// A node has not reached the end of the blockhash's lifetime.
    TooEarly,
}

impl Unproven {
    /// The event's name in the log.
    pub(super) fn event(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "expiry_reads_failed",
            Self::Pruned(_) => "expiry_history_pruned",
            Self::NoHistory(_) => "expiry_history_refused",
            Self::NoBlocks(_) => "expiry_blocks_missing",
            Self::NoCanary(_) => "expiry_canary_missing",
            Self::Contradicted(_) | Self::Contained { .. } => "expiry_answers_contradictory",
            Self::WrongChain(_) => "expiry_wrong_chain",
            Self::TooEarly => "expiry_node_behind",
        }
    }

    /// Whether the node only lacks what was queried. Anything else counts against what another node shows too.
    pub(super) fn is_lack(&self) -> bool {
        match self {
            Self::Pruned(_) | Self::NoHistory(_) | Self::NoBlocks(_) | Self::NoCanary(_) => true,
            Self::NoAnswer(_)
            | Self::Contradicted(_)
            | Self::Contained { .. }
            | Self::WrongChain(_)
            | Self::TooEarly => false,
        }
    }

    /// What the operator can do.
    fn advice(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "check the network's rpc urls",
            Self::Pruned(_) => "list a node first that keeps its ledger for longer",
            Self::NoHistory(_) => {
                "list a node first that serves getSignatureStatuses with searchTransactionHistory"
            }
            Self::NoBlocks(_) => {
                "list a node first that serves getBlocks and getBlock of that time without gaps"
            }
            Self::NoCanary(_) => "list a node first whose getSignatureStatuses searches the whole history",
            Self::Contradicted(_) | Self::Contained { .. } => "replace the node",
            Self::WrongChain(_) => "correct the network's rpc urls",
            Self::TooEarly => "wait for it, or replace it",
        }
    }
}

impl fmt::Display for Unproven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contained;
        let why = match self {
            Self::Contained { id, slot } => {
                contained = format!("the block of slot {slot} has {id}, of which there is no status");
                contained.as_str()
            }
            Self::NoAnswer(why)
            | Self::Pruned(why)
            | Self::NoHistory(why)
            | Self::NoBlocks(why)
            | Self::NoCanary(why)
            | Self::Contradicted(why)
            | Self::WrongChain(why) => why.as_str(),
            Self::TooEarly => "a node has not reached the end of their blockhashes' life",
        };
        write!(
            f,
            "transactions that can't land any more stay pending, because it is not proven that they have not landed: {why}: {}",
            self.advice()
        )
    }
}

/// A fault of a round trip.
impl From<Fault> for Unproven {
    fn from(fault: Fault) -> Self {
        Self::NoAnswer(fault.message)
    }
}
