//! Faults of what a job writes to: it waits, says so, and goes on by itself; nothing is lost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use support::nexmark::{BIDS, EVENTS, tables};
use support::place::{DONE, Place, Running};
use support::rows::{differences, read, row, rows};
use support::time::format;
use support::{LONG, seed, until};
use weir_testing::{S3Proxy, S3Server};

/// The exit code where the storage can't be used.
const STORAGE: i32 = 5;

fn place(rate: u64) -> Place {
    let sql = tables(EVENTS, Some(rate))
        + "CREATE TABLE bids (auction BIGINT, bidder BIGINT, price BIGINT, `at` TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '{out}/bids', 'format' = 'json');
INSERT INTO bids SELECT auction, bidder, price, `dateTime` FROM bid;";
    Place::new("faults", &sql, &[])
}

fn check(place: &Place) {
    let bids = BIDS.iter().map(|b| {
        row([
            ("auction", json!(b.auction)),
            ("bidder", json!(b.bidder)),
            ("price", json!(b.price)),
            ("at", json!(format(b.at))),
        ])
    });
    if let Some(differences) = differences(&read(&place.out("bids")), &rows(bids)) {
        panic!("{differences}");
    }
}

/// Waits until the job says that it waits for this.
fn waits_for(run: &mut Running, what: &str) {
    let said = |run: &Running| {
        let log = run.log();
        log.lines().any(|l| l.contains("waiting: ") && l.contains(what))
    };
    until(LONG, || said(run) || run.exited().is_some());
    assert!(said(run) && run.exited().is_none(), "it does not wait for {what}: {}", run.log());
}

fn ends_well(mut run: Running, place: &Place) {
    assert_eq!(run.wait(LONG), DONE, "{}", run.log());
    check(place);
}

#[test]
fn a_folder_that_cannot_be_written_is_waited_for() {
    let place = place(20_000);
    let folder = place.out("bids");
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    // A file in its place: permissions would not stop root.
    fs::write(&folder, "in the way").unwrap();
    let mut run = place.start(&[]);
    waits_for(&mut run, &folder.display().to_string());
    fs::remove_file(&folder).unwrap();
    ends_well(run, &place);
}

/// A small file system in memory, gone with its handle.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn new(folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&folder).output();
        done.is_ok_and(|d| d.status.success()).then_some(Self(folder))
    }

    fn grow(&self) {
        let done = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    let place = place(40_000);
    let Some(disk) = SmallDisk::new(place.path("out")) else {
        eprintln!("skipped: a small file system can't be mounted here (that takes root)");
        return;
    };
    let mut run = place.start(&[]);
    waits_for(&mut run, "No space left");
    disk.grow();
    ends_well(run, &place);
}

#[test]
fn a_store_that_is_away_for_a_while_loses_nothing() {
    let mut server = S3Server::start();
    let mut place = place(1_500);
    place.store_in(&server, "faults");
    let set =
        ["restart.strategy=ExponentialDelay", "restart.initialDelay=100ms", "checkpoint.interval=100ms"];
    let mut run = place.start(&set);
    let first = |place: &Place| !read(&place.out("bids")).is_empty();
    assert!(until(LONG, || first(&place) || run.exited().is_some()), "no output: {}", run.log());
    for _ in 0..2 {
        server.kill9();
        let ended = until(Duration::from_secs(2), || run.exited().is_some());
        assert!(!ended, "it ended while the store was away: {}", run.log());
        let before = read(&place.out("bids")).len();
        server.restart();
        let goes_on = || read(&place.out("bids")).len() > before;
        assert!(until(LONG, || goes_on() || run.exited().is_some()), "it does not go on: {}", run.log());
    }
    ends_well(run, &place);
}

#[test]
fn a_store_that_is_away_at_the_start_is_waited_for() {
    let server = S3Server::start();
    let proxy = S3Proxy::start(server.port(), 1);
    let mut place = place(40_000);
    place.store_in(&server, "faults");
    proxy.fail(1_000);
    let endpoint = format!("checkpoint.endpoint={}", proxy.endpoint());
    let mut run = place.start(&[&endpoint]);
    waits_for(&mut run, "waiting for the storage");
    proxy.fail(0);
    ends_well(run, &place);
}

#[test]
fn a_bucket_that_is_not_there_is_said_at_once() {
    let server = S3Server::start();
    let mut place = place(40_000);
    place.store_in(&server, "faults");
    let mut run = place.start(&["checkpoint.storage=s3://no-such-bucket/faults"]);
    assert_eq!(run.wait(LONG), STORAGE, "{}", run.log());
    assert!(run.log().contains("the checkpoint storage cannot be used"), "{}", run.log());
}

#[test]
fn a_store_that_is_slow_busy_and_loses_answers_loses_nothing() {
    let seed = seed();
    eprintln!("WEIR_SEED={seed}");
    let server = S3Server::start();
    let proxy = S3Proxy::start(server.port(), seed);
    let mut place = place(1_500);
    place.store_in(&server, "faults");
    // The last word counts.
    let endpoint = format!("checkpoint.endpoint={}", proxy.endpoint());
    let mut run = place.start(&[&endpoint, "checkpoint.interval=50ms"]);
    let first = |place: &Place| !read(&place.out("bids")).is_empty();
    assert!(until(LONG, || first(&place) || run.exited().is_some()), "no output: {}", run.log());
    proxy.fail(250);
    let met = || proxy.met().iter().all(|times| *times >= 4);
    assert!(until(LONG, || met() || run.exited().is_some()), "faults: {:?}", proxy.met());
    assert!(run.exited().is_none(), "WEIR_SEED={seed}: it ended early: {}", run.log());
    proxy.fail(0);
    ends_well(run, &place);
    eprintln!("faults: {:?}", proxy.met());
}
