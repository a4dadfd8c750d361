//! Jobs over the bids of nexmark. References are computed from the bids as a pass-through wrote them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::nexmark::{BIDS, Bid, EVENTS, tables};
use crate::support::rows::{row, rows};
use crate::support::time::{SECOND, format, windows};
use crate::ways::{Expected, Golden};

/// Events per second of the clock: a run takes about a second and a half, so that it can be hit.
const RATE: u64 = 20_000;

fn job(name: &'static str, sinks_and_inserts: &str, expected: Vec<Expected>) -> Golden {
    Golden::new(name, tables(EVENTS, Some(RATE)) + sinks_and_inserts, Vec::new(), expected)
}

fn files(table: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE {table} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{{out}}/{table}', 'format' = 'json');\n"
    )
}

/// Bids by a key.
fn grouped<K: Ord>(keys: impl Fn(&Bid) -> Vec<K>) -> BTreeMap<K, Vec<Bid>> {
    let mut groups = BTreeMap::<K, Vec<Bid>>::new();
    for bid in BIDS.iter() {
        for key in keys(bid) {
            groups.entry(key).or_default().push(*bid);
        }
    }
    groups
}

fn highest(bids: &[Bid]) -> i64 {
    bids.iter().map(|b| b.price).max().unwrap()
}

fn sum(bids: &[Bid]) -> i64 {
    bids.iter().map(|b| b.price).sum()
}

/// Like q0 and q2 of nexmark.
pub(crate) fn filtered() -> Golden {
    let wanted = BIDS.iter().filter(|b| b.auction % 5 == 0 && b.price > 100);
    let expected = wanted.map(|b| {
        row([("auction", json!(b.auction)), ("price", json!(b.price)), ("at", json!(format(b.at)))])
    });
    let sql = files("found", "auction BIGINT, price BIGINT, `at` TIMESTAMP(3)")
        + "INSERT INTO found SELECT auction, price, `dateTime` FROM bid WHERE MOD(auction, 5) = 0 AND price > 100;";
    job("bids-filtered", &sql, vec![Expected::rows("found", rows(expected))])
}

/// q1 of nexmark.
pub(crate) fn decimal() -> Golden {
    let expected = BIDS.iter().map(|b| {
        // 0.908 * price, exact, as a number of three decimals.
        let euro = (b.price * 908) as f64 / 1000.0;
        row([
            ("auction", json!(b.auction)),
            ("bidder", json!(b.bidder)),
            ("price", json!(euro)),
            ("at", json!(format(b.at))),
        ])
    });
    let sql = files("euro", "auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), `at` TIMESTAMP(3)")
        + "INSERT INTO euro SELECT auction, bidder, 0.908 * price, `dateTime` FROM bid;";
    job("bids-in-euro", &sql, vec![Expected::rows("euro", rows(expected))])
}

const TUMBLING: &str = "SELECT window_start, window_end, auction, COUNT(*), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND))
GROUP BY window_start, window_end, auction;";
const TUMBLING_COLUMNS: &str = "s TIMESTAMP(3), e TIMESTAMP(3), auction BIGINT, n BIGINT, highest BIGINT";

fn tumbling_rows() -> crate::support::rows::Rows {
    let groups = grouped(|b| windows(b.at, 2 * SECOND, 2 * SECOND).map(|w| (w, b.auction)).collect());
    rows(groups.iter().map(|((start, auction), bids)| {
        row([
            ("s", json!(format(*start))),
            ("e", json!(format(start + 2 * SECOND))),
            ("auction", json!(auction)),
            ("n", json!(bids.len())),
            ("highest", json!(highest(bids))),
        ])
    }))
}

pub(crate) fn tumbling() -> Golden {
    let sql = format!("{}INSERT INTO counts {TUMBLING}", files("counts", TUMBLING_COLUMNS));
    job("bids-tumbling", &sql, vec![Expected::rows("counts", tumbling_rows())])
}

pub(crate) fn hopping() -> Golden {
    let groups = grouped(|b| windows(b.at, 5 * SECOND, SECOND).map(|w| (w, b.auction)).collect());
    let expected = groups.iter().map(|((start, auction), bids)| {
        row([("s", json!(format(*start))), ("auction", json!(auction)), ("n", json!(bids.len()))])
    });
    let sql = files("counts", "s TIMESTAMP(3), auction BIGINT, n BIGINT")
        + "INSERT INTO counts SELECT window_start, auction, COUNT(*)
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND, INTERVAL '5' SECOND))
GROUP BY auction, window_start, window_end;";
    job("bids-hopping", &sql, vec![Expected::rows("counts", rows(expected))])
}

