//! A node loses power.

use weir_e2e::nodes::Node;
use weir_e2e::story::{condition, name};
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
    NODE.boot();
    story.kubectl().until("the node is back", &["nodes"], weir_e2e::LONG, |nodes| {
        nodes.values().all(|node| condition(node, "Ready") == Some("True"))
    });
    story.finish(&job);
    story.until_pods(&job, "worker", "no pod is left behind", |pods| {
        pods.values().all(|pod| pod["metadata"]["deletionTimestamp"].is_null())
    });
}
