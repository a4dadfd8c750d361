//! The rules of fields that the engine does not read: what the pods look like, upgrade, restore and
//! deletion. And which fields belong to which restart strategy. Names of objects are a matter of shape.

use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;

use super::collector::Collector;
use crate::{RestartSpec, Strategy, StreamJobSpec, WorkerSpec, limits};

/// Labels, annotations and environment variables under these belong to the operator.
const OURS: &str = "weir.dev";
const OUR_ENV: &str = "WEIR_";

pub(super) fn check_restart_fields(c: &mut Collector<'_>, s: &RestartSpec, strategy: Strategy) {
    use Strategy::{ExponentialDelay, FailureRate, FixedDelay};
    let fields: [(&str, bool, &[Strategy]); 9] = [
        ("attempts", s.attempts.is_some(), &[FixedDelay]),
        ("delay", s.delay.is_some(), &[FixedDelay, FailureRate]),
        ("initialDelay", s.initial_delay.is_some(), &[ExponentialDelay]),
        ("maxDelay", s.max_delay.is_some(), &[ExponentialDelay]),
        ("backoffMultiplier", s.backoff_multiplier.is_some(), &[ExponentialDelay]),
        ("resetAfter", s.reset_after.is_some(), &[ExponentialDelay]),
        ("jitter", s.jitter.is_some(), &[ExponentialDelay]),
        ("maxFailuresPerInterval", s.max_failures_per_interval.is_some(), &[FailureRate]),
        ("interval", s.interval.is_some(), &[FailureRate]),
    ];
    for (field, given, owners) in fields {
        let path = format!("spec.restart.{field}");
        let holds = !given || owners.contains(&strategy) || c.is_set(&path);
        c.together(&[&path, "spec.restart.strategy"], holds, || {
            let owners: Vec<String> = owners.iter().map(|o| format!("{o:?}")).collect();
            format!("belongs to strategy {}, but the strategy is {strategy:?}", owners.join(" or "))
        });
    }
}

pub(super) fn check_the_rest(c: &mut Collector<'_>, spec: &StreamJobSpec) {
    if let Some(worker) = &spec.worker {
        check_worker(c, worker);
        check_resources(c, "spec.worker.resources", worker.resources.as_ref());
    }
    let coordinator = spec.coordinator.as_ref().and_then(|c| c.resources.as_ref());
    check_resources(c, "spec.coordinator.resources", coordinator);
    if let Some(from) = &spec.restore_from {
        match (&from.savepoint, &from.location) {
            (Some(_), Some(_)) => {
                c.problem("spec.restoreFrom", "savepoint and location are both given: keep one of the two");
            }
            (None, None) => c.together(
                &["spec.restoreFrom", "spec.restoreFrom.savepoint", "spec.restoreFrom.location"],
                false,
                || "one of savepoint and location must be given".to_owned(),
            ),
            (Some(id), None) if !super::is_label(id, 63) => c.problem(
                "spec.restoreFrom.savepoint",
                format!("{id:?} is not the id of a savepoint: 1 to 63 characters of a-z, 0-9 and '-'"),
            ),
            (None, Some(url)) => {
                if let Err(message) = crate::check_storage_url(url) {
                    c.problem("spec.restoreFrom.location", message);
                }
            }
            (Some(_), None) => {}
        }
    }
    let stable = spec.upgrade.as_ref().and_then(|u| u.stable_within.clone());
    c.duration("spec.upgrade.stableWithin", &stable, &limits::STABLE_WITHIN, Duration::from_secs(600));
    let deadline = spec.deletion.as_ref().and_then(|d| d.deadline.clone());
    c.duration("spec.deletion.deadline", &deadline, &limits::DEADLINE, Duration::from_secs(120));
}

