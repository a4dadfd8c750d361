//! What can be done to nodes and to the containers on them.

use serde_json::Value;

use crate::tools;

/// A node by its place in the cluster: 1 has what tests themselves need, and is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(pub u32);

impl Node {
    /// The node on which a pod is.
    pub fn of(pod: &Value) -> Self {
        let name = pod["spec"]["nodeName"].as_str().unwrap_or_else(|| panic!("a pod without a node: {pod:#}"));
        // The harness has n1, n2, …; kind has weir-e2e-worker, weir-e2e-worker2, ….
        let number = name.strip_prefix("weir-e2e-worker").or_else(|| name.strip_prefix('n'));
        match number {
            Some("") => Self(1),
            Some(number) => Self(number.parse().unwrap_or_else(|_| panic!("what node is {name}?"))),
            None => panic!("what node is {name}?"),
        }
    }

    fn command(self, command: &str, more: &[&str]) -> String {
        let mut script = tools::program("WEIR_E2E_NODE", "e2e/cluster/node.sh");
        let done = tools::output(script.arg(command).arg(self.0.to_string()).args(more));
        done.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Power failure.
    pub fn lose(self) {
        self.command("lose", &[]);
    }

    /// Boots again.
    pub fn boot(self) {
        self.command("up", &[]);
    }

    /// Its cable is pulled; everything on it runs on.
    pub fn cut_off(self) {
        self.command("netdown", &[]);
    }

    /// Its cable is put back.
    pub fn plug_in(self) {
        self.command("netup", &[]);
    }

    /// SIGKILL to the first process of a container, past Kubernetes.
    pub fn kill_container(self, id: &str) {
        let id = id.strip_prefix("containerd://").unwrap_or(id);
        self.command("exec", &["ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", id]);
    }
}

/// Kills the first container of a pod.
pub fn kill_container_of(pod: &Value) {
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    Node::of(pod).kill_container(id.unwrap_or_else(|| panic!("a pod whose container never ran: {pod:#}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_known_by_their_names() {
        for (name, number) in [("n1", 1), ("n2", 2), ("weir-e2e-worker", 1), ("weir-e2e-worker2", 2)] {
            assert_eq!(Node::of(&serde_json::json!({"spec": {"nodeName": name}})), Node(number), "{name}");
        }
    }
}
