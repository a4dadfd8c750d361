//! Pods that can't run are told with their reason, and the next spec is enough.

use serde_json::json;
use weir_e2e::story::{condition, has_reason};
use weir_e2e::{Job, Story};

fn told_and_mended(name: &str, reason: &str, path: &str, value: serde_json::Value) {
    let story = Story::begin(name);
    let job = Job::new(name);
    story.apply(&job.clone().with(path, value));
    let told = story.until(&job, &format!("{reason} is told"), |job| has_reason(job, reason));
    assert_ne!(condition(&told, "Ready"), Some("True"));
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    story.finish(&job);
}

#[test]
fn an_image_that_is_not_there() {
    told_and_mended("bad-image", "ImagePullFailed", "worker.image", json!("weir.local/not-there:1"));
}

#[test]
fn no_node_is_large_enough() {
    told_and_mended(
        "unschedulable",
        "Unschedulable",
        "worker.resources",
        json!({"requests": {"memory": "900Gi"}}),
    );
}

#[test]
fn a_secret_is_missing() {
    let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "not-there", "key": "a"}}}]);
    told_and_mended("no-secret", "MissingReference", "worker.env", env);
}

#[test]
fn not_enough_memory_to_start() {
    let tight = json!({"requests": {"memory": "6Mi"}, "limits": {"memory": "6Mi"}});
    told_and_mended("oom", "OutOfMemory", "worker.resources", tight);
}
