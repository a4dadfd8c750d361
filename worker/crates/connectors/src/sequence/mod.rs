//! A source whose rows are a pure function of their number: what `nexmark` and `datagen` share.
//!
//! Owns: splits and positions. It does not own what a row holds.

mod split;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use split::NumberSplit;
use weir_dataflow::{OpenSource, Poll, Source, SourceFactory, SplitState};
use weir_protocol::Failure;

use crate::pace::Pace;

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
            pace: self.rate.map(|rate| (start, Pace::new(rate, &context))),
            reading: None,
        }))
    }
}

struct SequenceSource<G> {
    generator: Arc<G>,
    splits: Vec<NumberSplit>,
    end: u64,
    keep_alive: bool,
    /// The number that is due when the source is opened, and the pace from there.
    pace: Option<(u64, Pace)>,
    /// How many splits were told to be read; it only falls.
    reading: Option<usize>,
}

impl<G: Generate> Source for SequenceSource<G> {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        let live = self.splits.iter().filter(|s| s.next < self.end).count();
        if self.reading != Some(live) {
            self.reading = Some(live);
            let splits = self.splits.iter().enumerate().filter(|(_, s)| s.next < self.end);
            return Ok(Poll::Reading(splits.map(|(at, _)| at).collect()));
        }
        // The split that is furthest behind goes first: event times of the splits stay together.
        let Some((split, at)) =
            self.splits.iter_mut().enumerate().filter(|(_, s)| s.next < self.end).min_by_key(|(_, s)| s.next)
        else {
            return Ok(if self.keep_alive { Poll::Pending } else { Poll::Exhausted });
        };
        let due = match &self.pace {
            Some((start, pace)) => start.saturating_add(pace.due()).min(self.end),
            None => self.end,
        };
        if at.next >= due {
            if let Some((_, pace)) = &self.pace {
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
