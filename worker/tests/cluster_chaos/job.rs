//! The job that is tormented: a keyed window and an unbounded aggregate over one source, and what they come to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::support::Rng;
use crate::support::nexmark::{Bid, COUNTS, counts, dump, tables};
use crate::support::place::Place;
use crate::support::rows::{Rows, differences, fold, read, row, rows};

/// Events per second of the clock.
const RATE: u64 = 2_000;
/// Events that are there per fault: about as many as come between two of them.
const EVENTS_PER_FAULT: u64 = 1_200;

const BIDDERS: &str = "CREATE TABLE bidders (bidder BIGINT, n BIGINT, total BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/bidders', 'format' = 'json', 'sink.changelog-column' = 'op');
INSERT INTO bidders SELECT bidder, COUNT(*), SUM(price) FROM bid GROUP BY bidder;";

/// A job of so many events.
pub(crate) struct Chosen {
    events: u64,
    /// Subtasks per vertex.
    pub(crate) parallelism: u64,
}

impl Chosen {
    pub(crate) fn new(random: &mut Rng, faults: u64) -> Self {
        Self { events: faults * EVENTS_PER_FAULT + 5_000, parallelism: 2 + random.below(2) }
    }

    pub(crate) fn sql(&self) -> String {
        tables(self.events, Some(RATE)) + COUNTS + "\n" + BIDDERS
    }

    /// How long the whole job takes when nothing happens to it.
    pub(crate) fn time_without_faults(&self) -> Duration {
        Duration::from_secs(self.events / RATE + 1)
    }

    /// What is wrong with the output, if anything.
    pub(crate) fn wrong(&self, place: &Place) -> Option<String> {
        let bids = dump(self.events);
        if let Some(wrong) = differences(&read(&place.out("counts")), &counts(&bids)) {
            return Some(format!("counts: {wrong}"));
        }
        differences(&fold(&place.out("bidders")).0, &bidders(&bids)).map(|wrong| format!("bidders: {wrong}"))
    }
}

fn bidders(bids: &[Bid]) -> Rows {
    let mut groups = BTreeMap::<i64, (i64, i64)>::new();
    for bid in bids {
        let (n, total) = groups.entry(bid.bidder).or_default();
        *n += 1;
        *total += bid.price;
    }
    rows(groups.iter().map(|(bidder, (n, total))| {
        row([("bidder", json!(bidder)), ("n", json!(n)), ("total", json!(total))])
    }))
}
