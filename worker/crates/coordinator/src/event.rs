//! What happens to a coordinator.

use weir_checkpoint::savepoint::{Imported, Savepoint, SavepointId};
use weir_checkpoint::{Body, Claimed, Durable, Parallelism};
use weir_protocol::{
    CheckpointId, Failure, FromWorker, JobGraph, ManifestRef, Registration, Stamp, SubtaskId, WorkerId,
};
use weir_runtime::Timestamp;

use crate::savepoints::SavepointRequest;

/// When an event is handled, and what is random about it. Decisions take both from here only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Moment {
    /// The coordinator's clock.
    pub now: Timestamp,
    /// 64 random bits; used for jitter.
    pub random: u64,
}

/// The closed set of what a coordinator reacts to: one handler file each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The journal was claimed, or could not be.
    Claimed(ClaimOutcome),
    /// A worker offers its slots.
    WorkerRegistered {
        /// Its number, never used before in this attempt.
        worker: WorkerId,
        /// What it says of itself.
        registration: Box<Registration>,
    },
    /// A worker was asked to end and wants its subtasks moved.
    WorkerDraining {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is gone: its process ended or its connection broke. What it says after that is ignored.
    WorkerLost {
        /// Which.
        worker: WorkerId,
        /// Why.
        failure: Failure,
    },
    /// A worker says something.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// For which deployment.
        stamp: Stamp,
        /// What.
        message: FromWorker,
    },
    /// The record that was last given out by [`Action::Append`](crate::Action::Append) is decided.
    Appended(AppendOutcome),
    /// Another coordinator has taken over, as the journal shows; how that was seen.
    Overtaken(String),
    /// A manifest is in the store, or could not be written.
    ManifestWritten {
        /// Of which checkpoint.
        id: CheckpointId,
        /// Where it is.
        result: Result<ManifestRef, Failure>,
    },
    /// The new objects of a checkpoint were looked for in the store.
    ObjectsVerified {
        /// Which checkpoint.
        id: CheckpointId,
        /// What is missing or differs.
        result: Result<(), Failure>,
    },
    /// The manifest of the checkpoint that is restored was read.
    ManifestLoaded {
        /// Of which checkpoint.
        id: CheckpointId,
        /// What is needed of it.
        result: Result<Box<Loaded>, Failure>,
    },
    /// The time that was asked for by [`Action::SetTimer`](crate::Action::SetTimer) has come. Being
    /// woken too early or twice is harmless.
    Timer,
    /// Somebody wants the job to stop.
    Stop(StopRequest),
    /// Somebody asks for something and waits for [`Action::Answer`](crate::Action::Answer).
    Asked {
        /// Which question it is.
        ticket: Ticket,
        /// What is asked for.
        request: Request,
    },
    /// The job was planned at another parallelism, or could not be: the answer to
    /// [`Action::Plan`](crate::Action::Plan).
    Planned {
        /// At which.
        parallelism: u32,
        /// The graph.
        result: Result<Box<JobGraph>, Failure>,
    },
    /// A savepoint is whole, or will not be.
    SavepointCopied {
        /// Which.
        id: SavepointId,
        /// What it is, or why it is none.
        result: Result<Savepoint, Failure>,
    },
    /// The state that a new job starts from is in its folder, or could not be brought there.
    Imported {
        /// The number that it is to get.
        id: CheckpointId,
        /// What was copied.
        result: Result<Imported, Failure>,
    },
    /// Garbage collection came to its end, or as far as it could.
    GarbageCollected {
        /// Records that would let more be deleted.
        proposed: Vec<Entry>,
        /// Why it could not go on.
        failure: Option<Failure>,
    },
    /// The store does not answer an append or a claim (it is tried again), or does so again.
    StoreTrouble(Option<Failure>),
}

/// Something to be written into the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Entry {
    /// This.
    Body(Body),
    /// The claim once more, with what a claim would capture at that moment, so that the boundary can follow.
    Renewal,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// This process is the coordinator: the claim is durable.
    Claimed(Box<Claimed>),
    /// The job has come to its end before; nothing was claimed.
    AlreadyFinished {
        /// Its last checkpoint.
        last: Option<CheckpointId>,
    },
    /// The journal can't be claimed: unreadable, or of another job.
    Failed(Failure),
}

/// A completed checkpoint that was not given up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retained {
    /// Its number.
    pub id: CheckpointId,
    /// When its record was written.
    pub at: Timestamp,
    /// Whether a pin holds it.
    pub pinned: bool,
}

/// How an append ended. An unclear answer of the store is resolved before this is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The record is in the journal, for good.
    Durable(Durable),
    /// Another coordinator has taken over; how that was seen.
    Fenced(String),
    /// It can't be written: the journal is damaged, or the record is too large. It never will be.
    Failed(Failure),
}

/// What a coordinator needs of a manifest that it restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Number of key groups it was written with.
    pub max_parallelism: u32,
    /// At which parallelism the job goes on from it, if it says so.
    pub parallelism: Option<Parallelism>,
    /// All prepared commits.
    pub sinks: Vec<(SubtaskId, weir_protocol::SinkHandles)>,
}

/// Tells questions apart; never used twice within an attempt.
pub type Ticket = u64;

/// What can be asked of a running coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// The job is to stop.
    Stop(StopRequest),
    /// The job is to go on at another parallelism, through a checkpoint.
    Rescale {
        /// Subtasks per vertex; `1 ..= maxParallelism`.
        parallelism: u32,
    },
    /// A savepoint is to be made.
    Savepoint(SavepointRequest),
}

/// A request is being carried out; the status tells how far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Accepted {
    /// The job stops.
    Stopping,
    /// The job changes its parallelism; there is nothing to do if it has that already.
    Rescaling {
        /// What it runs at until then.
        from: u32,
        /// What it will run at.
        to: u32,
    },
    /// The savepoint is being made.
    Savepoint {
        /// Its name.
        id: SavepointId,
        /// The URL that its folder will have.
        place: String,
    },
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// It can't be done, whenever it is asked for.
    #[error("{0}")]
    Invalid(String),
    /// It can't be done now.
    #[error("{0}")]
    NotNow(String),
}

/// How the job is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopRequest {
    /// After a last checkpoint.
    Graceful,
    /// At once.
    Now,
}

/// How a coordinator ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// All sources ended and everything is committed.
    Finished {
        /// The last checkpoint.
        last: Option<CheckpointId>,
    },
    /// The job had finished before this process started.
    AlreadyFinished {
        /// The last checkpoint.
        last: Option<CheckpointId>,
    },
    /// It was asked to stop; it can be resumed.
    Stopped {
        /// What it will go on from.
        last: Option<CheckpointId>,
        /// Whether that checkpoint was taken for the stop, so that nothing has to be read again.
        complete: bool,
    },
    /// It failed for good.
    Failed(Failure),
    /// What it should go on from can't be read, and the job permits to go on from an older checkpoint:
    /// the next attempt is to start at that one.
    StepBack {
        /// The newest checkpoint before the one that can't be read.
        to: CheckpointId,
        /// What can't be read, and why.
        failure: Failure,
    },
    /// Another coordinator has taken over; how that was seen.
    Fenced(String),
}
