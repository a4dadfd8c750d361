//! Checkpoints, restarts and recovery, as a person writes them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Checkpoints.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.storage) || self.storage.startsWith('s3://') || !(has(self.endpoint) || has(self.region) || has(self.pathStyle) || has(self.storageSecretRef))")
        .message("endpoint, region, pathStyle and storageSecretRef belong to s3:// storage")
        .field_path(".storage")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointSpec {
    /// Where checkpoints and the journal go: `s3://bucket/prefix` or `file:///folder`. Fixed for the
    /// life of the job. Needed on Kubernetes; `weir run` uses the folder `.weir` under the current
    /// one if it is not given.
    #[schemars(regex(pattern = crate::limits::STORAGE), length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,

    /// S3: the Secret of the same namespace that holds `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`. Not needed with web identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_secret_ref: Option<SecretRef>,

    /// S3: another endpoint than that of AWS, such as `https://minio.store:9000`.
    #[schemars(regex(pattern = crate::limits::ENDPOINT), length(max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,

    /// S3: the region of the bucket. Default: from the environment.
    #[schemars(regex(pattern = crate::limits::REGION), length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,

    /// S3: whether the bucket stands in the path instead of the host name. Default: true with an
    /// `endpoint`, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,

    /// What checkpoints promise. Default: ExactlyOnce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// From one periodic checkpoint to the next. 1ms to 1d. Default: 10s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,

    /// A checkpoint that takes longer is aborted; the job goes on. 10ms to 1d. Default: 10m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,

    /// The least time from the end of one checkpoint to the start of the next; at most `interval`.
    /// Default: 0s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pause: Option<String>,

    /// How many checkpoints may fail in a row before the job restarts from the last completed one.
    /// 0 to 1000000. Default: 3.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerable_failures: Option<i32>,

    /// How many completed checkpoints are kept at least. 1 to 1000. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<i32>,

    /// A completed and superseded checkpoint older than this is deleted; the newest `retain` stay.
    /// 1s to 3650d. Default: 7d.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,

    /// A checkpoint is taken early when this much state changed since the last one. A size such as
    /// `64Mi`, at least `64Ki`. Default: 256Mi, or half of the memory limit if that is less.
    #[schemars(regex(pattern = crate::limits::SIZE), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uncheckpointed_bytes: Option<String>,
}

/// A Secret of the namespace of the job.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(regex(pattern = crate::limits::OBJECT_NAME), length(max = 253))]
    pub name: String,
}

/// What checkpoints promise.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum Mode {
    /// Inputs are aligned at barriers: state reflects every row once.
    #[default]
    ExactlyOnce,
    /// No input waits: after a restore rows may be repeated.
    AtLeastOnce,
}

/// What follows when an execution fails. Every strategy has fields of its own; those of another
/// strategy are refused.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.attempts) || (has(self.strategy) && self.strategy == 'FixedDelay')")
        .message("attempts belongs to strategy FixedDelay")
        .field_path(".attempts"),
    validation = Rule::new("!has(self.delay) || (has(self.strategy) && self.strategy in ['FixedDelay', 'FailureRate'])")
        .message("delay belongs to strategy FixedDelay or FailureRate")
        .field_path(".delay"),
    validation = Rule::new("!(has(self.initialDelay) || has(self.maxDelay) || has(self.backoffMultiplier) || has(self.resetAfter) || has(self.jitter)) || !has(self.strategy) || self.strategy == 'ExponentialDelay'")
        .message("initialDelay, maxDelay, backoffMultiplier, resetAfter and jitter belong to strategy ExponentialDelay")
        .field_path(".strategy"),
    validation = Rule::new("!(has(self.maxFailuresPerInterval) || has(self.interval)) || (has(self.strategy) && self.strategy == 'FailureRate')")
        .message("maxFailuresPerInterval and interval belong to strategy FailureRate")
        .field_path(".strategy")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestartSpec {
    /// How a failed execution is followed by another. Default: ExponentialDelay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,

    /// FixedDelay: how often in all. 1 to 1000000. Default: 3.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i32>,

    /// FixedDelay and FailureRate: the wait before each restart. At most 1d. Default: 1s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,

    /// ExponentialDelay: the first wait. 1ms to 1d, at most `maxDelay`. Default: 1s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay: Option<String>,

    /// ExponentialDelay: the longest wait. 1ms to 1d. Default: 1m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<String>,

    /// ExponentialDelay: from one wait to the next. 1 to 100. Default: 2.
    #[schemars(range(min = 1.0, max = 100.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_multiplier: Option<f64>,

    /// ExponentialDelay: running this long without failure starts again at the first wait. At most
    /// 30d. Default: 1h.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<String>,

    /// ExponentialDelay: the share of the wait that is drawn at random, so that jobs do not restart
    /// in step. 0 to 1. Default: 0.1.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,

    /// FailureRate: how many failures an interval may hold. 1 to 1000000. Default: 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures_per_interval: Option<i32>,

    /// FailureRate: how long the interval is. 1s to 30d. Default: 1m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// How a failed execution is followed by another.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum Strategy {
    /// Not at all: the job fails.
    None,
    /// A fixed number of times, a fixed wait apart.
    FixedDelay,
    /// For ever, with growing waits.
    #[default]
    ExponentialDelay,
    /// Unless it fails too often within an interval.
    FailureRate,
}

/// What follows when a process of the job is gone, or a checkpoint can't be read.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoverySpec {
    /// What follows when the newest completed checkpoint can't be read. Default: Stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unreadable: Option<OnUnreadable>,

    /// How often coordinator and workers give each other a sign of life. 10ms to 1m. Default: 500ms.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<String>,

    /// A coordinator or worker that gave no sign of life for this long is lost. (A process that ends is
    /// noticed at once.) 20ms to 1h, at least twice `heartbeatInterval`. Default: 5s.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout: Option<String>,

    /// How long subtasks go on without any coordinator before they are stopped. 1s to 1d. Default: 1m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinator_timeout: Option<String>,

    /// How long a worker may take to stop its subtasks before it is given up. 100ms to 1d. Default: 1m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_timeout: Option<String>,
}

/// What follows when the newest completed checkpoint can't be read.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum OnUnreadable {
    /// Stop and try again, with the condition `StateUnreadable`; never a silent step back.
    #[default]
    Stop,
    /// Explicit permission to step back to the checkpoint before; rows may come out twice.
    Previous,
}
