//! A toy worker: one source subtask that counts through splits, one sink subtask that sums and writes. It
//! speaks the real protocol.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use weir_checkpoint::Manifest;
use weir_protocol::{
    Attempt, CheckpointId, Execution, FromWorker, ObjectRef, PhaseTimes, RestoreReport, SinkHandles, Stamp,
    SubtaskAck, SubtaskId, ToWorker, TransformId, TransformState, VertexId, WorkerId,
};

use crate::ghost::{read, write};

/// Row `at` of a split: unique in the job.
pub(crate) fn value(split: u32, at: u32) -> u32 {
    split * 1000 + at + 1
}

/// Says in whose name a part of a checkpoint was made.
pub(crate) type Tag = (Attempt, Execution, CheckpointId, u32);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    pub(crate) positions: BTreeMap<u32, u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SinkState {
    pub(crate) sum: u64,
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
    Barrier(CheckpointId),
}

/// A part of a checkpoint that is being uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) id: CheckpointId,
    pub(crate) ack: SubtaskAck,
}

#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) index: u32,
    /// What it runs, if anything.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) reading: bool,
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
    pub(crate) aligned: BTreeSet<usize>,
    /// By the worker that sends.
    pub(crate) inputs: Vec<VecDeque<Item>>,
    pub(crate) uploads: VecDeque<Upload>,
    /// Commits that were put off.
    pub(crate) put_off: VecDeque<(Stamp, CheckpointId, Vec<Handle>)>,
    pub(crate) inbox: VecDeque<(Stamp, ToWorker)>,
    pub(crate) outbox: VecDeque<(Stamp, FromWorker)>,
}

/// What a message makes a worker do outside of itself.
pub(crate) enum Effect {
    /// Make this visible, then say so.
    Commit(Stamp, CheckpointId, Vec<Handle>),
    /// Send to every sink subtask.
    Barrier(CheckpointId),
}

