//! What a person or the operator is told of a job. Computed purely from the coordinator's state.

mod build;

use serde::{Deserialize, Serialize};
use weir_checkpoint::Counters;
use weir_protocol::{
    Attempt, CheckpointId, CheckpointKind, Execution, Failure, JobGraph, JobUid, PhaseTimes, RestoreReport,
    SubtaskId, SubtaskProgress, VertexId, WorkerId,
};

pub use crate::savepoints::{SavepointState, SavepointStatus};

/// The whole status of a job: what `GET /v1/job` returns. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// The job's identity.
    pub job: JobUid,
    /// The job's name.
    pub name: String,
    /// When this status was taken.
    pub at_us: u64,
    /// What the job does.
    pub state: JobState,
    /// More about the state, in a sentence, where there is more to say.
    pub detail: Option<String>,
    /// The coordinator's attempt; absent until it is claimed.
    pub attempt: Option<Attempt>,
    /// The running or newest execution; 0 before the first.
    pub execution: Execution,
    /// When the running execution came up; absent while none runs.
    pub running_since_us: Option<u64>,
    /// Subtasks per vertex of the running or next execution.
    pub parallelism: u32,
    /// The parallelism that the job is about to change to.
    pub rescaling_to: Option<u32>,
    /// The job graph.
    pub graph: JobGraph,
    /// The workers that are there.
    pub workers: Vec<WorkerStatus>,
    /// How far each vertex is, in the graph's order.
    pub vertices: Vec<VertexStatus>,
    /// Rows that the sources read in this execution.
    pub source_rows: u64,
    /// Rows that the sinks wrote in this execution.
    pub sink_rows: u64,
    /// Rows per second that the sources read, over the last report of each subtask.
    pub source_rows_per_second: f64,
    /// Rows per second that the sinks wrote, likewise.
    pub sink_rows_per_second: f64,
    /// Lowest watermark of the sinks, milliseconds since the Unix epoch; absent before the first.
    pub watermark_ms: Option<i64>,
    /// Checkpoints.
    pub checkpoints: CheckpointsStatus,
    /// Savepoints: those under way in the order in which they were asked for, then those that ended, newest first.
    pub savepoints: Vec<SavepointStatus>,
    /// The newest restarts, newest first; how many there were in all is in the counters.
    pub restarts: Vec<RestartStatus>,
    /// How the newest executions came up, newest first; the first may not be over.
    pub recoveries: Vec<RecoveryStatus>,
    /// What is wrong now and being waited out.
    pub troubles: Vec<Failure>,
    /// What is to be known of this attempt though nothing is wrong with it.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The newest failure of an execution, also after the job went on.
    pub last_failure: Option<FailureStatus>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Claiming the journal, waiting for slots, or starting subtasks for the first time.
    Starting,
    /// Starting subtasks from a checkpoint, or repeating its commits.
    Restoring,
    /// Rows flow.
    Running,
    /// An execution failed and another will follow.
    Restarting,
    /// A last checkpoint and the end of all subtasks.
    Stopping,
    /// All sources ended and everything is committed.
    Finished,
    /// Stopped on request; can be resumed.
    Stopped,
    /// Failed for good.
    Failed,
    /// Another coordinator has taken over.
    Fenced,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Restoring,
        Self::Running,
        Self::Restarting,
        Self::Stopping,
        Self::Finished,
        Self::Stopped,
        Self::Failed,
        Self::Fenced,
    ];
}

/// Something that a user may not expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// Since when.
    pub at_us: u64,
    /// What it is about.
    pub kind: WarningKind,
    /// In a sentence or two.
    pub message: String,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WarningKind {
    /// The job has state of its own, so that it does not start from what `restoreFrom` names.
    RestoreFromIgnored,
    /// The newest checkpoint is missing or damaged; the attempt began from the one before it, as the user permits.
    SteppedBack,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Its number.
    pub id: WorkerId,
    /// Host and process.
    pub name: String,
    /// Slots it offers.
    pub slots: u32,
    /// Slots that the running execution uses.
    pub used: u32,
    /// Whether it is about to go and takes no new subtasks.
    pub draining: bool,
}

/// A vertex: sums over its subtasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VertexStatus {
    /// Which.
    pub id: VertexId,
    /// For people.
    pub name: String,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Rows that were too late for a window.
    pub late_rows: u64,
    /// Records that could not be decoded.
    pub bad_records: u64,
    /// Lowest watermark, milliseconds since the Unix epoch; absent before the first.
    pub watermark_ms: Option<i64>,
    /// Bytes of working state.
    pub state_bytes: u64,
    /// Highest share of its time that a subtask worked since its report before, 0 to 1.
    pub busy_ratio: f64,
    /// Highest share of its time that a subtask waited for room in an output, likewise.
    pub backpressured_ratio: f64,
    /// Each subtask, by index.
    pub subtasks: Vec<SubtaskStatus>,
}

