//! Slots of different nodes, compared.
//!
//! Nodes that are used are at most minutes apart. A slot that is farther than that from what another node shows, or from what
//! is known already, shows nothing about the chain: only its node is wrong.

/// More slots than any two nodes that are used are apart: some seven minutes.
const FAR_SLOTS: u64 = 1_000;

/// Whether two slots can both be heads of one chain now.
pub(crate) fn is_near(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= FAR_SLOTS
}

/// Answers in a row, all close to each other, after which a slot far from the known one is accepted: the chain was
/// restarted, or what was known was wrong.
const BELIEVED_AFTER: u32 = 8;

/// The newest slot that is believed, by answers of single nodes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Newest {
    slot: Option<u64>,
    /// The last slot that was far from it, and how many in a row were close to that one.
    outlier: Option<(u64, u32)>,
}

/// What a slot that a node shows is, by what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Near,
    /// Far from what is known: it counts for nothing.
    Outlier,
    /// What was known is given up for this one.
    Anew,
}

impl Newest {
    pub(crate) fn slot(&self) -> Option<u64> {
        self.slot
    }

    /// Records a slot that a node showed.
    pub(crate) fn record(&mut self, slot: u64) -> Seen {
        let Some(known) = self.slot.filter(|known| !is_near(*known, slot)) else {
            self.slot = self.slot.max(Some(slot));
            self.outlier = None;
            return Seen::Near;
        };
        debug_assert!(!is_near(known, slot));
        let before = self.outlier.filter(|(outlier, _)| is_near(*outlier, slot));
        let count = before.map_or(1, |(_, count)| count.saturating_add(1));
        if count < BELIEVED_AFTER {
            self.outlier = Some((slot, count));
            return Seen::Outlier;
        }
        *self = Self {
            slot: Some(slot),
            outlier: None,
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
        assert_eq!(newest.record(5_000), Seen::Near, "the first one");
        for absurd in [u64::MAX, 1_000_000_000_000_000, 1, 0] {
            assert_eq!(newest.record(absurd), Seen::Outlier);
            assert_eq!(newest.record(5_001), Seen::Near);
            assert_eq!(newest.slot(), Some(5_001));
        }
        assert_eq!(newest.record(4_900), Seen::Near, "a node that lags");
        assert_eq!(newest.slot(), Some(5_001));
        for count in 1..BELIEVED_AFTER {
            assert_eq!(newest.record(90_000 + u64::from(count)), Seen::Outlier);
        }
        assert_eq!(newest.record(90_000), Seen::Anew);
        assert_eq!(newest.slot(), Some(90_000));
    }
}
