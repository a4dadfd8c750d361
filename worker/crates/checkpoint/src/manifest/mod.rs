//! The manifest of a checkpoint: everything that a restore needs. Its bytes (`codec`), and it and the
//! objects that it names in the store (`files`).

mod codec;
mod files;

use serde::{Deserialize, Serialize};
use weir_protocol::{
    Attempt, CheckpointId, CheckpointKind, Execution, JobGraph, JobUid, ObjectRef, PhaseTimes, SinkHandles,
    SubtaskId, TransformState,
};

pub use codec::{MAX_MANIFEST_BYTES, decode_manifest, encode_manifest};
pub(crate) use files::pieces;
pub use files::{
    Problem, WriteError, Wrong, check_object, check_present, read_blocks, read_manifest, read_object,
    verify_checkpoint, write_data, write_manifest,
};

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The job.
    pub job: JobUid,
    /// Who took it.
    pub attempt: Attempt,
    /// Which deployment it is a cut of.
    pub execution: Execution,
    /// Its number.
    pub id: CheckpointId,
    /// Why it was taken.
    pub reason: CheckpointKind,
    /// When it was triggered, microseconds since the Unix epoch.
    pub triggered_us: u64,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// The graph it was taken of.
    pub graph: JobGraph,
    /// At which parallelism the job goes on from here.
    #[serde(default)]
    pub parallelism: Option<Parallelism>,
    /// Every object that the parts refer to, each once, by key.
    pub objects: Vec<ObjectRef>,
    /// One part per subtask of the graph, in the graph's order. Block references are positions in
    /// `objects`.
    pub parts: Vec<Part>,
}

/// At which parallelism a job goes on from a checkpoint. What the configuration asks for counts when it is
/// changed; a change of the running job's parallelism counts until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parallelism {
    /// What the configuration asked for when the checkpoint was taken.
    pub asked: u32,
    /// What the next execution runs at.
    pub next: u32,
}

impl Parallelism {
    /// What to run at under a configuration that asks for so much.
    ///
    /// ```
    /// use weir_checkpoint::manifest::Parallelism;
    /// let rescaled = Parallelism { asked: 2, next: 4 };
    /// assert_eq!((rescaled.under(2), rescaled.under(3)), (4, 3));
    /// ```
    pub fn under(self, asked: u32) -> u32 {
        if asked == self.asked { self.next } else { asked }
    }
}

/// One subtask's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Whose.
    pub subtask: SubtaskId,
    /// State per transform.
    pub state: Vec<TransformState>,
    /// Prepared commits.
    pub sinks: Vec<SinkHandles>,
    /// How long each phase took.
    pub times: PhaseTimes,
    /// Bytes that were added to the store.
    pub new_bytes: u64,
    /// Bytes that a restore has to read.
    pub full_bytes: u64,
}
