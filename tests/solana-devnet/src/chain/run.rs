//! Transactions: how they land, what they would do, and how they are undone.

use std::collections::HashMap;

use solana_account::Account;
use solana_address::Address;
use solana_clock::Clock;
use solana_message::AddressLoader;
use solana_signature::Signature;
use solana_transaction::versioned::VersionedTransaction;
use solana_transaction_error::TransactionError;

use super::{Chain, Commitment, Landed};
use crate::outcome::{Accounts, Balances, Outcome};

/// How long a validator answers for a signature without searching its history.
const RECENT_SLOTS: u64 = 300;

impl Chain {
    /// Whether transactions that arrive are dropped silently.
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

    /// Takes a transaction as a leader does: it lands in the newest slot, or nothing happens and no error is returned.
    pub fn receive(&mut self, transaction: VersionedTransaction) {
        let slot = self.slot(Commitment::Processed);
        let bad_signature = transaction.verify_with_results().contains(&false);
        if self.dropping || bad_signature || self.check_fresh(&transaction, slot).is_err() {
            return;
        }
        self.land(transaction, slot);
    }

    /// Neither too old nor seen before, for a bank of this slot.
    pub(super) fn check_fresh(
        &self,
        transaction: &VersionedTransaction,
        slot: u64,
    ) -> Result<(), TransactionError> {
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
        // The fee payer pays, also when the run fails.
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

    /// What a transaction would do for a bank of this commitment. Signatures are not checked.
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
    pub(super) fn swap(
        &mut self,
        accounts: Vec<(Address, Option<Account>)>,
    ) -> Vec<(Address, Option<Account>)> {
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
    pub(super) fn run_at(&mut self, slot: u64) {
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
    /// undone, and the others run again in their slots. Its blockhash stays good: any owner of the bytes can send it again.
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
