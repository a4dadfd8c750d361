use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "a-1-w3-0", "uid": "u",
            "labels": {
                "weir.dev/job-uid": "j", "weir.dev/worker": "3", "weir.dev/version": "v",
                "app.kubernetes.io/component": "worker"
            },
            "ownerReferences": [{"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "name": "a", "uid": "j"}],
        },
        "status": status,
    }))
    .expect("a pod of the test")
}

fn container(state: Value, last: Value, restarts: i32) -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "worker", "image": "i:1", "imageID": "", "ready": false, "restartCount": restarts,
        "state": state, "lastState": last,
    }]})
}

#[test]
fn each_trouble_has_its_reason_with_the_pod_and_a_next_step() {
    let waiting =
        |reason: &str| container(json!({"waiting": {"reason": reason, "message": "why"}}), json!({}), 0);
    let ended = |code: i32, reason: &str, restarts: i32| {
        let end = json!({"terminated": {"exitCode": code, "reason": reason, "message": "last words"}});
        container(json!({"waiting": {"reason": "CrashLoopBackOff"}}), end, restarts)
    };
    let unschedulable = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
    for (status, expected) in [
        (json!({}), None),
        (json!({"phase": "Pending"}), None),
        (waiting("ContainerCreating"), None),
        (waiting("ImagePullBackOff"), Some((Reason::ImagePullFailed, "worker.image"))),
        (waiting("ErrImagePull"), Some((Reason::ImagePullFailed, "i:1"))),
        (waiting("InvalidImageName"), Some((Reason::ImagePullFailed, "worker.image"))),
        (waiting("CreateContainerConfigError"), Some((Reason::MissingReference, "Secret"))),
        (unschedulable, Some((Reason::Unschedulable, "0/3 nodes"))),
        (json!({"phase": "Failed", "reason": "Evicted", "message": "disk"}), Some((Reason::Evicted, "disk"))),
        (ended(137, "OOMKilled", 1), Some((Reason::OutOfMemory, "limits.memory"))),
        (ended(3, "Error", 1), Some((Reason::InvalidSql, "last words"))),
        (ended(5, "Error", 1), Some((Reason::StorageUnreachable, "last words"))),
        (ended(1, "Error", 4), Some((Reason::CrashLoop, "exit code 1"))),
        (ended(4, "Error", 4), None),
        (ended(0, "Completed", 4), None),
        (container(json!({"running": {}}), json!({"terminated": {"exitCode": 1}}), 5), None),
    ] {
        let view = view(&pod(status.clone()), "j").expect("a pod of the job");
        let found = view.trouble.as_ref().map(|t| (t.reason, t.message.as_str()));
        match expected {
            None => assert_eq!(found, None, "{status}"),
            Some((reason, text)) => {
                let (is, message) = found.unwrap_or_else(|| panic!("nothing is wrong with {status}"));
                assert_eq!(is, reason, "{status}");
                assert!(message.contains(text) && message.contains("a-1-w3-0"), "{message}");
            }
        }
    }
}

#[test]
fn f40_a_pod_is_the_jobs_only_by_uid() {
    assert!(view(&pod(json!({})), "j").is_some());
    assert!(view(&pod(json!({})), "another").is_none());
    let mut forged = pod(json!({}));
    forged.metadata.owner_references = None;
    assert!(view(&forged, "j").is_none(), "a label alone makes no pod ours");
}
