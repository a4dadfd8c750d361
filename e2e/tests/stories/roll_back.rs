//! A change that comes to nothing.

use serde_json::json;
use weir_e2e::story::{condition, condition_of, has_reason};
use weir_e2e::{Job, Story};

#[test]
fn an_upgrade_that_can_not_run_is_taken_back() {
    let story = Story::begin("roll-back");
    let job = Job::new("careful").at_rate(500);
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    story.apply(&job.clone().with("worker.image", json!("weir.local/not-there:1")));
    let told = story.until(&job, "the upgrade is taken back, and the job runs", |job| {
        has_reason(job, "RolledBack") && condition(job, "Ready") == Some("True")
    });
    let degraded = condition_of(&told, "Degraded").unwrap();
    assert!(degraded["message"].as_str().unwrap().contains("not-there"), "{degraded}");
    story.until_checkpoints(&job, 2);

    // Another change is a new try.
    let job = job.with("worker.labels", json!({"tried": "again"}));
    story.apply(&job);
    story.until(&job, "all is as it should be", |job| condition(job, "Degraded") == Some("False"));
    story.until_pods(&job, "worker", "pods of the new spec", |pods| {
        pods.len() == 2 && pods.values().all(|pod| pod["metadata"]["labels"]["tried"] == "again")
    });
    story.finish(&job);
}
