//! Which job of a file is meant, and what else the file holds.

use super::finding::Finding;
use super::yaml::{Content, Node};

/// The documents of a file, sorted by what they are for.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) job: Option<Node>,
    /// ConfigMaps, for `sqlFrom`.
    pub(super) config_maps: Vec<Node>,
    pub(super) findings: Vec<Finding>,
}

/// Chooses the job: the only one of the file, or the one that was asked for by name.
pub(super) fn choose(documents: Vec<Node>, wanted: Option<&str>) -> Documents {
    let mut chosen = Documents::default();
    let mut jobs = Vec::new();
    for node in documents {
        if !matches!(node.content, Content::Fields(_)) {
            let message = "a manifest is a mapping that begins with apiVersion and kind";
            chosen.findings.push(Finding::problem(Some(node.span), message));
            continue;
        }
        match kind(&node) {
            // What names our group or no kind at all was meant to be a job: the check says what is wrong.
            _ if is_ours(&node) => jobs.push(node),
            Some("StreamJob") | None => jobs.push(node),
            Some(other) => {
                let used = if other == "ConfigMap" { "only looked at for sqlFrom" } else { "not looked at" };
                let message = format!("this document is a {other}: {used}");
                chosen.findings.push(Finding::note(Some(node.span), message));
                if other == "ConfigMap" {
                    chosen.config_maps.push(node);
                }
            }
        }
    }
    chosen.pick(jobs, wanted);
    chosen
}

impl Documents {
    fn pick(&mut self, mut jobs: Vec<Node>, wanted: Option<&str>) {
        let names: Vec<String> = jobs.iter().map(|j| name(j).unwrap_or("(no name)").to_owned()).collect();
        if let Some(wanted) = wanted {
            match names.iter().position(|n| n == wanted) {
                Some(i) => self.job = Some(jobs.swap_remove(i)),
                None => {
                    let nearest = weir_crds::nearest(wanted, names.iter().map(String::as_str));
                    let hint = nearest.map(|n| format!("did you mean {n:?}?"));
                    let message = format!("the file holds no StreamJob {wanted:?}; it holds: {}", names.join(", "));
                    self.findings.push(Finding { hint, ..Finding::problem(None, message) });
                }
            }
            return;
        }
        match jobs.len() {
            0 if self.findings.iter().all(|f| f.span.is_none() || f.severity != super::finding::Severity::Problem) => {
                self.findings.push(Finding::problem(None, "the file holds no StreamJob"));
            }
            0 => {}
            1 => self.job = jobs.pop(),
            n => {
                let message = format!("the file holds {n} StreamJobs ({}): choose one with --job NAME", names.join(", "));
                self.findings.push(Finding::problem(jobs.get(1).map(|j| j.span), message));
            }
        }
    }

    /// The text that a ConfigMap of the file holds under a key, with its node.
    pub(super) fn config_map(&self, wanted: &str, key: &str) -> Option<&Node> {
        let map = self.config_maps.iter().find(|m| name(m) == Some(wanted))?;
        map.field("data")?.field(key).filter(|n| n.text().is_some())
    }
}

fn kind(node: &Node) -> Option<&str> {
    node.field("kind").and_then(Node::text)
}

fn is_ours(node: &Node) -> bool {
    node.field("apiVersion").and_then(Node::text).is_some_and(|v| v.starts_with("weir.dev"))
}

fn name(node: &Node) -> Option<&str> {
    node.field("metadata").and_then(|m| m.field("name")).and_then(Node::text)
}
