//! Savepoints by the real binary: made of a job that rests, looked at, damaged, deleted.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::nexmark::tables;
use support::place::{DONE, Place};
use weir_testing::S3Server;

const EVENTS: u64 = 20_000;
/// Events per second of the clock: a run takes about two seconds.
const RATE: u64 = 10_000;
const USAGE: i32 = 2;
const STATE: i32 = 6;

const COUNTS: &str = "CREATE TABLE counts (s TIMESTAMP(3), auction BIGINT, n BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/counts', 'format' = 'json');
INSERT INTO counts SELECT window_start, auction, COUNT(*)
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND, INTERVAL '4' SECOND))
GROUP BY window_start, window_end, auction;";

/// Runs `weir`; gives its exit code and what it said.
fn weir(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let sets = place.set.iter().flat_map(|set| ["--set", set.as_str()]);
    let arguments: Vec<&str> = arguments.iter().copied().chain(sets).collect();
    let done = place.weir(&arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let (code, out, err) = weir(place, arguments);
    assert_eq!(code, DONE, "{arguments:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))
}

/// The only file below a folder's first folders.
fn some_file(folder: &Path) -> std::path::PathBuf {
    let first = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if first.is_dir() { some_file(&first) } else { first }
}

#[test]
fn a_savepoint_of_a_job_that_rests_outlives_the_job_and_its_damage_is_named() {
    let place = Place::new("old", &(tables(EVENTS, Some(RATE)) + COUNTS), &[]);
    assert!(place.stop_after(6, &[]), "it stopped on the way");
    let made = json_of(&place, &["savepoint", "create", "job.yaml", "--id", "near", "--json"]);
    assert_eq!(made["place"], json!(format!("file://{}/savepoints/near", place.state().display())));
    let backups = place.path("backups");
    let to = format!("file://{}", backups.display());
    let made = json_of(&place, &["savepoint", "create", "job.yaml", "--id", "far", "--to", &to, "--json"]);
    assert_eq!(made["place"], json!(format!("{to}/far")));
    let again = json_of(&place, &["savepoint", "create", "job.yaml", "--id", "near", "--json"]);
    assert_eq!(
        again["savepoint"]["checkpoint"], made["savepoint"]["checkpoint"],
        "asked for again it is there"
    );

    let listed = json_of(&place, &["savepoint", "list", "job.yaml", "--json"]);
    let row = &listed["savepoints"][0];
    assert!(row["id"] == "near" && row["problem"].is_null() && row["bytes"].as_u64() > Some(0), "{listed}");
    let (code, out, _) = weir(&place, &["savepoint", "inspect", "job.yaml", "near"]);
    assert!(code == DONE && out.contains("savepoint near of job old") && out.contains("VERTEX"), "{out}");
    let (code, _, err) = weir(&place, &["savepoint", "inspect", "job.yaml"]);
    assert!(code == USAGE && err.contains("say which savepoint of job old: near"), "{err}");

    // The job goes on to its end; its files go, and the savepoint does not care.
    place.finish(&[]);
    fs::remove_dir_all(place.state().join("data")).unwrap();
    fs::remove_dir_all(place.state().join("manifest")).unwrap();
    let (code, out, err) = weir(&place, &["savepoint", "verify", "job.yaml"]);
    assert!(code == DONE && out.ends_with("savepoints/near: whole\n"), "{out}{err}");
    let (code, out, err) = place_less(&place, &["savepoint", "verify", &format!("{to}/far")]);
    assert_eq!((code, out), (DONE, format!("{to}/far: whole\n")), "{err}");

    let damaged = some_file(&backups.join("far/data"));
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[12] ^= 8;
    fs::write(&damaged, bytes).unwrap();
    let (code, _, err) = place_less(&place, &["savepoint", "verify", &format!("{to}/far")]);
    let name = damaged.file_name().unwrap().to_str().unwrap();
    assert!(code == STATE && err.contains(name) && err.contains("digest"), "{code} {err}");

    let state = format!("file://{}", place.state().display());
    let (code, ..) = place_less(&place, &["savepoint", "delete", &state]);
    assert_ne!(code, DONE, "a job's folder is no savepoint");
    let (code, out, err) = weir(&place, &["savepoint", "delete", "job.yaml", "near"]);
    assert!(code == DONE && out.contains("deleted"), "{out}{err}");
    let (code, out, _) = weir(&place, &["savepoint", "delete", "job.yaml", "near"]);
    assert!(code == DONE && out.contains("nothing to delete"), "{out}");
    assert!(!place.state().join("savepoints").exists() && place.state().join("journal").exists());
}

fn place_less(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let done = place.weir(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn in_s3_the_server_copies() {
    let server = S3Server::start();
    let mut place = Place::new("old", &(tables(EVENTS, None) + COUNTS), &[]);
    place.store_in(&server, "jobs");
    place.finish(&[]);
    let made = json_of(&place, &["savepoint", "create", "job.yaml", "--id", "s", "--json"]);
    assert_eq!(made["place"], json!(format!("{}/old/savepoints/s", server.storage("jobs").url)));
    let verified = json_of(&place, &["savepoint", "verify", "job.yaml", "s", "--json"]);
    assert_eq!(verified["whole"], true, "{verified}");
    json_of(&place, &["savepoint", "delete", "job.yaml", "s", "--json"]);
    assert_eq!(json_of(&place, &["savepoint", "list", "job.yaml", "--json"])["savepoints"], json!([]));
}

#[test]
fn what_can_not_be_done_is_said() {
    let place = Place::new("none", &(tables(1, None) + COUNTS), &[]);
    for (arguments, code, words) in [
        (&["savepoint", "create", "job.yaml"][..], STATE, "holds no journal"),
        (&["savepoint", "create", "job.yaml", "--id", "Bad"], USAGE, "is not the id of a savepoint"),
        (&["savepoint", "create", "job.yaml", "--to", "gs://x"], USAGE, "scheme"),
        (&["savepoint", "create"], USAGE, "<FILE|URL>"),
        (&["savepoint", "inspect", "job.yaml", "x"], STATE, "holds no savepoint"),
        (&["savepoint", "inspect", "job.yaml"], USAGE, "there is none"),
    ] {
        let (found, out, err) = place_less(&place, arguments);
        assert!(found == code && err.contains(words), "{arguments:?}: {found} {out}{err}");
    }
}
