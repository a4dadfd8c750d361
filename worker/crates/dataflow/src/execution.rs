//! One execution in this worker: its slots, its encoder, its uploads.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::Shared;
use tokio::sync::{Semaphore, mpsc};
use weir_protocol::{
    CheckpointId, Failure, FailureKind, FromWorker, KeyGroupRange, RestoreReport, RunningExecution, Stamp,
    SubtaskId, SubtaskProgress, TransformId,
};

use crate::deploy::{Deployment, Published};
use crate::encoder::{EncodedOrNot, Encoder};
use crate::ledger::{Ledger, Written};
use crate::restore::Reading;
use crate::sizes::{Sizes, units};
use crate::slot::{Command, Events, SlotEvent, SlotHandle, Waiting};
use crate::snapshot::Swept;
use crate::upload::{Part, Uploaded};
use crate::{Barrier, IoFuture};

/// How long the slots of an execution may take to end before nobody waits for them any more. In tests that is
/// never: there slots end by themselves, or the test waits in vain.
const STOP_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3600 } else { 10 });

pub(crate) struct Execution {
    /// What a coordinator that comes later is told.
    running: RunningExecution,
    /// Something here failed: nobody can take it over.
    failed: bool,
    slots: Vec<SlotHandle>,
    opened: usize,
    published: Vec<Published>,
    ranges: BTreeMap<SubtaskId, KeyGroupRange>,
    ledger: Ledger,
    /// The newest checkpoint that a coordinator triggered here.
    triggered: CheckpointId,
    /// What sinks prepared for checkpoints that have not completed. A checkpoint that is given up leaves
    /// its share to the next: those rows are behind its cut too.
    prepared: BTreeMap<(SubtaskId, CheckpointId), Prepared>,
    pub(crate) slot_events: mpsc::UnboundedReceiver<SlotEvent>,
    pub(crate) encoded: mpsc::UnboundedReceiver<EncodedOrNot>,
    admitted: bool,
    /// The state that comes in; there until the end, for the report.
    reading: Option<Reading>,
    /// Memory for objects of checkpoints on their way out.
    room: Arc<Semaphore>,
    sizes: Sizes,
}

/// What a sink prepared up to one barrier.
pub(crate) type Prepared = (TransformId, Shared<IoFuture<Vec<Vec<u8>>>>);

impl Execution {
    /// Starts slots and encoder of a deployment at a parallelism of the job. `reading`: what comes into their
    /// tables before they are up.
    pub(crate) fn start(
        deployment: Deployment,
        parallelism: u32,
        reading: Option<Reading>,
        sizes: Sizes,
    ) -> Result<Self, Failure> {
        let (worker, slot_events) = mpsc::unbounded_channel();
        let (encoder, encoder_input) = std_mpsc::channel();
        let waiting = Waiting::new(sizes.frozen);
        let events = Events { worker, encoder, waiting: waiting.clone() };
        let clock = deployment.clock.clone();
        let ledger = Ledger::new(deployment.restored.checkpoint(), deployment.restored.inherited());
        let running = RunningExecution {
            stamp: deployment.stamp.clone(),
            deployed: deployment.stamp.clone(),
            parallelism,
            placed: deployment.placed.clone(),
            exhausted: Vec::new(),
            completed: None,
            acknowledged: None,
            triggered: CheckpointId(0),
        };
        let ranges = ranges(&deployment);
        let io = deployment.io.clone();
        let (slots, published) = deployment.slots(&events)?;
        let (output, encoded) = mpsc::unbounded_channel();
        let wakers = slots.iter().map(|(_, waker, _)| waker.clone()).collect();
        let room = Arc::new(Semaphore::new(units(sizes.uploads) as usize));
        let encoder = Encoder {
            ranges: ranges.clone(),
            input: encoder_input,
            waiting,
            wakers,
            output,
            sizes,
            room: room.clone(),
            io,
        };
        thread::Builder::new().name("encoder".to_owned()).spawn(move || encoder.run()).map_err(|e| {
            Failure::new(FailureKind::Worker, format!("cannot start the encoder's thread: {e}"))
        })?;
        let slots = slots
            .into_iter()
            .map(|(number, waker, build)| {
                SlotHandle::start(number, waker, clock.clone(), events.clone(), build)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            running,
            failed: false,
            slots,
            opened: 0,
            published,
            ranges,
            ledger,
            triggered: CheckpointId::default(),
            prepared: BTreeMap::new(),
            slot_events,
            encoded,
            admitted: false,
            reading,
            room,
            sizes,
        })
    }

