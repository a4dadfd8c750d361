//! All that a coordinator remembers. Handlers change it; nothing else does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use weir_checkpoint::{Body, Counters, StopReason};
use weir_protocol::{
    Attempt, CheckpointId, CheckpointKind, Execution, Failure, JobGraph, ManifestRef, Registration,
    SinkHandles, Stamp, SubtaskId, SubtaskProgress, WorkerId,
};
use weir_runtime::Timestamp;

use crate::checkpoint::{InFlight, Recording};
use crate::event::{Entry, Exit, Retained, Ticket};
use crate::options::Options;
use crate::permit::CommitPermit;
use crate::placement::{Homes, Place, spread};
use crate::restart::RestartState;
use crate::savepoints::Savepoints;
use crate::status::{CheckpointStatus, FailureStatus, RecoveryStatus, RestartStatus, Warning};

/// The state of a coordinator, from its start to its exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(crate) options: Given,
    pub(crate) phase: Phase,
    /// Proof of the claim: what lets a fresh job's sources start.
    pub(crate) claim: Option<CommitPermit>,
    pub(crate) attempt: Attempt,
    pub(crate) execution: Execution,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Workers that are about to go and may not yet.
    pub(crate) draining: BTreeSet<WorkerId>,
    /// What every execution from now on runs.
    pub(crate) layout: Layout,
    pub(crate) planning: Option<Planning>,
    /// The parallelism that the job is to change to, through a last checkpoint of what runs.
    pub(crate) rescale: Option<Layout>,
    /// What the next execution runs, where that is decided: the checkpoint that it starts from says so.
    pub(crate) next_layout: Option<Layout>,
    /// The checkpoint behind which sources read nothing, for the next execution goes on from it.
    pub(crate) held: Option<Held>,
    pub(crate) gathering: Gathering,
    pub(crate) homes: Homes,
    pub(crate) deployment: Deployment,
    /// The newest completed checkpoint: what the next execution restores.
    pub(crate) point: Option<Point>,
    /// What this attempt started from.
    pub(crate) restored: Option<CheckpointId>,
    /// The highest id that was ever given out.
    pub(crate) last_id: CheckpointId,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) recording: Option<Recording>,
    pub(crate) committing: Option<Committing>,
    pub(crate) schedule: Schedule,
    pub(crate) journal: Journal,
    pub(crate) retained: Vec<Retained>,
    pub(crate) garbage: Garbage,
    pub(crate) savepoints: Savepoints,
    /// What the job is to start from, while that is not its own yet.
    pub(crate) importing: Option<String>,
    pub(crate) stopping: bool,
    /// The job is over as soon as this is in the journal.
    pub(crate) ending: Option<Ending>,
    pub(crate) restarts: RestartState,
    /// The restore point, if it could not be read when it was last tried: once more, and it counts as damaged.
    pub(crate) unread: Option<CheckpointId>,
    pub(crate) counters: Counters,
    pub(crate) failed_in_row: u32,
    pub(crate) timer: Option<Timestamp>,
    pub(crate) memory: Memory,
}

/// Where in its life the coordinator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The journal is being claimed.
    Claiming,
    /// The manifest of the restore point is being read.
    Loading,
    /// The job is being planned at the parallelism that it goes on with.
    Planning,
    /// Not enough slots yet.
    Waiting,
    /// What runs is being taken over; these workers have not said that theirs go on.
    Adopting { missing: BTreeSet<WorkerId>, deadline: Timestamp },
    /// Subtasks are being started; these workers have not said that theirs are up.
    Deploying { missing: BTreeSet<WorkerId> },
    /// The commits of the restore point are being repeated.
    Recommitting,
    /// Rows flow.
    Running { since: Timestamp },
    /// The subtasks of an execution are being stopped.
    Cancelling { missing: BTreeSet<WorkerId>, deadline: Timestamp, then: AfterCancel },
    /// The next execution is put off.
    BackingOff { until: Timestamp },
    /// Over.
    Ended(Exit),
}

