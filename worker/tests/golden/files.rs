//! Jobs over CSV and JSON files.

use serde_json::{Value, json};

use crate::support::place::Input;
use crate::support::rows::{row, rows};
use crate::ways::{Expected, Golden};

const ROWS: i64 = 500_000;
/// Files of a table; the first one has a single row, so that it is at its end at once.
const FILES: i64 = 7;

/// Files of the rows `0..rows`, one line each behind `header`.
fn files(folder: &str, ending: &str, header: &str, rows: i64, line: impl Fn(i64) -> String) -> Vec<Input> {
    let file = |n: i64| {
        let per_file = (rows - 1) / (FILES - 1) + 1;
        let begin = if n == 0 { 0 } else { 1 + (n - 1) * per_file };
        let end = if n == 0 { 1 } else { (begin + per_file).min(rows) };
        let lines: String = (begin..end).map(|id| line(id) + "\n").collect();
        (format!("{folder}/{n:03}.{ending}"), format!("{header}{lines}").into_bytes())
    };
    (0..FILES).map(file).collect()
}

const NAMES: [Option<&str>; 6] =
    [Some("Ada"), Some("Grace, H."), Some("O\"Brien"), Some("zoë"), None, Some("  x ")];

fn name(id: i64) -> Option<&'static str> {
    NAMES[(id % NAMES.len() as i64) as usize]
}

/// In cents.
fn amount(id: i64) -> i64 {
    id * 37 % 100_000
}

fn flag(id: i64) -> bool {
    id % 3 == 0
}

/// Strings, CASE, NULL and decimals.
pub(crate) fn words() -> Golden {
    let lines = 2 * ROWS;
    let inputs = files("words", "csv", "", lines, |id| {
        let name = name(id).map_or(String::new(), |n| format!("\"{}\"", n.replace('"', "\"\"")));
        format!("{id},{name},{}.{:02},{}", amount(id) / 100, amount(id) % 100, flag(id))
    });
    let wanted = (0..lines).filter(|id| id % 7 != 0 && flag(*id) && amount(*id) > 50_000);
    let expected = wanted.map(|id| {
        let of_name = |f: &dyn Fn(&str) -> Value| name(id).map_or(Value::Null, f);
        let size = match amount(id) {
            a if a > 90_000 => "high",
            a if a > 70_000 => "mid",
            _ => "low",
        };
        row([
            ("id", json!(id)),
            ("upper", of_name(&|n| json!(n.to_uppercase()))),
            ("chars", of_name(&|n| json!(n.chars().count()))),
            ("begin", of_name(&|n| json!(n.chars().take(3).collect::<String>()))),
            ("size", json!(size)),
            ("label", of_name(&|n| json!(format!("{}-{id}", n.trim_matches(' '))))),
            ("name", json!(name(id).unwrap_or("nobody"))),
            ("twice", json!((2 * amount(id)) as f64 / 100.0)),
        ])
    });
    let sql = "CREATE TABLE words (id BIGINT, name STRING, amount DECIMAL(10, 2), flag BOOLEAN)
WITH ('connector' = 'filesystem', 'path' = '{in}/words', 'format' = 'csv', 'rows-per-second' = '500000');
CREATE TABLE found (id BIGINT, `upper` STRING, chars INT, `begin` STRING, `size` STRING, label STRING, name STRING,
  twice DECIMAL(11, 2))
WITH ('connector' = 'filesystem', 'path' = '{out}/found', 'format' = 'json');
INSERT INTO found SELECT id, UPPER(name), CHAR_LENGTH(name), SUBSTRING(name, 1, 3),
  CASE WHEN amount > 900 THEN 'high' WHEN amount > 700 THEN 'mid' ELSE 'low' END,
  CONCAT(TRIM(name), '-', CAST(id AS STRING)), COALESCE(name, 'nobody'), amount + amount
FROM words WHERE MOD(id, 7) <> 0 AND flag AND amount > 500;";
    Golden::new("words", sql.to_owned(), inputs, vec![Expected::rows("found", rows(expected))])
}

/// UNION ALL of two tables with different formats. Most rows are left out, so that reading is most
/// of the work.
pub(crate) fn union() -> Golden {
    let orders = 3 * ROWS;
    let refunds = ROWS / 2;
    let why = |id: i64| if id % 9 == 0 { "broken" } else { "late" };
    let mut inputs = files("orders", "csv", "amount,id\n", orders, |id| format!("{},{id}", amount(id)));
    inputs.extend(files("refunds", "json", "", refunds, |id| {
        format!(
            r#"{{"id": {id}, "order": {{"id": {}, "cents": {}}}, "why": "{}"}}"#,
            id * 3,
            amount(id),
            why(id)
        )
    }));
    let movement = |id: i64, what: &str, cents: i64| {
        row([("id", json!(id)), ("what", json!(what)), ("cents", json!(cents))])
    };
    let expected = (0..orders).filter(|id| amount(*id) >= 95_000).map(|id| movement(id, "order", amount(id)));
    let refunded = (0..refunds).filter(|id| why(*id) == "broken");
    let expected = expected.chain(refunded.map(|id| movement(id * 3, "refund: broken", -amount(id))));
    let sql = "CREATE TABLE orders (id BIGINT, amount BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{in}/orders', 'format' = 'csv', 'csv.header' = 'true',
  'rows-per-second' = '750000');
CREATE TABLE refunds (`order` ROW<id BIGINT, cents BIGINT>, why STRING)
WITH ('connector' = 'filesystem', 'path' = '{in}/refunds', 'format' = 'json', 'rows-per-second' = '125000');
CREATE TABLE movements (id BIGINT, what STRING, cents BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/movements', 'format' = 'json');
INSERT INTO movements SELECT id, 'order', amount FROM orders WHERE amount >= 95000
UNION ALL SELECT refunds.`order`.id, 'refund: ' || why, -refunds.`order`.cents FROM refunds WHERE why = 'broken';";
    Golden::new("union", sql.to_owned(), inputs, vec![Expected::rows("movements", rows(expected))])
}
