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
    /// Rows become due in pieces of this length, not one by one.
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
        let elapsed = self.clock.now().since(self.opened).as_micros();
        let passed = elapsed * u128::from(self.rate) / 1_000_000;
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
