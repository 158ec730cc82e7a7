//! Random numbers that can be had again: the seed is printed, and `MARSHAL_TEST_SEED` sets it.
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

/// `xorshift64*`: small, and good enough to vary a test.
pub struct Random(u64);

impl Random {
    /// From `MARSHAL_TEST_SEED`, else from the clock; says which, so that a failure can be repeated.
    pub fn from_env() -> Self {
        let given = std::env::var("MARSHAL_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_nanos() % u128::from(u64::MAX)).unwrap()
        });
        eprintln!("MARSHAL_TEST_SEED={seed}");
        Self::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[5]
    }
}
