//! Two processes that run one job at the same time: the one that was overtaken is fenced, says so
//! and ends; the result is right.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use serde_json::json;
use support::nexmark::{BIDS, EVENTS, tables};
use support::place::{DONE, FENCED, Place, Running};
use support::rows::{Rows, differences, read, row, rows};
use support::{LONG, until};

const RATE: u64 = 8_000;
const OFTEN: &[&str] = &["checkpoint.interval=20ms"];

fn place() -> Place {
    let sql = tables(EVENTS, Some(RATE))
        + "CREATE TABLE prices (bidder BIGINT, price BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/prices', 'format' = 'json');
INSERT INTO prices SELECT bidder, price FROM bid;";
    Place::new("two", &sql, &[])
}

fn check(place: &Place) {
    let expected: Rows =
        rows(BIDS.iter().map(|b| row([("bidder", json!(b.bidder)), ("price", json!(b.price))])));
    if let Some(differences) = differences(&read(&place.out("prices")), &expected) {
        panic!("{differences}");
    }
}

/// Waits for so many records behind `from`.
fn records(place: &Place, run: &mut Running, from: u64, count: u64) {
    let there = until(LONG, || place.newest_slot() >= from + count || run.exited().is_some());
    assert!(there && run.exited().is_none(), "it ended too soon: {}", run.log());
}

fn assert_fenced(run: &mut Running) {
    let code = run.wait(LONG);
    assert_eq!(code, FENCED, "{}", run.log());
    assert!(run.log().contains("another process runs this job now"), "{}", run.log());
}

#[test]
fn the_one_that_is_overtaken_says_so_and_ends() {
    let place = place();
    let mut first = place.start(OFTEN);
    records(&place, &mut first, 0, 5);
    let mut second = place.start(OFTEN);
    assert_fenced(&mut first);
    assert_eq!(second.wait(LONG), DONE, "{}", second.log());
    check(&place);
}

#[test]
fn of_three_that_start_together_one_brings_it_to_the_end() {
    let place = place();
    let mut runs: Vec<_> = (0..3).map(|_| place.start(OFTEN)).collect();
    let mut codes: Vec<_> = runs.iter_mut().map(|r| r.wait(LONG)).collect();
    let said: String = runs.iter().map(Running::log).collect();
    codes.sort_unstable();
    assert_eq!(codes, [DONE, FENCED, FENCED], "{said}");
    check(&place);
}

#[test]
fn one_that_slept_while_another_runs_is_harmless() {
    let place = place();
    let mut first = place.start(OFTEN);
    records(&place, &mut first, 0, 5);
    first.signal("STOP");
    let from = place.newest_slot();
    let mut second = place.start(OFTEN);
    records(&place, &mut second, from, 5);
    first.signal("CONT");
    assert_fenced(&mut first);
    assert_eq!(second.wait(LONG), DONE, "{}", second.log());
    check(&place);
}

/// The record that the sleeper would collide with is collected meanwhile: the boundary stops it.
#[test]
fn one_that_slept_until_all_was_over_and_collected_is_harmless() {
    let place = place();
    let set = &["checkpoint.interval=5ms", "checkpoint.retain=1", "checkpoint.expiration=1s"];
    let mut first = place.start(set);
    records(&place, &mut first, 0, 5);
    first.signal("STOP");
    let slept_at = place.newest_slot();
    // A claim is never collected: the second one's, right behind, is only once there is a third.
    assert!(place.stop_after(10, set), "it ended before it was stopped");
    place.finish(set);
    let boundary = place.journal().boundary().0;
    eprintln!("slept at slot {slept_at}, boundary {boundary}, newest {}", place.newest_slot());
    assert!(boundary > slept_at, "the record behind the sleeper's last one is still there");
    check(&place);
    first.signal("CONT");
    assert_fenced(&mut first);
    check(&place);
}
