//! Sources that are not read as fast as they could be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use weir_dataflow::OpenSource;
use weir_runtime::{Clock, SystemClock, Timestamp};

/// Lets rows pass at a rate, counted from the opening of the source.
pub(crate) struct Pace {
    rate: u64,
    clock: SystemClock,
    opened: Timestamp,
    io: tokio::runtime::Handle,
    waker: Waker,
    waiting: Arc<AtomicBool>,
}

impl Pace {
    /// Rows become due in pieces of this length, not one by one: a few rows take nearly as much work as a thousand.
    const TICK: Duration = Duration::from_millis(10);

    /// `rate`: rows per second.
    pub(crate) fn new(rate: u64, context: &OpenSource) -> Self {
        let clock = SystemClock::default();
        Self {
            rate,
            opened: clock.now(),
            clock,
            io: context.io.clone(),
            waker: context.waker.clone(),
            waiting: Arc::default(),
        }
    }

    /// How many rows are due so far; one at once.
    pub(crate) fn due(&self) -> u64 {
        Self::due_after(self.clock.now().since(self.opened), self.rate)
    }

    fn due_after(elapsed: Duration, rate: u64) -> u64 {
        let ticks = elapsed.as_micros() / Self::TICK.as_micros();
        let passed = ticks * Self::TICK.as_micros() * u128::from(rate) / 1_000_000;
        u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Has the source asked again before long.
    pub(crate) fn wake_later(&self) {
        if self.waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (waker, waiting) = (self.waker.clone(), self.waiting.clone());
        self.io.spawn(async move {
            tokio::time::sleep(Self::TICK).await;
            waiting.store(false, Ordering::Release);
            waker.wake();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_due_at_their_rate_in_pieces_of_a_hundredth_of_a_second() {
        let due = |us, rate| Pace::due_after(Duration::from_micros(us), rate);
        assert_eq!([0, 9_999, 10_000, 19_999, 20_000].map(|us| due(us, 1_000)), [1, 1, 11, 11, 21]);
        assert_eq!([1_000_000, 3_600_000_000].map(|us| due(us, 500_000)), [500_001, 1_800_000_001]);
        assert_eq!([99_999, 1_000_000].map(|us| due(us, 1)), [1, 2], "slower than a row per piece");
        assert_eq!(due(u64::MAX, u64::MAX), u64::MAX);
    }
}
