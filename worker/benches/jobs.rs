//! Whole jobs, measured from outside: `cargo bench --workspace --bench jobs [-- FILTER] [--runs N]`.
//!
//! Prints one JSON object per case and one per pair (the ratio of medians of checkpoints every second to
//! none, runs taken in turn). Rates are rows of the source per second of the whole process, start included; those
//! that are `warm` leave out the first quarter of the rows, in which state grows, and the end.
//! Beside keyed counts a plain loop counts as many keys in between: machines differ, and vary, and the share of
//! its rate says more than either.
//! Checkpoints are told by their median duration, from trigger to record, and what the largest one wrote.
//! The cases `change-*` keep a state of many keys of which few change: first all keys, then those few.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints what it found")]

mod measure;
#[path = "measure/status.rs"]
mod status;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use measure::{arguments, children_cpu, median};
use serde::Deserialize;
use serde_json::json;
use status::status;

const ADDRESS: &str = "127.0.0.1:18463";

/// A job to measure.
struct Case {
    name: String,
    rows: u64,
    /// How many keys it counts by, if it does.
    keys: Option<u64>,
    sql: String,
    parallelism: u32,
}

/// One run.
struct Run {
    wall: f64,
    /// Millions of rows per second once the job is warm, if it runs long enough.
    warm: Option<f64>,
    cpu: f64,
    resident_mib: f64,
    /// What `weir checkpoints list` says of each, the one at the end left out.
    checkpoints: Vec<Checkpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checkpoint {
    milliseconds: f64,
    new_bytes: f64,
    full_bytes: f64,
}

#[derive(Deserialize)]
struct Listed {
    checkpoints: Vec<Checkpoint>,
}

const BIDS: &str = "CREATE TABLE nexmark (
  event_type INT,
  bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, `dateTime` TIMESTAMP(3), extra VARCHAR>
) WITH ('connector' = 'nexmark', 'events.num' = 'ROWS');
CREATE VIEW bid AS SELECT bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, bid.`dateTime` AS `dateTime`
  FROM nexmark WHERE event_type = 2;\n";

const KEYS: &str =
    "CREATE TABLE keys (k BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts) WITH (
  'connector' = 'datagen', 'rows-per-second' = '0', 'number-of-rows' = 'ROWS',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = 'KEYS',
  'fields.ts.kind' = 'sequence', 'fields.ts.interval' = '1ms', 'fields.ts.start' = '0', 'fields.ts.end' = '100000000000');\n";

/// After the first `FILL` rows only keys below `CHANGED` come.
const CHANGES: &str = "CREATE TABLE rows (r BIGINT NOT NULL, at BIGINT NOT NULL) WITH (
  'connector' = 'datagen', 'rows-per-second' = '0', 'number-of-rows' = 'ROWS',
  'fields.r.kind' = 'random', 'fields.r.min' = '0', 'fields.r.max' = '1000000000',
  'fields.at.kind' = 'sequence', 'fields.at.start' = '0', 'fields.at.end' = '100000000000');
CREATE VIEW keys AS SELECT CASE WHEN at < FILL THEN at ELSE MOD(r, CHANGED) END AS k FROM rows;\n";