fn check_worker(c: &mut Collector<'_>, w: &WorkerSpec) {
    c.count("spec.worker.standby", w.standby, 0..=64, 0);
    if let Some(image) = w.image.as_deref().filter(|i| i.is_empty() || i.contains(char::is_whitespace)) {
        c.problem("spec.worker.image", format!("{image:?} is not the name of an image"));
    }
    for (field, map) in [("labels", &w.labels), ("annotations", &w.annotations)] {
        for key in map.iter().flat_map(|m| m.keys()) {
            let domain = key.split('/').next().unwrap_or_default();
            if key.contains('/') && (domain == OURS || domain.ends_with(&format!(".{OURS}"))) {
                let path = crate::shape::field_path(&format!("spec.worker.{field}"), key);
                c.problem(&path, format!("{field} under {OURS} belong to the operator"));
            }
        }
    }
    for (i, env) in w.env.iter().flatten().enumerate() {
        check_env(c, &format!("spec.worker.env[{i}]"), env);
    }
    for (i, volume) in w.volumes.iter().flatten().enumerate() {
        check_volume(c, &format!("spec.worker.volumes[{i}]"), volume);
    }
}

/// What Kubernetes would refuse of a pod only after the job was stopped for it.
fn check_resources(c: &mut Collector<'_>, path: &str, resources: Option<&ResourceRequirements>) {
    let Some(resources) = resources else { return };
    if resources.claims.is_some() {
        c.problem(&format!("{path}.claims"), "claims of devices are not supported");
    }
    for (field, quantities) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, quantity) in quantities.iter().flatten() {
            let path = crate::shape::field_path(&format!("{path}.{field}"), name);
            if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") && !name.contains('/') {
                c.problem(
                    &path,
                    "is not a resource: use cpu, memory, ephemeral-storage or an extended resource",
                );
            } else if crate::text::quantity(&quantity.0).is_none() {
                c.problem(&path, format!("{:?} is not a quantity such as 500m, 2 or 1Gi", quantity.0));
            }
        }
    }
    for (name, request) in resources.requests.iter().flatten() {
        let limit = resources.limits.as_ref().and_then(|l| l.get(name));
        let over = limit.and_then(|l| crate::text::quantity(&l.0)).zip(crate::text::quantity(&request.0));
        if over.is_some_and(|(limit, request)| request > limit) {
            let path = crate::shape::field_path(&format!("{path}.requests"), name);
            c.problem(&path, "is more than the limit");
        }
    }
}

fn check_env(c: &mut Collector<'_>, path: &str, env: &crate::EnvVar) {
    let mut bytes = env.name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let message = format!("{:?} is not a name of a variable: A-Z, a-z, 0-9 and '_'", env.name);
        c.problem(&format!("{path}.name"), message);
    }
    if env.name.starts_with(OUR_ENV) {
        c.problem(&format!("{path}.name"), format!("names that start with {OUR_ENV} belong to the operator"));
    }
    if env.value.is_some() == env.value_from.is_some() {
        c.together(&[path], false, || "exactly one of value and valueFrom must be given".to_owned());
    }
    if let Some(from) = &env.value_from
        && from.secret_key_ref.is_some() == from.config_map_key_ref.is_some()
    {
        c.together(&[&format!("{path}.valueFrom")], false, || {
            "exactly one of secretKeyRef and configMapKeyRef must be given".to_owned()
        });
    }
}

fn check_volume(c: &mut Collector<'_>, path: &str, volume: &crate::VolumeMount) {
    let mount = &volume.mount_path;
    let climbs = mount.split('/').any(|s| s == "..");
    if !mount.starts_with('/') || mount.contains(':') || climbs {
        let message = format!("{mount:?} is not an absolute path without '..' and ':'");
        c.problem(&format!("{path}.mountPath"), message);
    }
    let sources = [volume.secret.is_some(), volume.config_map.is_some(), volume.empty_dir.is_some()];
    if sources.iter().filter(|given| **given).count() != 1 {
        c.together(&[path], false, || {
            "exactly one of secret, configMap and emptyDir must be given".to_owned()
        });
    }
    c.size(&format!("{path}.emptyDir"), &volume.empty_dir, &limits::SCRATCH, 0);
}
