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
        Self { start: Instant::now(), wall: wall() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall.after(self.start.elapsed())
    }
}

/// The machine's wall clock: right, wrong, or set back a moment ago. Read once per clock.
fn wall() -> Timestamp {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Timestamp(u64::try_from(wall.as_micros()).unwrap_or(0));
    #[cfg(debug_assertions)]
    let wall = wrong::shifted(wall);
    wall
}

/// A wall clock that is wrong, so that tests can show that it does no harm. In debug builds only.
#[cfg(debug_assertions)]
mod wrong {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    use super::Timestamp;

    /// A file that says by how many seconds the wall clock is ahead, or behind if negative.
    static SHIFT: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("WEIR_CLOCK_SHIFT").map(PathBuf::from));

    pub(super) fn shifted(wall: Timestamp) -> Timestamp {
        let text = SHIFT.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        match text.and_then(|text| text.trim().parse().ok()) {
            Some(seconds) => by(wall, seconds),
            None => wall,
        }
    }

    fn by(wall: Timestamp, seconds: i64) -> Timestamp {
        Timestamp(wall.0.saturating_add_signed(seconds.saturating_mul(1_000_000)))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_clock_is_ahead_or_behind() {
            let noon = Timestamp(12 * 3_600_000_000);
            assert_eq!(by(noon, 3_600), Timestamp(13 * 3_600_000_000));
            assert_eq!(by(noon, -3_600), Timestamp(11 * 3_600_000_000));
            assert_eq!(by(noon, i64::MIN), Timestamp(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_on_from_where_it_began_whatever_becomes_of_the_wall_clock() {
        let clock = SystemClock { start: Instant::now(), wall: Timestamp(7) };
        let (first, second) = (clock.now(), clock.now());
        assert!(Timestamp(7) <= first && first <= second, "{first:?} {second:?}");
    }
}
