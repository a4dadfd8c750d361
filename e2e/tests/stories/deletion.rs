//! `kubectl delete` ends, and leaves nothing but what it should.

use serde_json::json;
use weir_e2e::story::has_reason;
use weir_e2e::{Job, LONG, Story, bucket};

/// All kinds of which a job has objects.
const KINDS: &str = "pods,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,networkpolicies";

fn delete(story: &Story, job: &Job) {
    story.kubectl().run(&["delete", "streamjob", job.name(), "--timeout=90s"]);
    let selector = format!("app.kubernetes.io/instance={}", job.name());
    story.kubectl().until_gone("nothing is left of the job", &["pods", "--selector", &selector], LONG);
    // What is owned follows its owner, by the garbage collector of the cluster.
    for kind in KINDS.split(',') {
        story.kubectl().until_gone("nothing is left of the job", &[kind, "--selector", &selector], LONG);
    }
}

#[test]
fn a_running_job_is_deleted_and_its_state_stays() {
    let story = Story::begin("delete");
    let job = Job::new("short");
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    delete(&story, &job);
    let files = bucket::list(story.kubectl(), "jobs").unwrap();
    assert!(files.contains("/journal/"), "keepState is the default: {files}");
}

#[test]
fn a_job_is_deleted_with_its_state_where_that_is_asked_for() {
    let story = Story::begin("delete-state");
    let job = Job::new("gone").with("deletion.keepState", json!(false));
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    assert!(bucket::list(story.kubectl(), "jobs").unwrap().contains("/journal/"));
    delete(&story, &job);
    let files = bucket::list(story.kubectl(), "jobs").unwrap();
    assert!(!files.contains("/journal") && !files.contains("/data/"), "{files}");
    let results = bucket::list(story.kubectl(), &job.folder()).unwrap();
    assert!(!results.is_empty(), "results are not state");
}

#[test]
fn jobs_are_deleted_in_every_state_also_without_their_bucket() {
    let story = Story::begin("delete-any");
    let deadline = |name: &str| Job::new(name).with("deletion.deadline", json!("20s"));
    let broken = deadline("broken").with("worker.image", json!("weir.local/not-there:1"));
    let resting = deadline("resting").with("suspended", json!(true));
    let running = deadline("running");
    for job in [&broken, &resting, &running] {
        story.apply(job);
    }
    story.until(&broken, "its image is not there", |job| has_reason(job, "ImagePullFailed"));
    story.until(&resting, "at rest", |job| job["status"]["state"] == "Suspended");
    story.until_checkpoints(&running, 1);
    for job in [&broken, &resting] {
        delete(&story, job);
    }
    story.kubectl().run(&["delete", "pod", "s3", "--grace-period=0", "--force"]);
    delete(&story, &running);
}
