//! A job over several processes: how soon it goes on when one of them dies, and what it costs when none does.
//! `cargo bench --workspace --bench cluster [-- FILTER] [--runs N]`
//!
//! Prints one JSON object per case, with medians:
//! - `kill-…`: one of three workers gets SIGKILL. Milliseconds from there until the coordinator notices, until
//!   subtasks have places again, until their state is read, until a sink gets its first row. With a standby
//!   worker, or with one that is started at the moment of the death.
//! - `adopt`: the coordinator gets SIGKILL and the next one is started. The longest time without output of the
//!   workers in calm times and from shortly before the death until two checkpoints are completed after it.
//! - `cost-…`: the same job by `weir run` and by a coordinator and a worker of two slots, in turn, over few rows and
//!   over many: ratios of the time and of the CPU seconds that the rows between take, and the seconds that are left
//!   for the start and the end of the processes.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a bench prints what it found")]

#[path = "../tests/support/mod.rs"]
mod support;

mod measure;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use measure::{arguments, children_cpu, median};
use serde_json::{Value, json};
use support::LONG;
use support::cluster::{Cluster, Secrecy, completed};
use support::place::{DONE, Place, Running};

/// Keys come in turn, then again.
fn counts(keys: u64, rate: u64, rows: Option<u64>, sink: &str) -> String {
    let end = rows.map_or(1_000_000_000_000, |rows| rows - 1);
    format!(
        "CREATE TABLE keys (k BIGINT NOT NULL) WITH (
  'connector' = 'datagen', 'rows-per-second' = '{rate}', 'fields.k.kind' = 'sequence', 'fields.k.start' = '0',
  'fields.k.end' = '{end}');
CREATE TABLE sink (k BIGINT, n BIGINT, s BIGINT) WITH ('connector' = '{sink}');
INSERT INTO sink SELECT MOD(k, {keys}), COUNT(*), SUM(k) FROM keys GROUP BY MOD(k, {keys});
"
    )
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64)
}

/// A death and what came after it: milliseconds since.
struct Death {
    noticed: f64,
    placed: f64,
    deployed: f64,
    first_row: f64,
    local_mib: f64,
    fetched_mib: f64,
}

fn deaths(keys: u64, rate: u64, standby: bool, runs: usize) -> (f64, Vec<Death>) {
    let place = Place::new("deaths", &counts(keys, rate, None, "blackhole"), &[]);
    let set = ["parallelism=3", "checkpoint.interval=500ms", "restart.delay=0s", "state.memoryLimit=4Gi"];
    let mut cluster = Cluster::start(place, Secrecy::Tls, &set);
    let folders: Vec<String> =
        (0..runs + 8).map(|n| cluster.place.path(&format!("w{n}")).display().to_string()).collect();
    let mut folders = folders.iter();
    let mut start = |cluster: &Cluster| {
        cluster.worker(1, &["--scratch", folders.next().expect("enough"), "--scratch-limit", "8Gi"])
    };
    let mut workers: Vec<Running> = (0..3 + usize::from(standby)).map(|_| start(&cluster)).collect();
    cluster.wait_for("all keys", |s| s["sourceRows"].as_u64().is_some_and(|rows| rows > keys));
    let mut found = Vec::new();
    let mut state = 0.0;
    for _ in 0..runs {
        let from = completed(&cluster.status().unwrap_or_default());
        let status = cluster.wait_for_checkpoints(from, 3);
        state = state_mib(&status);
        let execution = status["execution"].as_u64().unwrap_or(0);
        let victim = busy(&status, &workers);
        let at = now_us();
        workers.remove(victim).kill();
        workers.push(start(&cluster));
        let recovered = |s: &Value| {
            let all = s["recoveries"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|r| r["execution"].as_u64() > Some(execution) && r["firstRowUs"].is_u64())
        };
        let status = cluster.wait_for("rows", |s| recovered(s).is_some());
        let report = recovered(&status).expect("found before");
        let since = |name: &str| (report[name].as_u64().unwrap_or(0) as f64 - at as f64) / 1e3;
        let mib = |name: &str| report["restored"][name].as_f64().unwrap_or(f64::NAN) / 1048576.0;
        found.push(Death {
            noticed: since("detectedUs"),
            placed: since("placedUs"),
            deployed: since("deployedUs"),
            first_row: since("firstRowUs"),
            local_mib: mib("localBytes"),
            fetched_mib: mib("storedBytes"),
        });
    }
    (state, found)
}

/// MiB of working state.
fn state_mib(status: &Value) -> f64 {
    let vertices = status["vertices"].as_array().into_iter().flatten();
    vertices.filter_map(|v| v["stateBytes"].as_f64()).sum::<f64>() / 1048576.0
}

