//! Rows of a sink's files as a multiset, and comparing it with another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Columns of a row by name.
pub(crate) type Columns = BTreeMap<String, Value>;

/// Rows with how often each is there. A row is its JSON with the columns in the order of their names.
pub(crate) type Rows = BTreeMap<String, i64>;

/// A row of these columns.
pub(crate) fn row<const N: usize>(columns: [(&str, Value); N]) -> String {
    text(&columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn text(columns: &Columns) -> String {
    serde_json::to_string(columns).expect("JSON of JSON")
}

/// Rows of a computation.
pub(crate) fn rows(all: impl IntoIterator<Item = String>) -> Rows {
    let mut rows = Rows::new();
    for row in all {
        *rows.entry(row).or_default() += 1;
    }
    rows
}

/// All visible rows of a folder.
pub(crate) fn visible(folder: &Path) -> Vec<Columns> {
    // A sink that never had a row makes no folder.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(|e| e.expect("an entry")) {
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) || !entry.path().is_file() {
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a visible file is text");
        for line in text.lines() {
            let row = serde_json::from_str(line);
            found.push(row.unwrap_or_else(|e| panic!("{}: {line:?}: {e}", entry.path().display())));
        }
    }
    found
}

/// The visible rows of a folder.
pub(crate) fn read(folder: &Path) -> Rows {
    rows(visible(folder).iter().map(text))
}

/// The table that a changelog makes: what `+I` and `+U` add, `-U` and `-D` take away. The kind is
/// in the column `op`. Also how many rows took something away.
pub(crate) fn fold(folder: &Path) -> (Rows, usize) {
    let mut folded = Rows::new();
    let mut taken = 0;
    for mut row in visible(folder) {
        let op = row.remove("op").expect("a kind");
        let by = match op.as_str() {
            Some("+I" | "+U") => 1,
            Some("-U" | "-D") => -1,
            _ => panic!("{op} is no kind of row"),
        };
        taken += usize::from(by < 0);
        *folded.entry(text(&row)).or_default() += by;
    }
    folded.retain(|_, n| *n != 0);
    (folded, taken)
}

/// The first differences, in words; nothing if there is none.
pub(crate) fn differences(found: &Rows, expected: &Rows) -> Option<String> {
    let all: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let count = |rows: &Rows, row: &String| rows.get(row).copied().unwrap_or(0);
    let different: Vec<_> = all.into_iter().filter(|r| count(found, r) != count(expected, r)).collect();
    if different.is_empty() {
        return None;
    }
    let lost: i64 = different.iter().map(|r| (count(expected, r) - count(found, r)).max(0)).sum();
    let extra: i64 = different.iter().map(|r| (count(found, r) - count(expected, r)).max(0)).sum();
    let mut message =
        format!("{lost} rows lost, {extra} rows too many, of {} expected:\n", expected.values().sum::<i64>());
    for row in different.iter().take(10) {
        message += &format!("  {} times instead of {}: {row}\n", count(found, row), count(expected, row));
    }
    Some(message)
}

/// Rows of which some may be repeated, but none lost or made up.
pub(crate) fn differences_at_least_once(found: &Rows, expected: &Rows) -> Option<String> {
    let cut = found.iter().map(|(row, n)| match expected.get(row) {
        Some(wanted) => (row.clone(), (*n).min(*wanted)),
        None => (row.clone(), *n),
    });
    differences(&cut.collect(), expected)
}
