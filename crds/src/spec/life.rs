//! Upgrade, restore and deletion, as a person writes them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a change of the job takes over the state of the job before it.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeSpec {
    /// What the changed job starts from. Default: Savepoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<UpgradeMode>,

    /// A changed job that has not completed a checkpoint within this time is taken back to what ran before,
    /// once. 1s to 1d. Default: 10m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_within: Option<String>,
}

/// What a changed job starts from.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum UpgradeMode {
    /// A snapshot taken for the upgrade: nothing is replayed.
    #[default]
    Savepoint,
    /// The last completed checkpoint: input since then is replayed.
    LastCheckpoint,
    /// Nothing: state is dropped.
    Stateless,
}

/// Where a new job takes its first state from. Exactly one field.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.savepoint) != has(self.location)")
        .message("exactly one of savepoint and location must be given")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreFrom {
    /// A savepoint: on Kubernetes the name of a `Savepoint` object of the same namespace, of this or of another
    /// job; for `weir run` the id of a savepoint of this job.
    #[schemars(regex(pattern = crate::limits::SAVEPOINT), length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,

    /// Where a savepoint is, also one of another job: `s3://bucket/prefix/…` or `file:///folder/…`.
    #[schemars(regex(pattern = crate::limits::STORAGE), length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl RestoreFrom {
    /// As a job's configuration says it: `savepoint/<id>`, or the URL.
    pub fn origin(&self) -> Option<String> {
        let own = self.savepoint.as_ref().map(|id| format!("savepoint/{id}"));
        own.or_else(|| self.location.clone())
    }
}

/// What happens to the state when the job is deleted.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionSpec {
    /// Whether a last snapshot is taken. Default: BestEffort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<DeletionSnapshot>,

    /// Deletion ends by this time, whatever is down. 1s to 1h. Default: 2m.
    #[schemars(regex(pattern = crate::limits::DURATION), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,

    /// Whether journal and checkpoints stay in the storage when the job is deleted; savepoints always do. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_state: Option<bool>,
}

/// Whether a last snapshot is taken when a job is deleted.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum DeletionSnapshot {
    /// Tried until the deadline.
    #[default]
    BestEffort,
    /// Not tried.
    None,
}
