//! The nexmark source of the tests, and its bids as plain data.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::json;

use super::place::Place;
use super::{rows, time};

/// A bid; its time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bid {
    pub(crate) auction: i64,
    pub(crate) bidder: i64,
    pub(crate) price: i64,
    pub(crate) at: i64,
}

/// The table, its views, with so many events; at this many per second of the clock, or as fast as
/// they are taken. One event per millisecond of event time.
pub(crate) fn tables(events: u64, rate: Option<u64>) -> String {
    let pace = rate
        .map_or(String::new(), |rate| format!("'max-emit-speed' = 'false', 'next-event.rate' = '{rate}', "));
    format!(
        "CREATE TABLE nexmark (
  event_type INT,
  person ROW<id BIGINT, `dateTime` TIMESTAMP(3)>,
  auction ROW<id BIGINT, seller BIGINT, `dateTime` TIMESTAMP(3)>,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)>,
  `dateTime` AS CASE WHEN event_type = 0 THEN person.`dateTime` WHEN event_type = 1 THEN auction.`dateTime`
    ELSE bid.`dateTime` END,
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '1' SECOND
) WITH ('connector' = 'nexmark', {pace}'first-event.rate' = '1000', 'events.num' = '{events}');
CREATE VIEW bid AS SELECT bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, `dateTime`
  FROM nexmark WHERE event_type = 2;
"
    )
}

/// Number of bids among so many events: 46 of 50, the last ones.
pub(crate) fn bids_among(events: u64) -> u64 {
    events / 50 * 46 + (events % 50).saturating_sub(4)
}

/// Events of [`BIDS`].
pub(crate) const EVENTS: u64 = 30_000;

/// The bids among the first [`EVENTS`] events, as a job that only passes them on writes them.
pub(crate) static BIDS: LazyLock<Vec<Bid>> = LazyLock::new(|| dump(EVENTS));

/// The bids among so many events, by a pass-through run.
pub(crate) fn dump(events: u64) -> Vec<Bid> {
    let sql = tables(events, None)
        + "CREATE TABLE bids (auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '{out}/bids', 'format' = 'json');
INSERT INTO bids SELECT auction, bidder, price, `dateTime` FROM bid;
";
    let place = Place::new("dump", &sql, &[]);
    place.finish(&["checkpoint.interval=1h"]);
    let number =
        |row: &rows::Columns, name: &str| row[name].as_i64().unwrap_or_else(|| panic!("{name}: {row:?}"));
    let mut bids: Vec<_> = rows::visible(&place.out("bids"))
        .iter()
        .map(|row| Bid {
            auction: number(row, "auction"),
            bidder: number(row, "bidder"),
            price: number(row, "price"),
            at: time::parse(row["dateTime"].as_str().expect("a time")),
        })
        .collect();
    bids.sort_by_key(|b| b.at);
    assert_eq!(bids.len() as u64, bids_among(events), "46 of 50 events are bids");
    // One event per millisecond, the first four of each fifty are none.
    let begin = time::parse("2015-07-15 00:00:00.000");
    let numbers = (0..events as i64).filter(|n| n % 50 >= 4);
    assert!(bids.iter().map(|b| b.at - begin).eq(numbers), "the times of bids follow from their numbers");
    bids
}

/// Counts and sums the bids of each auction in windows of a second, into files of the table `counts`.
pub(crate) const COUNTS: &str =
    "CREATE TABLE counts (s TIMESTAMP(3), auction BIGINT, n BIGINT, total BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/counts', 'format' = 'json');
INSERT INTO counts SELECT window_start, auction, COUNT(*), SUM(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, auction;";

/// What [`COUNTS`] comes to.
pub(crate) fn counts(bids: &[Bid]) -> rows::Rows {
    let mut groups = BTreeMap::<(i64, i64), (i64, i64)>::new();
    for bid in bids {
        for window in time::windows(bid.at, time::SECOND, time::SECOND) {
            let (n, total) = groups.entry((window, bid.auction)).or_default();
            *n += 1;
            *total += bid.price;
        }
    }
    rows::rows(groups.iter().map(|((start, auction), (n, total))| {
        rows::row([
            ("s", json!(time::format(*start))),
            ("auction", json!(auction)),
            ("n", json!(n)),
            ("total", json!(total)),
        ])
    }))
}
