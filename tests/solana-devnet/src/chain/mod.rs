//! The chain itself: state in litesvm, slots, blockhashes, and a journal of what landed, from which older commitments and
//! roll-backs are computed.

mod blocks;
mod run;
mod state;
mod time;

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use litesvm::LiteSVM;
use solana_account::Account;
use solana_address::Address;
use solana_hash::Hash;
use solana_sha256_hasher::hashv;
use solana_signature::Signature;
use solana_transaction::versioned::VersionedTransaction;

use crate::clock::SlotClock;
use crate::outcome::{Accounts, Outcome};

/// How the chain passes time.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub slot: Duration,
    /// Slots until a transaction is confirmed.
    pub confirm_after: u64,
    /// Slots until it is finalized; not fewer.
    pub finalize_after: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            slot: Duration::from_millis(400),
            confirm_after: 1,
            finalize_after: 32,
        }
    }
}

/// Whose view of the chain is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commitment {
    Processed,
    Confirmed,
    Finalized,
}

/// The finalized slot at the start.
const FIRST_SLOT: u64 = 1_000;
/// A blockhash is good for this many blocks after its own.
const BLOCKHASH_AGE: u64 = 150;

/// A transaction in a block.
#[derive(Debug)]
pub struct Landed {
    pub slot: u64,
    pub signature: Signature,
    pub(crate) transaction: VersionedTransaction,
    pub(crate) accounts: Accounts,
    pub(crate) outcome: Outcome,
    message: Hash,
    /// The accounts it could write, as they were before; empty once it is finalized.
    undo: Vec<(Address, Option<Account>)>,
}

/// A running chain.
pub struct Chain {
    svm: LiteSVM,
    clock: SlotClock,
    timing: Timing,
    genesis: Hash,
    /// Unpredictable, as blockhashes are: no transaction of an earlier start is valid here.
    salt: [u8; 32],
    started: SystemTime,
    hashes: HashMap<Hash, u64>,
    /// Up to here (inclusive) slots have their blockhash in `hashes`.
    hashed: u64,
    landed: Vec<Landed>,
    by_signature: HashMap<Signature, usize>,
    by_message: HashMap<Hash, usize>,
    /// Entries of `landed` before this one have given up their `undo`.
    settled: usize,
    /// The slot in litesvm's clock.
    running: u64,
    dropping: bool,
    /// The oldest slot whose block and transactions are still in the history.
    first_available: u64,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("clock", &self.clock)
            .field("landed", &self.landed.len())
            .finish_non_exhaustive()
    }
}

impl Chain {
    /// An empty chain with the token programs, the stand-ins, and nothing else.
    #[must_use]
    pub fn new(timing: Timing, genesis: Hash) -> Chain {
        let mut svm = LiteSVM::new()
            .with_sigverify(false)
            .with_blockhash_check(false)
            .with_transaction_history(0);
        crate::programs::install(&mut svm);
        let started = SystemTime::now();
        let nanos = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let salt = hashv(&[&nanos.to_le_bytes(), &std::process::id().to_le_bytes()]).to_bytes();
        let timing = Timing {
            finalize_after: timing.finalize_after.max(timing.confirm_after),
            ..timing
        };
        let mut chain = Chain {
            svm,
            clock: SlotClock::starting_at(FIRST_SLOT.saturating_add(timing.finalize_after), timing.slot),
            timing,
            genesis,
            salt,
            started,
            hashes: HashMap::new(),
            hashed: FIRST_SLOT - BLOCKHASH_AGE - 1,
            landed: Vec::new(),
            by_signature: HashMap::new(),
            by_message: HashMap::new(),
            settled: 0,
            running: 0,
            dropping: false,
            first_available: FIRST_SLOT - BLOCKHASH_AGE,
        };
        chain.catch_up();
        chain
    }
}
