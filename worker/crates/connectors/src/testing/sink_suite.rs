//! The conformance suite of sinks: whatever crashes when, exactly the rows of the checkpoints that
//! were recorded become visible, once (S1-S5, F22, F26).

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use weir_dataflow::{Chunk, Sink, SinkFactory};
use weir_protocol::CheckpointId;
use weir_runtime::{Random, SeededRandom};

use super::Io;

/// The columns of the sink under test.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8View, true),
    ]))
}

/// Rows with these ids.
pub(crate) fn rows(ids: impl Iterator<Item = i64>) -> Chunk {
    let ids: Vec<_> = ids.collect();
    let names: StringViewArray = ids.iter().map(|i| Some(format!("the name of row {i}"))).collect();
    let columns: Vec<arrow_array::ArrayRef> = vec![Arc::new(Int64Array::from(ids)), Arc::new(names)];
    Chunk::inserts(RecordBatch::try_new(schema(), columns).unwrap())
}

/// Rows that are durable and recorded are `0 .. recorded`; those that are visible `0 .. visible`.
struct Run<'a> {
    io: &'a Io,
    factory: &'a dyn SinkFactory,
    random: SeededRandom,
    checkpoint: u64,
    recorded: i64,
    /// Handles of the last recorded checkpoint.
    handles: Vec<Vec<u8>>,
}

/// Runs the suite with one seed; `visible` gives the ids that readers see.
pub(crate) fn exactly_the_recorded_rows(
    factory: &dyn SinkFactory,
    io: &Io,
    seed: u64,
    crashes: u64,
    visible: impl Fn() -> Vec<i64>,
) {
    let random = SeededRandom::new(seed);
    let mut run = Run { io, factory, random, checkpoint: 0, recorded: 0, handles: Vec::new() };
    for attempt in 1..=crashes + 1 {
        // As after a crash: what was recorded last is committed again before anything is written.
        run.commit();
        assert_visible(&visible, run.recorded, seed);
        let last = attempt > crashes;
        run.attempt(attempt, last);
    }
    run.commit();
    run.commit();
    assert_visible(&visible, run.recorded, seed);
    assert!(run.recorded > 0, "seed {seed} wrote nothing");
}

fn assert_visible(visible: impl Fn() -> Vec<i64>, recorded: i64, seed: u64) {
    let mut ids = visible();
    ids.sort_unstable();
    assert!(
        ids == (0..recorded).collect::<Vec<_>>(),
        "seed {seed}: {} rows are visible, not {recorded}",
        ids.len()
    );
}

impl Run<'_> {
    fn below(&self, n: u64) -> u64 {
        self.random.next_u64() % n
    }

    fn commit(&self) {
        let committer = self.factory.committer(self.io.handle()).unwrap();
        self.io.wait(committer.commit(self.handles.clone())).unwrap();
    }

    /// Opens subtasks, goes on behind what was recorded, and crashes somewhere unless it is the last.
    fn attempt(&mut self, attempt: u64, last: bool) {
        let parallelism = 1 + self.below(3) as u32;
        let mut sinks: Vec<_> = (0..parallelism)
            .map(|i| self.factory.open(self.io.open_sink(i, parallelism, attempt)).unwrap())
            .collect();
        let mut next = self.recorded;
        for round in 0..1 + self.below(4) {
            for _ in 0..self.below(6) {
                let (at, count) = (self.below(sinks.len() as u64) as usize, 1 + self.below(300) as i64);
                write(sinks[at].as_mut(), rows(next..next + count));
                next += count;
            }
            self.checkpoint += 1;
            let futures: Vec<_> =
                sinks.iter_mut().map(|s| s.prepare_commit(CheckpointId(self.checkpoint)).unwrap()).collect();
            if !last && self.below(4) == 0 {
                return; // A crash while the checkpoint is made.
            }
            let handles = futures.into_iter().flat_map(|f| self.io.wait(f).unwrap()).collect();
            if !last && self.below(4) == 0 {
                return; // A crash before the checkpoint is recorded.
            }
            (self.recorded, self.handles) = (next, handles);
            if !last && self.below(4) == 0 {
                return; // A crash between record and commit.
            }
            self.commit();
            if !last && round > 0 && self.below(4) == 0 {
                write(sinks[0].as_mut(), rows(next..next + 10));
                return; // A crash while rows are written.
            }
        }
    }
}

/// Writes when there is room.
pub(crate) fn write(sink: &mut dyn Sink, chunk: Chunk) {
    while !sink.ready() {
        std::thread::park();
    }
    sink.write(chunk).unwrap();
}
