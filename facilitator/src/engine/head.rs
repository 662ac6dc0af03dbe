//! How high a chain is known to be, when any node may be wrong about it.

use super::observer::LEAP_BLOCKS;

/// The head of a chain. A height counts once a second answer is at least as high; one that no later answer confirms is
/// forgotten.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Head {
    confirmed: u64,
    /// The newest height above `confirmed`.
    claimed: Option<u64>,
}

impl Head {
    /// Records the height that an answer named.
    pub(super) fn saw(&mut self, height: u64) {
        if height <= self.confirmed {
            // A claim far above is not left standing until another false one confirms it.
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
            // A claim above this one is not confirmed by it.
            Some(_) | None => self.claimed = Some(height),
        }
    }

    /// The highest height that two answers have shown.
    pub(super) fn height(&self) -> u64 {
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
            head.saw(height);
        }
        assert_eq!(head.height(), 103);
        head.saw(104);
        assert_eq!(head.height(), 104, "two answers at one height are enough");
        head.saw(90);
        assert_eq!(head.height(), 104, "a node that lags takes nothing back");
        head.saw(9_000_000);
        head.saw(104);
        head.saw(9_000_001);
        assert_eq!(head.height(), 104, "one false head does not confirm another");
    }
}