pub(crate) fn global() -> Golden {
    let groups = grouped(|b| windows(b.at, SECOND, SECOND).collect());
    let expected = groups.iter().map(|(start, bids)| {
        row([
            ("s", json!(format(*start))),
            ("n", json!(bids.len())),
            ("total", json!(sum(bids))),
            // AVG of BIGINT is a BIGINT, cut off.
            ("average", json!(sum(bids) / bids.len() as i64)),
            ("lowest", json!(bids.iter().map(|b| b.price).min())),
            ("highest", json!(highest(bids))),
        ])
    });
    let columns = "s TIMESTAMP(3), n BIGINT, total BIGINT, average BIGINT, lowest BIGINT, highest BIGINT";
    let sql = files("totals", columns)
        + "INSERT INTO totals SELECT window_start, COUNT(*), SUM(price), AVG(price), MIN(price), MAX(price)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY window_start, window_end;";
    job("bids-global", &sql, vec![Expected::rows("totals", rows(expected))])
}

const CHANGELOG: &str = "SELECT bidder, COUNT(*), COUNT(*) FILTER (WHERE price < 10000), SUM(price), MAX(price) FROM bid GROUP BY bidder;";

fn changelog_table() -> String {
    "CREATE TABLE totals (bidder BIGINT, n BIGINT, cheap BIGINT, total BIGINT, highest BIGINT) WITH (
'connector' = 'filesystem', 'path' = '{out}/totals', 'format' = 'json', 'sink.changelog-column' = 'op');\n"
        .to_owned()
}

fn changelog_rows() -> crate::support::rows::Rows {
    rows(grouped(|b| vec![b.bidder]).iter().map(|(bidder, bids)| {
        row([
            ("bidder", json!(bidder)),
            ("n", json!(bids.len())),
            ("cheap", json!(bids.iter().filter(|b| b.price < 10_000).count())),
            ("total", json!(sum(bids))),
            ("highest", json!(highest(bids))),
        ])
    }))
}

pub(crate) fn changelog() -> Golden {
    let sql = format!("{}INSERT INTO totals {CHANGELOG}", changelog_table());
    job("bids-changelog", &sql, vec![Expected::changelog("totals", changelog_rows())])
}

/// Three inserts over one source, each of another kind.
pub(crate) fn shared() -> Golden {
    let dear = BIDS.iter().filter(|b| b.price > 1_000_000);
    let dear = rows(dear.map(|b| row([("bidder", json!(b.bidder)), ("price", json!(b.price))])));
    let sql = files("dear", "bidder BIGINT, price BIGINT")
        + &files("counts", TUMBLING_COLUMNS)
        + &changelog_table()
        + &format!(
            "EXECUTE STATEMENT SET BEGIN
INSERT INTO dear SELECT bidder, price FROM bid WHERE price > 1000000;
INSERT INTO counts {TUMBLING}
INSERT INTO totals {CHANGELOG}
END;"
        );
    let expected = vec![
        Expected::rows("dear", dear),
        Expected::rows("counts", tumbling_rows()),
        Expected::changelog("totals", changelog_rows()),
    ];
    job("bids-shared", &sql, expected)
}

/// A window over the results of windows.
pub(crate) fn nested() -> Golden {
    let counts = grouped(|b| windows(b.at, SECOND, SECOND).map(|w| (w, b.auction)).collect());
    let mut busiest = BTreeMap::<i64, (usize, i64)>::new();
    for ((start, _), bids) in &counts {
        // A result is of its window's last millisecond.
        for window in windows(start + SECOND - 1, 4 * SECOND, 4 * SECOND) {
            let (most, groups) = busiest.entry(window).or_default();
            *most = bids.len().max(*most);
            *groups += 1;
        }
    }
    let expected = busiest.iter().map(|(start, (most, groups))| {
        row([("s", json!(format(*start))), ("most", json!(most)), ("n", json!(groups))])
    });
    let sql = files("busiest", "s TIMESTAMP(3), most BIGINT, n BIGINT")
        + "CREATE VIEW counts AS SELECT auction, window_time AS t, COUNT(*) AS num
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '1' SECOND))
GROUP BY auction, window_start, window_end, window_time;
INSERT INTO busiest SELECT window_start, MAX(num), COUNT(*)
FROM TABLE(TUMBLE(TABLE counts, DESCRIPTOR(t), INTERVAL '4' SECOND)) GROUP BY window_start, window_end;";
    job("bids-nested", &sql, vec![Expected::rows("busiest", rows(expected))])
}
