//! One subtask of the source and one of the sink, in the same slot: the source counts through splits, the sink
//! sums by key group and writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use weir_checkpoint::Manifest;
use weir_protocol::{Attempt, CheckpointId, Execution, KeyGroupRange, key_group};

use crate::ghost::read;

/// Row `at` of a split: unique in the job.
pub(crate) fn value(split: u32, at: u32) -> u32 {
    split * 1000 + at + 1
}

/// The sink subtask that a row belongs to.
pub(crate) fn target(row: u32, shape: Shape) -> u32 {
    key_group::owner(row % shape.groups, shape.groups, shape.parallelism)
}

/// How a job is cut into subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) splits: u32,
    pub(crate) parallelism: u32,
    /// The job's maximum parallelism.
    pub(crate) groups: u32,
}

/// Says in whose name a part of a checkpoint was made.
pub(crate) type Tag = (Attempt, Execution, CheckpointId, u32);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    pub(crate) positions: BTreeMap<u32, u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkState {
    /// By key group.
    pub(crate) sums: BTreeMap<u32, u64>,
}

/// What a sink prepared: a file that is not visible yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) name: String,
    pub(crate) rows: Vec<u32>,
}

/// What flows from source to sink subtasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Row(u32),
    Barrier {
        id: CheckpointId,
        /// The newest that completed, which the worker may not know.
        completed: Option<CheckpointId>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) source: SourceState,
    /// Where the splits were at the restore.
    pub(crate) restored: Option<SourceState>,
    pub(crate) exhausted: bool,
    pub(crate) sink: SinkState,
    pub(crate) pending: Vec<u32>,
    /// Prepared and not known to be visible, by checkpoint: it goes into every later checkpoint, until one
    /// completes.
    pub(crate) prepared: Vec<(CheckpointId, Handle)>,
    pub(crate) barrier: Option<CheckpointId>,
    /// Inputs whose barrier has come.
    pub(crate) aligned: BTreeSet<u32>,
    /// By the subtask that sends.
    pub(crate) inputs: BTreeMap<u32, VecDeque<Item>>,
}

impl Task {
    /// Subtask `index`, with the state that is its own now.
    pub(crate) fn new(index: u32, shape: Shape, manifest: Option<&Manifest>) -> Self {
        let own = (0..shape.splits).filter(|split| split % shape.parallelism == index);
        let mut task = Self {
            source: SourceState { positions: own.map(|split| (split, 0)).collect() },
            restored: None,
            exhausted: false,
            sink: SinkState::default(),
            pending: Vec::new(),
            prepared: Vec::new(),
            barrier: None,
            aligned: BTreeSet::new(),
            inputs: (0..shape.parallelism).map(|from| (from, VecDeque::new())).collect(),
        };
        if let Some(manifest) = manifest {
            task.restore(index, shape, manifest);
        }
        task
    }

    fn restore(&mut self, index: u32, shape: Shape, manifest: &Manifest) {
        let range = KeyGroupRange::of_subtask(index, shape.groups, shape.parallelism);
        let lists = manifest.parts.iter().flat_map(|part| &part.state).flat_map(|state| &state.lists);
        for (name, blobs) in lists {
            match (name.as_str(), blobs.first()) {
                ("source", Some(blob)) => {
                    let found: SourceState = read(blob).unwrap_or_default();
                    let own =
                        found.positions.into_iter().filter(|(split, _)| split % shape.parallelism == index);
                    self.source.positions.extend(own);
                }
                ("sink", Some(blob)) => {
                    let found: SinkState = read(blob).unwrap_or_default();
                    self.sink.sums.extend(found.sums.into_iter().filter(|(group, _)| range.contains(*group)));
                }
                _ => {}
            }
        }
        self.restored = Some(self.source.clone());
    }

    /// The sink takes a row.
    pub(crate) fn row(&mut self, row: u32, groups: u32) {
        *self.sink.sums.entry(row % groups).or_default() += u64::from(row);
        self.pending.push(row);
    }

    /// A barrier came on an input; whether it has on all of them now.
    pub(crate) fn barrier(&mut self, from: u32, id: CheckpointId) -> bool {
        if self.barrier > Some(id) {
            return false;
        }
        if self.barrier != Some(id) {
            // A newer barrier takes the place of one that was aborted.
            self.barrier = Some(id);
            self.aligned.clear();
        }
        self.aligned.insert(from);
        let all = self.aligned.len() == self.inputs.len();
        if all {
            self.barrier = None;
            self.aligned.clear();
        }
        all
    }

    /// Whether the next item of an input may be taken. An input whose barrier has come is not read.
    pub(crate) fn open(&self, from: u32) -> bool {
        let next = self.inputs.get(&from).and_then(VecDeque::front);
        next.is_some_and(|item| !self.aligned.contains(&from) || matches!(item, Item::Barrier { .. }))
    }

    /// The inputs that may be read.
    pub(crate) fn readable(&self) -> impl Iterator<Item = u32> + '_ {
        self.inputs.keys().copied().filter(|from| self.open(*from))
    }
}
