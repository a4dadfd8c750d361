//! The worker pods, as a person writes them: a closed list of what may be chosen, so that a job
//! can't ask for a host's folders, network or another namespace.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;

/// The worker pods.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.env) || self.env.all(e, !e.name.startsWith('WEIR_'))")
        .message("variables whose names start with WEIR_ belong to the operator")
        .field_path(".env")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSpec {
    /// Slots per worker; a job has parallelism / taskSlots workers, rounded up. 1 to 256. Default: 1.
    #[schemars(range(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_slots: Option<i32>,

    /// Warm spare workers. 0 to 64. Default: 0.
    #[schemars(range(min = 0, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<i32>,

    /// Processor and memory of one worker pod. Default: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// The worker image. Default: the operator's own; an image of yours where you add functions.
    #[schemars(length(min = 1, max = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// When the image is pulled. Default: as Kubernetes chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Secrets of the same namespace for pulling the image. At most 8.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_secrets: Option<Vec<SecretRef>>,

    /// The ServiceAccount, only for the cloud's web identity (S3 without keys). The API token is
    /// never mounted. Default: one of the job's own.
    #[schemars(regex(pattern = crate::limits::OBJECT_NAME), length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,

    /// Labels added to the pods; those under `weir.dev` are refused. At most 32.
    #[schemars(extend("maxProperties" = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,

    /// Annotations added to the pods; those under `weir.dev` are refused. At most 32.
    #[schemars(extend("maxProperties" = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,

    /// Labels that a node must have. At most 16.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// Taints of nodes that the pods tolerate. At most 16.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,

    /// Where the pods may or should run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// Environment variables; names that start with `WEIR_` are refused. At most 64.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,

    /// Secrets and ConfigMaps of the same namespace, and scratch folders, mounted into the pods. At
    /// most 16.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Vec<VolumeMount>>,
}

/// The coordinator's pod. Image, environment and placement are those of the workers.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CoordinatorSpec {
    /// Processor and memory of the coordinator's pod. Default: the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// When an image is pulled.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(transform = super::the_field_describes)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// An environment variable: a value, or where it comes from.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.valueFrom)")
        .message("exactly one of value and valueFrom must be given")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    #[schemars(regex(pattern = crate::limits::ENV_NAME), length(max = 253))]
    pub name: String,
    /// Its value. For secrets use `valueFrom`.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where a value comes from. Exactly one field.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
        .message("exactly one of secretKeyRef and configMapKeyRef must be given")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A key of a Secret of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or ConfigMap in the namespace of the job.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The name of the object.
    #[schemars(regex(pattern = crate::limits::OBJECT_NAME), length(max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(regex(pattern = crate::limits::DATA_KEY), length(max = 253))]
    pub key: String,
}

/// Something that is mounted into the pods. Exactly one of `secret`, `configMap` and `emptyDir`.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("[has(self.secret), has(self.configMap), has(self.emptyDir)].filter(x, x).size() == 1")
        .message("exactly one of secret, configMap and emptyDir must be given")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// Where it is seen in the pod: an absolute path.
    #[schemars(regex(pattern = crate::limits::MOUNT_PATH), length(max = 512))]
    pub mount_path: String,
    /// A Secret of the same namespace, read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    /// A ConfigMap of the same namespace, read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<SecretRef>,
    /// The size of a scratch folder that lives as long as the pod, such as `10Gi`.
    #[schemars(regex(pattern = crate::limits::SIZE), length(max = 32))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<String>,
}
