//! The conformance suite of sources: whatever is snapshotted and restored when, at any parallelism,
//! every row comes exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use weir_dataflow::{Poll, Source, SourceFactory, SplitState};
use weir_runtime::{Random, SeededRandom};

use super::{Io, drain, next};

/// The rows as text.
pub(crate) fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(line).collect()
}

/// Runs the suite with these seeds. The source must be bounded and its rows must differ.
pub(crate) fn every_row_once(factory: &dyn SourceFactory, seeds: std::ops::Range<u64>) {
    let io = Io::new();
    let mut whole = factory.open(io.open_source(0, 1, None)).unwrap();
    let mut expected: Vec<_> = drain(whole.as_mut()).iter().flat_map(lines).collect();
    expected.sort_unstable();
    assert!(expected.windows(2).all(|w| w[0] != w[1]), "the rows differ");
    for seed in seeds {
        let mut rows = interrupted(factory, &io, seed);
        rows.sort_unstable();
        assert!(
            rows == expected,
            "seed {seed}: {} rows instead of {}, or other ones",
            rows.len(),
            expected.len()
        );
    }
}

/// All rows of a run that is snapshotted and restored a few times at random points.
fn interrupted(factory: &dyn SourceFactory, io: &Io, seed: u64) -> Vec<String> {
    let random = SeededRandom::new(seed);
    let below = |n: u64| random.next_u64() % n;
    let mut rows = Vec::new();
    let mut restored: Option<Arc<Vec<SplitState>>> = None;
    for _ in 0..1 + below(5) {
        let mut subtasks = open(factory, io, 1 + below(5) as u32, restored.take());
        let before: Vec<_> = subtasks.iter_mut().map(|s| s.snapshot()).collect();
        for _ in 0..below(12) {
            let at = below(subtasks.len() as u64) as usize;
            if let Poll::Batch { rows: batch, split } = next(subtasks[at].as_mut()).unwrap() {
                assert!(split < subtasks[at].snapshot().len(), "seed {seed}: the split is in the snapshot");
                rows.extend(lines(&batch));
            }
        }
        restored = Some(snapshot(&mut subtasks, &before, seed));
    }
    for mut subtask in open(factory, io, 1 + below(5) as u32, restored) {
        rows.extend(drain(subtask.as_mut()).iter().flat_map(lines));
        assert!(subtask.snapshot().iter().all(|s| s.ended), "seed {seed}: all splits ended");
    }
    rows
}

fn open(
    factory: &dyn SourceFactory,
    io: &Io,
    parallelism: u32,
    restored: Option<Arc<Vec<SplitState>>>,
) -> Vec<Box<dyn Source>> {
    (0..parallelism)
        .map(|i| factory.open(io.open_source(i, parallelism, restored.clone())).unwrap())
        .collect()
}

/// The splits of all subtasks, as a checkpoint has them.
fn snapshot(subtasks: &mut [Box<dyn Source>], before: &[Vec<SplitState>], seed: u64) -> Arc<Vec<SplitState>> {
    let mut all = Vec::new();
    for (subtask, before) in subtasks.iter_mut().zip(before) {
        let states = subtask.snapshot();
        let ids = |states: &[SplitState]| states.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
        assert!(ids(&states).starts_with(&ids(before)), "seed {seed}: splits keep their positions");
        all.extend(states);
    }
    let ids: BTreeSet<_> = all.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids.len(), all.len(), "seed {seed}: a split has one owner");
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Arc::new(all)
}
