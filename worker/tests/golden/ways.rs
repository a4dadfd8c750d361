//! The five ways, and at-least-once. Each ends with the output compared to the expected one.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::place::{DONE, Input, Place, restored};
use crate::support::rows::{self, Rows};
use crate::support::{LONG, Rng, seed};

/// A job with its result.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) sql: String,
    pub(crate) inputs: Vec<Input>,
    pub(crate) expected: Vec<Expected>,
    took: OnceLock<Duration>,
}

/// What a table must hold at the end.
pub(crate) struct Expected {
    pub(crate) table: &'static str,
    pub(crate) rows: Rows,
    /// The files hold a changelog, with the kind of a row in the column `op`; `rows` is what it makes.
    pub(crate) changelog: bool,
}

impl Expected {
    pub(crate) fn rows(table: &'static str, rows: Rows) -> Self {
        assert!(!rows.is_empty(), "{table}: a result without rows proves nothing");
        Self { table, rows, changelog: false }
    }

    pub(crate) fn changelog(table: &'static str, rows: Rows) -> Self {
        Self { changelog: true, ..Self::rows(table, rows) }
    }
}

/// Checkpoints of most ways.
const OFTEN: &str = "checkpoint.interval=20ms";
/// The smallest interval that a manifest may have.
const WITHOUT_PAUSE: &str = "checkpoint.interval=1ms";
const KILLS: u32 = 20;

impl Golden {
    pub(crate) fn new(name: &'static str, sql: String, inputs: Vec<Input>, expected: Vec<Expected>) -> Self {
        Self { name, sql, inputs, expected, took: OnceLock::new() }
    }

    fn place(&self) -> Place {
        Place::new(self.name, &self.sql, &self.inputs)
    }

    /// Compares all tables.
    fn check(&self, place: &Place, compare: fn(&Rows, &Rows) -> Option<String>) {
        let mut wrong = String::new();
        for expected in &self.expected {
            let found = if expected.changelog {
                let (rows, taken) = rows::fold(&place.out(expected.table));
                assert!(taken > 0, "{}: {} without a row that takes another back", self.name, expected.table);
                rows
            } else {
                rows::read(&place.out(expected.table))
            };
            if let Some(differences) = compare(&found, &expected.rows) {
                let _ = write!(wrong, "{}, table {}: {differences}", self.name, expected.table);
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    fn check_exactly(&self, place: &Place) {
        self.check(place, rows::differences);
    }

    /// Undisturbed, and how long that takes.
    pub(crate) fn straight(&self) -> Duration {
        *self.took.get_or_init(|| {
            let place = self.place();
            let begin = Instant::now();
            place.finish(&["checkpoint.interval=1s"]);
            let took = begin.elapsed();
            self.check_exactly(&place);
            eprintln!("{}: straight in {took:?}", self.name);
            took
        })
    }

    /// With one checkpoint after the other.
    pub(crate) fn frequent(&self) {
        let place = self.place();
        place.finish(&[WITHOUT_PAUSE]);
        self.check_exactly(&place);
        let counters = place.journal().counters();
        eprintln!("{}: {} checkpoints", self.name, counters.completed);
        assert!(counters.completed >= 3, "{}: only {} checkpoints", self.name, counters.completed);
    }

    /// Killed at random moments, and run again until it is done. If it is done before there were
    /// enough kills, it begins anew.
    pub(crate) fn killed(&self) {
        self.killed_and(OFTEN, rows::differences);
    }

    /// The same with `AtLeastOnce`: rows may be repeated.
    pub(crate) fn at_least_once(&self) {
        self.killed_and("checkpoint.mode=AtLeastOnce", rows::differences_at_least_once);
    }

    fn killed_and(&self, set: &str, compare: fn(&Rows, &Rows) -> Option<String>) {
        let seed = seed();
        eprintln!("{}: WEIR_SEED={seed}", self.name);
        // Most lives end before the job does.
        let longest = self.straight() * 3 / 4;
        let mut random = Rng::new(seed);
        let (mut kills, mut rounds, mut restores) = (0, 0, 0);
        let mut wanted = KILLS;
        while kills < wanted {
            let place = self.place();
            loop {
                let mut run = place.start(&[OFTEN, set]);
                let limit = if kills < wanted { random.up_to(longest) } else { LONG };
                if let Some(code) = run.exits_within(limit) {
                    assert_eq!(code, DONE, "{} (WEIR_SEED={seed}): {}", self.name, run.log());
                    break;
                }
                assert!(kills < wanted, "{} (WEIR_SEED={seed}): no end: {}", self.name, run.log());
                run.kill();
                kills += 1;
            }
            self.check(&place, compare);
            rounds += 1;
            restores += u32::from(restored(&place.journal()));
            // On a busy machine all of them may have come before the first checkpoint.
            if restores == 0 && kills == wanted && wanted < 4 * KILLS {
                wanted += KILLS;
            }
        }
        eprintln!(
            "{}: {kills} kills, {rounds} times to the end, {restores} of them from a checkpoint",
            self.name
        );
        assert!(restores > 0, "{} (WEIR_SEED={seed}): no kill hit it behind its first checkpoint", self.name);
    }

    /// Stopped and restored at parallelism 1, 3 and 2.
    pub(crate) fn rescaled(&self) {
        self.stopped(&["parallelism=1", "parallelism=3", "parallelism=2"], 6);
    }

    /// Restored twice in a row, the second time stopped again at once: splits that were not read
    /// in between must not fall out, and those that had ended must not come back.
    pub(crate) fn restored_twice(&self) {
        self.stopped(&["parallelism=2"; 3], 1);
    }

    /// Runs with each setting in turn, and stops all but the last; the second one after `records`
    /// records of its journal.
    fn stopped(&self, settings: &[&str], records: u64) {
        // Sources keep a pace, but how far a job gets until it is stopped depends on the machine all the
        // same: then sooner, anew.
        for first in [6, 3, 1, 0, 0, 0] {
            let place = self.place();
            let (last, stopped) = settings.split_last().expect("settings");
            let wanted = |i: usize| if i == 0 { first } else { records.min(first) };
            let all = stopped.iter().enumerate().all(|(i, set)| place.stop_after(wanted(i), &[OFTEN, set]));
            place.finish(&[OFTEN, last]);
            self.check_exactly(&place);
            let journal = place.journal();
            if all {
                assert_eq!(journal.attempt().0, settings.len() as u64, "{}: one attempt per run", self.name);
                assert!(restored(&journal), "{}: the last run did not begin with a checkpoint", self.name);
                return;
            }
            eprintln!("{}: it ended before it was stopped", self.name);
        }
        panic!("{}: it is too short to be stopped twice", self.name);
    }
}
