//! `helm install`, `helm upgrade`, `helm uninstall`, and what the accounts may do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use weir_e2e::story::{name, uid};
use weir_e2e::{Job, Story, charts};

#[test]
fn the_operator_is_installed_upgraded_and_uninstalled_and_jobs_stay() {
    let story = Story::begin_without_operator("install");
    charts::install_operator(story.namespace(), &[]);
    let kubectl = story.kubectl();
    let explained = kubectl.run(&["explain", "streamjob.spec.parallelism"]);
    assert!(explained.contains("wide"), "{explained}");

    let job = Job::new("stays");
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    let before: BTreeSet<String> = uids(&story, &job);

    charts::install_operator(story.namespace(), &["logLevel=debug"]);
    story.until_checkpoints(&job, 1);
    assert_eq!(uids(&story, &job), before, "an upgrade of the operator leaves pods alone");

    charts::run(&["uninstall", "weir", "--namespace", story.namespace(), "--wait"])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(uids(&story, &job), before, "uninstalling the operator leaves pods alone");
    charts::install_operator(story.namespace(), &[]);
    story.finish(&job);
}

fn uids(story: &Story, job: &Job) -> BTreeSet<String> {
    let pods = ["coordinator", "worker"].map(|component| story.pods(job, component));
    pods.iter().flatten().map(|pod| format!("{} {}", name(pod), uid(pod))).collect()
}

/// What `kubectl auth can-i --list` says is committed, for the operator and for the pods of a job.
#[test]
fn accounts_may_do_what_is_committed_and_nothing_else() {
    let story = Story::begin("rights");
    let job = Job::new("plain");
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    let worker = &story.pods(&job, "worker")[0];
    assert_eq!(worker["spec"]["automountServiceAccountToken"], false);
    let account = worker["spec"]["serviceAccountName"].as_str().unwrap();
    assert_eq!(compare(&story, "weir", "operator"), "", "WEIR_UPDATE=1 writes the table anew");
    assert_eq!(compare(&story, account, "job"), "", "WEIR_UPDATE=1 writes the table anew");
}

/// The lines in which the rights of an account differ from those that are committed.
fn compare(story: &Story, account: &str, file: &str) -> String {
    let user = format!("--as=system:serviceaccount:{}:{account}", story.namespace());
    let said = story.kubectl().run(&["auth", "can-i", "--list", "--no-headers", &user]);
    let now: BTreeSet<String> =
        said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/rights/{file}.txt"));
    if std::env::var_os("WEIR_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, now.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let committed: BTreeSet<String> = committed.lines().map(str::to_owned).collect();
    now.symmetric_difference(&committed).map(|line| format!("{line}\n")).collect()
}