/// What follows when all subtasks have stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AfterCancel {
    /// Another execution, after a delay.
    Restart { until: Timestamp },
    /// The end.
    Exit(Exit),
}

/// How the job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: StopReason,
    /// Whether the last checkpoint was taken for it.
    pub(crate) complete: bool,
}

/// A graph with the parallelism that it was planned at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) parallelism: u32,
    pub(crate) graph: Arc<JobGraph>,
}

impl Layout {
    /// How many slots one execution takes: each holds one subtask of every vertex at most.
    pub(crate) fn slots_needed(&self) -> u32 {
        self.graph.vertices.iter().map(|v| v.parallelism).max().unwrap_or(0)
    }
}

/// What a plan is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planning {
    /// The next execution.
    Start { parallelism: u32 },
    /// A change of parallelism, which is answered when it is planned.
    Rescale { parallelism: u32, ticket: Ticket },
}

/// The last checkpoint of an execution that another follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) id: CheckpointId,
    pub(crate) triggered: Timestamp,
    /// The parallelism that the next execution has, as the checkpoint says.
    pub(crate) next: u32,
}

/// Workers that come up together are waited for, before the first execution of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Gathering {
    /// No worker has come.
    #[default]
    Nobody,
    /// The first one came.
    Since(Timestamp),
    /// An execution was deployed or taken over.
    Over,
}

/// A worker that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) registration: Registration,
    pub(crate) troubles: Vec<Failure>,
    /// Whether it was told that it may end.
    pub(crate) released: bool,
}

/// What the current execution consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Deployment {
    pub(crate) placement: BTreeMap<SubtaskId, Place>,
    /// The workers that take part, with how many of their slots are used.
    pub(crate) workers: BTreeMap<WorkerId, u32>,
    /// Whether it was taken over from another coordinator: rows have been flowing since before.
    pub(crate) adopted: bool,
    /// Bytes of state that changed since the last checkpoint, over all subtasks.
    pub(crate) dirty: u64,
    /// Workers that said that all their subtasks have stopped.
    pub(crate) stopped: BTreeSet<WorkerId>,
    /// Source subtasks that came to their end.
    pub(crate) exhausted: BTreeSet<SubtaskId>,
    /// The newest checkpoint that this execution completed.
    pub(crate) completed: Option<CheckpointId>,
    pub(crate) progress: BTreeMap<SubtaskId, Progress>,
}

impl Deployment {
    /// Nothing of it is up yet.
    pub(crate) fn new(graph: &JobGraph, places: &[Place]) -> Self {
        let mut workers = BTreeMap::new();
        for (worker, _) in places {
            *workers.entry(*worker).or_default() += 1;
        }
        Self { placement: spread(graph, places), workers, ..Self::default() }
    }

    /// The workers that take part.
    pub(crate) fn worker_ids(&self) -> BTreeSet<WorkerId> {
        self.workers.keys().copied().collect()
    }
}

/// The last two reports of a subtask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) now: (Timestamp, SubtaskProgress),
    pub(crate) before: Option<(Timestamp, SubtaskProgress)>,
}

/// A completed checkpoint that an execution can start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) id: CheckpointId,
    pub(crate) manifest: ManifestRef,
    pub(crate) permit: CommitPermit,
    pub(crate) commits: Commits,
}

/// What is left to do of a durable checkpoint's commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Commits {
    /// What they are is in the manifest, which was not read yet.
    Unread {
        /// Whether there may be any.
        outstanding: bool,
    },
    /// These, in whole or in part.
    Outstanding(Vec<(SubtaskId, SinkHandles)>),
    /// Nothing.
    Done,
}

