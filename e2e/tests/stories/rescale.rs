//! `kubectl scale`, up and down.

use weir_e2e::{Job, Story};

#[test]
fn a_job_becomes_wider_and_narrower() {
    let story = Story::begin("rescale");
    let job = Job::new("elastic");
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    for parallelism in [4, 1] {
        let replicas = format!("--replicas={parallelism}");
        story.kubectl().run(&["scale", "streamjob/elastic", &replicas]);
        story.until(&job, &format!("parallelism {parallelism}"), |job| {
            job["status"]["parallelism"] == parallelism
        });
        story.until_checkpoints(&job, 2);
        story.until_pods(&job, "worker", "a pod per slot", |pods| pods.len() == parallelism);
    }
    story.finish(&job);
}
