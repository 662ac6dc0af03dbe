//! Random numbers that a seed decides (SplitMix64).

#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// One for each worker of a seed.
    pub(crate) fn new(seed: u64, worker: usize) -> Dice {
        let mut dice = Dice(seed ^ (worker as u64) << 48);
        dice.roll();
        dice
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Both ends included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.roll() % (most - least + 1)
    }

    /// The same for units.
    pub(crate) fn units(&mut self, least: u128, most: u128) -> u128 {
        least + u128::from(self.roll()) % (most - least + 1)
    }

    pub(crate) fn percent(&mut self, of_hundred: u64) -> bool {
        self.between(1, 100) <= of_hundred
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let last = u64::try_from(all.len() - 1).expect("small");
        all[usize::try_from(self.between(0, last)).expect("small")]
    }
}