/// A round of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committing {
    pub(crate) id: CheckpointId,
    /// Workers that have not said that they are through.
    pub(crate) missing: BTreeSet<WorkerId>,
    /// Workers that were told.
    pub(crate) told: BTreeSet<WorkerId>,
    /// Why the checkpoint was taken; `None` when the commits of a restore are repeated.
    pub(crate) reason: Option<CheckpointKind>,
    /// When the checkpoint was triggered.
    pub(crate) triggered: Timestamp,
    /// What holds it up, as a worker said last.
    pub(crate) trouble: Option<Failure>,
}

/// When the next checkpoint may and must be triggered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Schedule {
    /// The interval comes round.
    pub(crate) periodic: Timestamp,
    /// None before this.
    pub(crate) earliest: Timestamp,
}

/// Records on their way into the journal: one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Journal {
    pub(crate) appending: Option<Entry>,
    pub(crate) waiting: VecDeque<Entry>,
    pub(crate) trouble: Option<Failure>,
}

impl Journal {
    /// Puts a record at the end of the queue.
    pub(crate) fn append(&mut self, body: Body) {
        self.waiting.push_back(Entry::Body(body));
    }
}

/// Where garbage collection stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Garbage {
    pub(crate) running: bool,
    pub(crate) due: bool,
    /// Checkpoints that completed since the last time.
    pub(crate) since: u32,
    pub(crate) trouble: Option<Failure>,
}

/// What the status tells of the past.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Newest first.
    pub(crate) checkpoints: VecDeque<CheckpointStatus>,
    /// Newest first.
    pub(crate) restarts: VecDeque<RestartStatus>,
    /// Newest first; the first may not be over.
    pub(crate) recoveries: VecDeque<RecoveryStatus>,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) last_failure: Option<FailureStatus>,
    pub(crate) last_completed: Option<Timestamp>,
}

impl State {
    /// A coordinator that has done nothing yet.
    pub fn new(options: Options) -> Self {
        let layout =
            Layout { parallelism: options.config.parallelism, graph: Arc::new(options.graph.clone()) };
        Self {
            options: Given(Arc::new(options)),
            phase: Phase::Claiming,
            claim: None,
            attempt: Attempt(0),
            execution: Execution(0),
            workers: BTreeMap::new(),
            draining: BTreeSet::new(),
            layout,
            planning: None,
            rescale: None,
            next_layout: None,
            held: None,
            gathering: Gathering::default(),
            homes: Homes::default(),
            deployment: Deployment::default(),
            point: None,
            restored: None,
            last_id: CheckpointId(0),
            in_flight: None,
            recording: None,
            committing: None,
            schedule: Schedule::default(),
            journal: Journal::default(),
            retained: Vec::new(),
            garbage: Garbage::default(),
            savepoints: Savepoints::default(),
            importing: None,
            stopping: false,
            ending: None,
            restarts: RestartState::default(),
            unread: None,
            counters: Counters::default(),
            failed_in_row: 0,
            timer: None,
            memory: Memory::default(),
        }
    }

    /// How it ended, once it did.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            Phase::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    /// The attempt that was claimed; 0 before.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// The newest execution; 0 before the first.
    pub fn execution(&self) -> Execution {
        self.execution
    }

    /// When the timer is due, if anything waits for it.
    pub fn timer(&self) -> Option<Timestamp> {
        self.timer
    }

    /// Whether rows flow.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// The parallelism of the running or next execution.
    pub fn parallelism(&self) -> u32 {
        self.layout.parallelism
    }

    /// The checkpoint that waits for acknowledgements.
    pub fn checkpoint_in_flight(&self) -> Option<CheckpointId> {
        self.in_flight.as_ref().map(|flight| flight.id)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { job: self.options.config.uid.clone(), attempt: self.attempt, execution: self.execution }
    }
}

/// What never changes; left out of `Debug`, since it says nothing about a state.
#[derive(Clone)]
pub(crate) struct Given(Arc<Options>);

impl Given {
    pub(crate) fn share(&self) -> Arc<Options> {
        Arc::clone(&self.0)
    }
}

impl Deref for Given {
    type Target = Options;
    fn deref(&self) -> &Options {
        &self.0
    }
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Given {}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")
    }
}
