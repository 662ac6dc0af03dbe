//! Blocks and the history of them. Every slot has a block, and every block a vote, as on a chain with one validator.

use solana_sha256_hasher::hashv;
use solana_signature::Signature;

use super::{Chain, Commitment};

impl Chain {
    /// The oldest slot whose block and transactions are in the history.
    #[must_use]
    pub fn first_available(&self) -> u64 {
        self.first_available
    }

    /// Forgets the history of older slots, as a node with a small ledger does. What is recent is still answered for.
    pub fn prune(&mut self, before: u64) {
        let finalized = self.slot(Commitment::Finalized);
        self.first_available = self.first_available.max(before.min(finalized));
    }

    /// Whether a search of the history finds what landed in this slot.
    #[must_use]
    pub fn is_in_history(&self, slot: u64) -> bool {
        slot >= self.first_available
    }

    /// Signatures of a slot's block, the vote's first.
    #[must_use]
    pub fn signatures_in(&self, slot: u64) -> Vec<Signature> {
        let from = self.landed.partition_point(|entry| entry.slot < slot);
        let own = self
            .landed
            .iter()
            .skip(from)
            .take_while(|entry| entry.slot == slot);
        let own = own.map(|entry| entry.signature);
        std::iter::once(self.vote(slot)).chain(own).collect()
    }

    /// The signature of the vote in a slot's block. It names the slot, so that no list of votes is needed.
    fn vote(&self, slot: u64) -> Signature {
        let number = slot.to_le_bytes();
        let halves = [b"first", b"after"].map(|half| hashv(&[&self.salt, half, &number]).to_bytes());
        let mut bytes = [0; 64];
        for (byte, from) in bytes.iter_mut().zip(number.iter().chain(halves.as_flattened())) {
            *byte = *from;
        }
        Signature::from(bytes)
    }

    /// The slot whose vote has this signature.
    #[must_use]
    pub fn voted_in(&self, signature: &Signature) -> Option<u64> {
        let bytes: &[u8] = signature.as_ref();
        let slot = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        let has_block = slot <= self.slot(Commitment::Processed);
        (has_block && self.vote(slot) == *signature).then_some(slot)
    }
}