fn busy(status: &Value, processes: &[Running]) -> usize {
    let used = |w: &&Value| w["used"] != 0;
    let names: Vec<String> = status["workers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(used)
        .map(|w| w["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    let is = |p: &Running| names.iter().any(|name| name.ends_with(&format!("({})", p.id())));
    processes.iter().position(is).unwrap_or_else(|| panic!("nobody works: {status:#?}"))
}

fn kill(label: &str, keys: u64, rate: u64, standby: bool, runs: usize) {
    let (state_mib, deaths) = deaths(keys, rate, standby, runs);
    let of = |f: fn(&Death) -> f64| median(deaths.iter().map(f).collect()).round();
    let (least, most) = deaths
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), d| (least.min(d.first_row), most.max(d.first_row)));
    println!(
        "{}",
        json!({
            "case": label, "runs": deaths.len(), "keys": keys, "state_mib": state_mib.round(),
            "noticed_ms": of(|d| d.noticed), "placed_ms": of(|d| d.placed), "deployed_ms": of(|d| d.deployed),
            "first_row_ms": of(|d| d.first_row), "first_row_ms_least": least.round(), "first_row_ms_most": most.round(),
            "local_mib": of(|d| d.local_mib), "fetched_mib": of(|d| d.fetched_mib),
        })
    );
}

/// Looks at the length of what workers print all the time; the longest time without growth, milliseconds.
fn longest_silence(workers: &[Running], mut enough: impl FnMut() -> bool) -> f64 {
    let mut seen: Vec<(u64, Instant)> = workers.iter().map(|w| (w.log_bytes(), Instant::now())).collect();
    let mut longest = Duration::ZERO;
    let mut look = 0_u32;
    loop {
        for (worker, (bytes, since)) in workers.iter().zip(&mut seen) {
            let new = worker.log_bytes();
            if new != *bytes {
                longest = longest.max(since.elapsed());
                (*bytes, *since) = (new, Instant::now());
            }
        }
        look += 1;
        if look.is_multiple_of(20) && enough() {
            return longest.as_secs_f64() * 1e3;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn adopt(runs: usize) {
    let place = Place::new("adopt", &counts(1_000, 3_000, None, "print"), &[]);
    let mut cluster = Cluster::start(place, Secrecy::Tls, &["parallelism=3"]);
    let workers: Vec<Running> = (0..3).map(|_| cluster.worker(1, &[])).collect();
    let (mut calm, mut adopted, mut took) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let status = cluster.status().unwrap_or_default();
        let status = cluster.wait_for_checkpoints(completed(&status), 2);
        let end = Instant::now() + Duration::from_secs(2);
        calm.push(longest_silence(&workers, || Instant::now() > end));
        let before = completed(&cluster.status().unwrap_or(status));
        let at = now_us();
        cluster.coordinator.signal("KILL");
        cluster.coordinator.wait(LONG);
        cluster.next_coordinator();
        adopted.push(longest_silence(&workers, || {
            let status = cluster.status().unwrap_or_default();
            status["state"] == "Running" && completed(&status) >= before + 2
        }));
        let status = cluster.status().unwrap_or_default();
        let newest = status["recoveries"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
        assert_eq!(newest["cause"], "Adoption", "{status:#?}");
        took.push((newest["runningUs"].as_u64().unwrap_or(0) as f64 - at as f64) / 1e3);
    }
    println!(
        "{}",
        json!({
            "case": "adopt", "runs": runs, "longest_silence_ms_calm": median(calm).round(),
            "longest_silence_ms_adopted": median(adopted).round(), "running_after_ms": median(took).round(),
        })
    );
}

/// Seconds and CPU seconds.
type Took = (f64, f64);

/// What a job takes that runs by itself, and by a coordinator and a worker of two slots.
fn both_forms(sql: &str) -> [Took; 2] {
    let set = ["parallelism=2", "checkpoint.interval=1s"];
    let place = Place::new("cost", sql, &[]);
    let (before, start) = (children_cpu(), Instant::now());
    place.finish(&set);
    let alone = (start.elapsed().as_secs_f64(), children_cpu() - before);
    let (before, start) = (children_cpu(), Instant::now());
    let mut cluster = Cluster::start(Place::new("cost", sql, &[]), Secrecy::Tls, &set);
    let mut worker = cluster.worker(2, &[]);
    assert_eq!(cluster.coordinator.wait(LONG), DONE, "{}", cluster.coordinator.log());
    assert_eq!(worker.wait(LONG), DONE, "{}", worker.log());
    [alone, (start.elapsed().as_secs_f64(), children_cpu() - before)]
}

fn cost(label: &str, keys: u64, runs: usize) {
    let (few, many) = (100_000_000, 500_000_000);
    let sql = |rows| counts(keys, 0, Some(rows), "blackhole");
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut starts: [Vec<f64>; 2] = Default::default();
    for _ in 0..runs {
        let (short, long) = (both_forms(&sql(few)), both_forms(&sql(many)));
        // What the rows between take: the start and the end of the processes are in both.
        let flow = |form: usize, f: fn(&Took) -> f64| f(&long[form]) - f(&short[form]);
        ratios[0].push(flow(1, |t| t.0) / flow(0, |t| t.0));
        ratios[1].push(flow(1, |t| t.1) / flow(0, |t| t.1));
        for (form, starts) in starts.iter_mut().enumerate() {
            starts.push(short[form].0 - flow(form, |t| t.0) * few as f64 / (many - few) as f64);
        }
    }
    let round = |values: Vec<f64>| (median(values) * 1e3).round() / 1e3;
    let [time, cpu] = ratios.map(round);
    let [alone, cluster] = starts.map(round);
    println!(
        "{}",
        json!({
            "case": label, "runs": runs, "time_to_one_process": time, "cpu_to_one_process": cpu,
            "start_and_end_s": cluster, "start_and_end_s_one_process": alone,
        })
    );
}

fn main() {
    let (filter, runs) = arguments();
    let wanted = |label: &str| label.contains(&filter);
    for (label, keys, rate, standby) in [
        ("kill-small-standby", 1_000, 50_000, true),
        ("kill-small", 1_000, 50_000, false),
        ("kill-5m-standby", 5_000_000, 400_000, true),
        ("kill-5m", 5_000_000, 400_000, false),
        ("kill-1gb-standby", 24_000_000, 800_000, true),
        ("kill-1gb", 24_000_000, 800_000, false),
    ] {
        if wanted(label) {
            kill(label, keys, rate, standby, runs);
        }
    }
    if wanted("adopt") {
        adopt(runs);
    }
    for (label, keys) in [("cost-1k", 1_000), ("cost-1m", 1_000_000)] {
        if wanted(label) {
            cost(label, keys, runs);
        }
    }
}
