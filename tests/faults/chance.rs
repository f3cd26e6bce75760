//! Chance that can be repeated: a small generator (`SplitMix64`) from a seed that the run prints.

use std::time::Duration;

/// A stream of numbers that a seed determines.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// True in that share of cases.
    pub fn happens(&mut self, share: f64) -> bool {
        const STEPS: u32 = 1 << 24;
        f64::from(u32::try_from(self.next() % u64::from(STEPS)).unwrap()) < share * f64::from(STEPS)
    }

    /// A span from the first to the second.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let room = u64::try_from(most.saturating_sub(least).as_micros()).unwrap();
        least + Duration::from_micros(self.next() % (room + 1))
    }
}
