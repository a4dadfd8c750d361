//! What a coordinator tells of its job, as far as the operator reads it. Fields that it does not tell have their
//! least value: an older or newer coordinator is still understood.

use serde::Deserialize;
use weir_protocol::{Failure, FailureKind};

/// The part of `GET /v1/job` that is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The job's uid.
    pub job: String,
    /// What it does.
    pub state: EngineState,
    /// More about that.
    pub detail: Option<String>,
    /// The attempt; absent before it is claimed.
    pub attempt: Option<i64>,
    /// The execution under it.
    pub execution: i64,
    /// Subtasks per vertex.
    pub parallelism: u32,
    /// What they are changing to.
    pub rescaling_to: Option<u32>,
    /// Who is registered.
    pub workers: Vec<ReportedWorker>,
    /// Checkpoints.
    pub checkpoints: ReportedCheckpoints,
    /// Savepoints of this coordinator.
    pub savepoints: Vec<ReportedSavepoint>,
    /// What is being waited out.
    pub troubles: Vec<ReportedFailure>,
    /// The newest failure of an execution.
    pub last_failure: Option<ReportedLastFailure>,
}

impl Report {
    /// Whether the job is over for this coordinator.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, EngineState::Finished | EngineState::Stopped | EngineState::Failed)
    }

    /// Slots that no subtask uses, and that are no part of what the job needs.
    pub fn idle_workers(&self) -> usize {
        self.workers.iter().filter(|w| w.used == 0 && !w.draining).count()
    }
}

/// What a job does, by its coordinator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum EngineState {
    /// Coming up for the first time.
    #[default]
    Starting,
    /// Coming up from a checkpoint.
    Restoring,
    /// Rows flow.
    Running,
    /// An execution failed, another follows.
    Restarting,
    /// A last checkpoint.
    Stopping,
    /// The input ended.
    Finished,
    /// At rest on request.
    Stopped,
    /// Failed for good.
    Failed,
    /// Another coordinator has taken over.
    Fenced,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A worker.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedWorker {
    /// Host and process: the host is the pod.
    pub name: String,
    /// Slots in use.
    pub used: u32,
    /// Whether it is about to go.
    pub draining: bool,
}

/// Checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedCheckpoints {
    /// Over the life of the job.
    pub counters: Counters,
    /// Completed of all that ended.
    pub success_rate: Option<f64>,
    /// Failed since the last completed one.
    pub failed_in_row: u32,
    /// The newest completed one.
    pub last_completed: Option<i64>,
    /// When it was triggered, if in this attempt; microseconds since 1970.
    pub last_completed_us: Option<i64>,
    /// The newest that ended.
    pub newest: Vec<ReportedCheckpoint>,
}

/// Counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Completed.
    pub completed: i64,
    /// Not completed.
    pub failed: i64,
    /// Executions that failed and were followed by another.
    pub restarts: i64,
}

/// A checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedCheckpoint {
    /// Its number.
    pub id: i64,
    /// When it was triggered.
    pub triggered_us: i64,
    /// How long it took to be complete.
    pub completed_after_us: Option<u64>,
    /// What it added.
    pub new_bytes: i64,
    /// Why it failed.
    pub failure: Option<ReportedFailure>,
}

/// A savepoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedSavepoint {
    /// Its name.
    pub id: String,
    /// How far it is: `Completed`, `Failed`, or on its way.
    pub state: String,
    /// The checkpoint that is copied.
    pub checkpoint: Option<i64>,
    /// Where it is.
    pub place: Option<String>,
    /// What was copied.
    pub bytes: Option<i64>,
    /// Why it failed.
    pub failure: Option<ReportedFailure>,
}

/// A failure. Its kind is text here: a newer coordinator may know more kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ReportedFailure {
    /// What kind.
    pub kind: String,
    /// In a sentence.
    pub message: String,
}

impl ReportedFailure {
    /// The kind, if this version knows it.
    pub fn kind(&self) -> Option<FailureKind> {
        serde_json::from_value(serde_json::Value::from(self.kind.as_str())).ok()
    }
}

impl From<Failure> for ReportedFailure {
    fn from(failure: Failure) -> Self {
        let kind = serde_json::to_value(failure.kind).unwrap_or_default();
        Self { kind: kind.as_str().unwrap_or_default().to_owned(), message: failure.message }
    }
}

/// The newest failure.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportedLastFailure {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// What.
    pub failure: ReportedFailure,
}
