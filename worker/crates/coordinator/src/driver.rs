//! The thin shell around [`step`](crate::step): carries out actions, brings back events. No decision
//! is made here.
//!
//! Whatever changes the store runs in a task of its own that nothing cancels (F42); its answer comes
//! back as an event.

mod garbage;
mod journal;
mod log;
mod plans;
mod requests;
mod savepoints;
mod stored;
mod trying;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use weir_checkpoint::Store;
use weir_checkpoint::savepoint::ImportAs;
use weir_protocol::{FromWorker, ToWorker};
use weir_runtime::{Clock, LogIds, Random, Timestamp, crash_point};

use crate::action::Action;
use crate::event::{Event, Exit, Moment, StopRequest};
use crate::link::{LinkEvent, Workers};
use crate::options::Options;
use crate::state::State;
use crate::status::JobStatus;
use crate::step::step;

pub use plans::PlanGraph;
pub use requests::{AskError, Requests};

/// What a coordinator needs of the outside.
pub struct Shell {
    /// The job's folder.
    pub store: Arc<dyn Store>,
    /// The workers.
    pub workers: Workers,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Asks the job to stop. That it is closed means nothing.
    pub stop: mpsc::Receiver<StopRequest>,
    /// Plans the job.
    pub plan: PlanGraph,
}

/// The coordinator of one job.
pub struct Coordinator {
    state: State,
    shell: Shell,
    status: watch::Sender<Arc<JobStatus>>,
    timer: Option<Timestamp>,
    asked: requests::Asked,
    publishing: Publishing,
    /// Savepoints are copied one after the other.
    copies: Arc<Semaphore>,
}

/// When the status is told again: building it takes longer the larger the job is.
#[derive(Debug, Clone, Copy)]
struct Publishing {
    /// What happened since it was told is not in it yet.
    due: bool,
    /// Not before this.
    earliest: Timestamp,
}

/// Between two statuses of the smallest job, and what each subtask adds to that.
const STATUS_EVERY: Duration = Duration::from_millis(20);
const STATUS_PER_SUBTASK: Duration = Duration::from_micros(50);

/// Where tasks put what became of their action. At most a few are under way, so it needs no bound.
type Answers = mpsc::UnboundedSender<Event>;

impl Coordinator {
    /// A coordinator, and where it tells its status.
    pub fn new(options: Options, shell: Shell) -> (Self, watch::Receiver<Arc<JobStatus>>) {
        let state = State::new(options);
        let (status, seen) = watch::channel(Arc::new(JobStatus::of(&state, shell.clock.now())));
        let publishing = Publishing { due: false, earliest: shell.clock.now() };
        let (asked, copies) = (requests::Asked::new(), Arc::new(Semaphore::new(savepoints::COPIES)));
        (Self { state, shell, status, timer: None, asked, publishing, copies }, seen)
    }

    /// The way to ask something of the coordinator while it runs.
    pub fn requests(&self) -> Requests {
        self.asked.requests()
    }

    /// Claims the job and runs it until its end. To be called within a tokio runtime with time.
    pub async fn run(mut self) -> Exit {
        let (answers, mut answered) = mpsc::unbounded_channel();
        let records = journal::start(&self.shell, self.state.options.share(), answers.clone());
        loop {
            let Some(event) = self.next(&mut answered).await else {
                self.publish();
                continue;
            };
            let moment = Moment { now: self.shell.clock.now(), random: self.shell.random.next_u64() };
            let (before, after) = crash_points_of(&event);
            crash_point(before);
            for action in step(&mut self.state, event, moment) {
                if let Some(exit) = self.act(action, &records, &answers) {
                    self.publish();
                    return exit;
                }
            }
            crash_point(after);
            LogIds::set_authority(self.state.attempt.0, self.state.execution.0);
            self.publishing.due = true;
        }
    }

    /// Waits for whatever comes first; `None` when the status is to be told. Only receives are given up, which
    /// loses nothing.
    async fn next(&mut self, answered: &mut mpsc::UnboundedReceiver<Event>) -> Option<Event> {
        let now = self.shell.clock.now();
        let timer = after(self.timer.map(|at| at.since(now)));
        let publish = after(self.publishing.due.then(|| self.publishing.earliest.since(now)));
        tokio::select! {
            biased;
            () = publish => None,
            Some(request) = self.shell.stop.recv() => Some(Event::Stop(request)),
            Some(event) = answered.recv() => Some(event),
            () = timer => {
                self.timer = None;
                Some(Event::Timer)
            }
            Some(event) = self.shell.workers.events.recv() => Some(from_link(event)),
            Some((ticket, request)) = self.asked.next() => Some(Event::Asked { ticket, request }),
            // The answers' sender lives in `run`, so that branch is never closed.
            else => Some(Event::Timer),
        }
    }

