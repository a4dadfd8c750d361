//! The plain data that all processes of a job agree on.
//!
//! Owns: ids, the job's configuration as a worker reads it, the job graph, key groups, the
//! messages between coordinator and workers, and kinds of failure. It does not own behaviour:
//! nothing here waits, reads a clock or touches a store, and nothing here knows Arrow or SQL.

mod config;
mod failure;
mod graph;
mod ids;
pub mod key_group;
mod message;
mod registration;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod units;

pub use config::{
    CheckpointConfig, CheckpointMode, JobConfig, LivenessConfig, OnUnreadable, RestartStrategy, StateBackend,
    StateConfig, StorageConfig,
};
pub use failure::{Blame, Failure, FailureKind};
pub use graph::{Edge, GraphError, JobGraph, Partitioning, StateTableInfo, TransformInfo, Vertex};
pub use ids::{
    Attempt, CheckpointId, Execution, IdError, JobUid, Stamp, SubtaskId, TransformId, VertexId, WorkerId,
};
pub use key_group::{KeyGroup, KeyGroupRange};
pub use message::{
    Blob, BlockRef, CheckpointKind, FromWorker, ManifestRef, ObjectRef, PhaseTimes, RestoreReport,
    SinkHandles, SubtaskAck, SubtaskProgress, TableState, ToWorker, TransformState,
};
pub use registration::{CONTROL_VERSIONS, Registration, RunningExecution};
