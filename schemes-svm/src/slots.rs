//! Slots of different nodes, compared.
//!
//! Nodes that are used are at most minutes apart. A slot that is farther than that from what another node shows, or from what
//! is known already, says nothing about the chain: only its node is wrong.

/// More slots than any two nodes that are used are apart: some seven minutes.
const FAR_SLOTS: u64 = 1_000;

/// Whether two slots can both be heads of one chain now.
pub(crate) fn is_near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= FAR_SLOTS
}

/// Answers in a row, all near each other, after which a slot far from the known one is believed: the chain was begun anew, or
/// what was known was wrong.
const BELIEVED_AFTER: u32 = 8;

/// The newest slot that is believed, by answers of single nodes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Newest {
    slot: Option<u64>,
    /// The last slot that was far from it, and how many in a row were near that one.
    stray: Option<(u64, u32)>,
}

/// What a slot that a node shows is, by what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Near,
    /// Far from what is known: it counts for nothing.
    Stray,
    /// What was known is given up for this one.
    Anew,
}

impl Newest {
    pub(crate) fn slot(&self) -> Option<u64> {
        self.slot
    }

    /// Records a slot that a node showed.
    pub(crate) fn saw(&mut self, slot: u64) -> Seen {
        let Some(known) = self.slot.filter(|known| !is_near(*known, slot)) else {
            self.slot = self.slot.max(Some(slot));
            self.stray = None;
            return Seen::Near;
        };
        debug_assert!(!is_near(known, slot));
        let before = self.stray.filter(|(stray, _)| is_near(*stray, slot));
        let count = before.map_or(1, |(_, count)| count.saturating_add(1));
        if count < BELIEVED_AFTER {
            self.stray = Some((slot, count));
            return Seen::Stray;
        }
        *self = Self {
            slot: Some(slot),
            stray: None,
        };
        Seen::Anew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_far_from_what_is_known_counts_after_many_in_a_row() {
        let mut newest = Newest::default();
        assert_eq!(newest.saw(5_000), Seen::Near, "the first one");
        for absurd in [u64::MAX, 1_000_000_000_000_000, 1, 0] {
            assert_eq!(newest.saw(absurd), Seen::Stray);
            assert_eq!(newest.saw(5_001), Seen::Near);
            assert_eq!(newest.slot(), Some(5_001));
        }
        assert_eq!(newest.saw(4_900), Seen::Near, "a node that lags");
        assert_eq!(newest.slot(), Some(5_001));
        for count in 1..BELIEVED_AFTER {
            assert_eq!(newest.saw(90_000 + u64::from(count)), Seen::Stray);
        }
        assert_eq!(newest.saw(90_000), Seen::Anew);
        assert_eq!(newest.slot(), Some(90_000));
    }
}
