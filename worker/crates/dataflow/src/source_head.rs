//! The engine's side of a source: admission, computed columns, a watermark per split, idleness.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use weir_protocol::{Failure, FailureKind, TransformId};
use weir_runtime::Timestamp;

use crate::transforms::calc::Calc;
use crate::watermarks::{Advance, Watermarks};
use crate::{Chunk, Poll, Source, SplitState, Watermark, WatermarkSpec};

/// What a source gave.
pub(crate) enum Given {
    /// Rows after the calc, how many were read for them, and what they did to the watermark.
    Rows { chunk: Chunk, read: u64, advance: Option<Advance> },
    /// Event time moved without rows.
    Advance(Advance),
    /// The source came to its end; said once.
    Exhausted,
    /// There is more to ask for.
    Again,
    /// Nothing now.
    Nothing,
}

pub(crate) struct SourceHead {
    id: TransformId,
    source: Box<dyn Source>,
    calc: Option<Arc<Calc>>,
    watermark: Option<WatermarkSpec>,
    splits: Watermarks,
    /// When each split gave rows last; `None`: it is not being read, or idle already.
    active: Vec<Option<Timestamp>>,
    admitted: bool,
    exhausted: bool,
    /// Changes of event time that wait to be told.
    changes: VecDeque<Advance>,
}

impl SourceHead {
    pub(crate) fn new(
        id: TransformId,
        source: Box<dyn Source>,
        calc: Option<Arc<Calc>>,
        watermark: Option<WatermarkSpec>,
    ) -> Self {
        Self {
            id,
            source,
            calc,
            watermark,
            splits: Watermarks::new(0),
            active: Vec::new(),
            admitted: false,
            exhausted: false,
            changes: VecDeque::new(),
        }
    }

    pub(crate) fn admit(&mut self) {
        self.admitted = true;
    }

    pub(crate) fn snapshot(&mut self) -> (TransformId, Vec<SplitState>) {
        (self.id, self.source.snapshot())
    }

    pub(crate) fn checkpoint_complete(&mut self) {
        self.source.checkpoint_complete();
    }

    pub(crate) fn bad_records(&self) -> u64 {
        self.source.bad_records()
    }

    pub(crate) fn poll(&mut self, now: Timestamp) -> Result<Given, Failure> {
        if let Some(change) = self.changes.pop_front() {
            return Ok(Given::Advance(change));
        }
        if !self.admitted || self.exhausted {
            return Ok(Given::Nothing);
        }
        let mut poll = self.source.poll_batch()?;
        if matches!(&poll, Poll::Reading(splits) if splits.is_empty()) {
            // Whether it waits for more or is at its end, only its next answer tells. A source at its
            // end is not idle: were it taken for that, even for a moment, those behind it could go
            // past results that its end makes due.
            poll = self.source.poll_batch()?;
            if !matches!(poll, Poll::Exhausted) {
                self.reading(&[], now);
            }
        }
        match poll {
            Poll::Batch { split, rows } => {
                let read = rows.num_rows() as u64;
                let mut chunk = Chunk::inserts(rows);
                if let Some(calc) = &self.calc {
                    chunk = calc.apply(chunk)?;
                }
                let advance = self.rows_of(split, &chunk, now)?;
                Ok(Given::Rows { chunk, read, advance })
            }
            Poll::Reading(splits) => {
                self.reading(&splits, now);
                Ok(self.changes.pop_front().map_or(Given::Again, Given::Advance))
            }
            Poll::Exhausted => {
                self.exhausted = true;
                Ok(Given::Exhausted)
            }
            Poll::Pending => {
                self.find_idle(now);
                Ok(self.changes.pop_front().map_or(Given::Nothing, Given::Advance))
            }
        }
    }

    /// The watermark that the rows of a split bring.
    fn rows_of(&mut self, split: usize, chunk: &Chunk, now: Timestamp) -> Result<Option<Advance>, Failure> {
        let Some(spec) = &self.watermark else { return Ok(None) };
        if split >= self.active.len() {
            self.active.resize(split + 1, None);
        }
        self.active[split] = Some(now);
        if chunk.is_empty() {
            return Ok(self.splits.advance(split, Watermark::MIN));
        }
        let times = spec.expression.evaluate(&chunk.rows)?;
        let times = times.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(|| {
            Failure::new(
                FailureKind::Bug,
                format!("the watermark is a {}, not a TIMESTAMP(3)", times.data_type()),
            )
        })?;
        // Null: no row of this batch had a time; the split is alive all the same.
        let highest = if times.null_count() == 0 {
            times.values().iter().copied().max()
        } else {
            times.iter().flatten().max()
        };
        // The end is the source's to say: a row must not look like it.
        let highest = highest.map_or(Watermark::MIN, |ms| Watermark(ms.min(i64::MAX - 1)));
        Ok(self.splits.advance(split, highest))
    }

    /// Splits that are read hold the watermark back, even before their first row; others do not.
    fn reading(&mut self, splits: &[usize], now: Timestamp) {
        let known = splits.iter().map(|s| s + 1).max().unwrap_or(0).max(self.active.len());
        self.active.resize(known, None);
        // First those that begin, so that the whole does not look idle in between.
        for split in splits {
            if self.active[*split].is_none() {
                self.active[*split] = Some(now);
                self.changes.extend(self.splits.advance(*split, Watermark::MIN));
            }
        }
        for split in 0..known {
            if !splits.contains(&split) && self.active[split].take().is_some() {
                self.changes.extend(self.splits.idle(split));
            }
        }
    }

    fn find_idle(&mut self, now: Timestamp) {
        let Some(timeout) = self.idle_timeout() else { return };
        for split in 0..self.active.len() {
            if self.active[split].is_some_and(|last| now.since(last) >= timeout) {
                self.active[split] = None;
                self.changes.extend(self.splits.idle(split));
            }
        }
    }

    fn idle_timeout(&self) -> Option<Duration> {
        self.watermark.as_ref()?.idle_timeout
    }

    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        let timeout = self.idle_timeout()?;
        self.active.iter().flatten().min().map(|last| last.after(timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives these answers.
    struct Script(VecDeque<Poll>);

    impl Source for Script {
        fn poll_batch(&mut self) -> Result<Poll, Failure> {
            Ok(self.0.pop_front().unwrap_or(Poll::Pending))
        }

        fn snapshot(&mut self) -> Vec<SplitState> {
            Vec::new()
        }
    }

    fn told(script: Vec<Poll>) -> Vec<&'static str> {
        let polls = script.len();
        let mut head = SourceHead::new(TransformId(1), Box::new(Script(script.into())), None, None);
        head.admit();
        let mut told = Vec::new();
        for _ in 0..polls + 2 {
            match head.poll(Timestamp(0)).unwrap() {
                Given::Advance(Advance::Idle) => told.push("idle"),
                Given::Exhausted => told.push("end"),
                _ => {}
            }
        }
        told
    }

    #[test]
    fn a_source_between_splits_is_idle_but_one_at_its_end_is_not() {
        let read = || vec![Poll::Reading(vec![0]), Poll::Reading(vec![])];
        let with = |last: Poll| read().into_iter().chain([last]).collect();
        assert_eq!(told(with(Poll::Exhausted)), ["end"]);
        assert_eq!(told(with(Poll::Pending)), ["idle"]);
    }
}
