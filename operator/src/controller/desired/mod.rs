//! The objects of a job, one file per kind. Pure: from what is wanted to what is applied, and nothing else.

mod config_map;
mod disruption_budget;
mod network_policy;
mod pods;
mod secret;
mod service;
mod service_account;

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::validate::Wanted;
use crate::certificates::Authority;

pub use config_map::{JOB_FILE, config_map};
pub use pods::{coordinator, savepoint_eraser, state_eraser, worker};

/// An object that is applied as a whole; pods are made and deleted one by one instead.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful per pass")]
pub enum Object {
    /// Finds the coordinator.
    Service(Service),
    /// The job's manifest, one per version.
    ConfigMap(ConfigMap),
    /// The job's certificates.
    Secret(Secret),
    /// Who the pods are, which is nobody.
    ServiceAccount(ServiceAccount),
    /// One pod at a time.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Who may connect.
    NetworkPolicy(NetworkPolicy),
}

impl Object {
    /// What it is, for people: its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Service(_) => "Service",
            Self::ConfigMap(_) => "ConfigMap",
            Self::Secret(_) => "Secret",
            Self::ServiceAccount(_) => "ServiceAccount",
            Self::PodDisruptionBudget(_) => "PodDisruptionBudget",
            Self::NetworkPolicy(_) => "NetworkPolicy",
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        match self {
            Self::Service(o) => &o.metadata,
            Self::ConfigMap(o) => &o.metadata,
            Self::Secret(o) => &o.metadata,
            Self::ServiceAccount(o) => &o.metadata,
            Self::PodDisruptionBudget(o) => &o.metadata,
            Self::NetworkPolicy(o) => &o.metadata,
        }
    }
}

/// All objects but pods, in the order in which they are applied: what pods need comes first. `with_origin`:
/// whether the job may still take its first state from somewhere. `resting`: whether no pods are to run.
pub fn objects(
    wanted: &Wanted,
    authority: &Authority,
    epoch: u64,
    with_origin: bool,
    resting: bool,
) -> Vec<Object> {
    let mut objects = vec![
        Object::ServiceAccount(service_account::service_account(wanted)),
        Object::Secret(secret::secret(wanted, authority, epoch)),
        Object::ConfigMap(config_map(wanted, with_origin)),
        Object::Service(service::service(wanted)),
        Object::NetworkPolicy(network_policy::network_policy(wanted)),
        Object::PodDisruptionBudget(disruption_budget::disruption_budget(wanted, resting)),
    ];
    // An account of the user's, for the cloud's web identity, is the user's to make.
    if wanted.worker().service_account_name.is_some() {
        objects.remove(0);
    }
    objects
}

#[cfg(test)]
mod tests;
