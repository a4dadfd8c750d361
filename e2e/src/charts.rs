//! The charts of this repository, and helm.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::kubectl::Kubectl;
use crate::tools;

const VERSION: &str = "v3.22.0";

/// The folder of a chart.
pub fn chart(name: &str) -> PathBuf {
    tools::root().join("charts").join(name)
}

/// Helm: the program `WEIR_E2E_HELM`, or one of a known version, built with Go once and kept outside the clone.
pub fn helm() -> Command {
    match std::env::var_os("WEIR_E2E_HELM") {
        Some(program) => Command::new(program),
        None => Command::new(built()),
    }
}

/// What helm prints; the error is what it says when it fails.
pub fn run(arguments: &[&str]) -> Result<String, String> {
    tools::output(helm().args(arguments))
}

/// The definitions, for the whole cluster. Safe to repeat, also by several at once.
pub fn install_definitions() {
    let chart = chart("weir-crds");
    let chart = chart.to_str().expect("a path of text");
    let arguments = ["upgrade", "--install", "weir-crds", chart, "--namespace", "default", "--wait"];
    run(&arguments).unwrap_or_else(|e| panic!("{e}"));
    let kubectl = Kubectl::new("default");
    for kind in ["streamjobs", "savepoints"] {
        kubectl.run(&[
            "wait",
            "--for=condition=Established",
            &format!("crd/{kind}.weir.dev"),
            "--timeout=60s",
        ]);
    }
}

/// The operator in this namespace, for the jobs in it; ready when this returns.
pub fn install_operator(namespace: &str, set: &[&str]) {
    let chart = chart("weir");
    let chart = chart.to_str().expect("a path of text");
    let mut arguments =
        vec!["upgrade", "--install", "weir", chart, "--namespace", namespace, "--wait", "--timeout", "3m"];
    arguments.extend(set.iter().flat_map(|set| ["--set", set]));
    run(&arguments).unwrap_or_else(|e| panic!("{e}"));
}

fn built() -> PathBuf {
    let folder = match std::env::var_os("WEIR_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => {
            PathBuf::from(std::env::var_os("HOME").expect("HOME or WEIR_TOOLS says where tools are kept"))
                .join(".cache/weir/tools")
        }
    };
    let folder = folder.join(format!("helm-{VERSION}"));
    let binary = folder.join("helm");
    fs::create_dir_all(&folder).expect("the folder of tools can be made");
    let lock = fs::File::create(folder.join(".lock")).expect("the folder of tools can be written");
    lock.lock().expect("the folder of tools can be locked");
    if !binary.exists() {
        // Built beside and renamed, so that a build that was killed leaves no half binary.
        let beside = folder.join(".build");
        let mut go = Command::new("go");
        go.args(["install", "-trimpath", "-ldflags=-s -w", &format!("helm.sh/helm/v3/cmd/helm@{VERSION}")]);
        go.env("GOBIN", &beside).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "0").current_dir(&folder);
        tools::output(&mut go).unwrap_or_else(|e| panic!("helm is built with Go 1.24 or newer: {e}"));
        fs::rename(beside.join("helm"), &binary).expect("the built binary can be moved");
    }
    binary
}
