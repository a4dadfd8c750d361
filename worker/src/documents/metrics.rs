//! `docs/metrics.md` and the status in `docs/http.md`.

use std::collections::BTreeMap;

use weir::process::{WorkerNumbers, control_metrics, render_worker};
use weir_control::Counters;
use weir_coordinator::{JobStatus, render_metrics};
use weir_dataflow::ExchangeCounters;
use weir_protocol::{Failure, FailureKind};

use super::markdown::blocks;
use super::{all, check_part, code, table};

/// The status that `docs/http.md` shows, from a real run.
fn shown() -> JobStatus {
    let (_, text) = all().into_iter().find(|(path, _)| path == "docs/http.md").expect("it is there");
    let block = blocks(&text).into_iter().find(|b| b.info == "json").expect("docs/http.md shows a status");
    serde_json::from_str(&block.text).expect("docs/http.md shows a status of a job: take one from a run")
}

#[test]
fn the_status_that_is_shown_has_all_fields() {
    let anew = serde_json::to_string_pretty(&shown()).expect("a status is JSON");
    check_part("docs/http.md", "status", &format!("```json\n{anew}\n```"));
}

/// A metric as it is given out.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    labels: Vec<String>,
}

/// The metrics of a text, by the name that their samples have.
fn metrics(text: &str) -> Vec<(String, Metric)> {
    let mut found: BTreeMap<&str, Metric> = BTreeMap::new();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let word = |n: usize| line.split(' ').nth(n).unwrap_or_default();
        match (word(0), word(1)) {
            ("#", "HELP") => {
                let help = line.splitn(4, ' ').nth(3).unwrap_or_default();
                found.entry(word(2)).or_default().help = help.trim_end_matches('.').to_owned();
            }
            ("#", "TYPE") => found.entry(word(2)).or_default().kind = word(3).to_owned(),
            ("#", _) => {}
            _ => {
                let (name, rest) = line.split_once('{').expect("every sample has labels");
                let family = name.strip_suffix("_total").filter(|n| found.contains_key(n)).unwrap_or(name);
                let labels = rest.rsplit_once('}').map_or("", |(labels, _)| labels);
                let labels =
                    labels.split(',').filter_map(|l| l.split_once('=')).map(|(name, _)| name.to_owned());
                let own = labels.filter(|l| !["job", "job_name"].contains(&l.as_str())).collect();
                found.entry(family).or_default().labels = own;
                if !names.iter().any(|(n, _)| *n == name) {
                    names.push((name, family));
                }
            }
        }
    }
    names
        .into_iter()
        .map(|(name, family)| (name.to_owned(), found.remove(family).unwrap_or_default()))
        .collect()
}

/// Every metric of a text as a row of the table.
fn explained(part: &str, text: &str) {
    let metrics = metrics(text);
    let families = text.lines().filter(|l| l.starts_with("# TYPE ")).count();
    assert_eq!(metrics.len(), families, "a metric has no sample");
    let rows = metrics.into_iter().map(|(name, metric)| {
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}");
        let labels: Vec<_> = metric.labels.iter().map(|l| code(l)).collect();
        [code(&name), metric.kind, labels.join(", "), metric.help]
    });
    check_part("docs/metrics.md", part, &table(["metric", "type", "labels", "meaning"], rows));
}

#[test]
fn every_metric_is_explained() {
    let mut status = shown();
    status.troubles.push(Failure::new(FailureKind::Disk, "the disk is full"));
    let of_job = render_metrics(&status, None);
    explained("metrics", &of_job);
    let all = render_metrics(&status, Some(&control_metrics(|| Some(Counters::default()))));
    let of_job: Vec<&str> = of_job.lines().collect();
    let added: Vec<&str> = all.lines().filter(|line| !of_job.contains(line)).collect();
    explained("metrics of the link to workers", &added.join("\n"));
    let numbers = WorkerNumbers { exchange: Some(ExchangeCounters::default()), ..WorkerNumbers::default() };
    explained("metrics of a worker", &render_worker(&numbers));
}
