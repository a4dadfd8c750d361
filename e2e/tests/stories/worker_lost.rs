//! Workers go, one way or the other.

use weir_e2e::nodes::kill_container_of;
use weir_e2e::story::{counter, name, uid};
use weir_e2e::{Job, Story};

#[test]
fn worker_pods_are_deleted_again_and_again() {
    let story = Story::begin("worker-deleted");
    let job = Job::new("deleted");
    story.apply(&job);
    for round in 0..3 {
        story.until_checkpoints(&job, 2);
        let pods = story.pods(&job, "worker");
        let victim = &pods[round % pods.len()];
        // At once: it is not asked to go through a checkpoint.
        story.kubectl().run(&["delete", "pod", name(victim), "--grace-period=0", "--force"]);
        story.until_pods(&job, "worker", "another pod in its place", |pods| {
            pods.len() >= 2 && pods.values().all(|pod| uid(pod) != uid(victim))
        });
    }
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}

#[test]
fn a_worker_that_is_asked_to_go_leaves_through_a_checkpoint() {
    let story = Story::begin("worker-drained");
    let job = Job::new("drained");
    story.apply(&job);
    let before = story.until_checkpoints(&job, 2);
    let victim = &story.pods(&job, "worker")[0];
    story.kubectl().run(&["delete", "pod", name(victim), "--wait=false"]);
    story.until_pods(&job, "worker", "another pod in its place", |pods| {
        pods.len() >= 2 && pods.values().all(|pod| uid(pod) != uid(victim))
    });
    let after = story.until_checkpoints(&job, 2);
    assert_eq!(counter(&before, "restarts"), counter(&after, "restarts"), "nothing was read twice");
    story.finish(&job);
}

#[test]
fn containers_of_workers_are_killed() {
    let story = Story::begin("worker-killed");
    let job = Job::new("killed");
    story.apply(&job);
    for round in 0..2 {
        story.until_checkpoints(&job, 2);
        let pods = story.pods(&job, "worker");
        kill_container_of(&pods[round % pods.len()]);
        story.until_pods(&job, "worker", "the container runs again", |pods| {
            let restarts =
                |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
            pods.values().filter_map(restarts).sum::<i64>() > round as i64
        });
    }
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}
