//! A worker: takes messages of the coordinator, runs one execution at a time in its slots, and
//! answers. It owns uploads, commits and restores; it decides nothing about checkpoints.
//!
//! An execution outlives its coordinator: it goes on without one for a while, and another one can take it
//! over. What is said to nobody is dropped; what matters of it is in [`RunningExecution`].

mod options;
mod plans;
mod stopping;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_protocol::{
    CheckpointId, Failure, FailureKind, FromWorker, ManifestRef, RestoreReport, RunningExecution,
    SinkHandles, Stamp, SubtaskId, SubtaskProgress, ToWorker, TransformId, WorkerId,
};

use crate::commit::Committers;
use crate::deploy::{Deployment, queue_bytes};
use crate::encoder::Encoded;
use crate::exchange::Routes;
use crate::execution::{Execution, Upload, Uploaded};
use crate::graph::Job;
use crate::restore::Restored;
use crate::slot::SlotEvent;
use crate::{Barrier, Troubles, upload};

pub use options::{PlanJob, Scratch, WorkerEnd, WorkerInput, WorkerOptions, WorkerOutput};
use plans::Plans;
use stopping::Stopping;

/// How often the numbers of subtasks are told to the coordinator.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Runs a worker until it is released, or nobody is there any more. `running` always shows what a coordinator
/// that comes later could take over.
pub async fn run_worker(
    options: WorkerOptions,
    mut input: mpsc::UnboundedReceiver<WorkerInput>,
    output: mpsc::UnboundedSender<WorkerOutput>,
    running: watch::Sender<Option<RunningExecution>>,
) -> WorkerEnd {
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut host = Host {
        plans: Plans::new(options.plan.clone()),
        io: tokio::runtime::Handle::current(),
        options,
        output,
        done,
        committers: None,
        troubles: Troubles::default(),
        current: Current::Idle,
        stopping: Stopping::default(),
        newest: None,
        connected: None,
        alone_until: None,
        draining: false,
    };
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            told = input.recv() => match told {
                Some(WorkerInput::Release) => break WorkerEnd::Released,
                Some(told) => host.told(told),
                None => break WorkerEnd::Closed,
            },
            Some(done) = finished.recv() => host.done(done),
            event = next_event(&mut host.current) => host.event(event),
            () = reached(host.alone_until) => break WorkerEnd::CoordinatorGone,
            _ = tick.tick() => host.tell_progress(),
        }
        host.show(&running);
    };
    host.stop_current();
    host.show(&running);
    host.stopping.over().await;
    // The last numbers are the ones that people compare.
    while let Ok(done) = finished.try_recv() {
        host.done(done);
    }
    end
}

/// Waits for a moment; for ever if there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What background work came to. The stamp says for which authority.
enum Done {
    Restored(Stamp, Result<(Arc<Job>, Restored), Failure>),
    Uploaded(Stamp, Result<Uploaded, (CheckpointId, Vec<SubtaskId>, Failure)>),
    Committed(Stamp, CheckpointId, Result<(), Failure>),
    /// The slots of an execution have ended, with these numbers.
    Ended(Stamp, Vec<(SubtaskId, SubtaskProgress)>),
    /// Nothing runs here any more, as a cancel asked.
    Stopped(Stamp),
}

enum Current {
    Idle,
    /// The job is planned and state is being read; the subtasks that will run here.
    Restoring {
        stamp: Stamp,
        parallelism: u32,
        placed: Vec<(SubtaskId, u32)>,
        routes: Routes,
        task: JoinHandle<()>,
    },
    Running {
        execution: Box<Execution>,
        uploads: BTreeMap<CheckpointId, JoinHandle<()>>,
    },
}

enum Happened {
    Slot(SlotEvent),
    Encoded(Result<Encoded, (CheckpointId, Failure)>),
}

/// Waits for the running execution; for ever if there is none.
async fn next_event(current: &mut Current) -> Happened {
    if let Current::Running { execution, .. } = current {
        tokio::select! {
            Some(event) = execution.slot_events.recv() => return Happened::Slot(event),
            Some(encoded) = execution.encoded.recv() => return Happened::Encoded(encoded),
            else => {}
        }
    }
    std::future::pending().await
}

struct Host {
    options: WorkerOptions,
    plans: Arc<Plans>,
    output: mpsc::UnboundedSender<WorkerOutput>,
    done: mpsc::UnboundedSender<Done>,
    /// Of the job that was deployed last.
    committers: Option<Arc<Committers>>,
    io: tokio::runtime::Handle,
    troubles: Troubles,
    current: Current,
    stopping: Stopping,
    /// The newest authority heard of; anything older is refused.
    newest: Option<Stamp>,
    /// The number that the connected coordinator knows this worker by.
    connected: Option<WorkerId>,
    /// When to give up waiting for a coordinator.
    alone_until: Option<Instant>,
    draining: bool,
}

