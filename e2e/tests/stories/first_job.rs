//! What a new user does: apply, look, wait.

use serde_json::json;
use weir_e2e::story::{condition, name};
use weir_e2e::{Job, Story};

#[test]
fn a_job_is_applied_runs_and_gives_the_reference() {
    let story = Story::begin("first-job");
    let job = Job::new("first").with("worker.standby", json!(1));
    story.apply(&job);
    story.kubectl().run(&["wait", "--for=condition=Ready", "streamjob/first", "--timeout=180s"]);
    story.until_checkpoints(&job, 2);

    let table = story.kubectl().run(&["get", "streamjobs"]);
    assert!(table.contains("first") && table.contains("Running"), "{table}");
    let workers = story.pods(&job, "worker");
    assert_eq!(workers.len(), 3, "two that work and one that stands by");
    for pod in workers.iter().chain(&story.pods(&job, "coordinator")) {
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true, "{}", name(pod));
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "StreamJob");
    }
    assert_eq!(story.kubectl().list(&["poddisruptionbudgets"]).len(), 1);
    assert!(
        !story
            .kubectl()
            .list(&["networkpolicies", "--selector", "app.kubernetes.io/instance=first"])
            .is_empty()
    );

    story.finish(&job);
    let ended = story.until(&job, "a job that ended is not progressing", |job| {
        condition(job, "Progressing") == Some("False")
    });
    assert_eq!(ended["status"]["observedGeneration"], ended["metadata"]["generation"]);
}

/// README.md, "On Kubernetes", and the example's own: word for word, with the pods of the job deleted in between.
#[test]
fn the_example_runs_as_its_readme_says() {
    let story = Story::begin("example");
    let (job, manifest) = Job::of_example("bids", "07-kubernetes");
    story.kubectl().run(&["apply", "--filename", manifest.to_str().unwrap()]);
    story.kubectl().run(&["wait", "--for=condition=Ready", "streamjob/bids", "--timeout=2m"]);
    story.until_checkpoints(&job, 1);
    for component in ["worker", "coordinator"] {
        let pods = format!("app.kubernetes.io/instance=bids,app.kubernetes.io/component={component}");
        story.kubectl().run(&["delete", "pod", "--selector", &pods]);
        story.until_checkpoints(&job, 2);
    }
    story.kubectl().run(&["scale", "streamjob", "bids", "--replicas=3"]);
    story.kubectl().run(&[
        "wait",
        "--for=jsonpath={.status.state}=Finished",
        "streamjob/bids",
        "--timeout=5m",
    ]);
    story.finish(&job);
}
