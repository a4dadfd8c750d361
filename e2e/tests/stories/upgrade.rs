//! A changed job takes the state of the one before it over.

use serde_json::json;
use weir_e2e::story::uid;
use weir_e2e::{Job, Story};

#[test]
fn a_change_of_sql_and_pods_keeps_the_state() {
    let story = Story::begin("upgrade");
    let first = Job::new("moving");
    story.apply(&first);
    story.until_checkpoints(&first, 2);
    let old: Vec<String> = story.pods(&first, "worker").iter().map(|pod| uid(pod).to_owned()).collect();

    // Results go elsewhere from now on, and pods are larger: windows that are open keep what they counted.
    let second = first
        .clone()
        .into_folder("counts-of-the-second")
        .with("worker.resources.requests.memory", json!("112Mi"));
    story.apply(&second);
    let upgraded = story.until(&second, "the change is taken up", |job| {
        job["status"]["observedGeneration"] == job["metadata"]["generation"]
    });
    assert!(upgraded["metadata"]["generation"].as_i64() > Some(1));
    story.until_pods(&second, "worker", "pods of the new spec", |pods| {
        pods.len() == 2 && pods.values().all(|pod| !old.contains(&uid(pod).to_owned()))
    });
    story.until_checkpoints(&second, 2);
    story.finish_over(&second, &[&first, &second]);
    assert!(!story.result(&[&first]).is_empty() && !story.result(&[&second]).is_empty(), "both wrote");
}

#[test]
fn settings_of_checkpoints_change_in_place() {
    let story = Story::begin("in-place");
    let job = Job::new("in-place");
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    let before: Vec<String> = story.pods(&job, "worker").iter().map(|pod| uid(pod).to_owned()).collect();
    let job = job.with("checkpoint.interval", json!("500ms"));
    story.apply(&job);
    story.until(&job, "the change is taken up", |job| {
        job["status"]["observedGeneration"] == job["metadata"]["generation"]
    });
    story.until_checkpoints(&job, 3);
    let after: Vec<String> = story.pods(&job, "worker").iter().map(|pod| uid(pod).to_owned()).collect();
    assert_eq!(before, after, "no pod was replaced");
    story.finish(&job);
}
