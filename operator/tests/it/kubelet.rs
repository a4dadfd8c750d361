//! A model of kubelets: pods come up if what they need is there, and go when they are deleted.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::model::World;

/// One second passes.
pub(crate) fn tick(world: &mut World) {
    world.pass_time(1);
    remove_gone(world);
    let names: Vec<String> = world.pods.keys().cloned().collect();
    for name in names {
        let Some(pod) = world.pods.get(&name).cloned() else { continue };
        if pod.metadata.deletion_timestamp.is_none() && pod.status.is_none_or_waiting() {
            let status = start(world, &pod);
            if let Some(pod) = world.pods.get_mut(&name) {
                pod.status = serde_json::from_value(status).ok();
            }
        }
    }
    coordinate(world);
    world.remember();
}

trait Waiting {
    fn is_none_or_waiting(&self) -> bool;
}

impl Waiting for Option<k8s_openapi::api::core::v1::PodStatus> {
    fn is_none_or_waiting(&self) -> bool {
        let phase = self.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Running" | "Succeeded"))
    }
}

fn remove_gone(world: &mut World) {
    let stuck = world.stuck.clone();
    let gone: Vec<String> = world
        .pods
        .iter()
        .filter(|(name, pod)| pod.metadata.deletion_timestamp.is_some() && !stuck.contains(*name))
        .map(|(name, _)| name.clone())
        .collect();
    for name in gone {
        if let Some(uid) = world.pods.remove(&name).and_then(|pod| pod.metadata.uid) {
            world.engines.remove(&uid);
        }
    }
}

/// How a pod comes up.
fn start(world: &mut World, pod: &Pod) -> Value {
    let spec = pod.spec.clone().unwrap_or_default();
    let container = &spec.containers[0];
    let waiting = |reason: &str, message: &str, last: Value| {
        json!({"phase": "Pending", "containerStatuses": [{
            "name": "c", "image": container.image, "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": message}}, "lastState": last}]})
    };
    for volume in spec.volumes.iter().flatten() {
        let secret = volume.secret.as_ref().and_then(|s| s.secret_name.clone()).map(|n| ("Secret", n));
        let map = volume.config_map.as_ref().map(|m| ("ConfigMap", m.name.clone()));
        for (kind, name) in secret.into_iter().chain(map) {
            if !world.objects.contains_key(&(kind.to_owned(), name.clone())) {
                return waiting("CreateContainerConfigError", &format!("{kind} {name} not found"), json!({}));
            }
        }
    }
    if container.image.as_ref().is_some_and(|image| image.contains("missing")) {
        return waiting("ImagePullBackOff", "not found", json!({}));
    }
    if manifest(world, pod)
        .is_some_and(|m| m["spec"]["sql"].as_str().is_some_and(|sql| sql.contains("BROKEN")))
    {
        let last = json!({"terminated": {"exitCode": 3, "message": "line 1: BROKEN is not SQL"}});
        // Such a pod keeps its address; nobody listens there.
        let mut status = waiting("CrashLoopBackOff", "back-off", last);
        status["podIP"] = json!("10.1.0.1");
        return status;
    }
    if label(pod, "app.kubernetes.io/component") == "eraser" {
        let args = container.args.clone().unwrap_or_default();
        if args.first().is_some_and(|what| what == "checkpoints") {
            world.erased.push(label(pod, "weir.dev/job-uid"));
        }
        return json!({"phase": "Succeeded"});
    }
    let number = world.number();
    json!({"phase": "Running", "podIP": format!("10.0.{}.{}", number / 250, number % 250 + 1), "containerStatuses": [{
        "name": "c", "image": container.image, "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {}}, "lastState": {}}]})
}

/// What the coordinator in a pod reads, if it is one.
fn manifest(world: &World, pod: &Pod) -> Option<Value> {
    let volumes = pod.spec.as_ref()?.volumes.clone()?;
    let map = volumes.iter().find(|v| v.name == "job")?.config_map.as_ref()?.name.clone();
    let object = world.objects.get(&("ConfigMap".to_owned(), map))?;
    serde_json::from_str(object["data"]["job.yaml"].as_str()?).ok()
}

fn label(pod: &Pod, key: &str) -> String {
    pod.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned().unwrap_or_default()
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running"))
}

/// Coordinators claim, fence each other, and go on.
fn coordinate(world: &mut World) {
    let pods: Vec<Pod> = world.pods.values().filter(|p| is_running(p)).cloned().collect();
    for pod in pods.iter().filter(|p| label(p, "app.kubernetes.io/component") == "coordinator") {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        // A fenced one ends, and its container is started again.
        if world.engines.get(&uid).is_some_and(|engine| engine.is_fenced(world)) {
            world.engines.remove(&uid);
            continue;
        }
        let job = label(pod, "weir.dev/job-uid");
        if !world.engines.contains_key(&uid) && pod.metadata.deletion_timestamp.is_none() {
            let Some(manifest) = manifest(world, pod) else { continue };
            let engine = Engine::claim(world, pod, &job, &manifest);
            world.engines.insert(uid.clone(), engine);
        }
        let version = label(pod, "weir.dev/version");
        let workers = pods.iter().filter(|p| {
            label(p, "app.kubernetes.io/component") == "worker"
                && label(p, "weir.dev/job-uid") == job
                && label(p, "weir.dev/version") == version
                && p.metadata.deletion_timestamp.is_none()
        });
        let (workers, now) = (workers.count(), world.now.as_microsecond());
        if let Some(mut engine) = world.engines.remove(&uid) {
            engine.live(world.journals.entry(job).or_default(), workers, now);
            world.engines.insert(uid, engine);
        }
    }
}
