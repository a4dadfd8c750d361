//! What the job of a story must come to, computed here from the bids alone, and the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::job::{self, EVENTS};
use crate::tools;

/// Rows with how often each is there. A row is its JSON, columns in the order of their names.
pub type Rows = BTreeMap<String, i64>;

/// The result over [`EVENTS`] events.
pub static COUNTS: LazyLock<Rows> = LazyLock::new(|| counts(&bids()));

/// Rows of JSON lines.
pub fn rows(lines: &str) -> Rows {
    let mut rows = Rows::new();
    for line in lines.lines() {
        let row = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?} is no row: {e}"));
        *rows.entry(text(&row)).or_default() += 1;
    }
    rows
}

fn text(row: &BTreeMap<String, Value>) -> String {
    serde_json::to_string(row).expect("JSON of JSON")
}

/// The first differences, in words; nothing if there is none.
pub fn differences(found: &Rows, expected: &Rows) -> Option<String> {
    let all: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let count = |rows: &Rows, row: &String| rows.get(row).copied().unwrap_or(0);
    let by = |row: &String| count(found, row) - count(expected, row);
    let different: Vec<_> = all.into_iter().filter(|row| by(row) != 0).collect();
    if different.is_empty() {
        return None;
    }
    let lost: i64 = different.iter().map(|row| -by(row).min(0)).sum();
    let extra: i64 = different.iter().map(|row| by(row).max(0)).sum();
    let mut message =
        format!("{lost} rows lost, {extra} rows too many, of {} expected:\n", expected.values().sum::<i64>());
    for row in different.iter().take(10) {
        message += &format!("  {} times instead of {}: {row}\n", count(found, row), count(expected, row));
    }
    Some(message)
}

struct Bid {
    auction: i64,
    price: i64,
    /// Its second: `2015-07-15 00:00:12`.
    second: String,
}

/// A job that only passes bids on writes them; nothing is counted by what is tested.
fn bids() -> Vec<Bid> {
    let folder = std::env::temp_dir().join(format!("weir-e2e-bids-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.display();
    let sql = job::source(EVENTS, "")
        + &format!(
            "CREATE TABLE bids (auction BIGINT, price BIGINT, at TIMESTAMP(3))
WITH ('connector' = 'filesystem', 'path' = '{path}/bids', 'format' = 'json');
INSERT INTO bids SELECT auction, price, at FROM bid;"
        );
    let manifest = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": "bids"},
        "spec": {"sql": sql, "checkpoint": {"storage": format!("file://{path}/state"), "interval": "1h"}}
    });
    let file = folder.join("job.yaml");
    fs::write(&file, manifest.to_string()).expect("a manifest");
    let mut command = tools::weir();
    command.args(["run", "--listen", "off", "--progress", "none"]).arg(&file);
    tools::output(&mut command).unwrap_or_else(|e| panic!("{e}"));
    let bids: Vec<Bid> = lines(&folder.join("bids")).iter().map(|row| bid(row)).collect();
    let _ = fs::remove_dir_all(&folder);
    // 46 of 50 events are bids, the last ones.
    assert_eq!(bids.len() as u64, EVENTS / 50 * 46, "bids among {EVENTS} events");
    bids
}

fn lines(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the job wrote bids").map(|e| e.expect("an entry"));
    let visible = entries.filter(|e| !e.file_name().to_string_lossy().starts_with(['.', '_']));
    let text: String =
        visible.map(|e| fs::read_to_string(e.path()).expect("a visible file is text")).collect();
    text.lines().map(str::to_owned).collect()
}

fn bid(line: &str) -> Bid {
    let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    let number = |name: &str| row[name].as_i64().unwrap_or_else(|| panic!("{name} in {line}"));
    let at = row["at"].as_str().unwrap_or_else(|| panic!("at in {line}"));
    let second = at.get(..19).unwrap_or_else(|| panic!("{at:?} is no time")).to_owned();
    Bid { auction: number("auction"), price: number("price"), second }
}

fn counts(bids: &[Bid]) -> Rows {
    let mut groups = BTreeMap::<(&str, i64), (i64, i64)>::new();
    for bid in bids {
        let (n, total) = groups.entry((&bid.second, bid.auction)).or_default();
        *n += 1;
        *total += bid.price;
    }
    let row = |((second, auction), (n, total)): ((&str, i64), (i64, i64))| {
        let start = format!("{second}.000");
        let columns = [
            ("window_start", json!(start)),
            ("auction", json!(auction)),
            ("bids", json!(n)),
            ("total", json!(total)),
        ];
        text(&columns.map(|(name, value)| (name.to_owned(), value)).into())
    };
    groups.into_iter().map(|group| (row(group), 1)).collect()
}
