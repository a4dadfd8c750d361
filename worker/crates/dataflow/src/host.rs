//! A worker: takes messages of the coordinator, runs one execution at a time in its slots, and
//! answers. It owns uploads, commits and restores; it decides nothing about checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_checkpoint::Store;
use weir_protocol::{
    CheckpointId, Failure, FailureKind, FromWorker, JobConfig, ManifestRef, RestoreReport, SinkHandles,
    Stamp, SubtaskId, ToWorker, TransformId, WorkerId,
};
use weir_runtime::{Clock, Random};

use crate::commit::Committers;
use crate::deploy::{Deployment, queue_bytes};
use crate::execution::{Execution, Upload, Uploaded};
use crate::graph::Job;
use crate::restore::Restored;
use crate::slot::SlotEvent;
use crate::{Barrier, Troubles, upload};

/// How often the numbers of subtasks are told to the coordinator.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What a worker is made of.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Its number, given by the link.
    pub worker: WorkerId,
    /// The planned job.
    pub job: Arc<Job>,
    /// The job's configuration.
    pub config: Arc<JobConfig>,
    /// The job's folder in the store.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of objects.
    pub random: Arc<dyn Random>,
}

/// Runs a worker until the coordinator's end of `input` is dropped.
pub async fn run_worker(
    options: WorkerOptions,
    mut input: mpsc::UnboundedReceiver<(Stamp, ToWorker)>,
    output: mpsc::UnboundedSender<(Stamp, FromWorker)>,
) {
    let (done, mut finished) = mpsc::unbounded_channel();
    let troubles = Troubles::default();
    let io = tokio::runtime::Handle::current();
    let committers = Arc::new(Committers::new(&options.job, &io, troubles.clone()));
    let mut host =
        Host { options, output, done, committers, io, troubles, current: Current::Idle, newest: None };
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = input.recv() => match message {
                Some((stamp, message)) => host.message(stamp, message).await,
                None => break,
            },
            Some(done) = finished.recv() => host.done(done),
            event = next_event(&mut host.current) => host.event(event),
            _ = tick.tick() => host.tell_progress(),
        }
    }
    host.stop_current().await;
}

/// What background work came to. The stamp says for which execution.
enum Done {
    Restored(Stamp, Result<Restored, Failure>),
    Uploaded(Stamp, Result<Uploaded, (CheckpointId, Vec<SubtaskId>, Failure)>),
    Committed(Stamp, CheckpointId, Result<(), Failure>),
}

enum Current {
    Idle,
    /// State is being read; the subtasks that will run here.
    Restoring {
        stamp: Stamp,
        placed: Vec<(SubtaskId, u32)>,
        task: JoinHandle<()>,
    },
    Running {
        execution: Box<Execution>,
        uploads: BTreeMap<CheckpointId, JoinHandle<()>>,
    },
}

enum Happened {
    Slot(SlotEvent),
    Encoded(Result<crate::encoder::Encoded, (CheckpointId, Failure)>),
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
    output: mpsc::UnboundedSender<(Stamp, FromWorker)>,
    done: mpsc::UnboundedSender<Done>,
    committers: Arc<Committers>,
    io: tokio::runtime::Handle,
    troubles: Troubles,
    current: Current,
    /// The newest authority heard of; anything older is refused.
    newest: Option<Stamp>,
}

