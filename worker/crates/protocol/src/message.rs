//! What coordinator and workers say to each other. Every message travels under a
//! [`Stamp`](crate::Stamp); receivers refuse anything older than their own.

use serde::{Deserialize, Serialize};

use crate::{CheckpointId, CheckpointMode, Failure, KeyGroupRange, StateTableInfo, SubtaskId, TransformId};

/// An immutable object in the store, as the one who wrote it knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Key below the job's folder.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of the content, 64 hexadecimal digits.
    pub digest: String,
}

/// Where a manifest is.
pub type ManifestRef = ObjectRef;

/// A piece of a data object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRef {
    /// Position in [`SubtaskAck::objects`] (in a manifest: in the manifest's list of objects).
    pub object: u32,
    /// First byte within the object.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32 (IEEE) of the bytes, checked when a part of an object is read.
    pub crc: u32,
    /// Number of rows in the block.
    pub rows: u64,
}

/// A small value that is either carried along or stored in a data object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blob {
    /// Carried along (at most a few KiB).
    Inline(#[serde(with = "base64_bytes")] Vec<u8>),
    /// Stored.
    Block(BlockRef),
}

/// What one keyed table of one subtask consists of: a base, then deltas in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The table, as declared.
    pub info: StateTableInfo,
    /// Key groups that the blocks cover.
    pub range: KeyGroupRange,
    /// To be applied in this order. A block is itself either a base part or a delta part (it
    /// says so in its header).
    pub blocks: Vec<BlockRef>,
}

/// The state of one transform in one subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformState {
    /// Whose it is.
    pub transform: TransformId,
    /// Keyed tables.
    pub tables: Vec<TableState>,
    /// Operator state: named lists. A source's splits are the list `splits`.
    pub lists: Vec<(String, Vec<Blob>)>,
}

/// What a sink has prepared and will make visible when the checkpoint is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkHandles {
    /// The sink.
    pub transform: TransformId,
    /// Opaque to all but the sink: one per file, transaction, …
    pub handles: Vec<Blob>,
}

/// How long each phase of a checkpoint took in one subtask, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTimes {
    /// Trigger by the coordinator to the first barrier here.
    pub trigger_us: u64,
    /// First barrier to last barrier.
    pub align_us: u64,
    /// The synchronous part: freezing the dirty state.
    pub freeze_us: u64,
    /// From the freeze until all data was durable in the store.
    pub upload_us: u64,
    /// Data durable to the acknowledgement's arrival at the coordinator, which fills it in.
    pub ack_us: u64,
}

/// One subtask's part in a checkpoint: everything that is needed to go on from the barrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskAck {
    /// Who says it.
    pub subtask: SubtaskId,
    /// The objects that its blocks lie in, new and old. Those that were uploaded for this
    /// checkpoint come first.
    pub objects: Vec<ObjectRef>,
    /// How many of the objects are new.
    pub new_objects: u32,
    /// State per transform of the chain.
    pub state: Vec<TransformState>,
    /// Prepared commits.
    pub sinks: Vec<SinkHandles>,
    /// Durations.
    pub times: PhaseTimes,
    /// Bytes that this subtask added to the store for this checkpoint.
    pub new_bytes: u64,
    /// Bytes that a restore of this subtask has to read.
    pub full_bytes: u64,
}

/// Why a checkpoint is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// The interval came round.
    Periodic,
    /// Much state changed since the last one.
    Changes,
    /// The job is asked to stop, move or change.
    LifeCycle,
    /// All sources came to their end.
    Final,
    /// Not taken: state that a new job took over from a savepoint or from a checkpoint of another job.
    Import,
}

/// Coordinator to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ToWorker {
    /// Start subtasks, in this slot each. The worker plans the job from its configuration and this
    /// parallelism.
    Deploy {
        /// Subtasks per vertex.
        parallelism: u32,
        /// Where each subtask of the whole job runs: worker and slot.
        placement: Vec<(SubtaskId, crate::WorkerId, u32)>,
        /// Where each worker of the placement is reached for the exchange of rows. Empty if all is in one process.
        peers: Vec<(crate::WorkerId, String)>,
        /// What to restore, if anything.
        restore: Option<ManifestRef>,
    },
    /// A new coordinator takes over what runs: the subtasks go on under the stamp of this message. Answered by
    /// [`FromWorker::Adopted`], or by [`FromWorker::Failed`] if that deployment does not run here.
    Adopt {
        /// The deployment that is meant, as in [`RunningExecution::deployed`](crate::RunningExecution::deployed).
        deployed: crate::Stamp,
    },
    /// Begin a checkpoint: sources insert the barrier at once.
    Trigger {
        /// Its number.
        id: CheckpointId,
        /// Why.
        kind: CheckpointKind,
        /// Whether to align.
        mode: CheckpointMode,
        /// The newest completed checkpoint of this execution: what was frozen for any other is
        /// dirty again.
        completed: Option<CheckpointId>,
        /// Coordinator's clock at the trigger, microseconds since the Unix epoch; for durations only.
        at_us: u64,
        /// Whether sources read nothing behind the barrier, since another execution goes on from there; until
        /// this checkpoint is given up or another begins.
        hold: bool,
    },
    /// Forget a checkpoint that will not complete.
    Abort {
        /// Its number.
        id: CheckpointId,
    },
    /// A checkpoint is durable: make visible what its sinks prepared. Only the holder of the
    /// journal's permit sends this. Safe to repeat.
    Commit {
        /// Its number.
        id: CheckpointId,
        /// What to commit, taken from the manifest.
        sinks: Vec<(SubtaskId, SinkHandles)>,
    },
    /// Stop all subtasks of the execution at once.
    Cancel,
}

