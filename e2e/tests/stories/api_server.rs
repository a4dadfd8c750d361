//! The API server goes and comes back.

use weir_e2e::story::{name, uid};
use weir_e2e::{Job, Story, nodes};

#[test]
fn the_api_server_is_killed_and_jobs_run_on() {
    let story = Story::begin_alone("api-server");
    let job = Job::new("unaware");
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    let before = story.pods(&job, "worker");
    nodes::restart_api_server(story.kubectl());
    story.until_checkpoints(&job, 2);
    let after = story.pods(&job, "worker");
    let uids = |pods: &[serde_json::Value]| pods.iter().map(|pod| uid(pod).to_owned()).collect::<Vec<_>>();
    assert_eq!(uids(&before), uids(&after), "no pod was replaced");

    // And the operator still sees what happens.
    story.kubectl().run(&["delete", "pod", name(&after[0]), "--grace-period=0", "--force"]);
    story.until_pods(&job, "worker", "another pod in its place", |pods| {
        pods.len() == 2 && pods.values().all(|pod| uid(pod) != uid(&after[0]))
    });
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}
