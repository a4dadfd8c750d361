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
    ("weir", "monitored", &["metrics.monitors=true", "metrics.rules=true", "metrics.dashboard=true", "metrics.labels.release=prometheus"]),
    ("weir", "pinned", &["image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000", "worker.image.repository=mirror.example/weir", "serviceAccount.create=false", "serviceAccount.name=mine", "rbac.create=false"]),
];

fn template(name: &str, set: &[&str]) -> Result<String, String> {
    let chart = chart(name);
    let chart = chart.to_str().unwrap();
    let mut arguments = vec!["template", "weir", chart, "--namespace", "weir-system", "--kube-version", "1.34"];
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
            assert!(!rule.contains("secrets") || !(rule.contains("list") || rule.contains("watch")), "{case}: {rule}");
        }
    }
}

/// Every metric that a rule or the dashboard asks for is one that there is.
#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let documented = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")).unwrap();
    let mut unknown = Vec::new();
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = fs::read_to_string(chart("weir").join("files").join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<_> = words.filter(|word| word.starts_with("weir_")).collect();
        assert!(metrics.len() > 5, "{file} asks for {metrics:?}");
        unknown.extend(metrics.into_iter().filter(|metric| !documented.contains(&format!("`{metric}`"))));
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}
