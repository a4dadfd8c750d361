//! A toy worker process: it runs tasks in its slots, goes on without a coordinator, is taken over by the next,
//! and speaks the real protocol.

use std::collections::{BTreeMap, VecDeque};

use weir_checkpoint::Manifest;
use weir_protocol::{
    Attempt, CheckpointId, Execution, FromWorker, ObjectRef, PhaseTimes, Registration, RestoreReport,
    RunningExecution, SinkHandles, Stamp, SubtaskAck, SubtaskId, ToWorker, TransformId, TransformState,
    VertexId, WorkerId,
};

use crate::ghost::{read, write};
use crate::setup::Mutant;
use crate::task::{Handle, Shape, Tag, Task};

/// A part of a checkpoint that is being uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    pub(crate) id: CheckpointId,
    pub(crate) ack: SubtaskAck,
}

/// The connection to a coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The how many-th process of the world it leads to.
    pub(crate) process: u64,
    /// What that calls the worker.
    pub(crate) id: WorkerId,
    /// The coordinator's end is gone; what it had sent may still be read.
    pub(crate) cut: bool,
    /// What the worker said of itself when it connected.
    pub(crate) said: Registration,
    pub(crate) inbox: VecDeque<(Stamp, ToWorker)>,
    pub(crate) outbox: VecDeque<(Stamp, FromWorker)>,
}

/// The execution that a worker takes part in.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) stamp: Stamp,
    pub(crate) deployed: Stamp,
    pub(crate) shape: Shape,
    pub(crate) slots: BTreeMap<u32, u32>,
    pub(crate) tasks: BTreeMap<u32, Task>,
    pub(crate) reading: bool,
    pub(crate) failed: bool,
    pub(crate) held: Option<CheckpointId>,
    pub(crate) in_flight: Option<CheckpointId>,
    /// Parts of it that were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) completed: Option<CheckpointId>,
    pub(crate) triggered: CheckpointId,
    /// The newest checkpoint that a coordinator began here; another one goes on above all that it finds.
    pub(crate) told: CheckpointId,
    pub(crate) uploads: VecDeque<Upload>,
}

/// A process, and the one that comes in its place when it dies.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    /// Lives so far.
    pub(crate) life: u32,
    pub(crate) paused: bool,
    pub(crate) draining: bool,
    pub(crate) link: Option<Link>,
    /// What was sent over connections that are no more, and may still come.
    pub(crate) strays: VecDeque<(Stamp, ToWorker)>,
    /// The newest authority heard of.
    pub(crate) newest: Option<(Attempt, Execution)>,
    pub(crate) run: Option<Run>,
    /// Commits that were put off.
    pub(crate) put_off: VecDeque<(Stamp, CheckpointId, Vec<Handle>)>,
}

/// What a message makes a worker do outside of itself.
pub(crate) enum Effect {
    /// Make this visible, then say so.
    Commit(Stamp, CheckpointId, Vec<Handle>),
    /// Send from every source subtask here to every sink subtask.
    Barrier(CheckpointId, Option<CheckpointId>),
}

/// What a worker finds outside of itself.
pub(crate) struct Outside<'a> {
    pub(crate) splits: u32,
    pub(crate) groups: u32,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) manifest: &'a dyn Fn(&str) -> Option<Manifest>,
}

impl Run {
    /// Word of a checkpoint came, by the coordinator or by a barrier.
    pub(crate) fn begin(&mut self, id: CheckpointId, completed: Option<CheckpointId>) {
        if let Some(completed) = completed {
            self.complete(completed);
        }
        if id > self.triggered {
            self.triggered = id;
            self.in_flight = Some(id);
            self.acknowledged = 0;
        }
    }

    pub(crate) fn complete(&mut self, id: CheckpointId) {
        if self.in_flight == Some(id) {
            self.in_flight = None;
            self.completed = Some(id);
        }
        self.tasks.values_mut().for_each(|task| task.prepared.retain(|(at, _)| *at > id));
    }

    fn abort(&mut self, id: CheckpointId) {
        self.uploads.retain(|upload| upload.id != id);
        self.held = self.held.filter(|held| *held != id);
        if self.in_flight == Some(id) {
            self.in_flight = None;
        }
        self.triggered = self.triggered.max(id);
    }

