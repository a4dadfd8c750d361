//! A node is cut off from the network, and comes back with its pods still running.

use weir_e2e::nodes::Node;
use weir_e2e::{Job, Story};

const NODE: Node = Node(2);

#[test]
fn a_node_is_cut_off_and_comes_back_with_zombies() {
    let story = Story::begin_alone("node-cut-off");
    let job = Job::new("undead").with("parallelism", 4.into()).at_rate(300);
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    assert!(story.pods(&job, "worker").iter().any(|pod| Node::of(pod) == NODE), "no worker is on the node");

    NODE.cut_off();
    story.until_workers_left(&job, NODE, 4);
    story.until_checkpoints(&job, 2);
    NODE.plug_in();
    story.until_nodes_ready();
    story.finish(&job);
    story.until_pods(&job, "worker", "the zombies are gone", |pods| {
        pods.values().all(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    });
}
