//! A job over `datagen`.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::place::Place;
use crate::support::rows::{row, rows, visible};
use crate::support::time::{SECOND, format, parse, windows};
use crate::ways::{Expected, Golden};

const ROWS: i64 = 30_000;

fn table(rate: i64) -> String {
    format!(
        "CREATE TABLE measured (id BIGINT, n BIGINT, `at` TIMESTAMP(3), WATERMARK FOR `at` AS `at` - INTERVAL '1' SECOND)
WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}', 'number-of-rows' = '{ROWS}', 'seed' = '7',
  'fields.id.kind' = 'sequence', 'fields.n.min' = '-500', 'fields.n.max' = '500',
  'fields.at.kind' = 'sequence', 'fields.at.interval' = '1ms');
"
    )
}

/// The numbers, as a pass-through wrote them.
fn numbers() -> Vec<i64> {
    let sql = table(0)
        + "CREATE TABLE raw (id BIGINT, n BIGINT, `at` TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '{out}/raw', 'format' = 'json');
INSERT INTO raw SELECT id, n, `at` FROM measured;";
    let place = Place::new("dump", &sql, &[]);
    place.finish(&["checkpoint.interval=1h"]);
    let mut found = BTreeMap::new();
    let begin = parse(BEGIN);
    for row in visible(&place.out("raw")) {
        let id = row["id"].as_i64().unwrap();
        assert_eq!(parse(row["at"].as_str().unwrap()), begin + id, "times are a sequence");
        assert_eq!(found.insert(id, row["n"].as_i64().unwrap()), None, "{id} comes once");
    }
    assert!(found.keys().copied().eq(0..ROWS), "ids are a sequence");
    assert!(found.values().all(|n| (-500..=500).contains(n)), "numbers are in their range");
    found.into_values().collect()
}

const BEGIN: &str = "2026-01-01 00:00:00";

pub(crate) fn measurements() -> Golden {
    let mut groups = BTreeMap::<(i64, i64), Vec<i64>>::new();
    for (id, n) in (0..).zip(numbers()) {
        for window in windows(parse(BEGIN) + id, 2 * SECOND, 2 * SECOND) {
            groups.entry((window, id % 7)).or_default().push(n);
        }
    }
    let expected = groups.iter().map(|((start, k), all)| {
        row([
            ("s", json!(format(*start))),
            ("k", json!(k)),
            ("n", json!(all.len())),
            ("total", json!(all.iter().sum::<i64>())),
            ("lowest", json!(all.iter().min())),
        ])
    });
    let sql = table(20_000)
        + "CREATE VIEW keyed AS SELECT MOD(id, 7) AS k, n, `at` FROM measured;
CREATE TABLE totals (s TIMESTAMP(3), k BIGINT, n BIGINT, total BIGINT, lowest BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/totals', 'format' = 'json');
INSERT INTO totals SELECT window_start, k, COUNT(*), SUM(n), MIN(n)
FROM TABLE(TUMBLE(TABLE keyed, DESCRIPTOR(`at`), INTERVAL '2' SECOND)) GROUP BY window_start, window_end, k;";
    Golden::new("measurements", sql, Vec::new(), vec![Expected::rows("totals", rows(expected))])
}