    /// Whether its part of the checkpoint under way is acknowledged in full.
    fn is_acknowledged(&self) -> bool {
        self.in_flight.is_some() && self.acknowledged == 2 * self.tasks.len()
    }

    fn running(&self) -> Option<RunningExecution> {
        let both = |index: u32| ["source", "sink"].map(|v| SubtaskId { vertex: VertexId::of(v), index });
        let placed = self.slots.iter().flat_map(|(index, slot)| both(*index).map(|s| (s, *slot)));
        let exhausted = self.tasks.iter().filter(|(_, task)| task.exhausted);
        (!self.failed).then(|| RunningExecution {
            stamp: self.stamp.clone(),
            deployed: self.deployed.clone(),
            parallelism: self.shape.parallelism,
            placed: placed.collect(),
            exhausted: exhausted.map(|(index, _)| both(*index)[0]).collect(),
            completed: self.completed,
            acknowledged: self.in_flight.filter(|_| self.is_acknowledged()),
            triggered: self.triggered,
        })
    }

    /// A subtask's part of a checkpoint is frozen.
    pub(crate) fn freeze(
        &mut self,
        vertex: &str,
        index: u32,
        id: CheckpointId,
        state: weir_protocol::Blob,
        sinks: Vec<SinkHandles>,
    ) {
        let stamp = &self.stamp;
        let subtask = SubtaskId { vertex: VertexId::of(vertex), index };
        let tag: Tag = (stamp.attempt, stamp.execution, id, index);
        let name = format!("{vertex}-{index}-e{}", stamp.execution);
        let key = weir_checkpoint::layout::data(stamp.attempt, id, &name);
        let lists = vec![("tag".to_owned(), vec![write(&tag)]), (vertex.to_owned(), vec![state])];
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

    /// A sink subtask is aligned: what it wrote is prepared, what it knows is frozen.
    pub(crate) fn freeze_sink(&mut self, index: u32, id: CheckpointId) {
        let stamp = self.stamp.clone();
        let Some(task) = self.tasks.get_mut(&index) else {
            return;
        };
        if !task.pending.is_empty() {
            let name = format!("a{}.e{}.c{id}.s{index}", stamp.attempt, stamp.execution);
            task.prepared.push((id, Handle { name, rows: std::mem::take(&mut task.pending) }));
        }
        let handles: Vec<_> = task.prepared.iter().map(|(_, handle)| write(handle)).collect();
        let sinks = vec![SinkHandles { transform: TransformId::of("sink"), handles }];
        let state = write(&task.sink);
        self.freeze("sink", index, id, state, sinks);
    }
}

impl Worker {
    pub(crate) fn new(life: u32) -> Self {
        Self {
            life,
            paused: false,
            draining: false,
            link: None,
            strays: VecDeque::new(),
            newest: None,
            run: None,
            put_off: VecDeque::new(),
        }
    }

    /// What it says of itself, as worker `w` of the world.
    pub(crate) fn registration(&self, w: usize, slots: u32) -> Registration {
        let mut registration = weir_coordinator::testing::registration(slots, &format!("w{w}.{}", self.life));
        registration.running = self.run.as_ref().and_then(Run::running);
        registration.draining = self.draining;
        registration
    }

    /// Says something to the coordinator, if there is one.
    pub(crate) fn say(&mut self, stamp: &Stamp, message: FromWorker) {
        if let Some(link) = &mut self.link {
            link.outbox.push_back((stamp.clone(), message));
        }
    }

