//! The job's configuration as coordinator and workers read it: complete, checked, no defaults left
//! open. A person writes `StreamJobSpec`; one pure function in `weir-crds` makes this of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::JobUid;
use crate::units;

/// All that a process of a job needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobConfig {
    /// Identity; the folder of everything that is stored.
    pub uid: JobUid,
    /// For people.
    pub name: String,
    /// The statements of the job.
    pub sql: String,
    /// Subtasks per vertex; `1 ..= max_parallelism`.
    pub parallelism: u32,
    /// Number of key groups; fixed for the job's life; `1 ..= 32768`.
    pub max_parallelism: u32,
    /// Slots per worker; at least 1.
    pub task_slots: u32,
    /// Working state.
    pub state: StateConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// What happens when an execution fails.
    pub restart: RestartStrategy,
    /// What happens when the newest checkpoint can't be read.
    pub on_unreadable: OnUnreadable,
    /// What the job's first attempt starts from, if not from nothing: `savepoint/<id>` in the job's folder, or a
    /// URL. It counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<String>,
    /// How processes of the job notice that another is gone, and for how long they do without it.
    #[serde(default)]
    pub liveness: LivenessConfig,
}

impl JobConfig {
    /// Whether subtasks that run under this configuration can go on under the other: what a worker plans and
    /// stores by is the same. Parallelism comes with each deployment, and when checkpoints and restarts happen
    /// is the coordinator's concern alone.
    pub fn is_same_work(&self, other: &Self) -> bool {
        let work =
            |c: &Self| (c.uid.clone(), c.max_parallelism, c.state.clone(), c.checkpoint.storage.clone());
        self.sql == other.sql && work(self) == work(other)
    }
}

/// Where working state is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateBackend {
    /// Hash tables in memory.
    Memory,
}

/// Working state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateConfig {
    /// Where it is held.
    pub backend: StateBackend,
    /// Rows of unbounded aggregates that were not touched for this long (processing time) may be
    /// dropped; zero: never.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
    /// How much memory state, queues, alignment and uploads of one worker may take together, in
    /// bytes, before sources are held back.
    pub memory_limit: u64,
    /// How many deltas a checkpoint may build on before a base is written.
    pub deltas_per_base: u32,
}

/// Where a job's journal and checkpoints are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageConfig {
    /// `s3://bucket/prefix`, `file:///folder` or `memory://name`.
    pub url: String,
    /// S3: another endpoint than AWS's.
    pub endpoint: Option<String>,
    /// S3: the region; from the usual chain if absent.
    pub region: Option<String>,
    /// S3: the bucket in the path instead of the host name.
    pub path_style: bool,
}

/// What a checkpoint promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointMode {
    /// Inputs are aligned at barriers: state reflects every row once.
    ExactlyOnce,
    /// No input waits: after a restore rows may be repeated.
    AtLeastOnce,
}

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointConfig {
    /// Where they go.
    pub storage: StorageConfig,
    /// What they promise.
    pub mode: CheckpointMode,
    /// From one periodic trigger to the next.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// One that takes longer is aborted; the job goes on.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Least time from the end of one to the trigger of the next.
    #[serde(with = "units::duration")]
    pub min_pause: Duration,
    /// How many may fail in a row before the job restarts from the last completed one.
    pub tolerable_failures: u32,
    /// How many completed ones are kept at least.
    pub retain: u32,
    /// A completed and superseded one older than this is deleted.
    #[serde(with = "units::duration")]
    pub expiration: Duration,
    /// An early one is triggered when this many bytes of state changed since the last.
    pub max_uncheckpointed_bytes: u64,
}

/// How an execution that failed is followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all_fields = "camelCase")]
pub enum RestartStrategy {
    /// Not at all: the job fails.
    None,
    /// A fixed number of times, a fixed delay apart.
    FixedDelay {
        /// How often in all.
        attempts: u32,
        /// Before each.
        #[serde(with = "units::duration")]
        delay: Duration,
    },
    /// For ever, with growing delays.
    ExponentialDelay {
        /// The first delay.
        #[serde(with = "units::duration")]
        initial_delay: Duration,
        /// The longest.
        #[serde(with = "units::duration")]
        max_delay: Duration,
        /// From one to the next; at least 1.
        backoff_multiplier: f64,
        /// Running this long without failure starts again at the first delay.
        #[serde(with = "units::duration")]
        reset_after: Duration,
        /// Share of the delay that is drawn at random, so that jobs do not restart in step; 0 to 1.
        jitter: f64,
    },
    /// Unless it fails too often within an interval.
    FailureRate {
        /// How many failures the interval may hold.
        max_failures_per_interval: u32,
        /// How long the interval is.
        #[serde(with = "units::duration")]
        interval: Duration,
        /// Before each restart.
        #[serde(with = "units::duration")]
        delay: Duration,
    },
}

// The multipliers come from decimal text in a manifest and are checked to be finite.
impl Eq for RestartStrategy {}

/// What happens when the newest completed checkpoint can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnreadable {
    /// Stop and try again; never a silent step back.
    Stop,
    /// The user's explicit permission to step back to the one before.
    Previous,
}

/// How the processes of a job notice that another is gone, and for how long they do without it. None of this
/// decides about safety: it says when something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LivenessConfig {
    /// From one sign of life between coordinator and worker to the next, in both directions.
    #[serde(with = "units::duration")]
    pub heartbeat_interval: Duration,
    /// A peer of which nothing was heard for this long is lost; at least twice the interval. A handshake has
    /// as long, at least a second. (A connection that breaks is noticed at once.)
    #[serde(with = "units::duration")]
    pub heartbeat_timeout: Duration,
    /// For how long subtasks go on without any coordinator.
    #[serde(with = "units::duration")]
    pub coordinator_timeout: Duration,
    /// How long a worker may take to stop the subtasks of an execution before it counts as lost.
    #[serde(with = "units::duration")]
    pub cancel_timeout: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_timeout: Duration::from_secs(5),
            coordinator_timeout: Duration::from_secs(60),
            cancel_timeout: Duration::from_secs(60),
        }
    }
}
