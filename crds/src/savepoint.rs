//! A savepoint as an object: made by applying it, named by `restoreFrom` of a job.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::Condition;

/// A complete copy of a job's state that belongs to you: take one by applying this, start a job from it with
/// `restoreFrom`.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "Savepoint",
    namespaced,
    doc = "A complete copy of a job's state that belongs to you: take one by applying this, start a job from it with restoreFrom.",
    status = "SavepointObjectStatus",
    derive = "PartialEq",
    shortname = "sp",
    category = "weir",
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.job", description = "Whose state it is"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "How far it is"),
    printcolumn(
        name = "Checkpoint",
        type_ = "integer",
        json_path = ".status.checkpoint",
        description = "The checkpoint that it is a copy of"
    ),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.bytes", description = "How large it is"),
    printcolumn(
        name = "Place",
        type_ = "string",
        json_path = ".status.place",
        description = "Where it is",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$')")
        .message("metadata.name: at most 52 characters of a-z, 0-9 and '-', starting and ending with a letter or digit")
)]
#[x_kube(
    validation = Rule::new("self.job == oldSelf.job && has(self.to) == has(oldSelf.to) && (!has(self.to) || self.to == oldSelf.to)")
        .message("job and to are fixed: make another Savepoint")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavepointSpec {
    /// The StreamJob of the same namespace whose state is copied. It has to run.
    #[schemars(regex(pattern = crate::limits::SAVEPOINT), length(max = 52))]
    pub job: String,

    /// The folder in which the savepoint gets its own: `s3://bucket/prefix`. The access to S3 is that of the
    /// job. Default: beside the job's checkpoints.
    #[schemars(regex(pattern = crate::limits::STORAGE), length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,

    /// What the deletion of this object does to the data. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// What the deletion of a Savepoint does to the data.
#[derive(JsonSchema, Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = crate::the_field_describes)]
pub enum DeletionPolicy {
    /// The data stays, for `weir savepoint delete` or for ever.
    #[default]
    Retain,
    /// The data is deleted by a pod with the job's access to S3. The job has to be there.
    Delete,
}

/// How far a savepoint is.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavepointObjectStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Pending`, `InProgress`, `Completed`, `Failed` or `Deleting`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub state: SavepointPhase,
    /// The uid of the job whose state it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// The id of the savepoint in the job's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The URL of the savepoint's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The checkpoint that it is a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<i64>,
    /// How large it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// When it was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// What holds of it, each with the reason why: `Ready`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How far a savepoint is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SavepointPhase {
    /// Not begun: the job does not run, or was not looked at yet.
    #[default]
    Pending,
    /// A checkpoint is being taken or copied.
    InProgress,
    /// The copy is whole and was read back.
    Completed,
    /// It will not be made; the conditions say why.
    Failed,
    /// Its data is being deleted.
    Deleting,
    /// One that this version does not know.
    #[serde(other)]
    Unknown,
}
