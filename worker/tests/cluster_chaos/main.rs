//! Coordinators and workers as real processes over a real S3 server, under random faults of processes, of the
//! network, of the store, of disks and of clocks: no row is lost, none comes twice. The long form:
//!
//! ```sh
//! WEIR_FAULTS=2000 cargo test --workspace --test cluster_chaos -- --nocapture
//! ```
//!
//! A round is one job with up to [`FAULTS_PER_ROUND`] faults. It prints its seed; `WEIR_SEED` replays the faults.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod job;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use faults::Fault;
use support::{Rng, seed, until};
use world::World;

/// Faults that meet one job.
const FAULTS_PER_ROUND: u64 = 60;
/// After so many faults everything is made whole, and the job has to get on.
const FAULTS_PER_BREATH: u64 = 10;
/// The longest time from one fault to the next; most overlap.
const LONGEST_GAP: Duration = Duration::from_millis(1_200);
/// Within this time a job without faults must complete checkpoints.
const RECOVERED: Duration = Duration::from_secs(90);

#[test]
fn nothing_is_lost_or_repeated_whatever_dies() {
    let all = std::env::var("WEIR_FAULTS")
        .map_or(FAULTS_PER_ROUND, |n| n.parse().expect("WEIR_FAULTS is a number"));
    let first = seed();
    let begin = Instant::now();
    let mut met = BTreeMap::<Fault, u64>::new();
    let (mut done, mut round) = (0, 0);
    while done < all {
        let seed = first + round;
        let faults = FAULTS_PER_ROUND.min(all - done);
        eprintln!("round {round}: {faults} faults, WEIR_SEED={seed}");
        let before = met.values().sum::<u64>();
        torment(seed, faults, &mut met);
        done += met.values().sum::<u64>() - before;
        round += 1;
        eprintln!("{done} faults in {round} rounds, {:?}: 0 rows lost, 0 repeated", begin.elapsed());
    }
    eprintln!("{met:#?}");
}

/// One job from its beginning to its end.
fn torment(seed: u64, faults: u64, met: &mut BTreeMap<Fault, u64>) {
    let mut random = Rng::new(seed);
    let job = job::Chosen::new(&mut random, faults);
    let mut world = World::new(seed, &job, &mut random);
    for number in 1..=faults {
        let next = Instant::now() + random.up_to(LONGEST_GAP);
        while Instant::now() < next && !world.over() {
            world.pass();
        }
        if world.over() {
            break;
        }
        let fault = Fault::choose(&mut random);
        if world.meet(fault, &mut random) {
            *met.entry(fault).or_default() += 1;
        }
        if number % FAULTS_PER_BREATH == 0 {
            world.heal_all();
            let from = world.completed();
            let recovered = until(RECOVERED, || {
                world.pass();
                world.over() || world.completed() >= from + 2
            });
            assert!(recovered, "WEIR_SEED={seed}: no checkpoint after fault {number}: {}", world.story());
        }
    }
    world.heal_all();
    let rest = RECOVERED + job.time_without_faults();
    let ended = until(rest, || {
        world.pass();
        world.over()
    });
    assert!(ended, "WEIR_SEED={seed}: no end: {}", world.story());
    if let Some(wrong) = job.wrong(&world.place) {
        panic!("WEIR_SEED={seed}: {wrong}\n{}", world.story());
    }
}
