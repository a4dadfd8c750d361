//! The charts: what they render is committed and compared, so that a change of a template is seen for what it does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;

use weir_e2e::charts::{chart, run};

/// Values that a person would choose, by the name of the snapshot.
const CASES: [(&str, &str, &[&str]); 5] = [
    ("weir", "default", &[]),
    ("weir", "all-namespaces", &["watch.allNamespaces=true", "replicas=2", "rbac.aggregate=true"]),
    ("weir", "two-namespaces", &["watch.namespaces={shop,lake}", "networkPolicy.enabled=false"]),
    (
        "weir",
        "monitored",
        &[
            "metrics.monitors=true",
            "metrics.rules=true",
            "metrics.dashboard=true",
            "metrics.labels.release=prometheus",
        ],
    ),
    (
        "weir",
        "pinned",
        &[
            "image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "worker.image.repository=mirror.example/weir",
            "serviceAccount.create=false",
            "serviceAccount.name=mine",
            "rbac.create=false",
        ],
    ),
];

fn template(name: &str, set: &[&str]) -> Result<String, String> {
    let chart = chart(name);
    let chart = chart.to_str().unwrap();
    let mut arguments =
        vec!["template", "weir", chart, "--namespace", "weir-system", "--kube-version", "1.34"];
    arguments.extend(set.iter().flat_map(|set| ["--set", set]));
    run(&arguments)
}

#[test]
fn what_is_rendered_is_what_is_committed() {
    let mut changed = Vec::new();
    for (chart, case, set) in CASES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/charts/{chart}-{case}.yaml"));
        let rendered = template(chart, set).unwrap_or_else(|e| panic!("{case}: {e}"));
        if std::env::var_os("WEIR_UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &rendered).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != rendered {
            changed.push(path.display().to_string());
        }
    }
    assert!(changed.is_empty(), "not what the charts render (WEIR_UPDATE=1 writes them anew): {changed:?}");
}

#[test]
fn lint_finds_nothing() {
    for name in ["weir", "weir-crds"] {
        let chart = chart(name);
        run(&["lint", "--strict", chart.to_str().unwrap()]).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_place() {
    let cases = [
        ("replicas=many", "replicas"),
        ("replicaCount=2", "replicaCount"),
        ("image.digest=sha256:short", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("watch.namespaces={Not_A_Name}", "namespaces"),
        ("networkPolicy.apiServerPorts={}", "apiServerPorts"),
        ("metrics.interval=soon", "interval"),
    ];
    for (set, place) in cases {
        let said = template("weir", &[set]).expect_err(set);
        assert!(said.contains(place), "{set}: {said}");
    }
    let both = ["watch.allNamespaces=true", "watch.namespaces={shop}"];
    template("weir", &both).expect_err("all namespaces, and a list of them");
}

#[test]
fn definitions_are_those_of_the_crate_and_stay_unless_told_otherwise() {
    let rendered = template("weir-crds", &[]).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if let Some(name) = name.strip_suffix(".yaml") {
            assert!(rendered.contains(&format!("\n  name: {name}\n")), "{name} is not in the chart");
            seen += 1;
        }
    }
    assert!(seen >= 1);
    assert_eq!(rendered.matches("helm.sh/resource-policy: keep").count(), seen);
    assert!(!template("weir-crds", &["keep=false"]).unwrap().contains("resource-policy"));
}

#[test]
fn the_operator_may_do_nothing_by_wildcard_and_never_lists_secrets() {
    for (_, case, set) in CASES {
        let rendered = template("weir", set).unwrap();
        for rule in rendered.split("- apiGroups:").skip(1) {
            let rule: String = rule.lines().take(3).collect();
            assert!(!rule.contains('*') && !rule.contains("pods/exec"), "{case}: {rule}");
            assert!(
                !rule.contains("secrets") || !(rule.contains("list") || rule.contains("watch")),
                "{case}: {rule}"
            );
        }
    }
}

/// Every metric that a rule or the dashboard asks for is one that there is.
#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let read = |name: &str| fs::read_to_string(docs.join(name)).unwrap();
    let documented = read("metrics.md") + &read("kubernetes/operator.md");
    let mut unknown = Vec::<String>::new();
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = fs::read_to_string(chart("weir").join("files").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> = words.filter(|word| word.starts_with("weir_")).collect();
        assert!(metrics.len() > 5, "{file} asks for {metrics:?}");
        let missing = metrics.into_iter().filter(|metric| !documented.contains(&format!("`{metric}")));
        unknown.extend(missing.map(str::to_owned));
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// A value of the chart: its path, its default, and the comment above it.
fn values() -> Vec<[String; 3]> {
    let text = fs::read_to_string(chart("weir").join("values.yaml")).unwrap();
    let (mut found, mut path, mut meaning) = (Vec::new(), Vec::<String>::new(), String::new());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let content = line.trim_start();
        let depth = (line.len() - content.len()) / 2;
        match (content.strip_prefix('#'), content.split_once(':')) {
            (Some(comment), _) => meaning = format!("{meaning} {}", comment.trim()).trim().to_owned(),
            (None, Some((key, default))) => {
                path.truncate(depth);
                path.push(key.to_owned());
                let default = default.trim();
                let is_folder =
                    default.is_empty() && lines.get(at + 1).is_some_and(|next| next.starts_with(' '));
                if !is_folder || !meaning.is_empty() {
                    found.push([path.join("."), default.to_owned(), meaning.clone()]);
                }
                // Lines without a comment between them share the one above.
                if is_folder {
                    meaning.clear();
                }
            }
            // An empty line ends what a comment is about.
            (None, None) => meaning.clear(),
        }
        if lines.get(at + 1).is_some_and(|next| next.trim_start().starts_with('#'))
            && !content.starts_with('#')
        {
            meaning.clear();
        }
    }
    found
}

#[test]
fn every_value_is_explained_in_the_document() {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let mut table = "\n| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for [path, default, meaning] in values() {
        table += &format!("| `{path}` | {} | {meaning} |\n", code(&default));
    }
    table += "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kubernetes/chart.md");
    let before = fs::read_to_string(&path).unwrap();
    let (head, rest) = before.split_once("<!-- made of the code: values -->\n").unwrap();
    let (old, tail) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("WEIR_UPDATE").is_some() {
        fs::write(&path, format!("{head}<!-- made of the code: values -->\n{table}<!-- end -->{tail}"))
            .unwrap();
        return;
    }
    assert_eq!(old, table, "WEIR_UPDATE=1 makes it anew");
}

/// Every reason of a condition has its paragraph.
#[test]
fn every_reason_has_its_paragraph() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = fs::read_to_string(root.join("crds/src/status.rs")).unwrap();
    let reasons = source.split("pub enum Reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let reasons: Vec<&str> = reasons.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    let document = fs::read_to_string(root.join("docs/kubernetes/troubleshooting.md")).unwrap();
    let missing = |reason: &&&str| **reason != "Other" && !document.contains(&format!("\n### {reason}\n"));
    let missing: Vec<_> = reasons.iter().filter(missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
