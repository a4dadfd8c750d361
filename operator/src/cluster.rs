//! The API server as the operator uses it: a small trait, so that all that is decided and applied runs against a
//! real one, and against a model of one that fails and dies wherever it likes.

mod live;
mod pods;
mod recent;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use weir_crds::{Savepoint, StreamJob};

use crate::controller::desired::Object;
use crate::names::Identity;

pub use live::{LiveCluster, bounded};
pub use pods::PodCache;

/// A namespaced name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of a job.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// Another object of the same namespace. There is no way to name one of another.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self { namespace: self.namespace.clone(), name: name.to_owned() }
    }

    /// Who the job of this key is.
    pub fn identity(&self, job: &StreamJob) -> Identity {
        Identity {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// Why the API server did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The object has changed, or is another one: look again.
    #[error("{what}: it has changed meanwhile")]
    Conflict {
        /// Which.
        what: String,
    },
    /// It is not there.
    #[error("{what}: it is not there")]
    Missing {
        /// Which.
        what: String,
    },
    /// It never will as long as nothing else changes: rights, quota, policy, a field that is refused.
    #[error("the API server refuses {what}: {why}")]
    Refused {
        /// What.
        what: String,
        /// In the server's words.
        why: String,
    },
    /// It can't be reached, is overloaded, or does not answer in time.
    #[error("{what}: {why}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// Why.
        why: String,
    },
}

/// An event for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note {
    /// Whether it needs a look.
    pub warning: bool,
    /// In one word.
    pub reason: String,
    /// What was being done.
    pub action: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The API server.
pub trait Cluster: Send + Sync + 'static {
    /// The time.
    fn now(&self) -> Timestamp;

    /// A job, from the server itself.
    fn job(&self, key: &Key) -> impl Future<Output = Result<Option<StreamJob>, ClusterError>> + Send;

    /// The pods of a job; unless `fresh`, they may be as they were a while ago.
    fn pods(
        &self,
        job: &Key,
        uid: &str,
        fresh: bool,
    ) -> impl Future<Output = Result<Vec<Arc<Pod>>, ClusterError>> + Send;

    /// A ConfigMap; unless `fresh`, it may be as it was a while ago.
    fn config_map(
        &self,
        key: &Key,
        fresh: bool,
    ) -> impl Future<Output = Result<Option<ConfigMap>, ClusterError>> + Send;

    /// A savepoint.
    fn savepoint(&self, key: &Key) -> impl Future<Output = Result<Option<Savepoint>, ClusterError>> + Send;

    /// Any pod by its name.
    fn pod(&self, key: &Key) -> impl Future<Output = Result<Option<Pod>, ClusterError>> + Send;

    /// What kubelet and scheduler warn of a pod, or did a while ago: reason and message, the newest first.
    fn pod_warnings(
        &self,
        pod: &Key,
        uid: &str,
    ) -> impl Future<Output = Result<Vec<(String, String)>, ClusterError>> + Send;

    /// Applies an object as a whole; what others have set stays unless it contradicts.
    fn apply(&self, object: &Object) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Makes a pod. One of its name that is there already is as good: names say what a pod is.
    fn create_pod(&self, pod: &Pod) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Asks whether a pod would be permitted, without making it.
    fn try_pod(&self, pod: &Pod) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Deletes a pod if it is still the one with this uid. One that is gone is as good.
    fn delete_pod(&self, key: &Key, uid: &str) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Deletes a ConfigMap of the operator's. One that is gone is as good.
    fn delete_config_map(&self, key: &Key) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Writes the status of a job that is still as it was read; gives back what it is now.
    fn write_status(&self, job: &StreamJob) -> impl Future<Output = Result<StreamJob, ClusterError>> + Send;

    /// Puts the operator's finalizer on a job that is still as it was read, or takes it off.
    fn set_finalizer(
        &self,
        job: &StreamJob,
        there: bool,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Writes the status of a savepoint that is still as it was read.
    fn write_savepoint_status(
        &self,
        savepoint: &Savepoint,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Puts the operator's finalizer on a savepoint that is still as it was read, or takes it off.
    fn set_savepoint_finalizer(
        &self,
        savepoint: &Savepoint,
        there: bool,
    ) -> impl Future<Output = Result<(), ClusterError>> + Send;

    /// Tells people; that it is not told is no failure.
    fn note(&self, about: &StreamJob, note: &Note) -> impl Future<Output = ()> + Send;
}