fn sink(columns: &str, query: &str) -> String {
    format!("CREATE TABLE sink ({columns}) WITH ('connector' = 'blackhole');\nINSERT INTO sink {query};\n")
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, rows: u64, keys: Option<u64>, sql: String| {
        for parallelism in [1, 2] {
            let sql = sql.replace("ROWS", &rows.to_string());
            cases.push(Case { name: format!("{name}/p{parallelism}"), rows, keys, sql, parallelism });
        }
    };
    let four = "auction BIGINT, bidder BIGINT, price BIGINT, `dateTime` TIMESTAMP(3)";
    add(
        "q0",
        50_000_000,
        None,
        BIDS.to_owned() + &sink(four, "SELECT auction, bidder, price, `dateTime` FROM bid"),
    );
    let q1 = "auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), `dateTime` TIMESTAMP(3)";
    add(
        "q1",
        50_000_000,
        None,
        BIDS.to_owned() + &sink(q1, "SELECT auction, bidder, 0.908 * price, `dateTime` FROM bid"),
    );
    add(
        "q2",
        50_000_000,
        None,
        BIDS.to_owned()
            + &sink(
                "auction BIGINT, price BIGINT",
                "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
            ),
    );
    // A large table takes seconds to come up: long enough for what follows to count.
    for (label, keys, rows) in
        [("1k", 1_000_u64, 200_000_000_u64), ("1M", 1_000_000, 200_000_000), ("10M", 10_000_000, 400_000_000)]
    {
        let source = KEYS.replace("KEYS", &(keys - 1).to_string());
        let count = sink("k BIGINT, n BIGINT", "SELECT k, COUNT(*) FROM keys GROUP BY k");
        add(&format!("count-{label}"), rows, Some(keys), source.clone() + &count);
        let tumble = sink(
            "k BIGINT, n BIGINT",
            // A key comes five times in a window, in the mean; a row is a millisecond.
            &format!(
                "SELECT k, COUNT(*) FROM TABLE(TUMBLE(TABLE keys, DESCRIPTOR(ts), INTERVAL '{}' SECOND)) GROUP BY window_start, window_end, k",
                (keys / 200).max(1_000)
            ),
        );
        add(&format!("tumble-{label}"), rows, Some(keys), source + &tumble);
    }
    for (label, keys) in [("1M", 1_000_000_u64), ("10M", 10_000_000)] {
        for (share, changed) in [("1k", 1_000_u64), ("100k", 100_000)] {
            let source = CHANGES.replace("FILL", &keys.to_string()).replace("CHANGED", &changed.to_string());
            let count = sink("k BIGINT, n BIGINT", "SELECT k, COUNT(*) FROM keys GROUP BY k");
            add(&format!("change-{share}-of-{label}"), keys + 100_000_000, None, source + &count);
        }
    }
    cases
}

/// Counts random keys in a hash table, as anybody would write it, once all keys are there: millions of rows per
/// second.
fn plain_loop(keys: u64) -> f64 {
    let slots = (keys * 2).next_power_of_two() as usize;
    let mut table = vec![(0_u64, 0_u64); slots];
    let shift = 64 - slots.trailing_zeros();
    let mut state = 88_172_645_463_325_252_u64;
    let mut count = |rows: u64| {
        for _ in 0..rows {
            // Xorshift64* (Sebastiano Vigna, public domain).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
            let key = ((u128::from(random) * u128::from(keys)) >> 64) as u64 + 1;
            // Fibonacci hashing (Donald Knuth).
            let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize;
            while table[at].0 != key && table[at].0 != 0 {
                at = (at + 1) & (slots - 1);
            }
            table[at] = (key, table[at].1 + 1);
        }
    };
    count(keys * 2);
    let (rows, start) = (20_000_000, Instant::now());
    count(rows);
    let seconds = start.elapsed().as_secs_f64();
    std::hint::black_box(&table);
    rows as f64 / seconds / 1e6
}

/// Highest resident memory so far in MiB.
fn resident(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn run(case: &Case, interval: &str) -> Run {
    let folder = tempfile::tempdir().expect("a folder for the job");
    let manifest = folder.path().join("job.yaml");
    std::fs::write(&manifest, manifest_of(case, interval, folder.path())).expect("the folder is writable");
    let (cpu, start) = (children_cpu(), Instant::now());
    let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--progress", "none", "--listen", ADDRESS])
        .arg(&manifest)
        .stdout(Stdio::null())
        .spawn()
        .expect("weir starts");
    let mut resident_mib: f64 = 0.0;
    let mut points = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break status;
        }
        resident_mib = resident_mib.max(resident(child.id()).unwrap_or(0.0));
        points.extend(rows_so_far().filter(|now| points.last().is_none_or(|(_, rows)| *rows != now.1)));
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{}: {status}", case.name);
    let (wall, cpu) = (start.elapsed().as_secs_f64(), children_cpu() - cpu);
    Run { wall, warm: warm(&points, case.rows), cpu, resident_mib, checkpoints: checkpoints(&manifest) }
}

/// Microseconds, and how many rows the source has given until then.
fn rows_so_far() -> Option<(u64, u64)> {
    let status = status(ADDRESS)?;
    Some((status["atUs"].as_u64()?, status["sourceRows"].as_u64()?))
}