    fn act(&mut self, action: Action, records: &journal::Records, answers: &Answers) -> Option<Exit> {
        let (store, random) = (Arc::clone(&self.shell.store), Arc::clone(&self.shell.random));
        let patience = self.state.options.config.checkpoint.timeout;
        match action {
            Action::Send { worker, stamp, message } => {
                let message = message.into_inner();
                let (before, after) = match &message {
                    ToWorker::Trigger { .. } => ("coordinator:trigger:before", "coordinator:trigger:after"),
                    ToWorker::Commit { .. } => ("coordinator:commit:before", "coordinator:commit:after"),
                    _ => ("", ""),
                };
                crash_point(before);
                self.shell.workers.link.send(worker, stamp, message);
                crash_point(after);
            }
            Action::GiveUp { worker } => self.shell.workers.link.give_up(worker),
            Action::Release { worker } => self.shell.workers.link.release(worker),
            Action::LoadManifest { id, manifest } => stored::load(store, id, manifest, answers.clone()),
            Action::WriteManifest(manifest) => {
                stored::write(store, random, *manifest, patience, answers.clone());
            }
            Action::VerifyObjects { id, objects } => {
                stored::verify(store, id, objects, patience, answers.clone());
            }
            Action::Append(entry) => records.append(entry),
            Action::SetTimer { at } => self.timer = Some(at),
            Action::CollectGarbage => records.collect_garbage(),
            Action::Plan { parallelism } => {
                plans::plan(Arc::clone(&self.shell.plan), parallelism, answers.clone());
            }
            Action::Answer { ticket, answer } => {
                // Whoever asked finds in the status what it came to.
                self.publish();
                self.asked.answer(ticket, answer);
            }
            Action::CopySavepoint { copied, to } => self.copier(answers).copy(copied, to),
            Action::Import { from, id } => {
                let (job, attempt) = (self.state.options.config.uid.clone(), self.state.attempt);
                let as_new = ImportAs { job, attempt, id, at_us: self.shell.clock.now().0 };
                self.copier(answers).import(from, as_new);
            }
            Action::Exit(exit) => return Some(exit),
        }
        None
    }

    fn copier(&self, answers: &Answers) -> savepoints::Copier {
        let turn = Arc::clone(&self.copies);
        savepoints::Copier::new(&self.shell, &self.state.options, turn, answers.clone())
    }

    fn publish(&mut self) {
        let now = self.shell.clock.now();
        let status = JobStatus::of(&self.state, now);
        let subtasks: usize = status.vertices.iter().map(|vertex| vertex.subtasks.len()).sum();
        let pause = STATUS_EVERY + STATUS_PER_SUBTASK * u32::try_from(subtasks).unwrap_or(u32::MAX);
        self.publishing = Publishing { due: false, earliest: now.after(pause) };
        log::tell(&self.status.borrow(), &status);
        self.status.send_replace(Arc::new(status));
    }
}

/// Waits for so long; for ever if there is nothing to wait for.
async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The steps of a checkpoint that an event is for the coordinator.
fn crash_points_of(event: &Event) -> (&'static str, &'static str) {
    match event {
        Event::Message { message: FromWorker::Ack { .. }, .. } => {
            ("coordinator:ack:before", "coordinator:ack:after")
        }
        Event::Message { message: FromWorker::Committed { .. }, .. } => {
            ("coordinator:committed:before", "coordinator:committed:after")
        }
        _ => ("", ""),
    }
}

fn from_link(event: LinkEvent) -> Event {
    match event {
        LinkEvent::Registered { worker, registration } => Event::WorkerRegistered { worker, registration },
        LinkEvent::Draining { worker } => Event::WorkerDraining { worker },
        LinkEvent::Lost { worker, failure } => Event::WorkerLost { worker, failure },
        LinkEvent::Message { worker, stamp, message } => Event::Message { worker, stamp, message },
    }
}
