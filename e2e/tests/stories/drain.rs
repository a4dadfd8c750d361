//! A node is drained, as before it is upgraded.

use weir_e2e::nodes::Node;
use weir_e2e::story::counter;
use weir_e2e::{Job, Story};

const NODE: Node = Node(2);

/// Lets pods onto the node again, also when the story failed.
struct Cordoned<'a>(&'a Story);

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        let _ = self.0.kubectl().attempt(&["uncordon", &NODE.name(self.0.kubectl())]);
    }
}

#[test]
fn a_node_is_drained_and_nothing_is_read_twice() {
    let story = Story::begin_alone("drain");
    let job = Job::new("moved").with("parallelism", 4.into());
    story.apply(&job);
    let before = story.until_checkpoints(&job, 2);
    let kubectl = story.kubectl();
    assert!(story.pods(&job, "worker").iter().any(|pod| Node::of(pod) == NODE), "no worker is on the node");

    let cordoned = Cordoned(&story);
    let node = NODE.name(kubectl);
    kubectl.run(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=180s",
    ]);
    story.until_pods(&job, "worker", "all workers are elsewhere", |pods| {
        let elsewhere =
            |pod: &serde_json::Value| pod["spec"]["nodeName"].is_string() && Node::of(pod) != NODE;
        pods.len() == 4 && pods.values().all(elsewhere)
    });
    let after = story.until_checkpoints(&job, 2);
    drop(cordoned);
    assert_eq!(counter(&before, "restarts"), counter(&after, "restarts"), "workers left through checkpoints");
    story.finish(&job);
}