/// Millions of rows per second between a quarter of all rows and the last time before the end.
fn warm(points: &[(u64, u64)], all: u64) -> Option<f64> {
    let mut warm = points.iter().filter(|(_, rows)| *rows >= all / 4 && *rows < all);
    let ((from, before), (to, after)) = (warm.next()?, warm.next_back()?);
    // The status is made anew twice a second.
    (to - from > 1_000_000).then(|| (after - before) as f64 / (to - from) as f64)
}

fn checkpoints(manifest: &Path) -> Vec<Checkpoint> {
    let listed = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["checkpoints", "list", "-o", "json"])
        .arg(manifest)
        .output()
        .expect("weir starts");
    let mut listed: Listed = serde_json::from_slice(&listed.stdout).expect("JSON of weir");
    listed.checkpoints.pop();
    listed.checkpoints
}

fn manifest_of(case: &Case, interval: &str, folder: &Path) -> String {
    let sql: String = case.sql.lines().map(|l| format!("    {l}\n")).collect();
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {{ name: bench }}\nspec:\n  parallelism: {}\n  checkpoint:\n    storage: file://{}/state\n    interval: {interval}\n  sql: |\n{sql}",
        case.parallelism,
        folder.display()
    )
}

fn main() {
    let (filter, runs) = arguments();
    for case in cases().iter().filter(|c| c.name.contains(&filter)) {
        let (mut without, mut every_second, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..runs {
            plain.extend(case.keys.map(plain_loop));
            let mut both = [("1h", &mut without), ("1s", &mut every_second)];
            if pair % 2 == 1 {
                // What a run leaves behind for the next one falls on both alike.
                both.reverse();
            }
            both.into_iter().for_each(|(interval, runs)| runs.push(run(case, interval)));
        }
        for (interval, runs) in [("none", &without), ("1s", &every_second)] {
            let of = |f: fn(&Run) -> f64| median(runs.iter().map(f).collect());
            let (wall, cpu) = (of(|r| r.wall), of(|r| r.cpu));
            let warm: Vec<f64> = runs.iter().filter_map(|r| r.warm).collect();
            let all: Vec<&Checkpoint> = runs.iter().flat_map(|r| &r.checkpoints).collect();
            let most = |f: fn(&Checkpoint) -> f64| all.iter().map(|c| f(c)).fold(0.0, f64::max);
            println!(
                "{}",
                json!({
                    "case": case.name, "checkpoints": interval, "runs": runs.len(), "rows": case.rows,
                    "mrows_per_second": (case.rows as f64 / wall / 1e4).round() / 100.0,
                    "mrows_per_second_warm": (!warm.is_empty()).then(|| (median(warm) * 1e2).round() / 1e2),
                    "cpu_seconds_per_mrow": (cpu / case.rows as f64 * 1e10).round() / 1e4,
                    "resident_mib": of(|r| r.resident_mib).round(),
                    "checkpoint_ms": (!all.is_empty()).then(|| median(all.iter().map(|c| c.milliseconds).collect())),
                    "checkpoint_ms_last": runs.first().and_then(|r| r.checkpoints.last()).map(|c| c.milliseconds),
                    "checkpoint_bytes_most": most(|c| c.new_bytes),
                    "checkpoint_bytes_last": runs.first().and_then(|r| r.checkpoints.last()).map(|c| c.new_bytes),
                    "state_bytes_stored": most(|c| c.full_bytes),
                })
            );
        }
        let pairs = || without.iter().zip(&every_second);
        let ratio = median(pairs().map(|(a, b)| a.wall / b.wall).collect());
        let warm: Vec<f64> = pairs().filter_map(|(a, b)| Some(b.warm? / a.warm?)).collect();
        let plain = (!plain.is_empty()).then(|| (median(plain) * 100.0).round() / 100.0);
        println!(
            "{}",
            json!({
                "case": case.name, "rate_with_checkpoints_to_without": (ratio * 1e3).round() / 1e3,
                "warm_rate_with_checkpoints_to_without":
                    (!warm.is_empty()).then(|| (median(warm) * 1e3).round() / 1e3),
                "mrows_per_second_of_a_plain_loop": plain,
            })
        );
    }
}
