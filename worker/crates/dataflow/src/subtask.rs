//! One parallel instance of a vertex: takes what comes in, in order, and keeps its part of
//! checkpoints. Runs on its slot's thread in small steps and never blocks it.

use std::sync::{Arc, Mutex, PoisonError};

use weir_protocol::{CheckpointId, Failure, SubtaskId, SubtaskProgress, TransformId};
use weir_runtime::{Clock, Timestamp, crash_point};
use weir_state::StateTable;

use crate::accounting::{Accounting, micros};
use crate::chain::Chain;
use crate::queue::{Message, Receiver};
use crate::slot::{Events, SlotEvent};
use crate::snapshot::{Snapshot, Trackers};
use crate::source_head::{Given, SourceHead};
use crate::watermarks::{Advance, Watermarks};
use crate::{Aligned, Alignment, Barrier, Watermark};

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; more may follow at once.
    Worked,
    /// Nothing can be done before an output has room.
    Full,
    /// Nothing came in.
    Empty,
}

/// An edge as one of its receiving subtasks sees it: one queue per sender.
pub(crate) struct Input {
    /// Which input of the first transform.
    pub(crate) port: u32,
    pub(crate) queue: Receiver,
}

pub(crate) struct Subtask {
    pub(crate) id: SubtaskId,
    source: Option<SourceHead>,
    inputs: Vec<Input>,
    alignment: Alignment,
    align_since: Option<Timestamp>,
    watermarks: Watermarks,
    chain: Chain,
    next_input: usize,
    trackers: Trackers,
    /// The barrier that waits until the chain has given all output of what came before it.
    due: Option<(Barrier, Timestamp)>,
    /// The checkpoint that another execution goes on from: behind its barrier a source reads nothing.
    held: Option<CheckpointId>,
    snapshot: Option<Snapshot>,
    events: Events,
    clock: Arc<dyn Clock>,
    progress: SubtaskProgress,
    published: Arc<Mutex<SubtaskProgress>>,
    accounting: Accounting,
}

/// What a subtask is made of.
pub(crate) struct Parts {
    pub(crate) id: SubtaskId,
    pub(crate) source: Option<SourceHead>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) chain: Chain,
    pub(crate) trackers: Trackers,
    pub(crate) events: Events,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) published: Arc<Mutex<SubtaskProgress>>,
}

impl Subtask {
    pub(crate) fn new(parts: Parts) -> Self {
        let inputs = parts.inputs.len();
        Self {
            id: parts.id,
            source: parts.source,
            inputs: parts.inputs,
            alignment: Alignment::new(inputs),
            align_since: None,
            watermarks: Watermarks::new(inputs),
            chain: parts.chain,
            next_input: 0,
            trackers: parts.trackers,
            due: None,
            held: None,
            snapshot: None,
            events: parts.events,
            clock: parts.clock,
            progress: SubtaskProgress { watermark_ms: i64::MIN, ..SubtaskProgress::default() },
            published: parts.published,
            accounting: Accounting::default(),
        }
    }

    /// A table of one of its transforms.
    pub(crate) fn table(&mut self, transform: TransformId, name: &str) -> Option<&mut dyn StateTable> {
        let link = self.chain.links.iter_mut().find(|link| link.id == transform)?;
        link.transform.tables().into_iter().find(|table| table.info().name == name)
    }

    /// Sources may read from now on: what an earlier execution left to commit is committed.
    pub(crate) fn admit(&mut self) {
        if let Some(source) = &mut self.source {
            source.admit();
        }
    }

    /// Sources read nothing until this checkpoint is given up; or they do again.
    pub(crate) fn hold(&mut self, checkpoint: Option<CheckpointId>) {
        self.held = checkpoint;
    }

    /// The coordinator began a checkpoint; of interest to sources only.
    pub(crate) fn trigger(&mut self, barrier: Barrier) {
        if self.source.is_some() {
            self.due = Some((barrier, self.clock.now()));
        }
    }

