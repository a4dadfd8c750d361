//! Time comes in through a trait: real in production, virtual in simulation.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall-clock time in microseconds since the Unix epoch. For people, durations and expiry; never
/// for safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Now. Never goes backwards within one clock, even if the machine's wall clock is set.
    fn now(&self) -> Timestamp;
}

/// The machine's clock: wall time at the start, carried on by the monotonic clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
    wall: Timestamp,
}

impl Default for SystemClock {
    fn default() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), wall: Timestamp(u64::try_from(wall.as_micros()).unwrap_or(0)) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall.after(self.start.elapsed())
    }
}
