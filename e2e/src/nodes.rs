//! What can be done to nodes and to the containers on them.

use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::tools;

/// A node by its place in the cluster: 1 has what tests themselves need, and is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node(pub u32);

impl Node {
    /// The node on which a pod is.
    pub fn of(pod: &Value) -> Self {
        let name =
            pod["spec"]["nodeName"].as_str().unwrap_or_else(|| panic!("a pod without a node: {pod:#}"));
        Self::named(name).unwrap_or_else(|| panic!("what node is {name}?"))
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

    /// Its name in the cluster.
    pub fn name(self, kubectl: &Kubectl) -> String {
        let nodes = kubectl.list(&["nodes"]);
        let names = nodes.iter().filter_map(|node| node["metadata"]["name"].as_str());
        let mut found = names.filter(|name| Self::named(name) == Some(self));
        found.next().unwrap_or_else(|| panic!("there is no node {}", self.0)).to_owned()
    }

    /// The harness has n1, n2, …; kind has weir-e2e-worker, weir-e2e-worker2, ….
    fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("weir-e2e-worker").or_else(|| name.strip_prefix('n'))? {
            "" => Some(Self(1)),
            number => number.parse().ok().map(Self),
        }
    }

    fn command(self, command: &str, more: &[&str]) {
        let mut script = tools::program("WEIR_E2E_NODE", "e2e/cluster/node.sh");
        tools::output(script.arg(command).arg(self.0.to_string()).args(more))
            .unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Kills the API server, and waits until it is back.
pub fn restart_api_server(kubectl: &Kubectl) {
    Node(0).command("restart-api-server", &[]);
    let end = std::time::Instant::now() + crate::LONG;
    while let Err(error) = kubectl.attempt(&["get", "--raw=/readyz"]) {
        assert!(std::time::Instant::now() < end, "the API server does not come back: {error}");
    }
}

/// A signal to the first process of a pod's container, past Kubernetes: `SIGKILL`, `SIGSTOP`, `SIGCONT`.
pub fn signal(pod: &Value, container: &str, signal: &str) {
    let all = pod["status"]["containerStatuses"].as_array();
    let status = all.and_then(|all| all.iter().find(|status| status["name"] == container));
    let id = status.and_then(|status| status["containerID"].as_str());
    let id = id.unwrap_or_else(|| panic!("container {container} never ran: {pod:#}"));
    let id = id.strip_prefix("containerd://").unwrap_or(id);
    let ctr = ["ctr", "--namespace", "k8s.io", "task", "kill", "--signal", signal, id];
    Node::of(pod).command("exec", &ctr);
}

/// Kills the only container of a pod.
pub fn kill_container_of(pod: &Value) {
    let name = pod["spec"]["containers"][0]["name"].as_str().unwrap_or_default();
    signal(pod, name, "SIGKILL");
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
