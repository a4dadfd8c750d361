//! What a person writes: the spec of a `StreamJob`, as text and numbers, not yet checked.
//!
//! Owns the shape, the documentation of every field and the rules that the API server can check by
//! itself. It does not own the meaning: `config` turns a spec into what the engine reads, and only
//! there do defaults take effect. No default is written into the schema, so that a field which a
//! person set can be told from one that was left out.

mod checkpoint;
mod life;
mod worker;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use checkpoint::{CheckpointSpec, Mode, OnUnreadable, RecoverySpec, RestartSpec, SecretRef, Strategy};
pub use life::{DeletionSnapshot, DeletionSpec, RestoreFrom, UpgradeMode, UpgradeSpec};
pub use worker::{CoordinatorSpec, EnvVar, KeyRef, PullPolicy, ValueFrom, VolumeMount, WorkerSpec};

use crate::status::StreamJobStatus;
use crate::the_field_describes;

/// A streaming SQL job: what it computes, how wide it runs, and where its checkpoints go.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "StreamJob",
    namespaced,
    doc = "A streaming SQL job: what it computes, how wide it runs, and where its checkpoints go.",
    status = "StreamJobStatus",
    derive = "PartialEq",
    shortname = "sj",
    category = "weir",
    scale(spec_replicas_path = ".spec.parallelism", status_replicas_path = ".status.parallelism"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "What the job is doing"),
    printcolumn(
        name = "Parallelism",
        type_ = "integer",
        json_path = ".status.parallelism",
        description = "Subtasks per vertex now"
    ),
    printcolumn(
        name = "Checkpoint",
        type_ = "date",
        json_path = ".status.checkpoints.lastCompleted.time",
        description = "Age of the last completed checkpoint"
    ),
    printcolumn(
        name = "Success",
        type_ = "string",
        json_path = ".status.checkpoints.successRate",
        description = "Completed checkpoints of all that were tried"
    ),
    printcolumn(
        name = "Restarts",
        type_ = "integer",
        json_path = ".status.restarts",
        description = "How often the job went back to a checkpoint"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$')")
        .message("metadata.name: at most 52 characters of a-z, 0-9 and '-', starting and ending with a letter or digit")
)]
#[x_kube(
    validation = Rule::new("has(self.sql) != has(self.sqlFrom)")
        .message("exactly one of sql and sqlFrom must be given"),
    validation = Rule::new("(has(self.parallelism) ? self.parallelism : 1) <= (has(self.maxParallelism) ? self.maxParallelism : 128)")
        .message("parallelism must be at most maxParallelism (128 if it is not given)")
        .field_path(".parallelism"),
    validation = Rule::new("(has(self.maxParallelism) ? self.maxParallelism : 128) == (has(oldSelf.maxParallelism) ? oldSelf.maxParallelism : 128)")
        .message("maxParallelism is fixed for the life of a job: make a new job to change it")
        .field_path(".maxParallelism"),
    validation = Rule::new("(has(self.checkpoint) && has(self.checkpoint.storage) ? self.checkpoint.storage : '') == (has(oldSelf.checkpoint) && has(oldSelf.checkpoint.storage) ? oldSelf.checkpoint.storage : '')")
        .message("checkpoint.storage is fixed for the life of a job: make a new job, and give it restoreFrom")
        .field_path(".checkpoint"),
    validation = Rule::new("has(self.checkpoint) && has(self.checkpoint.storage) && self.checkpoint.storage.startsWith('s3://')")
        .message("on Kubernetes checkpoint.storage must be given, and be s3://bucket/prefix: pods do not share folders")
        .field_path(".checkpoint"),
    validation = Rule::new("!has(self.worker) || !has(self.worker.image) || !self.worker.image.endsWith(':latest')")
        .message("worker.image must be a fixed version, not :latest: what runs must not change by itself")
        .field_path(".worker")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamJobSpec {
    /// The statements of the job: CREATE TABLE, CREATE VIEW, SET and INSERT INTO, in Flink's SQL.
    /// Up to 256 KiB. Either this or `sqlFrom`.
    #[schemars(length(min = 1, max = 262_144))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,

    /// The statements of the job from a ConfigMap of the same namespace. Either this or `sql`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql_from: Option<SqlFrom>,

    /// Subtasks per vertex: how wide the job runs. 1 to 1024, at most `maxParallelism`. Default: 1.
    /// Set it to use `kubectl scale`.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i32>,

    /// Number of key groups: the widest the job can ever run. 1 to 32768. Default: 128. Fixed for
    /// the life of the job, because stored state is laid out by it.
    #[schemars(range(min = 1, max = 32_768))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<i32>,

    /// Whether the job rests: it takes a last checkpoint and its pods go; `false` lets it go on
    /// from there. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,

    /// The worker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,

    /// The coordinator's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<CoordinatorSpec>,

    /// Working state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSpec>,

    /// Checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSpec>,

    /// What follows when an execution fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartSpec>,

    /// What follows when a process of the job is gone, or a checkpoint can't be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoverySpec>,

    /// How a change of the job takes over the state of the job before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeSpec>,

    /// Where a new job takes its first state from; used once, when the job first starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFrom>,

    /// What happens to the state when the job is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionSpec>,
}

/// The statements of a job, kept elsewhere.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqlFrom {
    /// A key of a ConfigMap in the namespace of the job.
    pub config_map_key_ref: KeyRef,
}

/// Working state.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateSpec {
    /// Where working state is held. Default: Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,

    /// State of unbounded aggregates that was not touched for this long (processing time) may be
    /// dropped. A duration such as `36h`; `0s`: never. Default: 0s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,

    /// How much memory the state, queues, alignment and uploads of one worker may take together
    /// before its sources are held back. A size such as `2Gi`, at least `16Mi`. Default: half of
    /// `worker.resources.limits.memory`; without it half of the container's limit, or 1Gi.
    #[schemars(regex(pattern = crate::limits::SIZE), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,

    /// How many deltas a checkpoint may build on before a base is written. 0 to 100; 0 writes all
    /// state every time. Default: 10.
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deltas_per_base: Option<i32>,
}

/// Where working state is held.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = the_field_describes)]
pub enum Backend {
    /// Hash tables in the memory of the workers.
    #[default]
    Memory,
}
