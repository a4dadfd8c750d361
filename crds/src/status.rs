//! What the operator reports of a job. A report, never the authority: that is the journal.
//!
//! The closed sets are enums in Rust and plain strings in the schema, with a variant for what this
//! version does not know: an older CRD must not refuse, and an older reader must not choke on, a
//! word that a newer operator wrote.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is known of a job.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamJobStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the job is doing, in one word.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub state: JobState,
    /// What holds of the job, each with the reason why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The coordinator's attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i64>,
    /// The deployment under that attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<i64>,
    /// Subtasks per vertex now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i32>,
    /// How often the job went back to a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i64>,
    /// The worker pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersStatus>,
    /// The checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointsStatus>,
    /// What a restart would go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_point: Option<CheckpointStatus>,
    /// What the newest change of the spec means for the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeStatus>,
    /// Which version of the spec runs. The operator's memory: if it is lost, the job is not harmed, but an
    /// upgrade that fails is not taken back.
    #[serde(default, skip_serializing_if = "VersionStatus::is_empty")]
    pub version: VersionStatus,
}

/// What a change of the spec means for the job.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStatus {
    /// The generation of the spec that brought it.
    #[serde(default)]
    pub generation: i64,
    /// `Ignore`, `InPlace` or `Restart`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub class: ChangeClass,
    /// Which fields, and why.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// What a change needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeClass {
    /// Nothing that runs changes.
    #[default]
    Ignore,
    /// Subtasks go on, or go over a checkpoint without leaving their processes.
    InPlace,
    /// A last checkpoint, then new pods.
    Restart,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// Which version of the spec runs, by the digests of what can't be changed while the job runs.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// The one whose pods run, or will.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The one that completed checkpoints last: what a failed upgrade goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The one that an upgrade was taken back from; it is not tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<String>,
    /// Why it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub rolled_back_because: Option<String>,
    /// Since when the current one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Since when the job is being stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopping: Option<Time>,
    /// How the current one ended, if it did: nothing runs any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedStatus>,
    /// The last attempt whose state was given up for an upgrade without state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_after: Option<i64>,
    /// Versions whose ConfigMaps are to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub superseded: Vec<String>,
}

impl VersionStatus {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a job ended.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedStatus {
    /// `Finished` or `Failed`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub state: JobState,
    /// Why, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub reason: Option<Reason>,
    /// In a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// Worker pods in numbers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkersStatus {
    /// How many the job needs.
    pub desired: i32,
    /// How many are registered with the coordinator.
    pub ready: i32,
    /// How many warm spares are registered.
    #[serde(default)]
    pub standby: i32,
}

/// Checkpoints in numbers. All counters cover the whole life of the job.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointsStatus {
    /// The newest completed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<CheckpointStatus>,
    /// How many were tried.
    #[serde(default)]
    pub total: i64,
    /// How many completed.
    #[serde(default)]
    pub completed: i64,
    /// How many failed or were aborted.
    #[serde(default)]
    pub failed: i64,
    /// Completed of tried, such as `99.8%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<String>,
}

/// One checkpoint.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// Its number; it only rises.
    pub id: i64,
    /// When it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// From trigger to completion, such as `1s250ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What it wrote, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// What holds of the job, and why.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which question it answers.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub type_: ConditionType,
    /// The answer.
    #[schemars(with = "String")]
    pub status: ConditionStatus,
    /// Why, in one word.
    #[schemars(with = "String")]
    pub reason: Reason,
    /// Why, in a sentence, and the next step to take.
    #[schemars(length(max = 4096))]
    pub message: String,
    /// When the answer last changed.
    pub last_transition_time: Time,
    /// The generation of the spec that it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The questions that can be waited for with `kubectl wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// All subtasks run and take rows.
    Ready,
    /// The job is on its way to what the spec asks for.
    Progressing,
    /// Checkpoints complete often enough.
    CheckpointsHealthy,
    /// It runs, but something needs a look.
    Degraded,
    /// It does not get on without help.
    Stalled,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// The answer of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// Yes.
    True,
    /// No.
    False,
    /// It can't be said now.
    #[serde(other)]
    Unknown,
}

/// What a job is doing, in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Not looked at yet.
    #[default]
    Pending,
    /// Pods and coordinator are coming up.
    Starting,
    /// Rows flow.
    Running,
    /// Going back to a checkpoint.
    Restoring,
    /// Taking a last checkpoint before it rests.
    Suspending,
    /// At rest by `spec.suspended`.
    Suspended,
    /// Changing over to a new spec.
    Upgrading,
    /// Its bounded input ended and all is committed.
    Finished,
    /// It failed for good.
    Failed,
    /// Being deleted.
    Deleting,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Why a condition is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// Nothing to report.
    AsExpected,
    /// The spec has problems; the message lists all of them.
    InvalidSpec,
    /// The SQL has problems; the message lists all of them.
    InvalidSql,
    /// Pods are being made.
    CreatingPods,
    /// A pod finds no node.
    Unschedulable,
    /// An image can't be pulled.
    ImagePullFailed,
    /// A container was killed for its memory.
    OutOfMemory,
    /// A container fails again and again.
    CrashLoop,
    /// A pod was evicted.
    Evicted,
    /// A pod can't get what it mounts or takes its environment from.
    MissingReference,
    /// The API server does not permit a pod or another object of the job.
    PodRefused,
    /// The savepoint that `restoreFrom` names is not there yet.
    WaitingForSavepoint,
    /// The job of a savepoint does not run now.
    WaitingForJob,
    /// The savepoint will not be made.
    SavepointFailed,
    /// Workers are missing.
    WorkersLost,
    /// Subtasks are going back to a checkpoint.
    Restoring,
    /// A checkpoint can't be read.
    StateUnreadable,
    /// State does not fit the job any more.
    StateIncompatible,
    /// Rows that were committed are gone.
    SinkDataLost,
    /// Checkpoints fail or take too long.
    CheckpointsFailing,
    /// No checkpoint completed for too long.
    CheckpointTooOld,
    /// The storage was refused by the store probe.
    StorageRefused,
    /// The storage can't be reached.
    StorageUnreachable,
    /// Near the memory limit: sources are held back.
    MemoryPressure,
    /// The restart strategy gave up.
    RestartsExhausted,
    /// At rest by `spec.suspended`.
    Suspended,
    /// Changing over to a new spec.
    Upgrading,
    /// Went back to the version before.
    RolledBack,
    /// The parallelism is changing.
    Rescaling,
    /// The bounded input ended.
    InputEnded,
    /// Being deleted.
    Deleting,
    /// The coordinator can't be reached.
    CoordinatorUnreachable,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl StreamJobStatus {
    /// The condition of a type, if it was ever set.
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.type_ == type_)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_newer_operator_are_read_and_not_choked_on() {
        let status: StreamJobStatus = serde_json::from_value(serde_json::json!({
            "state": "Levitating",
            "conditions": [{
                "type": "Haunted", "status": "Perhaps", "reason": "Ghosts", "message": "boo",
                "lastTransitionTime": "2026-01-01T00:00:00Z"
            }],
            "future": 1
        }))
        .expect("unknown words are allowed");
        assert_eq!(status.state, JobState::Unknown);
        assert_eq!(status.conditions[0].type_, ConditionType::Other);
        assert_eq!(status.conditions[0].status, ConditionStatus::Unknown);
        assert_eq!(status.conditions[0].reason, Reason::Other);
    }
}
