//! A node is cut off from the network, and comes back with its pods still running.

use weir_e2e::nodes::Node;
use weir_e2e::story::condition;
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
    story.until_pods(&job, "worker", "all workers are elsewhere and ready", |pods| {
        let elsewhere = |pod: &&serde_json::Value| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && pod["spec"]["nodeName"].is_string()
                && Node::of(pod) != NODE
                && condition(pod, "Ready") == Some("True")
        };
        pods.values().filter(elsewhere).count() >= 4
    });
    story.until_checkpoints(&job, 2);
    NODE.plug_in();
    story.kubectl().until("the node is back", &["nodes"], weir_e2e::LONG, |nodes| {
        nodes.values().all(|node| condition(node, "Ready") == Some("True"))
    });
    story.finish(&job);
    story.until_pods(&job, "worker", "the zombies are gone", |pods| {
        pods.values().all(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    });
}
