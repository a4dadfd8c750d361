//! A job rests and goes on.

use serde_json::json;
use weir_e2e::story::{condition, has_reason};
use weir_e2e::{Job, LONG, Story};

#[test]
fn a_job_rests_without_pods_and_goes_on_where_it_was() {
    let story = Story::begin("suspend");
    let job = Job::new("sleepy");
    story.apply(&job);
    story.until_checkpoints(&job, 2);

    story.patch(&job, &json!({"suspended": true}));
    let resting = story.until(&job, "at rest", |job| job["status"]["state"] == "Suspended");
    assert!(has_reason(&resting, "Suspended"), "{:#}", resting["status"]);
    assert_eq!(condition(&resting, "Ready"), Some("False"));
    assert_eq!(resting["status"]["observedGeneration"], resting["metadata"]["generation"]);
    let pods = ["pods", "--selector", "app.kubernetes.io/instance=sleepy"];
    story.kubectl().until_gone("a job at rest has no pods", &pods, LONG);
    let rows = story.result(&[&job]).len();

    story.patch(&job, &json!({"suspended": false}));
    story.until_checkpoints(&job, 1);
    // Rows flow again.
    while story.result(&[&job]).len() == rows {
        story.until_checkpoints(&job, 1);
    }
    story.finish(&job);
}
