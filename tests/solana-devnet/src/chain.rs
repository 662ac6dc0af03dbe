//! The chain itself: state in litesvm, slots, blockhashes, and a journal of what landed, from which older commitments and
//! roll-backs are computed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use litesvm::LiteSVM;
use solana_account::Account;
use solana_address::Address;
use solana_clock::Clock;
use solana_hash::Hash;
use solana_message::AddressLoader;
use solana_sha256_hasher::hashv;
use solana_signature::Signature;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use crate::clock::SlotClock;
use crate::outcome::{Accounts, Balances, Outcome};

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

/// Whose view of the chain is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commitment {
    Processed,
    Confirmed,
    Finalized,
}

/// The finalized slot at the start.
const FIRST_SLOT: u64 = 1_000;
/// Slots that had no block before the chain starts: a height is never the slot's number.
const SLOTS_WITHOUT_BLOCK: u64 = 137;
/// A blockhash is good for this many blocks after its own.
const BLOCKHASH_AGE: u64 = 150;
/// How long a validator answers for a signature without searching its history.
const RECENT_SLOTS: u64 = 300;

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
        };
        chain.catch_up();
        chain
    }

    // ---- time

    /// Brings blockhashes and the journal up to the clock. Every request begins with it.
    pub fn catch_up(&mut self) -> u64 {
        let newest = self.clock.slot();
        let oldest = newest.saturating_sub(self.timing.finalize_after + BLOCKHASH_AGE + 1);
        for slot in self.hashed.saturating_add(1).max(oldest)..=newest {
            let hash = self.blockhash(slot);
            self.hashes.insert(hash, slot);
        }
        if newest > self.hashed {
            self.hashes.retain(|_, slot| *slot >= oldest);
            self.hashed = newest;
        }
        let finalized = self.slot(Commitment::Finalized);
        while let Some(entry) = self
            .landed
            .get_mut(self.settled)
            .filter(|entry| entry.slot <= finalized)
        {
            entry.undo = Vec::new();
            self.settled += 1;
        }
        newest
    }

    /// The newest slot of a commitment, as of the last [`Chain::catch_up`].
    #[must_use]
    pub fn slot(&self, commitment: Commitment) -> u64 {
        let behind = match commitment {
            Commitment::Processed => 0,
            Commitment::Confirmed => self.timing.confirm_after,
            Commitment::Finalized => self.timing.finalize_after,
        };
        self.hashed.saturating_sub(behind)
    }

    /// Which commitment a slot has reached.
    #[must_use]
    pub fn commitment_of(&self, slot: u64) -> Commitment {
        if slot <= self.slot(Commitment::Finalized) {
            Commitment::Finalized
        } else if slot <= self.slot(Commitment::Confirmed) {
            Commitment::Confirmed
        } else {
            Commitment::Processed
        }
    }

    /// Blocks up to and with this slot's.
    #[must_use]
    pub fn height(&self, slot: u64) -> u64 {
        slot.saturating_sub(SLOTS_WITHOUT_BLOCK)
    }

    /// Seconds since 1970 at the beginning of a slot.
    #[must_use]
    pub fn time_of(&self, slot: u64) -> i64 {
        let start = self
            .started
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let first = FIRST_SLOT.saturating_add(self.timing.finalize_after);
        let ms = u64::try_from(start)
            .unwrap_or(u64::MAX)
            .saturating_add(self.clock.lasts_ms(slot.saturating_sub(first)))
            .saturating_sub(self.clock.lasts_ms(first.saturating_sub(slot)));
        i64::try_from(ms / 1_000).unwrap_or(i64::MAX)
    }

    #[must_use]
    pub fn genesis(&self) -> Hash {
        self.genesis
    }

    /// The hash of a slot's block.
    #[must_use]
    pub fn blockhash(&self, slot: u64) -> Hash {
        hashv(&[&self.salt, &slot.to_le_bytes()])
    }

    /// The last block height at which a blockhash is good, if a bank of this slot knows it and it still is.
    #[must_use]
    pub fn last_valid_height(&self, blockhash: &Hash, slot: u64) -> Option<u64> {
        let born = *self.hashes.get(blockhash)?;
        let good = born <= slot && slot - born <= BLOCKHASH_AGE;
        good.then(|| self.height(born) + BLOCKHASH_AGE)
    }

    pub fn freeze(&mut self) {
        self.clock.freeze();
    }

    pub fn resume(&mut self) {
        self.clock.resume();
    }

    pub fn advance(&mut self, slots: u64) {
        self.clock.advance(slots);
        self.catch_up();
    }

    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.clock.is_frozen()
    }

    // ---- state

    /// An account as of a commitment; accounts without lamports do not exist.
    #[must_use]
    pub fn account(&self, address: &Address, commitment: Commitment) -> Option<Account> {
        match self.older(address, self.slot(commitment)) {
            Some(before) => before,
            None => self.newest(address),
        }
    }

    fn newest(&self, address: &Address) -> Option<Account> {
        self.svm
            .get_account(address)
            .filter(|account| account.lamports > 0)
    }

    /// What an account was at the end of a slot, if a later transaction could have changed it.
    fn older(&self, address: &Address, slot: u64) -> Option<Option<Account>> {
        let later = self.landed.partition_point(|entry| entry.slot <= slot);
        let undone = self.landed.iter().skip(later).flat_map(|entry| &entry.undo);
        undone
            .into_iter()
            .find(|(changed, _)| changed == address)
            .map(|(_, before)| before.clone())
    }

    /// All accounts of a program, as of the newest slot.
    #[must_use]
    pub fn owned_by(&self, program: &Address) -> Vec<(Address, Account)> {
        self.svm.get_program_accounts(program)
    }

    #[must_use]
    pub fn rent(&self, bytes: usize) -> u64 {
        self.svm.minimum_balance_for_rent_exemption(bytes)
    }

    /// Replaces an account without a transaction, at every commitment; no lamports remove it.
    ///
    /// # Errors
    /// When litesvm can't take it: a program that does not load, a sysvar that does not parse.
    pub fn set_account(&mut self, address: Address, account: Account) -> Result<(), String> {
        self.svm
            .set_account(address, account)
            .map_err(|e| e.to_string())?;
        for entry in &mut self.landed {
            entry.undo.retain(|(changed, _)| *changed != address);
        }
        Ok(())
    }

    // ---- transactions

    /// Whether transactions that arrive are dropped without a word.
    pub fn set_dropping(&mut self, dropping: bool) {
        self.dropping = dropping;
    }

    /// The accounts of a transaction, with its look-up tables resolved.
    pub(crate) fn accounts_of(
        &self,
        transaction: &VersionedTransaction,
    ) -> Result<Accounts, TransactionError> {
        let lookups = transaction.message.address_table_lookups().unwrap_or_default();
        let loaded = self.svm.accounts_db().load_addresses(lookups)?;
        Ok(Accounts::new(transaction, loaded))
    }

    /// Takes a transaction as a leader does: it lands in the newest slot, or nothing happens and nobody is told.
    pub fn receive(&mut self, transaction: VersionedTransaction) {
        let slot = self.slot(Commitment::Processed);
        let bad_signature = transaction.verify_with_results().contains(&false);
        if self.dropping || bad_signature || self.check_fresh(&transaction, slot).is_err() {
            return;
        }
        self.land(transaction, slot);
    }

    /// Neither too old nor seen before, for a bank of this slot.
    fn check_fresh(&self, transaction: &VersionedTransaction, slot: u64) -> Result<(), TransactionError> {
        if self
            .last_valid_height(transaction.message.recent_blockhash(), slot)
            .is_none()
        {
            return Err(TransactionError::BlockhashNotFound);
        }
        let seen = self
            .by_message
            .get(&transaction.message.hash())
            .and_then(|index| self.landed.get(*index));
        match seen {
            Some(entry) if entry.slot <= slot => Err(TransactionError::AlreadyProcessed),
            _ => Ok(()),
        }
    }

    /// Runs a transaction and keeps it, unless it can't even pay its fee.
    pub(crate) fn land(&mut self, transaction: VersionedTransaction, slot: u64) -> Option<&Landed> {
        let signature = transaction.signatures.first().copied()?;
        let accounts = self.accounts_of(&transaction).ok()?;
        self.run_at(slot);
        let writable = accounts
            .keys
            .iter()
            .enumerate()
            .filter(|(index, _)| accounts.is_writable(&transaction, *index));
        let undo: Vec<_> = writable.map(|(_, key)| (*key, self.newest(key))).collect();
        let before = Balances::of(&accounts.keys, |key| self.newest(key));
        let loaded_bytes = self.loaded_bytes(&accounts, &transaction);
        let result = self.svm.send_transaction(transaction.clone());
        let after = Balances::of(&accounts.keys, |key| self.newest(key));
        // Whoever runs pays, also when the run fails.
        let ran = result.is_ok() || before.lamports.first() != after.lamports.first();
        if !ran {
            return None;
        }
        let (error, report) = match result {
            Ok(report) => (None, report),
            Err(failed) => (Some(failed.err), failed.meta),
        };
        let outcome = Outcome {
            error,
            ran,
            report,
            before,
            after,
            loaded_bytes,
            written: HashMap::new(),
        };
        let message = transaction.message.hash();
        let index = self.landed.len();
        self.by_signature.insert(signature, index);
        self.by_message.insert(message, index);
        self.landed.push(Landed {
            slot,
            signature,
            transaction,
            accounts,
            outcome,
            message,
            undo,
        });
        self.landed.last()
    }

    /// What a transaction would do for a bank of this commitment. Signatures are not looked at.
    pub(crate) fn simulate(
        &mut self,
        transaction: &VersionedTransaction,
        accounts: &Accounts,
        commitment: Commitment,
    ) -> Outcome {
        let slot = self.slot(commitment);
        if let Err(error) = self.check_fresh(transaction, slot) {
            return Outcome::refused(error);
        }
        let now = self.swap(
            accounts
                .keys
                .iter()
                .filter_map(|key| self.older(key, slot).map(|before| (*key, before)))
                .collect(),
        );
        self.run_at(slot);
        let outcome = self.simulate_here(transaction, accounts);
        self.swap(now);
        outcome
    }

    fn simulate_here(&self, transaction: &VersionedTransaction, accounts: &Accounts) -> Outcome {
        let before = Balances::of(&accounts.keys, |key| self.newest(key));
        let loaded_bytes = self.loaded_bytes(accounts, transaction);
        match self.svm.simulate_transaction(transaction.clone()) {
            Ok(simulated) => {
                let written: HashMap<Address, Account> = simulated
                    .post_accounts
                    .into_iter()
                    .map(|(address, account)| (address, account.into()))
                    .collect();
                let after = Balances::of(&accounts.keys, |key| match written.get(key) {
                    Some(account) => Some(account.clone()).filter(|account| account.lamports > 0),
                    None => self.newest(key),
                });
                Outcome {
                    error: None,
                    ran: true,
                    report: simulated.meta,
                    before,
                    after,
                    loaded_bytes,
                    written,
                }
            }
            Err(failed) if ran(&failed.err) => {
                let mut after = before.clone();
                if let Some(payer) = after.lamports.first_mut() {
                    *payer = payer.saturating_sub(failed.meta.fee);
                }
                Outcome {
                    error: Some(failed.err),
                    ran: true,
                    report: failed.meta,
                    before,
                    after,
                    loaded_bytes,
                    written: HashMap::new(),
                }
            }
            Err(failed) => Outcome::refused(failed.err),
        }
    }

    /// Writes these accounts and gives what they were.
    fn swap(&mut self, accounts: Vec<(Address, Option<Account>)>) -> Vec<(Address, Option<Account>)> {
        accounts
            .into_iter()
            .map(|(address, account)| {
                let was = self.newest(&address);
                // It was in this state before: litesvm took it then.
                let _ = self.svm.set_account(address, account.unwrap_or_default());
                (address, was)
            })
            .collect()
    }

    fn loaded_bytes(&self, accounts: &Accounts, transaction: &VersionedTransaction) -> u32 {
        const PER_ACCOUNT: usize = 64;
        const PER_TABLE: usize = 8_248;
        let sizes = accounts
            .keys
            .iter()
            .filter_map(|key| self.newest(key))
            .map(|account| account.data.len() + PER_ACCOUNT);
        let tables = transaction.message.address_table_lookups().map_or(0, <[_]>::len);
        u32::try_from(sizes.sum::<usize>() + tables * PER_TABLE).unwrap_or(u32::MAX)
    }

    /// Sets the clock that programs see.
    fn run_at(&mut self, slot: u64) {
        if self.running == slot {
            return;
        }
        let mut clock: Clock = self.svm.get_sysvar();
        clock.slot = slot;
        clock.unix_timestamp = self.time_of(slot);
        self.svm.set_sysvar(&clock);
        self.running = slot;
    }

    /// Takes a transaction that is not finalized out of the chain, as a fork without it does: it and all later ones are
    /// undone, and the others run again in their slots. Its blockhash stays good: whoever has the bytes can send it again.
    ///
    /// # Errors
    /// When it is unknown or already finalized.
    pub fn forget(&mut self, signature: &Signature) -> Result<(), String> {
        let index = *self
            .by_signature
            .get(signature)
            .ok_or("no such transaction landed here")?;
        if index < self.settled {
            return Err("this transaction is finalized: no fork can be without it".to_owned());
        }
        let undone = self.landed.split_off(index);
        for entry in undone.iter().rev() {
            self.by_signature.remove(&entry.signature);
            self.by_message.remove(&entry.message);
            self.swap(entry.undo.clone());
        }
        // An undone account may have been a sysvar.
        self.running = 0;
        for entry in undone.into_iter().skip(1) {
            self.land(entry.transaction, entry.slot);
        }
        Ok(())
    }

    /// A landed transaction.
    #[must_use]
    pub fn transaction(&self, signature: &Signature) -> Option<&Landed> {
        self.by_signature
            .get(signature)
            .and_then(|index| self.landed.get(*index))
    }

    /// Whether a validator still answers for this slot's signatures without a search.
    #[must_use]
    pub fn is_recent(&self, slot: u64) -> bool {
        slot.saturating_add(RECENT_SLOTS) >= self.slot(Commitment::Finalized)
    }

    /// Everything that landed, oldest first.
    #[must_use]
    pub fn landed(&self) -> &[Landed] {
        &self.landed
    }

    /// For planting the starting state: runs instructions without signatures and forgets them.
    pub(crate) fn plant(&mut self, transaction: VersionedTransaction) -> Result<(), String> {
        let slot = self.slot(Commitment::Processed);
        self.run_at(slot);
        match self.svm.send_transaction(transaction) {
            Ok(_) => Ok(()),
            Err(failed) => Err(format!("{}: {:?}", failed.err, failed.meta.logs)),
        }
    }
}

/// Errors of a run; all others are found while accounts are loaded, before anything is charged.
fn ran(error: &TransactionError) -> bool {
    matches!(
        error,
        TransactionError::InstructionError(..)
            | TransactionError::InsufficientFundsForRent { .. }
            | TransactionError::UnbalancedTransaction
            | TransactionError::ProgramExecutionTemporarilyRestricted { .. }
    )
}
