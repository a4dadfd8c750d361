//! Nodes are drained one pod of a job at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controller::validate::Wanted;

/// The PodDisruptionBudget: all pods but one. For pods without a controller that Kubernetes knows, only a number
/// of pods that must stay is understood. What rests needs none.
pub(super) fn disruption_budget(wanted: &Wanted, resting: bool) -> PodDisruptionBudget {
    let pods = if resting { 0 } else { 1 + wanted.workers() };
    let stay = i32::try_from(pods.saturating_sub(1)).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata: wanted.identity.metadata(wanted.identity.base()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(stay)),
            selector: Some(LabelSelector {
                match_labels: Some(wanted.identity.selector()),
                ..LabelSelector::default()
            }),
            // A pod that is not ready anyway must not hold up the drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
