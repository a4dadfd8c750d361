//! A node loses power.

use weir_e2e::nodes::Node;
use weir_e2e::story::name;
use weir_e2e::{Job, Story};

const NODE: Node = Node(2);

#[test]
fn a_node_loses_power_and_its_pods_come_back_elsewhere() {
    let story = Story::begin_alone("node-lost");
    // As many as to be on both nodes.
    let job = Job::new("dark").with("parallelism", 4.into()).at_rate(300);
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    let lost: Vec<String> = story
        .pods(&job, "worker")
        .iter()
        .filter(|pod| Node::of(pod) == NODE)
        .map(|pod| name(pod).to_owned())
        .collect();
    assert!(!lost.is_empty(), "no worker is on the node");

    NODE.lose();
    story.until_workers_left(&job, NODE, 4);
    story.until_checkpoints(&job, 2);
    NODE.boot();
    story.until_nodes_ready();
    story.finish(&job);
    story.until_pods(&job, "worker", "no pod is left behind", |pods| {
        pods.values().all(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    });
}