impl Worker {
    pub(crate) fn new(id: WorkerId, index: u32, workers: usize) -> Self {
        Self {
            id,
            index,
            stamp: None,
            reading: false,
            source: SourceState::default(),
            restored: None,
            exhausted: false,
            sink: SinkState::default(),
            pending: Vec::new(),
            prepared: Vec::new(),
            barrier: None,
            aligned: BTreeSet::new(),
            inputs: vec![VecDeque::new(); workers],
            uploads: VecDeque::new(),
            put_off: VecDeque::new(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
        }
    }

    pub(crate) fn say(&mut self, message: FromWorker) {
        if let Some(stamp) = self.stamp.clone() {
            self.outbox.push_back((stamp, message));
        }
    }

    /// Takes a message; `manifest` finds one in the store.
    pub(crate) fn take(
        &mut self,
        stamp: Stamp,
        message: ToWorker,
        splits: u32,
        quiet_left_out: bool,
        manifest: impl Fn(&str) -> Option<Manifest>,
    ) -> Option<Effect> {
        let current = self.stamp.as_ref() == Some(&stamp);
        match message {
            ToWorker::Deploy { restore, .. } => {
                *self = Self {
                    inbox: std::mem::take(&mut self.inbox),
                    outbox: std::mem::take(&mut self.outbox),
                    ..Self::new(self.id, self.index, self.inputs.len())
                };
                self.stamp = Some(stamp);
                self.restore(restore.and_then(|at| manifest(&at.key)), splits);
                self.say(FromWorker::Deployed { restored: RestoreReport::default() });
            }
            ToWorker::Commit { id, sinks } if current => {
                let handles =
                    sinks.iter().flat_map(|(_, s)| &s.handles).filter_map(read).collect::<Vec<Handle>>();
                self.reading = true;
                self.prepared.retain(|(at, _)| *at > id);
                return Some(Effect::Commit(stamp, id, handles));
            }
            ToWorker::Trigger { id, completed, .. } if current => {
                self.prepared.retain(|(at, _)| Some(*at) > completed);
                return Some(self.begin(id, quiet_left_out));
            }
            ToWorker::Abort { id } if current => self.uploads.retain(|upload| upload.id != id),
            ToWorker::Cancel if current => {
                self.say(FromWorker::Stopped);
                self.stamp = None;
                self.reading = false;
                self.uploads.clear();
                self.put_off.clear();
            }
            _ => {}
        }
        None
    }

    fn restore(&mut self, manifest: Option<Manifest>, splits: u32) {
        let own = (0..splits).filter(|split| split % self.inputs.len() as u32 == self.index);
        self.source.positions = own.map(|split| (split, 0)).collect();
        let Some(manifest) = manifest else {
            return;
        };
        for part in manifest.parts.iter().filter(|part| part.subtask.index == self.index) {
            for (name, blobs) in part.state.iter().flat_map(|state| &state.lists) {
                match (name.as_str(), blobs.first()) {
                    ("source", Some(blob)) => {
                        let found: SourceState = read(blob).unwrap_or_default();
                        self.source.positions.extend(found.positions);
                        self.restored = Some(self.source.clone());
                    }
                    ("sink", Some(blob)) => self.sink = read(blob).unwrap_or_default(),
                    _ => {}
                }
            }
        }
    }

    fn begin(&mut self, id: CheckpointId, quiet_left_out: bool) -> Effect {
        let mut state = self.source.clone();
        if let Some(restored) = self.restored.as_ref().filter(|_| quiet_left_out) {
            state.positions.retain(|split, at| restored.positions.get(split) != Some(at));
        }
        self.upload("source", id, ("source", write(&state)), Vec::new());
        Effect::Barrier(id)
    }

    /// A sink subtask takes an item of an input. An input whose barrier has come is not read.
    pub(crate) fn receive(&mut self, from: usize) {
        let Some(item) = self.inputs[from].pop_front() else {
            return;
        };
        match item {
            Item::Row(row) => {
                self.sink.sum += u64::from(row);
                self.pending.push(row);
            }
            Item::Barrier(id) => {
                if self.barrier > Some(id) {
                    return;
                }
                if self.barrier != Some(id) {
                    // A newer barrier takes the place of one that was aborted.
                    self.barrier = Some(id);
                    self.aligned.clear();
                }
                self.aligned.insert(from);
                if self.aligned.len() == self.inputs.len() {
                    self.barrier = None;
                    self.aligned.clear();
                    self.prepare(id);
                }
            }
        }
    }

    fn prepare(&mut self, id: CheckpointId) {
        if let Some(stamp) = self.stamp.clone().filter(|_| !self.pending.is_empty()) {
            let name = format!("a{}.e{}.c{id}.s{}", stamp.attempt, stamp.execution, self.index);
            self.prepared.push((id, Handle { name, rows: std::mem::take(&mut self.pending) }));
        }
        let handles: Vec<_> = self.prepared.iter().map(|(_, handle)| write(handle)).collect();
        let sinks = vec![SinkHandles { transform: TransformId::of("sink"), handles }];
        self.upload("sink", id, ("sink", write(&self.sink)), sinks);
    }

    fn upload(
        &mut self,
        vertex: &str,
        id: CheckpointId,
        state: (&str, weir_protocol::Blob),
        sinks: Vec<SinkHandles>,
    ) {
        let Some(stamp) = self.stamp.clone() else {
            return;
        };
        let subtask = SubtaskId { vertex: VertexId::of(vertex), index: self.index };
        let tag: Tag = (stamp.attempt, stamp.execution, id, self.index);
        let name = format!("{vertex}-{}-e{}", self.index, stamp.execution);
        let key = weir_checkpoint::layout::data(stamp.attempt, id, &name);
        let lists = vec![("tag".to_owned(), vec![write(&tag)]), (state.0.to_owned(), vec![state.1])];
        let ack = SubtaskAck {
            subtask,
            objects: vec![ObjectRef { key, size: 1, digest: String::new() }],
            new_objects: 1,
            state: vec![TransformState { transform: TransformId::of(vertex), tables: Vec::new(), lists }],
            sinks,
            times: PhaseTimes::default(),
            new_bytes: 1,
            full_bytes: 1,
        };
        self.uploads.push_back(Upload { id, ack });
    }

    /// Whether the next item of an input may be taken.
    pub(crate) fn open(&self, from: usize) -> bool {
        !self.inputs[from].is_empty()
            && (!self.aligned.contains(&from) || matches!(self.inputs[from].front(), Some(Item::Barrier(_))))
    }
}