/// What a subtask did so far in this execution. Numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskProgress {
    /// Rows that came in (sources: rows read).
    pub rows_in: u64,
    /// Rows that went out (sinks: rows written).
    pub rows_out: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Rows behind the watermark that a window could not take any more.
    pub late_rows: u64,
    /// Records that could not be decoded.
    pub bad_records: u64,
    /// The watermark, milliseconds since the Unix epoch; `i64::MIN` before the first.
    pub watermark_ms: i64,
    /// Time spent working, microseconds.
    pub busy_us: u64,
    /// Time spent waiting for room in an output, microseconds.
    pub backpressured_us: u64,
    /// Bytes of working state.
    pub state_bytes: u64,
    /// Bytes of state that changed since the last completed checkpoint (an estimate).
    pub dirty_bytes: u64,
    /// When the first rows went out, worker's clock, microseconds since the Unix epoch; 0 before that.
    pub first_out_us: u64,
}

/// What a worker read before its subtasks came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// Bytes of state taken from copies on this machine.
    pub local_bytes: u64,
    /// Bytes of state read from the store.
    pub stored_bytes: u64,
    /// How long reading took, microseconds.
    pub read_us: u64,
}

/// Worker to coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum FromWorker {
    /// All subtasks of the deployment that run here are up and restored; sources wait for
    /// the first commit round to be over ([`ToWorker::Commit`]) before they read.
    Deployed {
        /// What it took to read the state.
        restored: RestoreReport,
    },
    /// The subtasks here go on under the new coordinator.
    Adopted,
    /// A source subtask has read all its splits to their ends.
    Exhausted {
        /// Which.
        subtask: SubtaskId,
    },
    /// A subtask's part of a checkpoint is durable in the store.
    Ack {
        /// The checkpoint.
        id: CheckpointId,
        /// The part.
        ack: Box<SubtaskAck>,
    },
    /// A subtask can't take part in a checkpoint; it goes on running.
    Decline {
        /// The checkpoint.
        id: CheckpointId,
        /// Which.
        subtask: SubtaskId,
        /// Why.
        failure: Failure,
    },
    /// Everything in a [`ToWorker::Commit`] is visible.
    Committed {
        /// The checkpoint.
        id: CheckpointId,
    },
    /// A commit could not be done yet; it is being retried by the worker if the failure is
    /// retryable.
    CommitFailed {
        /// The checkpoint.
        id: CheckpointId,
        /// Why.
        failure: Failure,
    },
    /// A subtask failed: the execution has failed.
    Failed {
        /// Which; none if the worker as a whole could not do it.
        subtask: Option<SubtaskId>,
        /// Why.
        failure: Failure,
    },
    /// All subtasks of the execution have stopped, after a cancel or a failure.
    Stopped,
    /// How far the subtasks are; sent about every second.
    Progress {
        /// For each subtask here.
        subtasks: Vec<(SubtaskId, SubtaskProgress)>,
        /// What a person should know now (an unreachable store, a full disk), empty if nothing.
        troubles: Vec<Failure>,
    },
}

/// Base64 text for bytes: manifests are JSON.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_survive_json() {
        for len in 0..20_u8 {
            let blob = Blob::Inline((0..len).map(|b| b.wrapping_mul(37)).collect());
            let text = serde_json::to_string(&blob).expect("encodes");
            assert_eq!(serde_json::from_str::<Blob>(&text).expect("decodes"), blob, "{text}");
        }
        for bad in
            [r#"{"inline":"A"}"#, r#"{"inline":"===="}"#, r#"{"inline":"AA==AAAA"}"#, r#"{"inline":"A?=="}"#]
        {
            assert!(serde_json::from_str::<Blob>(bad).is_err(), "{bad}");
        }
    }
}
