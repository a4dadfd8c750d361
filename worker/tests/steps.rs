//! A worker or the coordinator dies before and after every step of a checkpoint: nothing is lost or repeated.
//! The long form:
//!
//! ```sh
//! WEIR_TIMES=20 cargo test --workspace --test steps -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use support::cluster::{Cluster, Secrecy};
use support::nexmark::{COUNTS, counts, dump, tables};
use support::place::{DONE, Place, Running};
use support::rows::{differences, read};
use support::{LONG, Rng, seed};

/// Events per second of the clock, and how many there are for each death: more than come between two of them.
const RATE: u64 = 2_000;
const EVENTS_PER_DEATH: u64 = 2_500;
/// How `abort` ends a process.
const ABORTED: i32 = 134;

const OF_A_WORKER: &[&str] = &["trigger", "alignment", "freeze", "upload", "ack", "commit", "committed"];
const OF_THE_COORDINATOR: &[&str] = &["trigger", "ack", "manifest", "record", "commit", "committed"];

/// The points at which `who` dies, in an order of chance, each so many times.
fn points(who: &str, steps: &[&str], random: &mut Rng) -> Vec<String> {
    let times = std::env::var("WEIR_TIMES").map_or(1, |text| text.parse().expect("WEIR_TIMES is a number"));
    let both = steps.iter().flat_map(|step| ["before", "after"].map(|when| format!("{who}:{step}:{when}")));
    let mut all: Vec<String> = both.flat_map(|point| (0..times).map(move |_| point.clone())).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at as u64 + 1) as usize);
    }
    all
}

/// Lets one process after the other die at its point; when the job is over before all have, another begins.
fn die(who: &str, steps: &[&str], mut one: impl FnMut(&mut Cluster, &str) -> bool) {
    let seed = seed();
    let mut random = Rng::new(seed);
    let points = points(who, steps, &mut random);
    let events = (points.len() as u64 * EVENTS_PER_DEATH).min(100_000);
    eprintln!("{who}: {} deaths over {events} events, WEIR_SEED={seed}", points.len());
    let expected = counts(&dump(events));
    let mut left = points.into_iter().peekable();
    while left.peek().is_some() {
        let place = Place::new("steps", &(tables(events, Some(RATE)) + COUNTS), &[]);
        let mut cluster = Cluster::start(place, Secrecy::Plaintext, &["checkpoint.interval=50ms"]);
        let _good: Vec<Running> = match who {
            "worker" => vec![cluster.worker(1, &[])],
            _ => vec![cluster.worker(1, &[]), cluster.worker(1, &[])],
        };
        while let Some(point) = left.peek() {
            let armed = format!("{point}:{}", 1 + random.below(3));
            cluster.place.environment.push(("WEIR_CRASH_AT".to_owned(), armed));
            let died = one(&mut cluster, point);
            cluster.place.environment.pop();
            if !died {
                break;
            }
            left.next();
        }
        if cluster.coordinator.exited().is_some_and(|code| code != DONE) {
            cluster.next_coordinator();
        }
        let _last = cluster.worker(1, &[]);
        assert_eq!(cluster.coordinator.wait(LONG), DONE, "WEIR_SEED={seed}: {}", cluster.coordinator.log());
        if let Some(wrong) = differences(&read(&cluster.place.out("counts")), &expected) {
            panic!("WEIR_SEED={seed}: {wrong}");
        }
    }
}

#[test]
fn a_worker_dies_before_and_after_every_step_of_a_checkpoint() {
    die("worker", OF_A_WORKER, |cluster, point| {
        let mut victim = cluster.worker(1, &[]);
        match victim.wait(LONG) {
            ABORTED => true,
            // The job was over first.
            DONE => false,
            other => panic!("{point}: {other}: {}", victim.log()),
        }
    });
}

#[test]
fn the_coordinator_dies_before_and_after_every_step_of_a_checkpoint() {
    die("coordinator", OF_THE_COORDINATOR, |cluster, point| {
        cluster.coordinator.signal("KILL");
        cluster.coordinator.wait(LONG);
        cluster.next_coordinator();
        match cluster.coordinator.wait(LONG) {
            ABORTED => true,
            DONE => false,
            other => panic!("{point}: {other}: {}", cluster.coordinator.log()),
        }
    });
}
