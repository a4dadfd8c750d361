//! The coordinator goes.

use weir_e2e::nodes::kill_container_of;
use weir_e2e::story::{name, uid};
use weir_e2e::{Job, Story};

#[test]
fn the_coordinator_is_killed_and_deleted() {
    let story = Story::begin("coordinator-lost");
    let job = Job::new("headless");
    story.apply(&job);
    let before = story.until_checkpoints(&job, 2)["attempt"].as_u64();

    kill_container_of(&story.pods(&job, "coordinator")[0]);
    story.until_engine(&job, "the next attempt", |engine| engine["attempt"].as_u64() > before);
    story.until_checkpoints(&job, 2);

    let victim = &story.pods(&job, "coordinator")[0];
    story.kubectl().run(&["delete", "pod", name(victim), "--grace-period=0", "--force"]);
    story.until_pods(&job, "coordinator", "another coordinator", |pods| {
        !pods.is_empty() && pods.values().all(|pod| uid(pod) != uid(victim))
    });
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}
