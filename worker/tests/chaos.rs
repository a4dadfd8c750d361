//! A long job that is killed again and again by SIGKILL at random moments: no row is lost, none
//! comes twice. The long form, over each store:
//!
//! ```sh
//! WEIR_KILLS=1000 cargo test --workspace --test chaos -- --nocapture
//! ```
//!
//! `WEIR_SEED` replays the moments.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::nexmark::{COUNTS, counts, dump, tables};
use support::place::{DONE, Place, view};
use support::rows::{differences, read};
use support::{LONG, Rng, seed, until};
use weir_checkpoint::View;
use weir_testing::S3Server;

/// Events per second of the clock: slow enough that the job outlasts its kills.
const RATE: u64 = 2_000;
/// Events that are there per kill; about as many as a process gets done in its life.
const EVENTS_PER_KILL: u64 = 800;
/// The longest life of a process before it is killed, at least; where it takes longer until the
/// first output is there, that long.
const LONGEST_LIFE: Duration = Duration::from_millis(1_200);

fn kills(default: u64) -> u64 {
    std::env::var("WEIR_KILLS").map_or(default, |text| text.parse().expect("WEIR_KILLS is a number"))
}

const OFTEN: &[&str] = &["checkpoint.interval=50ms"];

/// Kills the first process when there is output, and gives how long that took.
fn first_life(place: &Place) -> Duration {
    let begin = Instant::now();
    let mut run = place.start(OFTEN);
    let output = || !read(&place.out("counts")).is_empty();
    assert!(until(LONG, || output() || run.exited().is_some()), "no output: {}", run.log());
    run.kill();
    begin.elapsed()
}

/// Kills the job so many times, and lets it end. If it ends by itself before that, the same job
/// begins anew in another place.
fn torment(
    store: &str,
    kills: u64,
    place: impl Fn(&str, u32) -> Place,
    journal: impl Fn(&Place, u32) -> View,
) {
    let seed = seed();
    let begin = Instant::now();
    let events = kills * EVENTS_PER_KILL + 5_000;
    eprintln!("{store}: {kills} kills over {events} events, WEIR_SEED={seed}");
    let expected = counts(&dump(events));
    let sql = tables(events, Some(RATE)) + COUNTS;
    let mut random = Rng::new(seed);
    let (mut killed, mut round, mut checkpoints, mut restored) = (0, 0, 0, 0);
    let mut longest = None;
    while killed < kills {
        round += 1;
        let place = place(&sql, round);
        let longest = *longest.get_or_insert_with(|| {
            killed += 1;
            LONGEST_LIFE.max(first_life(&place))
        });
        loop {
            let mut run = place.start(OFTEN);
            // To the end there are so many events left at most.
            let rest = LONG + Duration::from_secs(events / RATE);
            let life = if killed < kills { random.up_to(longest) } else { rest };
            if let Some(code) = run.exits_within(life) {
                assert_eq!(code, DONE, "{store} (WEIR_SEED={seed}) after {killed} kills: {}", run.log());
                break;
            }
            assert!(killed < kills, "{store} (WEIR_SEED={seed}): no end: {}", run.log());
            run.kill();
            killed += 1;
            if killed % 100 == 0 {
                eprintln!("{store}: {killed} kills, {:?}", begin.elapsed());
            }
        }
        let found = read(&place.out("counts"));
        if let Some(differences) = differences(&found, &expected) {
            panic!("{store} (WEIR_SEED={seed}) after {killed} kills: {differences}");
        }
        let journal = journal(&place, round);
        checkpoints += journal.counters().completed;
        restored += u64::from(support::place::restored(&journal));
    }
    assert!(restored > 0, "{store} (WEIR_SEED={seed}): no kill hit the job behind its first checkpoint");
    eprintln!(
        "{store}: WEIR_SEED={seed}, {killed} kills, {checkpoints} checkpoints, {round} times to the end, 0 of {} rows lost, 0 repeated, {:?}",
        expected.values().sum::<i64>(),
        begin.elapsed()
    );
}

#[test]
fn killed_again_and_again_over_a_folder() {
    torment("file", kills(25), |sql, _| Place::new("chaos", sql, &[]), |place, _| place.journal());
}

#[test]
fn killed_again_and_again_over_s3() {
    let server = S3Server::start();
    let place = |sql: &str, round: u32| {
        let mut place = Place::new("chaos", sql, &[]);
        place.store_in(&server, &format!("round-{round}"));
        place
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = |_: &Place, round: u32| {
        runtime.block_on(async { view(Arc::new(server.store(&format!("round-{round}/chaos")).await)).await })
    };
    torment("s3", kills(10), place, journal);
}