    /// The connection is no more.
    pub(crate) fn disconnect(&mut self) {
        if let Some(link) = self.link.take() {
            self.strays.extend(link.inbox);
        }
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, stamp: Stamp, message: ToWorker, outside: &Outside<'_>) -> Option<Effect> {
        let authority = (stamp.attempt, stamp.execution);
        if self.newest > Some(authority) {
            return None;
        }
        self.newest = Some(authority);
        match message {
            ToWorker::Deploy { parallelism, placement, restore, .. } => {
                let shape = Shape { splits: outside.splits, parallelism, groups: outside.groups };
                let manifest = restore.and_then(|at| (outside.manifest)(&at.key));
                self.deploy(stamp, shape, &placement, manifest.as_ref());
                None
            }
            ToWorker::Adopt { deployed } => {
                self.adopt(&stamp, &deployed);
                None
            }
            ToWorker::Commit { id, sinks } => self.commit(stamp, id, &sinks),
            ToWorker::Trigger { id, completed, hold, .. } => {
                self.trigger(&stamp, id, completed, hold, outside.mutant)
            }
            ToWorker::Abort { id } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.stamp == stamp) {
                    run.abort(id);
                }
                None
            }
            ToWorker::Cancel => {
                self.run = None;
                self.put_off.clear();
                self.say(&stamp, FromWorker::Stopped);
                None
            }
        }
    }

    fn deploy(
        &mut self,
        stamp: Stamp,
        shape: Shape,
        placement: &[(SubtaskId, WorkerId, u32)],
        manifest: Option<&Manifest>,
    ) {
        let me = self.link.as_ref().map(|link| link.id);
        let source = VertexId::of("source");
        let mine = placement.iter().filter(|(s, to, _)| Some(*to) == me && s.vertex == source);
        let slots: BTreeMap<u32, u32> = mine.map(|(s, _, slot)| (s.index, *slot)).collect();
        self.run = Some(Run {
            stamp: stamp.clone(),
            deployed: stamp.clone(),
            shape,
            tasks: slots.keys().map(|index| (*index, Task::new(*index, shape, manifest))).collect(),
            slots,
            reading: false,
            failed: false,
            held: None,
            in_flight: None,
            acknowledged: 0,
            completed: manifest.map(|manifest| manifest.id),
            triggered: CheckpointId(0),
            told: CheckpointId(0),
            uploads: VecDeque::new(),
        });
        self.put_off.clear();
        self.say(&stamp, FromWorker::Deployed { restored: RestoreReport::default() });
    }

    fn adopt(&mut self, stamp: &Stamp, deployed: &Stamp) {
        match self.run.as_mut().filter(|run| run.deployed == *deployed && !run.failed) {
            Some(run) => {
                run.stamp = stamp.clone();
                run.held = None;
                run.told = run.told.max(run.triggered);
                if let Some(id) = run.in_flight.filter(|_| !run.is_acknowledged()) {
                    run.abort(id);
                }
                self.say(stamp, FromWorker::Adopted);
            }
            None => {
                let failure = crate::world::failure("it does not run here");
                self.say(stamp, FromWorker::Failed { subtask: None, failure });
            }
        }
    }

    fn commit(
        &mut self,
        stamp: Stamp,
        id: CheckpointId,
        sinks: &[(SubtaskId, SinkHandles)],
    ) -> Option<Effect> {
        if let Some(run) = self.run.as_mut().filter(|run| run.stamp == stamp) {
            run.complete(id);
            run.reading = true;
        }
        let handles = sinks.iter().flat_map(|(_, s)| &s.handles).filter_map(read).collect();
        Some(Effect::Commit(stamp, id, handles))
    }

    fn trigger(
        &mut self,
        stamp: &Stamp,
        id: CheckpointId,
        completed: Option<CheckpointId>,
        hold: bool,
        mutant: Option<Mutant>,
    ) -> Option<Effect> {
        let run = self.run.as_mut().filter(|run| run.stamp == *stamp)?;
        if id <= run.told {
            let failure = crate::world::failure("begun before, by another coordinator");
            let subtask = SubtaskId { vertex: VertexId::of("source"), index: *run.tasks.keys().next()? };
            self.say(stamp, FromWorker::Decline { id, subtask, failure });
            return None;
        }
        run.told = id;
        run.begin(id, completed);
        run.held = (hold && mutant != Some(Mutant::HoldIgnored)).then_some(id);
        let states: Vec<_> = run
            .tasks
            .iter()
            .map(|(index, task)| {
                let mut state = task.source.clone();
                if let Some(restored) =
                    task.restored.as_ref().filter(|_| mutant == Some(Mutant::QuietSplitLeftOut))
                {
                    state.positions.retain(|split, at| restored.positions.get(split) != Some(at));
                }
                (*index, write(&state))
            })
            .collect();
        for (index, state) in states {
            run.freeze("source", index, id, state, Vec::new());
        }
        Some(Effect::Barrier(id, completed))
    }
}