/// A subtask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskStatus {
    /// Which.
    pub subtask: SubtaskId,
    /// Where it runs.
    pub worker: Option<WorkerId>,
    /// Whether it is a source that came to its end.
    pub exhausted: bool,
    /// What it last reported.
    pub progress: SubtaskProgress,
    /// Rows per second that came in, between its last two reports.
    pub rows_in_per_second: f64,
    /// Rows per second that went out, likewise.
    pub rows_out_per_second: f64,
    /// Share of its time that it worked, likewise, 0 to 1.
    pub busy_ratio: f64,
    /// Share of its time that it waited for room in an output, likewise, 0 to 1.
    pub backpressured_ratio: f64,
    /// Share of its time that it had nothing to do, likewise, 0 to 1.
    pub idle_ratio: f64,
}

/// All about checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointsStatus {
    /// Counters over the life of the job.
    pub counters: Counters,
    /// Completed by all that ended; absent before the first ended.
    pub success_rate: Option<f64>,
    /// How many failed since the last that completed.
    pub failed_in_row: u32,
    /// The newest completed one: what a restart goes on from.
    pub last_completed: Option<CheckpointId>,
    /// What this attempt started from.
    pub restored: Option<CheckpointId>,
    /// When the newest completed one of this attempt was triggered.
    pub last_completed_us: Option<u64>,
    /// The one that is under way.
    pub current: Option<CheckpointStatus>,
    /// The newest that ended, newest first.
    pub newest: Vec<CheckpointStatus>,
    /// Completed ones that are kept, oldest first.
    pub retained: Vec<CheckpointId>,
}

/// Where a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CheckpointState {
    /// Some subtasks have not acknowledged.
    Collecting,
    /// Manifest and objects are written and looked for.
    Storing,
    /// Its record is being appended.
    Recording,
    /// It is durable, and its sinks are making their output visible.
    Committing,
    /// It is durable and all its output is visible.
    Completed,
    /// It will not complete.
    Failed,
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// Its number.
    pub id: CheckpointId,
    /// In which execution.
    pub execution: Execution,
    /// Why it was taken.
    pub reason: CheckpointKind,
    /// Where it stands.
    pub state: CheckpointState,
    /// When it was triggered.
    pub triggered_us: u64,
    /// Trigger to the last acknowledgement.
    pub acknowledged_after_us: Option<u64>,
    /// Trigger to the durable record.
    pub completed_after_us: Option<u64>,
    /// Trigger to the end of the commits.
    pub committed_after_us: Option<u64>,
    /// Bytes that it added to the store.
    pub new_bytes: u64,
    /// Bytes that a restore has to read.
    pub full_bytes: u64,
    /// Who has not acknowledged (while it collects, and if it failed by that).
    pub missing: Vec<SubtaskId>,
    /// How long each phase took, per subtask that acknowledged.
    pub subtasks: Vec<SubtaskPhases>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// How long each phase of a checkpoint took in one subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskPhases {
    /// Which.
    pub subtask: SubtaskId,
    /// Durations, microseconds.
    pub times: PhaseTimes,
    /// Bytes it added to the store.
    pub new_bytes: u64,
    /// Bytes that a restore of it has to read.
    pub full_bytes: u64,
}

/// A restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// Which execution failed.
    pub execution: Execution,
    /// Why and when.
    pub failure: FailureStatus,
    /// How long the next one was put off, microseconds; absent if there is none.
    pub delay_us: Option<u64>,
}

/// Why an execution began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecoveryCause {
    /// The attempt began.
    Start,
    /// The one before failed.
    Failure,
    /// The one before lost a worker.
    LostWorker,
    /// A worker was to go.
    Drain,
    /// The parallelism was changed.
    Rescale,
    /// What ran under another coordinator was taken over; rows did not stop.
    Adoption,
}

impl RecoveryCause {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Failure, Self::LostWorker, Self::Drain, Self::Rescale, Self::Adoption];
}

/// How an execution came up. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryStatus {
    /// Which execution.
    pub execution: Execution,
    /// Why it began.
    pub cause: RecoveryCause,
    /// What went wrong with the one before.
    pub failure: Option<Failure>,
    /// Subtasks per vertex.
    pub parallelism: u32,
    /// When the coordinator noticed that another execution was needed; after a drain or a change of parallelism
    /// when sources stopped reading.
    pub detected_us: u64,
    /// When all subtasks of the one before had stopped.
    pub cancelled_us: Option<u64>,
    /// When workers were told to start subtasks.
    pub placed_us: Option<u64>,
    /// When all subtasks were up and had read their state.
    pub deployed_us: Option<u64>,
    /// When outstanding commits were repeated and rows were let in.
    pub running_us: Option<u64>,
    /// When a sink put out its first row, by the clock of its worker; absent after a take-over.
    pub first_row_us: Option<u64>,
    /// What was read: bytes over all workers, and the time of the slowest.
    pub restored: RestoreReport,
}

impl RecoveryStatus {
    /// How long rows stood still, microseconds; absent before they flow again.
    pub fn pause_us(&self) -> Option<u64> {
        match self.cause {
            RecoveryCause::Adoption => self.running_us.map(|_| 0),
            _ => self.first_row_us.or(self.running_us).map(|end| end.saturating_sub(self.detected_us)),
        }
    }
}

/// A failure with its place and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// When.
    pub at_us: u64,
    /// Which subtask, if one alone.
    pub subtask: Option<SubtaskId>,
    /// What.
    pub failure: Failure,
}