impl Host {
    /// Says something to the coordinator, if there is one.
    fn say(&self, stamp: &Stamp, message: FromWorker) {
        if self.connected.is_some() {
            // If the link is gone, `run_worker` ends by its input.
            let _ = self.output.send(WorkerOutput::Message(stamp.clone(), message));
        }
    }

    /// Shows what could be taken over.
    fn show(&self, running: &watch::Sender<Option<RunningExecution>>) {
        let now = match &self.current {
            Current::Running { execution, .. } => execution.running(),
            Current::Idle | Current::Restoring { .. } => None,
        };
        running.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    fn told(&mut self, told: WorkerInput) {
        match told {
            WorkerInput::Connected { worker } => {
                self.connected = Some(worker);
                self.alone_until = None;
            }
            WorkerInput::Disconnected => {
                self.connected = None;
                let alone_until = Instant::now().checked_add(self.options.coordinator_timeout);
                self.alone_until = self.alone_until.or(alone_until);
            }
            WorkerInput::Drain => {
                if !std::mem::replace(&mut self.draining, true) {
                    let _ = self.output.send(WorkerOutput::Draining);
                }
            }
            WorkerInput::Message(stamp, message) => self.message(stamp, message),
            // It ends the loop.
            WorkerInput::Release => {}
        }
    }

    /// Whether a message is of the newest authority.
    fn admits(&mut self, stamp: &Stamp) -> bool {
        if stamp.job != self.options.config.uid {
            return false;
        }
        let older = |newest: &Stamp| (stamp.attempt, stamp.execution) < (newest.attempt, newest.execution);
        if self.newest.as_ref().is_some_and(older) {
            return false;
        }
        self.newest = Some(stamp.clone());
        true
    }

    fn message(&mut self, stamp: Stamp, message: ToWorker) {
        if !self.admits(&stamp) {
            tracing::debug!(%stamp, "refused a message of an older authority");
            return;
        }
        match message {
            ToWorker::Deploy { parallelism, placement, peers, restore } => {
                self.stop_current();
                self.deploy(stamp, parallelism, placement, &peers, restore);
            }
            ToWorker::Adopt { deployed } => self.adopt(stamp, &deployed),
            ToWorker::Trigger { id, kind, mode, completed, at_us, hold } => {
                let barrier = Barrier { id, kind, mode, completed, triggered_us: at_us };
                self.trigger(&stamp, barrier, hold);
            }
            ToWorker::Abort { id } => {
                if let Some((execution, uploads)) = self.running(&stamp) {
                    execution.abort(id);
                    // Nothing names what it wrote so far; garbage collection will find it.
                    if let Some(upload) = uploads.remove(&id) {
                        upload.abort();
                    }
                }
            }
            ToWorker::Commit { id, sinks } => self.commit(stamp, id, sinks),
            ToWorker::Cancel => {
                self.stop_current();
                let (stopping, done) = (self.stopping.clone(), self.done.clone());
                self.io.spawn(async move {
                    stopping.over().await;
                    let _ = done.send(Done::Stopped(stamp));
                });
            }
        }
    }

    fn running(
        &mut self,
        stamp: &Stamp,
    ) -> Option<(&mut Execution, &mut BTreeMap<CheckpointId, JoinHandle<()>>)> {
        match &mut self.current {
            Current::Running { execution, uploads } if execution.stamp() == stamp => {
                Some((execution, uploads))
            }
            _ => None,
        }
    }

    fn deploy(
        &mut self,
        stamp: Stamp,
        parallelism: u32,
        placement: Vec<(SubtaskId, WorkerId, u32)>,
        peers: &[(WorkerId, String)],
        restore: Option<ManifestRef>,
    ) {
        let me = self.connected.unwrap_or_default();
        let routes = Routes::new(self.options.exchange.clone(), me, &placement, peers);
        let mine = |worker: WorkerId| self.connected == Some(worker);
        let placed: Vec<_> =
            placement.iter().filter(|(_, w, _)| mine(*w)).map(|(s, _, slot)| (*s, *slot)).collect();
        let mine: Vec<SubtaskId> = placed.iter().map(|(s, _)| *s).collect();
        let (options, done, troubles) = (self.options.clone(), self.done.clone(), self.troubles.clone());
        let (plans, stopping, told) = (self.plans.clone(), self.stopping.clone(), stamp.clone());
        let task = self.io.spawn(async move {
            let restored = async {
                let job = plans.job(parallelism).await?;
                let restored = match restore {
                    Some(manifest) => {
                        upload::restore(&options, &job.graph, &manifest, &mine, &troubles).await?
                    }
                    None => Restored::fresh(),
                };
                Ok((job, restored))
            };
            let restored = restored.await;
            // State is read while the slots of the execution before end, but no subtask runs beside them.
            stopping.over().await;
            let _ = done.send(Done::Restored(told, restored));
        });
        self.current = Current::Restoring { stamp, parallelism, placed, routes, task };
    }

    fn adopt(&mut self, stamp: Stamp, deployed: &Stamp) {
        match &mut self.current {
            Current::Running { execution, uploads } if execution.is(deployed) => {
                if let Some(upload) = execution.adopt(stamp.clone()).and_then(|id| uploads.remove(&id)) {
                    upload.abort();
                }
                self.say(&stamp, FromWorker::Adopted);
            }
            _ => {
                let failure = format!("deployment {deployed} does not run here, or has failed");
                let failure = Failure::new(FailureKind::Worker, failure);
                self.say(&stamp, FromWorker::Failed { subtask: None, failure });
            }
        }
    }

    fn trigger(&mut self, stamp: &Stamp, barrier: Barrier, hold: bool) {
        let Some((execution, _)) = self.running(stamp) else { return };
        if let Err(failure) = execution.trigger(barrier, hold) {
            for subtask in execution.subtasks() {
                let failure = failure.clone();
                self.say(stamp, FromWorker::Decline { id: barrier.id, subtask, failure });
            }
        }
    }

    fn commit(&mut self, stamp: Stamp, id: CheckpointId, sinks: Vec<(SubtaskId, SinkHandles)>) {
        if let Some((execution, _)) = self.running(&stamp) {
            execution.complete(id);
        }
        let Some(committers) = self.committers.clone() else {
            let failure = Failure::new(FailureKind::Worker, "no job was deployed here that could commit");
            return self.say(&stamp, FromWorker::CommitFailed { id, failure });
        };
        let mut handles: BTreeMap<TransformId, Vec<SinkHandles>> = BTreeMap::new();
        for (_, sink) in sinks {
            handles.entry(sink.transform).or_default().push(sink);
        }
        let done = self.done.clone();
        // An owned task: a commit that began is never dropped half-way by what happens here.
        self.io.spawn(async move {
            let result = committers.commit(handles).await;
            let _ = done.send(Done::Committed(stamp, id, result));
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Restored(stamp, restored) => self.restored(stamp, restored),
            Done::Uploaded(stamp, result) => self.uploaded(&stamp, result),
            Done::Committed(stamp, id, Ok(())) => {
                if let Some((execution, _)) = self.running(&stamp) {
                    execution.admit();
                }
                self.say(&stamp, FromWorker::Committed { id });
            }
            Done::Committed(stamp, id, Err(failure)) => {
                self.say(&stamp, FromWorker::CommitFailed { id, failure })
            }
            Done::Ended(stamp, subtasks) => {
                self.say(&stamp, FromWorker::Progress { subtasks, troubles: self.troubles.list() });
            }
            Done::Stopped(stamp) => self.say(&stamp, FromWorker::Stopped),
        }
    }

    fn restored(&mut self, stamp: Stamp, restored: Result<(Arc<Job>, Restored), Failure>) {
        let (parallelism, placed, routes) = match &mut self.current {
            Current::Restoring { stamp: now, parallelism, placed, routes, .. } if *now == stamp => {
                (*parallelism, std::mem::take(placed), std::mem::take(routes))
            }
            _ => return,
        };
        let started = restored.and_then(|(job, restored)| {
            self.committers = Some(Arc::new(Committers::new(&job, &self.io, self.troubles.clone())));
            let memory_limit = self.options.config.state.memory_limit;
            let deployment = Deployment {
                queue_bytes: queue_bytes(&job.graph, memory_limit),
                job,
                config: self.options.config.clone(),
                stamp: stamp.clone(),
                placed,
                routes,
                restored: Arc::new(restored),
                clock: self.options.clock.clone(),
                io: self.io.clone(),
                troubles: self.troubles.clone(),
            };
            Execution::start(deployment, parallelism)
        });
        match started {
            Ok(execution) => {
                let idle = execution.is_empty();
                self.current = Current::Running { execution: Box::new(execution), uploads: BTreeMap::new() };
                if idle {
                    self.say(&stamp, FromWorker::Deployed { restored: RestoreReport::default() });
                }
            }
            Err(failure) => {
                self.current = Current::Idle;
                self.say(&stamp, FromWorker::Failed { subtask: None, failure });
            }
        }
    }

    fn event(&mut self, event: Happened) {
        match event {
            Happened::Slot(event) => self.slot_event(event),
            Happened::Encoded(Ok(encoded)) => {
                // What sinks prepared was told before the encoder had the last part, by another channel:
                // all of it is there by now, and all of it belongs to this checkpoint.
                while let Some(event) = self.waiting_slot_event() {
                    self.slot_event(event);
                }
                self.upload(encoded);
            }
            Happened::Encoded(Err((_, failure))) => self.slot_event(SlotEvent::Failed(None, failure)),
        }
    }

    fn waiting_slot_event(&mut self) -> Option<SlotEvent> {
        match &mut self.current {
            Current::Running { execution, .. } => execution.slot_events.try_recv().ok(),
            Current::Idle | Current::Restoring { .. } => None,
        }
    }

    fn slot_event(&mut self, event: SlotEvent) {
        let Current::Running { execution, .. } = &mut self.current else { return };
        let stamp = execution.stamp().clone();
        match event {
            SlotEvent::Opened => {
                if execution.slot_opened() {
                    self.say(&stamp, FromWorker::Deployed { restored: RestoreReport::default() });
                }
            }
            SlotEvent::Prepared { id, subtask, transform, handles } => {
                execution.prepare(id, subtask, transform, handles);
            }
            SlotEvent::Exhausted(subtask) => {
                execution.exhausted(subtask);
                self.say(&stamp, FromWorker::Exhausted { subtask });
            }
            SlotEvent::Failed(subtask, failure) => {
                execution.fail();
                self.say(&stamp, FromWorker::Failed { subtask, failure });
            }
        }
    }

    fn upload(&mut self, encoded: Encoded) {
        let Current::Running { execution, uploads } = &mut self.current else { return };
        // A barrier may have been faster than the word of the coordinator.
        let completed = encoded.subtasks.first().and_then(|swept| swept.completed);
        if !execution.begin(encoded.id, completed) {
            return;
        }
        let upload = execution.lay_out(encoded);
        let id = upload.id;
        let task = self.io.spawn(upload_in_background(
            self.options.clone(),
            self.connected.unwrap_or_default(),
            self.troubles.clone(),
            self.done.clone(),
            execution.stamp().clone(),
            upload,
        ));
        uploads.insert(id, task);
    }

    fn uploaded(&mut self, stamp: &Stamp, result: Result<Uploaded, (CheckpointId, Vec<SubtaskId>, Failure)>) {
        let Some((execution, uploads)) = self.running(stamp) else { return };
        let messages: Vec<FromWorker> = match result {
            Ok(done) => {
                uploads.remove(&done.id);
                execution.acknowledge(done)
            }
            Err((id, subtasks, failure)) => {
                uploads.remove(&id);
                let decline = |subtask| FromWorker::Decline { id, subtask, failure: failure.clone() };
                subtasks.into_iter().map(decline).collect()
            }
        };
        for message in messages {
            self.say(stamp, message);
        }
    }

    fn tell_progress(&mut self) {
        let Current::Running { execution, .. } = &self.current else { return };
        let stamp = execution.stamp().clone();
        let subtasks = execution.progress();
        let state: u64 = subtasks.iter().map(|(_, p)| p.state_bytes).sum();
        let limit = self.options.config.state.memory_limit;
        self.say(&stamp, FromWorker::Progress { subtasks, troubles: self.troubles.list() });
        if state > limit {
            let text = format!(
                "working state takes {}, more than the limit of {}; raise spec.state.memoryLimit or the parallelism",
                weir_protocol::units::format_size(state),
                weir_protocol::units::format_size(limit)
            );
            self.say(
                &stamp,
                FromWorker::Failed { subtask: None, failure: Failure::new(FailureKind::Memory, text) },
            );
        }
    }

    /// Begins to end what runs here; `stopping` is over when it has.
    fn stop_current(&mut self) {
        match std::mem::replace(&mut self.current, Current::Idle) {
            Current::Idle => {}
            Current::Restoring { task, .. } => task.abort(),
            Current::Running { execution, uploads } => {
                uploads.into_values().for_each(|u| u.abort());
                let (stamp, done) = (execution.stamp().clone(), self.done.clone());
                let ended = execution.stop();
                self.stopping.add(async move {
                    let _ = done.send(Done::Ended(stamp, ended.await));
                });
            }
        }
    }
}

async fn upload_in_background(
    options: WorkerOptions,
    worker: WorkerId,
    troubles: Troubles,
    done: mpsc::UnboundedSender<Done>,
    stamp: Stamp,
    upload: Upload,
) {
    let id = upload.id;
    let subtasks = upload.parts.iter().map(|(swept, ..)| swept.subtask).collect();
    let result =
        upload::upload(&options, worker, upload, &troubles).await.map_err(|failure| (id, subtasks, failure));
    let _ = done.send(Done::Uploaded(stamp, result));
}
