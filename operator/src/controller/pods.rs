//! What a pod of a job is, read off it once: whose, for what, how it is, and what is wrong with it. Pure.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use weir_crds::Reason;

use crate::names::{COMPONENT, INDEX, JOB_UID, SETTINGS, VERSION};

/// What a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Coordinates.
    Coordinator,
    /// Works, under an index.
    Worker(u32),
}

/// A pod of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its uid: what is deleted is this pod and not its namesake.
    pub uid: String,
    /// What it is for.
    pub role: Role,
    /// The version that it is made of.
    pub version: String,
    /// What its coordinator started with.
    pub settings: Option<String>,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// Whether it is on its way out.
    pub going: bool,
    /// Whether it will never run again.
    pub over: bool,
    /// Whether its container runs.
    pub running: bool,
    /// When it was made.
    pub since: Option<Timestamp>,
    /// How often its container was started again.
    pub restarts: i32,
    /// What is wrong with it.
    pub trouble: Option<Trouble>,
}

impl PodView {
    /// Whether it counts: it is there, and may run.
    pub fn counts(&self) -> bool {
        !self.going && !self.over
    }
}

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In one word.
    pub reason: Reason,
    /// In a sentence, with the next step.
    pub message: String,
}

/// Reads a pod; `None` if it is no pod of this job.
pub fn view(pod: &Pod, job: &str) -> Option<PodView> {
    let labels = pod.metadata.labels.as_ref()?;
    let owned = pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == job);
    if labels.get(JOB_UID).map(String::as_str) != Some(job) || !owned {
        return None;
    }
    let role = match labels.get(COMPONENT)?.as_str() {
        "coordinator" => Role::Coordinator,
        "worker" => Role::Worker(labels.get(INDEX)?.parse().ok()?),
        _ => return None,
    };
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.iter().flatten().next();
    let phase = status.phase.as_deref().unwrap_or("Pending");
    Some(PodView {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        role,
        version: labels.get(VERSION).cloned().unwrap_or_default(),
        settings: labels.get(SETTINGS).cloned(),
        address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
        going: pod.metadata.deletion_timestamp.is_some(),
        over: matches!(phase, "Failed" | "Succeeded"),
        running: container.is_some_and(|c| c.state.as_ref().is_some_and(|s| s.running.is_some())),
        since: pod.metadata.creation_timestamp.as_ref().map(|t| t.0),
        restarts: container.map_or(0, |c| c.restart_count),
        trouble: trouble(pod),
    })
}

/// What a warning about a pod that does not come up says.
pub fn trouble_of_warning(pod: &str, reason: &str, message: &str) -> Option<Trouble> {
    let (kind, next) = match reason {
        "FailedMount" | "FailedAttachVolume" => {
            (Reason::MissingReference, "Make the Secret or ConfigMap that worker.volumes names")
        }
        "FailedScheduling" => (Reason::Unschedulable, "Add nodes, or ask for less in worker.resources"),
        "FailedCreatePodSandBox" | "NetworkNotReady" => {
            (Reason::CreatingPods, "See the node's network and kubelet")
        }
        "Evicted" | "Preempted" => (Reason::Evicted, "Another pod takes its place"),
        _ => return None,
    };
    let message = format!("pod {pod} does not come up: {}. {next}", last_words(message));
    Some(Trouble { reason: kind, message })
}

/// What is wrong with a pod, if something is.
fn trouble(pod: &Pod) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        let why = status.message.clone().or_else(|| status.reason.clone()).unwrap_or_default();
        let message = format!("pod {name} was put off its node ({why}); another takes its place");
        return Some(Trouble { reason: Reason::Evicted, message });
    }
    let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled");
    if let Some(condition) = scheduled.filter(|c| c.status == "False") {
        let why = condition.message.as_deref().unwrap_or("no node fits");
        let message = format!(
            "pod {name} finds no node: {why}. Add nodes, ask for less in worker.resources, or widen nodeSelector, tolerations or affinity"
        );
        return Some(Trouble { reason: Reason::Unschedulable, message });
    }
    status.container_statuses.iter().flatten().find_map(|container| of_container(name, container))
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref());
    let reason = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
    let why = waiting.and_then(|w| w.message.as_deref()).unwrap_or_default();
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble {
            reason: Reason::ImagePullFailed,
            message: format!(
                "pod {pod} can't get the image {}: {why}. Correct worker.image, or give worker.imagePullSecrets",
                container.image
            ),
        }),
        "CreateContainerConfigError" | "CreateContainerError" => Some(Trouble {
            reason: Reason::MissingReference,
            message: format!("pod {pod} can't be set up: {why}. Make the Secret or ConfigMap that it names"),
        }),
        _ => ended(pod, container, reason == "CrashLoopBackOff"),
    }
}

/// How often a container may have been started again before that alone is a trouble.
const RESTARTS: i32 = 2;

/// What the last end of a container says, while it waits for the next start.
fn ended(pod: &str, container: &ContainerStatus, backing_off: bool) -> Option<Trouble> {
    let runs = container.state.as_ref().is_some_and(|s| s.running.is_some());
    let last = |state: &Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.clone());
    let end = last(&container.state).or_else(|| last(&container.last_state))?;
    let words = end.message.as_deref().map(last_words).unwrap_or_default();
    if end.reason.as_deref() == Some("OOMKilled") {
        let message = format!(
            "pod {pod} was killed because it took more memory than its limit. Raise worker.resources.limits.memory, lower state.memoryLimit, or raise parallelism"
        );
        return Some(Trouble { reason: Reason::OutOfMemory, message });
    }
    if runs || end.exit_code == 0 {
        return None;
    }
    let (reason, what) = match end.exit_code {
        // The exit codes of weir: docs/exit-codes.md.
        3 => (Reason::InvalidSql, "the job was refused; correct spec.sql".to_owned()),
        5 => (Reason::StorageUnreachable, "the storage can't be used".to_owned()),
        6 => (Reason::StateUnreadable, "state can't be used".to_owned()),
        4 | 8 | 143 => return None,
        code if backing_off || container.restart_count >= RESTARTS => {
            (Reason::CrashLoop, format!("it ends again and again, with exit code {code}; see its logs"))
        }
        _ => return None,
    };
    let words = if words.is_empty() { String::new() } else { format!(": {words}") };
    Some(Trouble { reason, message: format!("pod {pod}: {what}{words}") })
}

/// The end of what a process said last, short enough for a condition.
fn last_words(text: &str) -> String {
    const MOST: usize = 1500;
    let text = text.trim();
    let from = text.len().saturating_sub(MOST);
    let from = (from..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(text.len());
    text[from..].to_owned()
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;
