//! Which pods are to be made, and which to go.

use weir_crds::VersionStatus;

use super::{Facts, Step};
use crate::controller::desired;
use crate::controller::observe::{Observed, Seen};
use crate::controller::pods::{PodView, Role};
use crate::controller::validate::Wanted;

/// Deletes what is too much or not as it should be, and makes what is missing, in this order: a coordinator that
/// is replaced must not fence its successor.
pub(super) fn steps(facts: &Facts<'_>, wanted: &Wanted, memory: &VersionStatus) -> Vec<Step> {
    let pods = &facts.observed.pods;
    let workers = wanted.workers();
    let roles = std::iter::once(Role::Coordinator).chain((0..workers).map(Role::Worker));
    let mut deletes = Vec::new();
    let mut creates = Vec::new();
    for role in roles {
        let mut good: Vec<&PodView> = pods.iter().filter(|p| p.role == role && fits(p, wanted)).collect();
        good.sort_by_key(|p| (!p.running, p.since, p.name.clone()));
        match good.split_first() {
            Some((_, surplus)) => {
                deletes.extend(surplus.iter().map(|p| delete(p, "another one does the same")))
            }
            None => creates.push(create(wanted, role, pods, memory)),
        }
    }
    let may_shrink = is_at_size(facts.observed, wanted);
    for pod in pods.iter().filter(|p| !p.going) {
        match pod.role {
            _ if pod.over => deletes.push(delete(pod, "it will not run again")),
            _ if pod.version != wanted.version => deletes.push(delete(pod, "it is of another version")),
            Role::Coordinator if !fits(pod, wanted) => deletes.push(delete(pod, "its settings have changed")),
            Role::Worker(index) if index >= workers && may_shrink => {
                deletes.push(delete(pod, "the job needs fewer workers"));
            }
            Role::Coordinator | Role::Worker(_) => {}
        }
    }
    deletes.extend(creates);
    deletes
}

/// Deletes all pods that are not on their way out already.
pub(super) fn delete_all(pods: &[PodView], why: &'static str) -> Vec<Step> {
    pods.iter().filter(|p| !p.going).map(|p| delete(p, why)).collect()
}

/// Deletes the workers.
pub(super) fn delete_workers(pods: &[PodView], why: &'static str) -> Vec<Step> {
    let workers = pods.iter().filter(|p| !p.going && p.role != Role::Coordinator);
    workers.map(|p| delete(p, why)).collect()
}

fn delete(pod: &PodView, why: &'static str) -> Step {
    Step::Delete { name: pod.name.clone(), uid: pod.uid.clone(), why }
}

/// Whether a pod is one that the version wants.
fn fits(pod: &PodView, wanted: &Wanted) -> bool {
    let settings = pod.role != Role::Coordinator || pod.settings.as_ref() == Some(&wanted.settings);
    pod.counts() && pod.version == wanted.version && settings
}

/// Whether the job runs at the parallelism that is wanted: workers beyond it may go.
fn is_at_size(observed: &Observed, wanted: &Wanted) -> bool {
    match &observed.coordinator {
        Seen::Reached(report) => {
            report.parallelism == wanted.config.parallelism && report.rescaling_to.is_none()
        }
        Seen::Nobody | Seen::Unreachable(_) => false,
    }
}

/// Under the first name that no pod has: one of that name may still be going, on a node that does not answer.
fn create(wanted: &Wanted, role: Role, pods: &[PodView], memory: &VersionStatus) -> Step {
    let identity = &wanted.identity;
    let name = |incarnation| match role {
        Role::Coordinator => identity.coordinator(incarnation),
        Role::Worker(index) => identity.worker(index, incarnation),
    };
    let free = (0..).find(|n| pods.iter().all(|pod| pod.name != name(*n))).unwrap_or_default();
    Step::Create(match role {
        Role::Coordinator => desired::coordinator(wanted, free, memory.fresh_after),
        Role::Worker(index) => desired::worker(wanted, index, free),
    })
}
