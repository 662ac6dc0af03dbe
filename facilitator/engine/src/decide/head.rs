//! How high a chain is known to be, although any node may be wrong about it.

use crate::decide::observation::LEAP_BLOCKS;
/// No node that is used lags by this many blocks.
pub(crate) const FAR_BLOCKS: u64 = 1_000;
/// After this many consecutive answers far below a head, the head is forgotten.
const FORGET_AFTER: u32 = 8;

/// The head of a chain. A height counts once a second answer is at least as high. A height that no later answer
/// confirms is forgotten, and so is one that many consecutive answers contradict.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Head {
    confirmed: u64,
    /// The number of consecutive answers that were far below `confirmed`, and the highest of them.
    below: (u32, u64),
    /// The newest height above `confirmed`, not confirmed yet.
    claimed: Option<u64>,
}

impl Head {
    /// Records the height that an answer reported.
    pub(crate) fn observe(&mut self, height: u64) {
        if height.saturating_add(FAR_BLOCKS) < self.confirmed {
            let (count, highest) = self.below;
            self.below = (count.saturating_add(1), highest.max(height));
            if self.below.0 >= FORGET_AFTER {
                *self = Self {
                    confirmed: self.below.1,
                    ..Self::default()
                };
                return;
            }
        } else {
            self.below = (0, 0);
        }
        if height <= self.confirmed {
            // A claim far above `confirmed` is dropped, so that a second false one can't confirm it.
            self.claimed = self
                .claimed
                .filter(|claimed| *claimed <= self.confirmed.saturating_add(LEAP_BLOCKS));
            return;
        }
        match self.claimed {
            Some(claimed) if height >= claimed => {
                self.confirmed = claimed;
                self.claimed = (height > claimed).then_some(height);
            }
            // A lower height does not confirm a higher claim.
            Some(_) | None => self.claimed = Some(height),
        }
    }

    /// The highest height that two answers have shown.
    pub(crate) fn height(&self) -> u64 {
        self.confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_in_the_future_that_no_later_answer_confirms_is_forgotten() {
        let mut head = Head::default();
        for height in [100, 101, 9_000_000, 102, 103, 104] {
            head.observe(height);
        }
        assert_eq!(head.height(), 103);
        head.observe(104);
        assert_eq!(head.height(), 104, "two answers at one height are enough");
        head.observe(90);
        assert_eq!(head.height(), 104, "a lagging node does not lower the head");
        head.observe(9_000_000);
        head.observe(104);
        head.observe(9_000_001);
        assert_eq!(head.height(), 104, "one false head does not confirm another");
    }

    #[test]
    fn a_head_in_the_future_that_many_answers_contradict_is_forgotten() {
        let mut head = Head::default();
        for height in [100, 100, 9_000_000, 9_000_000] {
            head.observe(height);
        }
        assert_eq!(head.height(), 9_000_000);
        for height in 101..108 {
            head.observe(height);
        }
        assert_eq!(head.height(), 9_000_000);
        head.observe(107);
        assert_eq!(head.height(), 107);
    }
}
