//! The same chances in every run.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// `branch` tells the actors of one seed apart.
    pub(crate) fn new(seed: u64, branch: u64) -> Self {
        let mut chance = Self(seed ^ branch.wrapping_mul(0xd1b5_4a32_d192_ed03));
        chance.next();
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// Of a list that has as many entries.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// Most often short, sometimes none, seldom long.
    pub(crate) fn pause(&mut self) -> Duration {
        let millis = match self.below(8) {
            0..2 => 0,
            2..6 => 1 + self.below(20),
            6 => 20 + self.below(300),
            _ => 300 + self.below(3000),
        };
        Duration::from_millis(u64::from(millis))
    }
}
