//! Proof-carrying values: a commit can only be told with a permit, and a permit only comes from a
//! durable record.

use weir_checkpoint::{Body, Durable, Restore};
use weir_protocol::{
    CheckpointId, CheckpointKind, CheckpointMode, ManifestRef, SinkHandles, Stamp, SubtaskId, ToWorker,
    WorkerId,
};
use weir_runtime::Timestamp;

/// The right to make a checkpoint's output visible.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitPermit {
    id: CheckpointId,
}

impl CommitPermit {
    /// The permit that a durable record gives: a completed checkpoint's for that, a claim's for what
    /// it captured (for nothing, id 0, in a fresh job). `None` if the record is of another kind.
    pub fn of(durable: &Durable) -> Option<Self> {
        let fresh = matches!(durable.record().body, Body::Claim { restore: Restore::Genesis { .. }, .. });
        match durable.permits() {
            Some((id, _)) => Some(Self { id }),
            None => fresh.then_some(Self { id: CheckpointId(0) }),
        }
    }

    /// For which checkpoint.
    pub fn id(&self) -> CheckpointId {
        self.id
    }
}

/// What is said to a worker. There is no way to make one that commits without a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(ToWorker);

impl Message {
    /// Start subtasks.
    pub fn deploy(
        parallelism: u32,
        placement: Vec<(SubtaskId, WorkerId, u32)>,
        peers: Vec<(WorkerId, String)>,
        restore: Option<ManifestRef>,
    ) -> Self {
        Self(ToWorker::Deploy { parallelism, placement, peers, restore })
    }

    /// Begin a checkpoint.
    pub fn trigger(
        id: CheckpointId,
        kind: CheckpointKind,
        mode: CheckpointMode,
        completed: Option<CheckpointId>,
        now: Timestamp,
        hold: bool,
    ) -> Self {
        Self(ToWorker::Trigger { id, kind, mode, completed, at_us: now.0, hold })
    }

    /// Go on with what runs, under the stamp that this is sent with.
    pub fn adopt(deployed: Stamp) -> Self {
        Self(ToWorker::Adopt { deployed })
    }

    /// Forget a checkpoint.
    pub fn abort(id: CheckpointId) -> Self {
        Self(ToWorker::Abort { id })
    }

    /// Make visible what the sinks prepared for a durable checkpoint.
    pub fn commit(permit: &CommitPermit, sinks: Vec<(SubtaskId, SinkHandles)>) -> Self {
        Self(ToWorker::Commit { id: permit.id, sinks })
    }

    /// Stop all subtasks.
    pub fn cancel() -> Self {
        Self(ToWorker::Cancel)
    }

    /// To look at.
    pub fn get(&self) -> &ToWorker {
        &self.0
    }

    /// To send.
    pub fn into_inner(self) -> ToWorker {
        self.0
    }
}
