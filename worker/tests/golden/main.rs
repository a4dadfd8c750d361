//! Golden jobs: fixed inputs, results that a computation of its own gives (never the engine), and
//! five ways to get there: straight; one checkpoint after the other; killed at random moments;
//! restored at other parallelisms; restored twice in a row. `WEIR_SEED` replays the kills.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod bids;
mod files;
mod generated;
mod public;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::sync::LazyLock;

use ways::Golden;

macro_rules! golden {
    ($($name:ident = $job:path $(, $at_least_once:ident)?;)*) => {$(
        mod $name {
            use super::*;
            static JOB: LazyLock<Golden> = LazyLock::new($job);

            #[test]
            fn straight() {
                JOB.straight();
            }
            #[test]
            fn with_a_checkpoint_all_the_time() {
                JOB.frequent();
            }
            #[test]
            fn killed_twenty_times() {
                JOB.killed();
            }
            #[test]
            fn restored_at_parallelism_1_3_2() {
                JOB.rescaled();
            }
            #[test]
            fn restored_twice_in_a_row() {
                JOB.restored_twice();
            }
            $(#[test]
            fn $at_least_once() {
                JOB.at_least_once();
            })?
        }
    )*};
}

golden! {
    bids_filtered = bids::filtered, at_least_once_repeats_and_loses_nothing;
    bids_in_euro = bids::decimal;
    bids_per_auction_in_windows = bids::tumbling;
    bids_per_auction_in_hopping_windows = bids::hopping;
    bids_of_all_in_windows = bids::global;
    bids_per_bidder_as_a_changelog = bids::changelog;
    inserts_that_share_a_source = bids::shared;
    the_busiest_auction_of_each_window = bids::nested;
    words_of_csv_files = files::words, at_least_once_repeats_and_loses_nothing;
    orders_of_two_tables = files::union;
    made_up_measurements = generated::measurements;
    flights_per_airport_and_day = public::flights;
    weather_per_week = public::weather;
}
