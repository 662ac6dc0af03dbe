//! Slots, heights and blockhashes.

use std::time::UNIX_EPOCH;

use solana_hash::Hash;
use solana_sha256_hasher::hashv;

use super::{BLOCKHASH_AGE, Chain, Commitment, FIRST_SLOT};

/// Slots that had no block before the chain starts: a height is never the slot's number.
const SLOTS_WITHOUT_BLOCK: u64 = 137;

impl Chain {
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
}
