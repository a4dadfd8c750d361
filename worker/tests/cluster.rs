//! Jobs whose coordinator and workers are processes of their own, any of which may die: the result is the
//! same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use support::cluster::{Cluster, Secrecy, certificates, completed, make_certificates, workers};
use support::nexmark::{BIDS, COUNTS, EVENTS, counts, tables};
use support::place::{DONE, FENCED, Place, Running, TERMINATED};
use support::rows::{Rows, differences, read};
use support::{LONG, http, until};

/// Events per second of the clock: slow enough that what is done to a job happens while it runs.
const RATE: u64 = 6_000;
/// The exit codes of a command line that is not understood, of a worker without a coordinator.
const USAGE: i32 = 2;
const FILE: i32 = 7;
const ALONE: i32 = 8;

static EXPECTED: LazyLock<Rows> = LazyLock::new(|| counts(&BIDS));

fn place(name: &str) -> Place {
    Place::new(name, &(tables(EVENTS, Some(RATE)) + COUNTS), &[])
}

fn check(place: &Place) {
    if let Some(differences) = differences(&read(&place.out("counts")), &EXPECTED) {
        panic!("{differences}");
    }
}

/// The end of the job: everybody has done.
fn finish(cluster: &mut Cluster, workers: Vec<Running>) {
    let code = cluster.coordinator.wait(LONG);
    assert_eq!(code, DONE, "{}", cluster.coordinator.log());
    for mut worker in workers {
        assert_eq!(worker.wait(LONG), DONE, "{}", worker.log());
    }
    check(&cluster.place);
}

#[test]
fn a_job_over_three_workers_gives_the_reference() {
    let mut cluster = Cluster::start(place("three"), Secrecy::Tls, &["parallelism=3"]);
    let processes = (0..3).map(|_| cluster.worker(1, &[])).collect();
    let status = cluster.wait_for_checkpoints(0, 1);
    let used: Vec<u64> =
        status["workers"].as_array().unwrap().iter().filter_map(|w| w["used"].as_u64()).collect();
    assert_eq!(used, [1, 1, 1], "one slot on each: {status:#?}");
    finish(&mut cluster, processes);
}

#[test]
fn coordinator_and_workers_tell_the_numbers_of_their_links() {
    let mut cluster = Cluster::start(place("numbers"), Secrecy::Plaintext, &["parallelism=2"]);
    let files = ["one.json", "two.json"];
    let processes: Vec<Running> =
        files.iter().map(|file| cluster.worker(1, &["--http", "127.0.0.1:0", "--announce", file])).collect();
    cluster.wait_for_checkpoints(0, 1);
    let labels = "{job=\"numbers\",job_name=\"numbers\"}";
    let of_coordinator = http::text(cluster.http(), "/metrics").unwrap();
    let registered = format!("weir_control_registered_workers_total{labels} 2\n");
    assert!(of_coordinator.contains(&registered), "{of_coordinator}");
    for file in files {
        let announced = std::fs::read_to_string(cluster.place.path(file)).unwrap();
        let announced: Value = serde_json::from_str(&announced).unwrap();
        let text = http::text(announced["http"].as_str().unwrap(), "/metrics").unwrap();
        assert!(text.contains(&format!("weir_worker_connected{labels} 1\n")), "{text}");
        // One to the other and one back.
        assert!(text.contains(&format!("weir_exchange_connections{labels} 2\n")), "{text}");
        assert!(!text.contains(&format!("weir_exchange_frames_in_total{labels} 0\n")), "{text}");
    }
    finish(&mut cluster, processes);
}