impl Host {
    fn say(&self, stamp: &Stamp, message: FromWorker) {
        // If the coordinator is gone, `run_worker` ends by its input.
        let _ = self.output.send((stamp.clone(), message));
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

    async fn message(&mut self, stamp: Stamp, message: ToWorker) {
        if !self.admits(&stamp) {
            tracing::debug!(%stamp, "refused a message of an older authority");
            return;
        }
        match message {
            ToWorker::Deploy { placement, restore, .. } => {
                self.stop_current().await;
                self.deploy(stamp, placement, restore);
            }
            ToWorker::Adopt { deployed } => {
                let message = format!("deployment {deployed} does not run here");
                let failure = Failure::new(FailureKind::Worker, message);
                self.say(&stamp, FromWorker::Failed { subtask: None, failure });
            }
            ToWorker::Trigger { id, kind, mode, completed, at_us } => {
                if let Some((execution, _)) = self.running(&stamp) {
                    execution.trigger(Barrier { id, kind, mode, completed, triggered_us: at_us });
                }
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
                self.stop_current().await;
                self.say(&stamp, FromWorker::Stopped);
            }
        }
    }

    fn running(
        &mut self,
        stamp: &Stamp,
    ) -> Option<(&mut Execution, &mut BTreeMap<CheckpointId, JoinHandle<()>>)> {
        match &mut self.current {
            Current::Running { execution, uploads } if execution.stamp == *stamp => {
                Some((execution, uploads))
            }
            _ => None,
        }
    }

    fn deploy(
        &mut self,
        stamp: Stamp,
        placement: Vec<(SubtaskId, WorkerId, u32)>,
        restore: Option<ManifestRef>,
    ) {
        let me = self.options.worker;
        let placed: Vec<_> =
            placement.iter().filter(|(_, w, _)| *w == me).map(|(s, _, slot)| (*s, *slot)).collect();
        let mine: Vec<SubtaskId> = placed.iter().map(|(s, _)| *s).collect();
        let (options, done, troubles) = (self.options.clone(), self.done.clone(), self.troubles.clone());
        let told = stamp.clone();
        let task = self.io.spawn(async move {
            let restored = match restore {
                Some(manifest) => upload::restore(&options, &manifest, &mine, &troubles).await,
                None => Ok(Restored::fresh()),
            };
            let _ = done.send(Done::Restored(told, restored));
        });
        self.current = Current::Restoring { stamp, placed, task };
    }

    fn commit(&mut self, stamp: Stamp, id: CheckpointId, sinks: Vec<(SubtaskId, SinkHandles)>) {
        if let Some((execution, _)) = self.running(&stamp) {
            execution.complete(id);
        }
        let (committers, done) = (self.committers.clone(), self.done.clone());
        let mut handles: BTreeMap<TransformId, Vec<SinkHandles>> = BTreeMap::new();
        for (_, sink) in sinks {
            handles.entry(sink.transform).or_default().push(sink);
        }
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
        }
    }

    fn restored(&mut self, stamp: Stamp, restored: Result<Restored, Failure>) {
        let placed = match &mut self.current {
            Current::Restoring { stamp: now, placed, .. } if *now == stamp => std::mem::take(placed),
            _ => return,
        };
        let started = restored.and_then(|restored| {
            Execution::start(Deployment {
                job: self.options.job.clone(),
                config: self.options.config.clone(),
                stamp: stamp.clone(),
                placed,
                restored: Arc::new(restored),
                queue_bytes: queue_bytes(&self.options.job.graph, self.options.config.state.memory_limit),
                clock: self.options.clock.clone(),
                io: self.io.clone(),
                troubles: self.troubles.clone(),
            })
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
            Happened::Encoded(Err((_, failure))) => {
                if let Current::Running { execution, .. } = &self.current {
                    let stamp = execution.stamp.clone();
                    self.say(&stamp, FromWorker::Failed { subtask: None, failure });
                }
            }
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
        let stamp = execution.stamp.clone();
        match event {
            SlotEvent::Opened => {
                if execution.slot_opened() {
                    self.say(&stamp, FromWorker::Deployed { restored: RestoreReport::default() });
                }
            }
            SlotEvent::Prepared { id, subtask, transform, handles } => {
                execution.prepare(id, subtask, transform, handles);
            }
            SlotEvent::Exhausted(subtask) => self.say(&stamp, FromWorker::Exhausted { subtask }),
            SlotEvent::Failed(subtask, failure) => self.say(&stamp, FromWorker::Failed { subtask, failure }),
        }
    }

    fn upload(&mut self, encoded: crate::encoder::Encoded) {
        let Current::Running { execution, uploads } = &mut self.current else { return };
        let upload = execution.lay_out(encoded);
        let id = upload.id;
        let task = self.io.spawn(upload_in_background(
            self.options.clone(),
            self.troubles.clone(),
            self.done.clone(),
            execution.stamp.clone(),
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
        let stamp = execution.stamp.clone();
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

    /// Ends what runs here and waits until it has.
    async fn stop_current(&mut self) {
        match std::mem::replace(&mut self.current, Current::Idle) {
            Current::Idle => {}
            Current::Restoring { task, .. } => task.abort(),
            Current::Running { execution, uploads } => {
                uploads.into_values().for_each(|u| u.abort());
                // Slots end within one step; a panic while joining has nothing left to tell.
                if let Ok((stamp, subtasks)) = tokio::task::spawn_blocking(move || execution.stop()).await {
                    self.say(&stamp, FromWorker::Progress { subtasks, troubles: self.troubles.list() });
                }
            }
        }
    }
}

async fn upload_in_background(
    options: WorkerOptions,
    troubles: Troubles,
    done: mpsc::UnboundedSender<Done>,
    stamp: Stamp,
    upload: Upload,
) {
    let id = upload.id;
    let subtasks = upload.parts.iter().map(|(swept, ..)| swept.subtask).collect();
    let result = upload::upload(&options, upload, &troubles).await.map_err(|failure| (id, subtasks, failure));
    let _ = done.send(Done::Uploaded(stamp, result));
}
