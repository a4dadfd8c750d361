//! A running job stops with a savepoint, and another job, at another parallelism, goes on from it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use support::nexmark::{BIDS, EVENTS, tables};
use support::place::{DONE, Place};
use support::rows::{Rows, differences, read, row, rows};
use support::time::{SECOND, format, windows};
use support::{LONG, until};
use weir_testing::S3Server;

/// Events per second of the clock: a run takes about three seconds.
const RATE: u64 = 10_000;
const STATE: i32 = 6;

const COUNTS: &str = "CREATE TABLE counts (s TIMESTAMP(3), auction BIGINT, n BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/counts', 'format' = 'json');
INSERT INTO counts SELECT window_start, auction, COUNT(*)
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND, INTERVAL '4' SECOND))
GROUP BY window_start, window_end, auction;";

fn place(name: &str) -> Place {
    Place::new(name, &(tables(EVENTS, Some(RATE)) + COUNTS), &[])
}

fn expected() -> Rows {
    let mut groups = BTreeMap::<(i64, i64), i64>::new();
    for bid in BIDS.iter() {
        for window in windows(bid.at, 4 * SECOND, SECOND) {
            *groups.entry((window, bid.auction)).or_default() += 1;
        }
    }
    let row = |((start, auction), n): (&(i64, i64), &i64)| {
        row([("s", json!(format(*start))), ("auction", json!(auction)), ("n", json!(n))])
    };
    rows(groups.iter().map(row))
}

/// A process that runs a job and serves its status. Dropping it ends it.
struct Served {
    child: Child,
    log: PathBuf,
}

impl Served {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut command = place.weir(&["run", "job.yaml", "--listen", "127.0.0.1:0", "--progress", "plain"]);
        for set in &place.set {
            command.args(["--set", set]);
        }
        let log = place.path("served.log");
        let file = fs::File::create(&log).unwrap();
        let child = command.args(arguments).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Where it serves, once it does.
    fn address(&self) -> String {
        let mut address = None;
        until(LONG, || {
            let log = self.log();
            let rest = log.split_once("status at http://").map(|(_, rest)| rest);
            address = rest.and_then(|rest| Some(rest.split_once('/')?.0.to_owned()));
            address.is_some()
        });
        address.unwrap_or_else(|| panic!("it does not serve: {}", self.log()))
    }

