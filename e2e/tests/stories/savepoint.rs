//! The object Savepoint: made by applying it, started from, and deleted with its data.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_e2e::bucket::{self, BUCKET};
use weir_e2e::reference::COUNTS;
use weir_e2e::story::condition;
use weir_e2e::{Job, LONG, Story};

#[test]
fn a_job_starts_from_the_savepoint_of_another_at_another_parallelism() {
    let story = Story::begin("savepoint");
    let kubectl = story.kubectl();
    let first = Job::new("first").at_rate(500);
    story.apply(&first);
    story.until_checkpoints(&first, 10);
    // The second one is there before what it starts from, and waits for it.
    let second = Job::new("second")
        .at_rate(500)
        .with("parallelism", 3.into())
        .with("restoreFrom.savepoint", json!("before-the-change"));
    story.apply(&second);
    kubectl.apply(&json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "Savepoint", "metadata": {"name": "before-the-change"},
        "spec": {"job": "first", "deletionPolicy": "Delete"}
    }));
    let made =
        kubectl.until_one("the savepoint is whole", "savepoints", "before-the-change", LONG, |savepoint| {
            condition(savepoint, "Ready") == Some("True")
        });
    story.until_checkpoints(&second, 2);

    let place = made["status"]["place"].as_str().unwrap();
    let folder = place.strip_prefix(&format!("s3://{BUCKET}/")).unwrap();
    assert_ne!(bucket::list(kubectl, folder).unwrap(), "");
    kubectl.run(&["delete", "savepoint", "before-the-change", "--timeout=120s"]);
    assert_eq!(bucket::list(kubectl, folder).unwrap(), "", "the data goes with it");

    story.finish(&first);
    story.until(&second, "its end too", |job| job["status"]["state"] == "Finished");
    // What the second gives is the end of what the first gives, also of windows that were open at the savepoint.
    let rows = story.result(&[&second]);
    assert!(rows.len() < COUNTS.len(), "it did not begin at the beginning");
    let windows: BTreeSet<String> = rows.keys().map(window).collect();
    let from = windows.first().expect("some windows");
    let expected: weir_e2e::reference::Rows =
        COUNTS.iter().filter(|(row, _)| window(row) >= *from).map(|(row, n)| (row.clone(), *n)).collect();
    assert_eq!(weir_e2e::reference::differences(&rows, &expected), None);
}

fn window(row: &String) -> String {
    let row: Value = serde_json::from_str(row).unwrap();
    row["window_start"].as_str().unwrap().to_owned()
}