#[test]
fn a_worker_is_killed_and_another_goes_on() {
    let mut cluster = Cluster::start(place("killed"), Secrecy::Tls, &["parallelism=3"]);
    let mut processes: Vec<Running> = (0..4).map(|_| cluster.worker(1, &[])).collect();
    for round in 0..3 {
        let status = cluster.status().unwrap_or_default();
        let status = cluster.wait_for_checkpoints(completed(&status), 2);
        let victim = busy(&status, &processes);
        let execution = execution(&status);
        processes.remove(victim).kill();
        cluster.wait_for("a new execution", |s| self::execution(s) > execution && s["state"] == "Running");
        eprintln!("round {round}: survived");
        processes.push(cluster.worker(1, &[]));
    }
    finish(&mut cluster, processes);
}

/// The index of a process on which subtasks run.
fn busy(status: &Value, processes: &[Running]) -> usize {
    let used: Vec<&str> = status["workers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|w| w["used"] != 0)
        .filter_map(|w| w["name"].as_str())
        .collect();
    let is = |p: &Running| used.iter().any(|name| name.ends_with(&format!("({})", p.id())));
    processes.iter().position(is).unwrap_or_else(|| panic!("nobody works: {status:#?}"))
}

fn execution(status: &Value) -> u64 {
    status["execution"].as_u64().unwrap_or(0)
}

fn attempt(status: &Value) -> u64 {
    status["attempt"].as_u64().unwrap_or(0)
}

#[test]
fn the_coordinator_is_killed_and_the_next_one_takes_the_job_to_its_end() {
    let mut cluster = Cluster::start(place("headless"), Secrecy::Tls, &["parallelism=2"]);
    let processes: Vec<Running> = (0..2).map(|_| cluster.worker(1, &[])).collect();
    for round in 1..=3 {
        let status = cluster.wait_for_checkpoints(0, 2 * round);
        assert_eq!(attempt(&status), round);
        cluster.coordinator.signal("KILL");
        cluster.coordinator.wait(LONG);
        cluster.next_coordinator();
    }
    cluster.wait_for("the fourth attempt", |s| attempt(s) == 4 && s["state"] == "Running");
    finish(&mut cluster, processes);
}

#[test]
fn a_coordinator_that_is_told_to_go_leaves_the_job_to_the_next() {
    let mut cluster = Cluster::start(place("relay"), Secrecy::Plaintext, &["parallelism=2"]);
    let mut processes = vec![cluster.worker(2, &[])];
    cluster.wait_for_checkpoints(0, 2);
    cluster.coordinator.signal("TERM");
    assert_eq!(cluster.coordinator.wait(LONG), TERMINATED);
    assert!(cluster.coordinator.log().contains("workers go on"), "{}", cluster.coordinator.log());
    assert!(processes[0].exited().is_none());
    cluster.next_coordinator();
    cluster.wait_for("the second attempt", |s| attempt(s) == 2 && s["state"] == "Running");
    finish(&mut cluster, std::mem::take(&mut processes));
}

#[test]
fn a_coordinator_that_slept_while_another_took_over_is_harmless() {
    let mut cluster = Cluster::start(place("sleeper"), Secrecy::Plaintext, &["parallelism=2"]);
    let mut lost = cluster.worker(2, &["--patience", "1h"]);
    cluster.wait_for_checkpoints(0, 2);
    cluster.coordinator.signal("STOP");
    // Its worker can't reach the next one, which is elsewhere: another does the work.
    lost.signal("KILL");
    lost.wait(LONG);
    let rival = cluster.rival();
    let mut first = std::mem::replace(&mut cluster.coordinator, rival);
    let found = until(LONG, || announced_by(&cluster.place) == Some(u64::from(cluster.coordinator.id())));
    assert!(found, "{}", cluster.coordinator.log());
    let control = announced(&cluster.place)["control"].as_str().unwrap().to_owned();
    let mut command = cluster.place.weir(&["worker", "--coordinator", &control, "--slots", "2"]);
    command.args(cluster.secrets("worker"));
    let second = cluster.place.launch(command);
    let newest = cluster.place.newest_slot();
    assert!(until(LONG, || cluster.place.newest_slot() > newest + 3), "{}", cluster.coordinator.log());
    first.signal("CONT");
    finish(&mut cluster, vec![second]);
    // It may not have had a reason yet to write anything, and then does not know.
    assert!(first.exited().is_none_or(|code| code == FENCED), "{}", first.log());
    first.kill();
    check(&cluster.place);
}

#[test]
fn a_worker_starts_anew_when_the_job_has_changed() {
    let mut cluster = Cluster::start(place("changed"), Secrecy::Plaintext, &["parallelism=2"]);
    let worker = cluster.worker(2, &[]);
    cluster.wait_for_checkpoints(0, 2);
    cluster.coordinator.signal("TERM");
    assert_eq!(cluster.coordinator.wait(LONG), TERMINATED);
    cluster.change("state.memoryLimit=512Mi");
    cluster.next_coordinator();
    // Until it says so, its subtasks run on, and the next coordinator says that the job is running.
    let anew = until(LONG, || worker.log().contains("the job has changed; this worker starts anew"));
    assert!(anew, "{}", worker.log());
    cluster.wait_for("the second attempt", |s| attempt(s) == 2 && s["state"] == "Running");
    finish(&mut cluster, vec![worker]);
}

fn announced(place: &Place) -> Value {
    let text = std::fs::read_to_string(place.path("coordinator.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn announced_by(place: &Place) -> Option<u64> {
    announced(place)["process"].as_u64()
}

#[test]
fn a_worker_that_sleeps_longer_than_its_heartbeats_is_replaced_and_taken_in_again() {
    let mut cluster = Cluster::start(place("zombie"), Secrecy::Tls, &["parallelism=2"]);
    let mut processes: Vec<Running> = (0..3).map(|_| cluster.worker(1, &[])).collect();
    let status = cluster.wait_for_checkpoints(0, 2);
    let sleeper = busy(&status, &processes);
    let name = format!("({})", processes[sleeper].id());
    let there = |s: &Value| workers(s).iter().any(|w| w.ends_with(&name));
    let execution = execution(&status);
    processes[sleeper].signal("STOP");
    let moved = |s: &Value| self::execution(s) > execution && s["state"] == "Running" && !there(s);
    let status = cluster.wait_for("subtasks elsewhere", moved);
    cluster.wait_for_checkpoints(completed(&status), 2);
    processes[sleeper].signal("CONT");
    cluster.wait_for("its return", there);
    finish(&mut cluster, processes);
}

#[test]
fn a_worker_that_is_asked_to_end_hands_its_subtasks_over_and_nothing_is_replayed() {
    let mut cluster = Cluster::start(place("drain"), Secrecy::Tls, &["parallelism=2"]);
    let mut processes: Vec<Running> = (0..3).map(|_| cluster.worker(1, &[])).collect();
    let status = cluster.wait_for_checkpoints(0, 2);
    let leaver = busy(&status, &processes);
    let mut leaver = processes.remove(leaver);
    leaver.signal("TERM");
    assert_eq!(leaver.wait(LONG), DONE, "{}", leaver.log());
    let name = format!("({})", leaver.id());
    let gone = |s: &Value| s["state"] == "Running" && workers(s).iter().all(|w| !w.ends_with(&name));
    let status = cluster.wait_for("the others alone", gone);
    cluster.wait_for_checkpoints(completed(&status), 2);
    finish(&mut cluster, processes);
}

#[test]
fn a_worker_with_nothing_to_do_ends_at_once_when_asked() {
    let mut cluster = Cluster::start(place("idle"), Secrecy::Plaintext, &["parallelism=1"]);
    let first = cluster.worker(1, &[]);
    cluster.wait_for_checkpoints(0, 1);
    let mut spare = cluster.worker(1, &[]);
    cluster.wait_for("a spare worker", |s| workers(s).len() == 2);
    spare.signal("TERM");
    assert_eq!(spare.wait(LONG), DONE, "{}", spare.log());
    finish(&mut cluster, vec![first]);
}

/// Starts `weir` and waits for its end.
fn ends(place: &Place, arguments: &[&str], more: &[String]) -> (i32, String) {
    let mut command = place.weir(arguments);
    command.args(more);
    let mut process = place.launch(command);
    (process.wait(LONG), process.log())
}

#[test]
fn plaintext_must_be_asked_for_and_stays_on_the_machine() {
    let place = place("plain");
    let worker = ["worker", "--coordinator", "127.0.0.1:9"];
    for (command, expected) in [
        (
            vec!["coordinator", "job.yaml", "--listen", "0.0.0.0:0", "--plaintext"],
            "plaintext is only for loopback",
        ),
        (vec!["coordinator", "job.yaml"], "or ask for --plaintext"),
        (
            [&worker[..], &["--listen", "0.0.0.0:0", "--advertise", "h", "--plaintext"]].concat(),
            "plaintext is only for loopback",
        ),
        (worker.to_vec(), "or ask for --plaintext"),
        ([&worker[..], &["--tls-ca", "x"]].concat(), "--tls-cert"),
        (vec!["worker", "--plaintext"], "--coordinator"),
        (vec!["worker", "--plaintext", "--coordinator", "nowhere"], "write a host and a port"),
        ([&worker[..], &["--plaintext", "--slots", "0"]].concat(), "0 is not in 1..=4096"),
    ] {
        let (code, log) = ends(&place, &command, &[]);
        assert_eq!(code, USAGE, "{command:?}: {log}");
        assert!(log.contains(expected), "{command:?}: {log}");
    }
    // Dialled, not listened on.
    let away = ["worker", "--coordinator", "192.0.2.1:7070", "--plaintext", "--patience", "300ms"];
    let (code, log) = ends(&place, &away, &[]);
    assert_eq!(code, ALONE, "{log}");
    assert!(log.contains("plaintext is only for loopback"), "{log}");
}

#[test]
fn whoever_does_not_belong_to_the_job_is_refused_and_told_why() {
    let mut cluster = Cluster::start(place("closed"), Secrecy::Tls, &["parallelism=1"]);
    let control = cluster.control().to_owned();
    let worker = |uid: &str, certificates: Vec<String>| {
        let all = ["worker", "--coordinator", &control, "--uid", uid, "--patience", "2s"];
        ends(&cluster.place, &all, &certificates)
    };
    // Of another CA.
    let strangers = make_certificates(&cluster.place, "closed", "strangers");
    let (code, log) = worker("closed", certificates(&strangers, "worker"));
    assert_eq!(code, ALONE, "{log}");
    assert!(log.contains("certificate"), "{log}");
    // Of the right CA, for another job.
    let others = make_certificates(&cluster.place, "other", "others");
    std::fs::copy(cluster.place.path("certs").join("ca.pem"), others.join("ca.pem")).unwrap();
    let (code, log) = worker("closed", certificates(&others, "worker"));
    assert_eq!(code, FILE, "{log}");
    assert!(log.contains("this certificate is not of job closed"), "{log}");
    let (code, log) = worker("other", certificates(&others, "worker"));
    assert_eq!(code, ALONE, "{log}");
    // Without certificates.
    let plain = ["worker", "--coordinator", &control, "--plaintext", "--patience", "2s"];
    let (code, log) = ends(&cluster.place, &plain, &[]);
    assert_eq!(code, ALONE, "{log}");

    let mine = cluster.worker(1, &[]);
    finish(&mut cluster, vec![mine]);
}

#[test]
fn a_worker_of_another_job_is_refused_by_name() {
    let mut cluster = Cluster::start(place("ours"), Secrecy::Plaintext, &["parallelism=1"]);
    let control = cluster.control().to_owned();
    let stray = ["worker", "--coordinator", &control, "--uid", "theirs", "--plaintext", "--patience", "2s"];
    let (code, log) = ends(&cluster.place, &stray, &[]);
    assert_eq!(code, ALONE, "{log}");
    assert!(log.contains("the worker belongs to job theirs"), "{log}");
    let mine = cluster.worker(1, &[]);
    finish(&mut cluster, vec![mine]);
}

/// The numbers of the processes of `weir run --workers`, as it says them.
fn children(run: &Running) -> Vec<u32> {
    let number = |line: &str| {
        let (worker, process) = line.split_once(" is process ")?;
        worker.strip_prefix("worker ")?.parse::<u32>().ok()?;
        process.trim().parse().ok()
    };
    run.log().lines().filter_map(number).collect()
}

fn alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}/exe")).exists()
}

fn run_cluster(place: &Place, more: &[&str]) -> Running {
    let mut command =
        place.weir(&["run", "job.yaml", "--workers", "3", "--listen", "off", "--progress", "plain"]);
    command.args(more);
    for set in ["parallelism=3", "restart.strategy=FixedDelay", "restart.attempts=1000", "restart.delay=10ms"]
    {
        command.args(["--set", set]);
    }
    place.launch(command)
}

fn records(place: &Place, run: &mut Running, more: u64) {
    let from = place.newest_slot();
    let there = until(LONG, || place.newest_slot() >= from + more || run.exited().is_some());
    assert!(there && run.exited().is_none(), "{}", run.log());
}

/// A signal to a process that the run has just named as its own.
fn send(signal: &str, process: u32) {
    let kill = format!("kill -{signal} {process}");
    let done = std::process::Command::new("sh").args(["-c", &kill]).status();
    assert!(done.expect("sh runs").success());
}

#[test]
fn a_small_cluster_survives_the_death_of_its_workers() {
    let place = place("small");
    let mut run = run_cluster(&place, &[]);
    records(&place, &mut run, 5);
    let before = children(&run);
    assert_eq!(before.len(), 3, "{}", run.log());
    send("KILL", before[0]);
    assert!(until(LONG, || children(&run).len() == 4 || run.exited().is_some()), "{}", run.log());
    assert!(run.log().contains("another takes its place in"), "{}", run.log());
    assert_eq!(run.wait(LONG), DONE, "{}", run.log());
    let all = children(&run);
    assert!(until(LONG, || !all.iter().any(|p| alive(*p))), "{all:?}");
    check(&place);
}

#[test]
fn a_worker_of_a_small_cluster_that_is_asked_to_end_is_replaced() {
    let place = place("relieved");
    let mut run = run_cluster(&place, &["--slots", "2"]);
    records(&place, &mut run, 5);
    let before = children(&run);
    send("TERM", before[0]);
    assert!(until(LONG, || children(&run).len() == 4 || run.exited().is_some()), "{}", run.log());
    assert!(run.log().contains("(process"), "{}", run.log());
    assert!(run.log().contains("released); another takes its place in"), "{}", run.log());
    assert_eq!(run.wait(LONG), DONE, "{}", run.log());
    check(&place);
}

#[test]
fn a_small_cluster_stops_after_a_last_checkpoint_and_goes_on_from_there() {
    let place = place("pause");
    let mut run = run_cluster(&place, &[]);
    records(&place, &mut run, 5);
    run.signal("TERM");
    assert_eq!(run.wait(LONG), TERMINATED, "{}", run.log());
    assert!(!run.log().contains("was not completed"), "{}", run.log());
    let all = children(&run);
    assert!(!all.iter().any(|p| alive(*p)), "{all:?}");
    // In one process from here.
    place.finish(&["parallelism=3"]);
    check(&place);
}

#[test]
fn a_small_cluster_ends_with_the_process_that_started_it() {
    let place = place("orphans");
    let mut run = run_cluster(&place, &[]);
    records(&place, &mut run, 5);
    let all = children(&run);
    run.kill();
    assert!(until(LONG, || !all.iter().any(|p| alive(*p))), "{all:?}");
    place.finish(&["parallelism=3"]);
    check(&place);
}