    fn wait(&mut self) -> i32 {
        let mut code = None;
        until(LONG, || {
            code = self.child.try_wait().unwrap().and_then(|status| status.code());
            code.is_some()
        });
        code.unwrap_or_else(|| panic!("it does not end: {}", self.log()))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `weir`; gives its exit code and what it said.
fn weir(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let done = place.weir(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let (code, out, err) = weir(place, arguments);
    assert_eq!(code, DONE, "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
}

/// `--set` and what else a command on this place's manifest needs.
fn on_manifest<'a>(place: &'a Place, arguments: &[&'a str]) -> Vec<&'a str> {
    let sets = place.set.iter().flat_map(|set| ["--set", set.as_str()]);
    ["savepoint"].into_iter().chain(arguments.iter().copied()).chain(sets).collect()
}

/// Runs `old` until it has checkpoints, and stops it with a savepoint: its place.
fn stop_with_savepoint(old: &Place, records: impl Fn(&Place) -> bool) -> String {
    let mut run = Served::start(old, &["--set", "parallelism=1"]);
    let address = run.address();
    assert!(until(LONG, || records(old)), "no checkpoints: {}", run.log());
    let made = json_of(old, &["savepoint", "create", "--http", &address, "--json"]);
    assert_eq!(made["state"], "Completed", "{made}");
    let made = json_of(old, &["savepoint", "create", "--http", &address, "--stop", "--id", "bye", "--json"]);
    assert_eq!((&made["id"], &made["state"]), (&json!("bye"), &json!("Completed")), "{made}");
    run.wait();
    assert!(!run.log().contains("was not completed"), "{}", run.log());
    made["place"].as_str().unwrap().to_owned()
}

fn together(places: [&Place; 2]) -> Rows {
    let mut all = Rows::new();
    for place in places {
        for (row, n) in read(&place.out("counts")) {
            *all.entry(row).or_default() += n;
        }
    }
    all
}

/// A job that starts from `from` at parallelism 3, to its end.
fn go_on(new: &Place, from: &str) {
    let mut run = Served::start(new, &["--set", "parallelism=3", "--restore-from", from]);
    let code = run.wait();
    assert_eq!(code, DONE, "{}", run.log());
}

#[test]
fn another_job_at_another_parallelism_goes_on_from_a_savepoint_without_a_gap_or_a_repeat() {
    let (old, new) = (place("old"), place("new"));
    let from = stop_with_savepoint(&old, |old| old.newest_slot() > 6);
    let before = read(&old.out("counts"));
    assert!(!before.is_empty() && before.len() < expected().len(), "it stopped on the way");
    go_on(&new, &from);
    assert_eq!(differences(&together([&old, &new]), &expected()), None);

    // Once is enough: the second start finds its own end, whatever there is to restore from.
    let mut again = Served::start(&new, &["--restore-from", "file:///nowhere"]);
    assert_eq!(again.wait(), DONE, "{}", again.log());
    assert!(again.log().contains("finished before"), "{}", again.log());

    damage_is_named(Path::new(from.strip_prefix("file://").unwrap()));
}

/// What is damaged is named, and nothing starts from it.
fn damage_is_named(bye: &Path) {
    let damaged = fs::read_dir(bye.join("data")).unwrap().next().unwrap().unwrap().path();
    let damaged = fs::read_dir(damaged).unwrap().next().unwrap().unwrap().path();
    let damaged = fs::read_dir(damaged).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[12] ^= 8;
    fs::write(&damaged, bytes).unwrap();
    let name = damaged.file_name().unwrap().to_str().unwrap();
    let fresh = place("fresh");
    let mut run = Served::start(&fresh, &["--restore-from", &format!("file://{}", bye.display())]);
    assert_eq!(run.wait(), STATE, "{}", run.log());
    assert!(run.log().contains(name), "{}", run.log());
}

#[test]
fn in_s3_a_job_goes_on_from_a_savepoint_and_from_another_jobs_newest_checkpoint() {
    let server = S3Server::start();
    let (mut old, mut new, mut third) = (place("old"), place("new"), place("third"));
    for place in [&mut old, &mut new, &mut third] {
        place.store_in(&server, "jobs");
    }
    let records = |old: &Place| {
        let (code, out, _) = weir(old, &on_checkpoints(old, &["list"]));
        code == DONE && serde_json::from_str::<Value>(&out).unwrap()["completed"].as_u64() > Some(3)
    };
    let from = stop_with_savepoint(&old, records);
    assert_eq!(from, format!("{}/old/savepoints/bye", server.storage("jobs").url));
    let verified = json_of(&old, &on_manifest(&old, &["verify", "job.yaml", "--json"]));
    assert_eq!(verified["whole"], true, "{verified}");
    go_on(&new, &from);
    assert_eq!(differences(&together([&old, &new]), &expected()), None);

    go_on(&third, &format!("{}/old", server.storage("jobs").url));
    assert_eq!(differences(&together([&old, &third]), &expected()), None);

    // Nobody needs the old job any more. Its savepoint stays.
    let deleted = json_of(&old, &on_checkpoints(&old, &["delete", "--all"]));
    assert!(deleted["deletedObjects"].as_u64() > Some(3), "{deleted}");
    let (code, _, said) = weir(&old, &on_checkpoints(&old, &["list"]));
    assert!(code == STATE && said.contains("never ran there"), "{code}: {said}");
    let verified = json_of(&old, &on_manifest(&old, &["verify", "job.yaml", "--json"]));
    assert_eq!(verified["whole"], true, "{verified}");
}

fn on_checkpoints<'a>(place: &'a Place, arguments: &[&'a str]) -> Vec<&'a str> {
    let sets = place.set.iter().flat_map(|set| ["--set", set.as_str()]);
    let job = ["job.yaml", "--output", "json"].into_iter();
    ["checkpoints"].into_iter().chain(arguments.iter().copied()).chain(job).chain(sets).collect()
}

#[test]
fn what_can_not_be_started_from_is_said_with_what_there_is() {
    let place = place("none");
    for (from, code, words) in [
        ("savepoint/x", 3, "holds no savepoint x"),
        ("file:///nowhere/at/all", 3, "holds neither a savepoint nor a job"),
        ("nowhere", 2, "is neither savepoint/<id> nor a storage URL"),
        ("savepoint/X!", 2, "is not the id of a savepoint"),
    ] {
        let mut run = Served::start(&place, &["--restore-from", from]);
        assert_eq!(run.wait(), code, "{from}: {}", run.log());
        assert!(run.log().contains(words), "{from}: {}", run.log());
        assert!(!place.state().join("journal").exists(), "{from}");
    }
}