    /// The newest authority that was accepted for it.
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.running.stamp
    }

    /// What a coordinator needs to take it over; `None` if it is not up, or broken.
    pub(crate) fn running(&self) -> Option<RunningExecution> {
        let up = !self.failed && self.opened == self.slots.len();
        up.then(|| RunningExecution {
            completed: self.ledger.completed(),
            acknowledged: self.ledger.acknowledged(),
            triggered: self.triggered.max(self.ledger.newest()),
            ..self.running.clone()
        })
    }

    /// Whether a new coordinator may take over what was deployed under this stamp.
    pub(crate) fn is(&self, deployed: &Stamp) -> bool {
        self.running.deployed == *deployed && self.running().is_some()
    }

    /// A new coordinator takes over. The checkpoint under way is given up unless it is acknowledged in full:
    /// that one may be durable, which the new coordinator knows. Gives the one that was given up.
    pub(crate) fn adopt(&mut self, stamp: Stamp) -> Option<CheckpointId> {
        self.running.stamp = stamp;
        // What was to follow the checkpoint for which sources hold is the new one's to decide.
        self.tell(Command::Hold(None));
        // Not even its number may be used again: barriers of it may still be on their way.
        self.triggered = self.triggered.max(self.ledger.newest());
        let given_up = self.ledger.in_flight().filter(|_| self.ledger.acknowledged().is_none());
        if let Some(id) = given_up {
            self.abort(id);
        }
        given_up
    }

    /// Something here failed; it is not to be taken over.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// A source subtask came to its end.
    pub(crate) fn exhausted(&mut self, subtask: SubtaskId) {
        if !self.running.exhausted.contains(&subtask) {
            self.running.exhausted.push(subtask);
        }
    }

    /// The subtasks here.
    pub(crate) fn subtasks(&self) -> Vec<SubtaskId> {
        self.running.placed.iter().map(|(id, _)| *id).collect()
    }

    /// Whether no subtask runs here.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A slot is ready; whether all are now.
    pub(crate) fn slot_opened(&mut self) -> bool {
        self.opened += 1;
        self.opened == self.slots.len()
    }

    /// Sources may read.
    pub(crate) fn admit(&mut self) {
        if !std::mem::replace(&mut self.admitted, true) {
            self.tell(Command::Admit);
        }
    }

    /// The coordinator begins a checkpoint, behind whose barrier sources read nothing if they are to `hold`.
    ///
    /// # Errors
    /// A number that was used before: barriers of that other checkpoint may still be on their way.
    pub(crate) fn trigger(&mut self, barrier: Barrier, hold: bool) -> Result<(), Failure> {
        if barrier.id <= self.triggered {
            let text = format!("checkpoint {} was begun here before, by another coordinator", barrier.id);
            return Err(Failure::new(FailureKind::Worker, text));
        }
        self.triggered = barrier.id;
        if self.begin(barrier.id, barrier.completed) {
            self.tell(Command::Hold(hold.then_some(barrier.id)));
            self.tell(Command::Trigger(barrier));
        }
        Ok(())
    }

    /// Word of a checkpoint came, by the coordinator or by a barrier. Whether it is the one under way.
    pub(crate) fn begin(&mut self, id: CheckpointId, completed: Option<CheckpointId>) -> bool {
        if let Some(completed) = completed {
            self.prepared.retain(|(_, prepared), _| *prepared > completed);
        }
        self.ledger.begin(id, completed)
    }

    pub(crate) fn abort(&mut self, id: CheckpointId) {
        self.ledger.abort(id);
        self.tell(Command::Abort(id));
    }

    /// A sink prepares; its work goes on whatever becomes of the checkpoint.
    pub(crate) fn prepare(
        &mut self,
        id: CheckpointId,
        subtask: SubtaskId,
        transform: TransformId,
        handles: IoFuture<Vec<Vec<u8>>>,
    ) {
        let handles = handles.shared();
        tokio::spawn(handles.clone());
        self.prepared.insert((subtask, id), (transform, handles));
    }

    pub(crate) fn complete(&mut self, id: CheckpointId) {
        self.prepared.retain(|(_, prepared), _| *prepared > id);
        self.ledger.complete(id);
        self.tell(Command::Complete(id));
    }

    fn tell(&self, command: Command) {
        self.slots.iter().for_each(|s| s.tell(command));
    }

    /// The numbers of all subtasks.
    pub(crate) fn progress(&self) -> Vec<(SubtaskId, SubtaskProgress)> {
        self.published
            .iter()
            .map(|(id, progress)| (*id, *progress.lock().unwrap_or_else(PoisonError::into_inner)))
            .collect()
    }

    /// Adds to each part of a checkpoint what its sinks have prepared up to there.
    pub(crate) fn parts(&self, id: CheckpointId, subtasks: Vec<(Swept, Written)>) -> Vec<Part> {
        let part = |(swept, written): (Swept, Written)| {
            let up_to = (swept.subtask, CheckpointId(0))..=(swept.subtask, id);
            let prepared = self.prepared.range(up_to).map(|(_, p)| p.clone()).collect();
            Part { swept, written, prepared }
        };
        subtasks.into_iter().map(part).collect()
    }

    /// The checkpoint that the next deltas build on.
    pub(crate) fn completed(&self) -> Option<CheckpointId> {
        self.ledger.completed()
    }

    /// Whether a data object is needed by the newest durable checkpoint, or by what comes after it.
    pub(crate) fn needs(&self, key: &str) -> bool {
        self.ledger.needs(key)
    }

    /// What was read before the subtasks came up.
    pub(crate) fn restored(&self) -> RestoreReport {
        self.reading.as_ref().map(Reading::report).unwrap_or_default()
    }

    /// Bytes of memory that data on its way to the store takes.
    pub(crate) fn upload_bytes(&self) -> u64 {
        let all = units(self.sizes.uploads) as usize;
        let taken = all.saturating_sub(self.room.available_permits());
        self.sizes.uploads / all as u64 * taken as u64
    }

    fn range(&self, subtask: SubtaskId) -> KeyGroupRange {
        self.ranges.get(&subtask).copied().unwrap_or(KeyGroupRange { start: 0, end: 0 })
    }

    /// Makes the acknowledgements of an upload that is done; none if it was given up meanwhile.
    pub(crate) fn acknowledge(&mut self, done: Uploaded) -> Vec<FromWorker> {
        if self.ledger.in_flight() != Some(done.id) {
            return Vec::new();
        }
        let mut acks = Vec::with_capacity(done.parts.len());
        for (swept, written, sinks) in done.parts {
            let range = self.range(swept.subtask);
            let ack = self.ledger.acknowledge(&swept, written, &done.objects, range, sinks);
            acks.push(FromWorker::Ack { id: done.id, ack: Box::new(ack) });
        }
        self.ledger.all_acknowledged();
        acks
    }

    /// Ends all slots. What is given waits until they have, and then has the last numbers of the subtasks.
    pub(crate) fn stop(mut self) -> impl Future<Output = Vec<(SubtaskId, SubtaskProgress)>> + Send + 'static {
        self.tell(Command::Stop);
        // Slots that still wait for their state are told as well.
        self.reading = None;
        let (mut slots, deployed) = (std::mem::take(&mut self.slots), self.running.deployed.clone());
        async move {
            // Slots end within one step; a panic while joining has nothing left to tell.
            let joined = tokio::task::spawn_blocking(move || slots.iter_mut().for_each(SlotHandle::join));
            if tokio::time::timeout(STOP_PATIENCE, joined).await.is_err() {
                // It reaches nobody any more: what it sends is of an older authority.
                tracing::warn!(%deployed, "a slot has not ended after {STOP_PATIENCE:?}; it is left to itself");
            }
            self.progress()
        }
    }
}

fn ranges(deployment: &Deployment) -> BTreeMap<SubtaskId, KeyGroupRange> {
    let graph = &deployment.job.graph;
    let range = |id: &SubtaskId| {
        let parallelism = graph.vertex(id.vertex).map_or(1, |v| v.parallelism);
        KeyGroupRange::of_subtask(id.index, deployment.config.max_parallelism, parallelism)
    };
    deployment.placed.iter().map(|(id, _)| (*id, range(id))).collect()
}
