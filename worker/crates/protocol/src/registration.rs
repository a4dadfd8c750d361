//! How a worker process makes itself known to a coordinator, the first time and after its connection broke.

use serde::{Deserialize, Serialize};

use crate::{CheckpointId, Stamp, SubtaskId};

/// Oldest and newest version of the control messages that this build speaks. A coordinator refuses a worker
/// whose range does not meet its own; the newest version in both is spoken.
pub const CONTROL_VERSIONS: (u32, u32) = (1, 1);

/// What a worker says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Random, drawn once by the process: a worker whose connection broke is known again by it.
    pub process: String,
    /// For people: host and process.
    pub name: String,
    /// Slots that it offers; at least 1.
    pub slots: u32,
    /// Where other workers reach it for the exchange of rows, `host:port`; `None` in a job of one process.
    pub data_address: Option<String>,
    /// What runs here, from before the connection broke.
    pub running: Option<RunningExecution>,
    /// Whether it is about to go and takes no new subtasks.
    pub draining: bool,
}

/// Subtasks that run on a worker while it registers: a new coordinator adopts them if all of an execution
/// are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningExecution {
    /// The newest authority that it accepted for them.
    pub stamp: Stamp,
    /// The authority that deployed them: what the frames between its workers carry.
    pub deployed: Stamp,
    /// The job's parallelism in that deployment.
    pub parallelism: u32,
    /// The subtasks here, each with its slot.
    pub placed: Vec<(SubtaskId, u32)>,
    /// Source subtasks here that came to their end.
    pub exhausted: Vec<SubtaskId>,
    /// The checkpoint that its next deltas build on: the newest that it knows to be durable, or the one that
    /// it was restored from.
    pub completed: Option<CheckpointId>,
    /// A checkpoint that it has acknowledged in full and of which it does not know whether it is durable.
    pub acknowledged: Option<CheckpointId>,
    /// The highest number of a checkpoint that ever began here; 0 if none did. Barriers of it may still be on
    /// their way, so another coordinator goes on above it.
    pub triggered: CheckpointId,
}
