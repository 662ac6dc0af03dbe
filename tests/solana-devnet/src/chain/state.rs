//! Accounts, as of any commitment: litesvm has the newest state, and the journal what transactions since then replaced.

use solana_account::Account;
use solana_address::Address;

use super::{Chain, Commitment};
use crate::ids;

impl Chain {
    /// An account as of a commitment; accounts without lamports do not exist.
    #[must_use]
    pub fn account(&self, address: &Address, commitment: Commitment) -> Option<Account> {
        if *address == ids::CLOCK {
            return self.clock_at(self.slot(commitment));
        }
        match self.older(address, self.slot(commitment)) {
            Some(before) => before,
            None => self.newest(address),
        }
    }

    /// The clock's account as of a slot; litesvm's own stands at the last transaction. Slot, epoch start, epoch, leader
    /// schedule epoch and time, 8 bytes each.
    fn clock_at(&self, slot: u64) -> Option<Account> {
        let mut account = self.newest(&ids::CLOCK)?;
        account.data.get_mut(..8)?.copy_from_slice(&slot.to_le_bytes());
        let time = self.time_of(slot).to_le_bytes();
        account.data.get_mut(32..40)?.copy_from_slice(&time);
        Some(account)
    }

    pub(super) fn newest(&self, address: &Address) -> Option<Account> {
        self.svm
            .get_account(address)
            .filter(|account| account.lamports > 0)
    }

    /// What an account was at the end of a slot, if a later transaction could have changed it.
    pub(super) fn older(&self, address: &Address, slot: u64) -> Option<Option<Account>> {
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
}
