//! Proof-carrying values: a commit can only be told with a permit, and a permit only comes from a
//! durable record.

use weir_checkpoint::{Body, Restore};
use weir_protocol::{
    CheckpointId, CheckpointKind, CheckpointMode, ManifestRef, SinkHandles, SubtaskId, ToWorker, WorkerId,
};
use weir_runtime::Timestamp;

/// Proof that a record of this process is in the journal. Made by those who carry out the append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable(());

impl Durable {
    /// Stands for an answer of the journal's machines: only code that holds one may call this.
    pub fn attest() -> Self {
        Self(())
    }
}

/// The right to make a checkpoint's output visible.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitPermit {
    id: CheckpointId,
}

impl CommitPermit {
    /// The permit that a durable record gives; `None` if the record is not of a checkpoint.
    pub fn of_record(body: &Body, _durable: &Durable) -> Option<Self> {
        match body {
            Body::Checkpoint { id, .. } => Some(Self { id: *id }),
            _ => None,
        }
    }

    /// The permit for what a durable claim starts from; for a fresh job one for nothing (id 0).
    pub fn of_claim(restore: &Restore, _durable: &Durable) -> Self {
        match restore {
            Restore::Captured { id, .. } => Self { id: *id },
            Restore::Genesis { .. } => Self { id: CheckpointId(0) },
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
    pub fn deploy(placement: Vec<(SubtaskId, WorkerId, u32)>, restore: Option<ManifestRef>) -> Self {
        Self(ToWorker::Deploy { placement, restore })
    }

    /// Begin a checkpoint.
    pub fn trigger(
        id: CheckpointId,
        kind: CheckpointKind,
        mode: CheckpointMode,
        completed: Option<CheckpointId>,
        now: Timestamp,
    ) -> Self {
        Self(ToWorker::Trigger { id, kind, mode, completed, at_us: now.0 })
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
