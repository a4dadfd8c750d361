//! Names and labels of a job's objects. Every name holds the job's name for people and eight characters of its
//! uid, so that objects of a job that was deleted are never taken for those of its namesake.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Who writes, for server-side apply.
pub const FIELD_MANAGER: &str = "weir-operator";
/// The finalizer of jobs and savepoints.
pub const FINALIZER: &str = "weir.dev/operator";

/// On every object: the uid of the job.
pub const JOB_UID: &str = "weir.dev/job-uid";
/// On pods and ConfigMaps: the version that they are made of.
pub const VERSION: &str = "weir.dev/version";
/// On worker pods: their index.
pub const INDEX: &str = "weir.dev/worker";
/// On the coordinator's pod: the digest of the settings that it started with.
pub const SETTINGS: &str = "weir.dev/settings";
/// On a job: another value makes it start anew, with its state.
pub const RESTART: &str = "weir.dev/restart";
/// What a pod is for.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Whose objects they are.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Where workers connect to the coordinator.
pub const CONTROL_PORT: u16 = 7070;
/// Where workers connect to each other.
pub const EXCHANGE_PORT: u16 = 7071;
/// Where the coordinator takes changes of the job, by certificate.
pub const ADMIN_PORT: u16 = 7443;
/// Where the coordinator serves status and metrics, to be read.
pub const HTTP_PORT: u16 = 8081;

/// Who a job is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its name: a DNS label of at most 52 characters.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid: the folder of its state.
    pub uid: String,
}

impl Identity {
    /// The name of all that there is once per job, and what the names of the others begin with.
    pub fn base(&self) -> String {
        let short: String = self.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        // Names of Services begin with a letter.
        let letter = if self.name.starts_with(|c: char| c.is_ascii_digit()) { "w" } else { "" };
        format!("{letter}{}-{short}", self.name)
    }

    /// The ConfigMap of a version.
    pub fn config_map(&self, version: &str) -> String {
        format!("{}-{version}", self.base())
    }

    /// A coordinator's pod; the incarnation tells it from one that is still going.
    pub fn coordinator(&self, incarnation: u32) -> String {
        format!("{}-c-{incarnation}", self.base())
    }

    /// A worker's pod, likewise.
    pub fn worker(&self, index: u32, incarnation: u32) -> String {
        format!("{}-w{index}-{incarnation}", self.base())
    }

    /// The pod that deletes the state of the job.
    pub fn state_eraser(&self) -> String {
        format!("{}-e", self.base())
    }

    /// The labels by which the objects of the job are found.
    pub fn selector(&self) -> BTreeMap<String, String> {
        [(JOB_UID.to_owned(), self.uid.clone())].into()
    }

    /// The labels of every object.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/name".to_owned(), "weir".to_owned());
        labels.insert("app.kubernetes.io/instance".to_owned(), self.name.clone());
        labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
        labels
    }

    /// The metadata of an object that belongs to the job and goes with it.
    pub fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: weir_crds::API_VERSION.to_owned(),
            kind: "StreamJob".to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            // The job's own finalizer says what happens before it goes.
            block_owner_deletion: Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_good_for_every_kind_and_differ_between_namesakes() {
        let identity = |name: &str, uid: &str| Identity {
            name: name.to_owned(),
            namespace: "n".to_owned(),
            uid: uid.to_owned(),
        };
        let long = identity(&"j".repeat(52), "0b4f3c1e-aaaa");
        assert!(long.base().len() <= 63 && long.config_map("0123456789").len() <= 253);
        assert_eq!(
            identity("1st", "0b4f3c1e-1").base(),
            "w1st-0b4f3c1e",
            "a Service's name begins with a letter"
        );
        assert_ne!(identity("a", "0b4f3c1e-1").base(), identity("a", "1b4f3c1e-1").base());
    }
}