    /// A checkpoint will not complete.
    pub(crate) fn abort(&mut self, id: CheckpointId) {
        self.alignment.abort(id);
        self.held = self.held.filter(|held| *held != id);
        if self.due.is_some_and(|(barrier, _)| barrier.id == id) {
            self.due = None;
        }
        if self.trackers.in_flight() == Some(id) {
            self.settle(None);
        }
    }

    /// A checkpoint is durable.
    pub(crate) fn complete(&mut self, id: CheckpointId) {
        if self.trackers.in_flight() == Some(id) {
            self.settle(Some(id));
        }
    }

    fn settle(&mut self, completed: Option<CheckpointId>) {
        let durable = self.trackers.settle(completed, &mut self.chain);
        if durable && let Some(source) = &mut self.source {
            source.checkpoint_complete();
        }
        self.snapshot = None;
    }

    /// Tells the transforms the time, for state that expires.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let now_ms = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        for link in &mut self.chain.links {
            link.transform.tick(now_ms);
        }
    }

    /// Does the next piece of work.
    pub(crate) fn step(&mut self) -> Result<Step, Failure> {
        let step = self.work()?;
        if self.progress.first_out_us == 0 && self.chain.output.rows > 0 {
            self.progress.first_out_us = self.clock.now().0;
        }
        if let Some(snapshot) = &mut self.snapshot {
            // Idle slots sweep as fast as the encoder takes it; busy ones some pieces per input.
            let swept = snapshot.sweep(&mut self.chain, &*self.clock);
            if snapshot.done() {
                self.snapshot = None;
            }
            if swept && step != Step::Worked {
                return Ok(Step::Worked);
            }
        }
        Ok(step)
    }

    fn work(&mut self) -> Result<Step, Failure> {
        if self.chain.pending() {
            let ready = self.chain.output.poll_ready();
            if !ready {
                return Ok(Step::Full);
            }
            self.chain.resume()?;
            return Ok(Step::Worked);
        }
        if let Some((barrier, since)) = self.due.take() {
            self.freeze(barrier, since)?;
            return Ok(Step::Worked);
        }
        if !self.chain.output.poll_ready() {
            return Ok(Step::Full);
        }
        if self.source.is_some() { self.read_source() } else { self.read_inputs() }
    }

    fn read_source(&mut self) -> Result<Step, Failure> {
        if self.held.is_some() {
            return Ok(Step::Empty);
        }
        let Some(source) = &mut self.source else { return Ok(Step::Empty) };
        match source.poll(self.clock.now())? {
            Given::Rows { chunk, read, advance } => {
                self.progress.rows_in += read;
                if !chunk.is_empty() {
                    self.progress.bytes_in += chunk.bytes() as u64;
                    self.chain.chunk(0, chunk)?;
                }
                if let Some(advance) = advance {
                    self.advance(advance)?;
                }
                Ok(Step::Worked)
            }
            Given::Advance(advance) => {
                self.advance(advance)?;
                Ok(Step::Worked)
            }
            Given::Exhausted => {
                self.advance(Advance::To(Watermark::MAX))?;
                self.events.send(SlotEvent::Exhausted(self.id));
                Ok(Step::Worked)
            }
            Given::Again => Ok(Step::Worked),
            Given::Nothing => Ok(Step::Empty),
        }
    }

    fn read_inputs(&mut self) -> Result<Step, Failure> {
        let count = self.inputs.len();
        for _ in 0..count {
            let at = self.next_input;
            self.next_input = (at + 1) % count;
            if self.alignment.blocked(at) {
                continue;
            }
            if let Some(message) = self.inputs[at].queue.pop() {
                self.take(at, message)?;
                return Ok(Step::Worked);
            }
        }
        Ok(Step::Empty)
    }

    fn take(&mut self, input: usize, message: Message) -> Result<(), Failure> {
        match message {
            Message::Chunk(chunk) => {
                self.progress.rows_in += chunk.len() as u64;
                self.progress.bytes_in += chunk.bytes() as u64;
                self.chain.chunk(self.inputs[input].port, chunk)
            }
            Message::Watermark(watermark) => self.advanced(|w| w.advance(input, watermark)),
            Message::Active => self.advanced(|w| w.advance(input, Watermark::MIN)),
            Message::Idle => self.advanced(|w| w.idle(input)),
            Message::Barrier(barrier) => {
                let now = self.clock.now();
                if self.alignment.current().is_none_or(|id| id < barrier.id) {
                    self.align_since = Some(now);
                    crash_point("worker:alignment:before");
                }
                if let Aligned::Complete(barrier) = self.alignment.barrier(input, barrier) {
                    crash_point("worker:alignment:after");
                    // Frozen in the next step at the earliest, once the chain is not pending.
                    self.due = Some((barrier, self.align_since.take().unwrap_or(now)));
                }
                Ok(())
            }
        }
    }

    fn advanced(&mut self, change: impl FnOnce(&mut Watermarks) -> Option<Advance>) -> Result<(), Failure> {
        match change(&mut self.watermarks) {
            Some(advance) => self.advance(advance),
            None => Ok(()),
        }
    }

    fn advance(&mut self, advance: Advance) -> Result<(), Failure> {
        match advance {
            Advance::To(watermark) => {
                self.progress.watermark_ms = watermark.0;
                self.chain.watermark(watermark)
            }
            Advance::Idle => {
                self.chain.output.message(&Message::Idle);
                Ok(())
            }
            Advance::Active => {
                self.chain.output.message(&Message::Active);
                Ok(())
            }
        }
    }

    /// The cut: state is frozen, then the barrier goes on, then the next input may come.
    fn freeze(&mut self, barrier: Barrier, since: Timestamp) -> Result<(), Failure> {
        if self.trackers.in_flight().is_some() {
            self.settle(barrier.completed);
        }
        crash_point("worker:freeze:before");
        let aligned = self.clock.now();
        let times = weir_protocol::PhaseTimes {
            trigger_us: since.0.saturating_sub(barrier.triggered_us),
            align_us: micros(aligned.since(since)),
            ..weir_protocol::PhaseTimes::default()
        };
        let source = self.source.as_mut().map(SourceHead::snapshot);
        let mut snapshot = Snapshot::freeze(
            self.id,
            &barrier,
            source,
            &mut self.chain,
            &mut self.trackers,
            self.events.clone(),
        )?;
        self.chain.output.message(&Message::Barrier(barrier));
        let frozen = self.clock.now();
        snapshot.times = weir_protocol::PhaseTimes { freeze_us: micros(frozen.since(aligned)), ..times };
        snapshot.frozen_at = frozen;
        self.snapshot = Some(snapshot);
        crash_point("worker:freeze:after");
        Ok(())
    }

    /// When the subtask has something to do without being signalled: a split turns idle.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.source.as_ref().and_then(SourceHead::next_timer)
    }

    /// It had its turn, which ended with this step.
    pub(crate) fn account(&mut self, start: Timestamp, end: Timestamp, worked: bool, last: Step) {
        self.accounting.turn(start, end, worked, last == Step::Full);
    }

    /// Makes the numbers visible to the worker.
    pub(crate) fn publish(&mut self) {
        self.progress.busy_us = self.accounting.busy_us();
        self.progress.backpressured_us = self.accounting.full_us(self.clock.now());
        self.progress.rows_out = self.chain.output.rows;
        self.progress.bytes_out = self.chain.output.bytes;
        self.progress.late_rows = self.chain.links.iter().map(|l| l.transform.late_rows()).sum();
        if let Some(source) = &self.source {
            self.progress.bad_records = source.bad_records();
        }
        (self.progress.state_bytes, self.progress.dirty_bytes) = (0, 0);
        for link in &mut self.chain.links {
            for table in link.transform.tables() {
                let stats = table.stats();
                self.progress.state_bytes += stats.bytes;
                self.progress.dirty_bytes += stats.dirty_bytes;
            }
        }
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = self.progress;
    }
}
