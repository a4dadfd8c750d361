//! A source whose rows are a pure function of their number: what `nexmark` and `datagen` share.
//!
//! Owns: splits, positions, pace. It does not own what a row holds.

mod split;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use split::NumberSplit;
use weir_dataflow::{OpenSource, Poll, Source, SourceFactory, SplitState};
use weir_protocol::Failure;
use weir_runtime::{Clock, SystemClock, Timestamp};

/// Numbers are below this, so that times and products of numbers stay in range.
pub(crate) const MAX_NUMBER: u64 = 1 << 53;

/// Mixes 64 bits so that each of them depends on all: the finalizer of SplitMix64 (Sebastiano Vigna,
/// public domain).
#[inline]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Makes rows of numbers.
pub(crate) trait Generate: Send + Sync + 'static {
    /// The rows.
    fn schema(&self) -> SchemaRef;

    /// Rows of the numbers `from, from + stride, …` below `end`, about one batch of them; also the
    /// first number that was not looked at. No rows is a valid answer.
    ///
    /// # Errors
    /// End the execution.
    fn generate(&self, from: u64, stride: u64, end: u64) -> Result<(RecordBatch, u64), Failure>;
}

/// A sequence of rows.
pub(crate) struct Sequence<G> {
    /// Makes the rows.
    pub(crate) generator: Arc<G>,
    /// The first number that is not there.
    pub(crate) end: u64,
    /// Whether the source goes on, without rows, after its end.
    pub(crate) keep_alive: bool,
    /// Rows per second of all subtasks together; `None`: as fast as rows are taken.
    pub(crate) rate: Option<u64>,
}

impl<G: Generate> SourceFactory for Sequence<G> {
    fn schema(&self) -> SchemaRef {
        self.generator.schema()
    }

    fn bounded(&self) -> bool {
        self.end < MAX_NUMBER && !self.keep_alive
    }

    fn open(&self, context: OpenSource) -> Result<Box<dyn Source>, Failure> {
        let restored = context.restored.as_deref().map(Vec::as_slice);
        let splits: Vec<_> = split::splits(restored, context.parallelism, self.end)?
            .into_iter()
            .skip(context.index as usize)
            .step_by(context.parallelism.max(1) as usize)
            .collect();
        let start = splits.iter().map(|s| s.next).min().unwrap_or(0);
        Ok(Box::new(SequenceSource {
            generator: self.generator.clone(),
            splits,
            end: self.end,
            keep_alive: self.keep_alive,
            pace: self.rate.map(|rate| Pace::new(rate, start, &context)),
        }))
    }
}

struct SequenceSource<G> {
    generator: Arc<G>,
    splits: Vec<NumberSplit>,
    end: u64,
    keep_alive: bool,
    pace: Option<Pace>,
}

impl<G: Generate> Source for SequenceSource<G> {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        // The split that is furthest behind goes first: event times of the splits stay together.
        let Some((split, at)) = self
            .splits
            .iter_mut()
            .enumerate()
            .filter(|(_, s)| s.next < self.end)
            .min_by_key(|(_, s)| s.next)
        else {
            return Ok(if self.keep_alive { Poll::Pending } else { Poll::Exhausted });
        };
        let due = match &self.pace {
            Some(pace) => pace.due().min(self.end),
            None => self.end,
        };
        if at.next >= due {
            if let Some(pace) = &self.pace {
                pace.wake_later();
            }
            return Ok(Poll::Pending);
        }
        let (rows, next) = self.generator.generate(at.next, at.stride, due)?;
        at.next = next;
        Ok(Poll::Batch { split, rows })
    }

    fn snapshot(&mut self) -> Vec<SplitState> {
        self.splits.iter().map(|s| s.state(self.end)).collect()
    }
}

/// Lets numbers pass at a rate, counted from the opening of the source.
struct Pace {
    rate: u64,
    first: u64,
    clock: SystemClock,
    opened: Timestamp,
    io: tokio::runtime::Handle,
    waker: Waker,
    waiting: Arc<AtomicBool>,
}

impl Pace {
    /// Numbers become due in pieces of this length, not one by one.
    const TICK: Duration = Duration::from_millis(10);

    fn new(rate: u64, first: u64, context: &OpenSource) -> Self {
        let clock = SystemClock::default();
        Self {
            rate,
            first,
            opened: clock.now(),
            clock,
            io: context.io.clone(),
            waker: context.waker.clone(),
            waiting: Arc::default(),
        }
    }

    /// The first number that is not due yet.
    fn due(&self) -> u64 {
        let elapsed = self.clock.now().since(self.opened).as_micros();
        let passed = elapsed * u128::from(self.rate) / 1_000_000;
        self.first.saturating_add(1).saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn wake_later(&self) {
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
