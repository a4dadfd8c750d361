//! What the tests of the real binary share: a folder per run, the process in it, rows of its output,
//! fixed inputs.

#![allow(dead_code, reason = "every test target uses a part of it")]

pub(crate) mod cluster;
pub(crate) mod data;
pub(crate) mod nexmark;
pub(crate) mod place;
pub(crate) mod rows;
pub(crate) mod time;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nothing that a test waits for takes longer, also on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// Waits until `met` says yes; false if it does not within `limit`.
pub(crate) fn until(limit: Duration, mut met: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if met() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The seed of this run: `WEIR_SEED`, or a new one.
pub(crate) fn seed() -> u64 {
    match std::env::var("WEIR_SEED") {
        Ok(text) => text.parse().expect("WEIR_SEED is a number"),
        Err(_) => {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.as_micros() as u64 % 1_000_000_007)
        }
    }
}

/// Numbers that follow from a seed (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(longest.as_micros() as u64 + 1))
    }
}
