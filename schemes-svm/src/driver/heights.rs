//! From a slot to how many blocks there were by then, at most.
//!
//! A transaction can land in the 150 blocks after its blockhash. Everything here counts slots, so a limit in blocks
//! needs to know the block height of an earlier slot. What is remembered are pairs of a slot and the height that was read
//! after it, so that the height is that slot's or more; a bound that is too high only makes us wait longer.

use std::collections::BTreeMap;

/// Blocks in which a transaction can land after its blockhash (the runtime's `MAX_PROCESSING_AGE`).
pub(super) const BLOCKHASH_BLOCKS: u64 = 150;
/// How far one node's view may lag another's: the plan may have been made with one, and the slot read from the other.
const VIEWS_APART_BLOCKS: u64 = 32;
/// Slots between two pairs that are worth remembering.
const STEP: u64 = 4;
/// Pairs that are remembered: some 15 minutes.
const MOST: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Heights(BTreeMap<u64, u64>);

impl Heights {
    pub(super) fn record(&mut self, slot: u64, height: u64) {
        let near = self
            .0
            .range(slot.saturating_sub(STEP)..=slot)
            .next_back()
            .is_some();
        if !near {
            self.0.insert(slot, height);
        }
        while self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// Once the finalized block height is above this, a transaction that was planned at `slot` can't land any more.
    /// `None` while nothing is known from that slot on.
    pub(super) fn last_valid(&self, slot: u64) -> Option<u64> {
        let (_, height) = self.0.range(slot..).next()?;
        Some(last_valid_from(*height))
    }
}

impl Heights {
    /// The height that is reached when this many blocks have passed since a slot, views apart. `None` while nothing is known
    /// from that slot on.
    pub(super) fn end_after(&self, slot: u64, blocks: u64) -> Option<u64> {
        let (_, height) = self.0.range(slot..).next()?;
        Some(height.saturating_add(blocks).saturating_add(VIEWS_APART_BLOCKS))
    }
}

/// The most blocks after the one at which a blockhash was known that a transaction with it can land in.
pub(super) const LIFE_BLOCKS: u64 = BLOCKHASH_BLOCKS + VIEWS_APART_BLOCKS;

/// The same as [`Heights::last_valid`] of a transaction that was planned at this block height or below.
pub(super) fn last_valid_from(height: u64) -> u64 {
    height.saturating_add(LIFE_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_next_slot_that_was_seen() {
        let mut heights = Heights::default();
        assert_eq!(heights.last_valid(1), None);
        heights.record(100, 80);
        heights.record(101, 81);
        heights.record(110, 90);
        assert_eq!(heights.last_valid(100), Some(80 + 182));
        assert_eq!(heights.last_valid(99), Some(80 + 182));
        assert_eq!(heights.last_valid(101), Some(90 + 182), "too high is only slower");
        assert_eq!(heights.last_valid(111), None);
    }

    #[test]
    fn what_is_forgotten_makes_the_bound_higher() {
        let mut heights = Heights::default();
        for slot in 0..10_000 {
            heights.record(slot, slot / 2);
        }
        assert!(heights.0.len() <= MOST);
        let (first, height) = heights.0.first_key_value().map(|(s, h)| (*s, *h)).expect("some");
        assert!(first > 1_000);
        assert_eq!(heights.last_valid(0), Some(height + 182));
    }
}
