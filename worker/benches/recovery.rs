//! From the start of a process to running rows, after kill -9, against the size of state:
//! `cargo bench -p weir --bench recovery [-- --runs N]`.
//!
//! A job counts keys until all of them are in a checkpoint; then it is killed and started again. Prints
//! one JSON object per size of state: medians of the time until a fresh job runs and until the killed one
//! runs again, both from the start of the process (planning and storage included).
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints what it found")]

#[path = "measure/status.rs"]
mod status;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use status::status;

const ADDRESS: &str = "127.0.0.1:18462";

struct Job(Child);

impl Drop for Job {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(manifest: &Path) -> (Job, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let child = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--progress", "none", "--listen", ADDRESS])
        .arg(manifest)
        .stdout(Stdio::null())
        .spawn()
        .expect("weir starts");
    (Job(child), now.as_micros() as u64)
}

/// The status, as soon as it is served and `f` finds what it waits for.
fn wait<T>(f: impl Fn(&Value) -> Option<T>) -> T {
    loop {
        if let Some(found) = status(ADDRESS).as_ref().and_then(&f) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn running_since(status: &Value) -> Option<u64> {
    status["runningSinceUs"].as_u64()
}

/// Milliseconds until a fresh job runs, until the killed one runs again, and the bytes that it read back.
fn run(keys: u64) -> (f64, f64, f64) {
    let folder = tempfile::tempdir().expect("a folder for the job");
    let manifest = folder.path().join("job.yaml");
    let text = format!(
        "apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {{ name: recovery }}
spec:
  parallelism: 2
  checkpoint:
    storage: file://{}/state
    interval: 200ms
  sql: |
    CREATE TABLE keys (k BIGINT NOT NULL) WITH (
      'connector' = 'datagen', 'rows-per-second' = '0', 'fields.k.kind' = 'sequence', 'fields.k.start' = '0',
      'fields.k.end' = '1000000000000');
    CREATE TABLE sink (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
    INSERT INTO sink SELECT MOD(k, {keys}), COUNT(*) FROM keys GROUP BY MOD(k, {keys});
",
        folder.path().display()
    );
    std::fs::write(&manifest, text).expect("the folder is writable");
    let (job, began) = start(&manifest);
    let fresh = wait(running_since) - began;
    // All keys have come, and a checkpoint that was triggered after that is complete.
    wait(|s| (s["sourceRows"].as_u64()? > keys).then_some(()));
    let enough = |s: &Value| s["checkpoints"]["counters"]["completed"].as_u64();
    let before = wait(enough);
    wait(|s| (enough(s)? >= before + 2).then_some(()));
    drop(job);
    let (_job, began) = start(&manifest);
    let again = wait(running_since) - began;
    let listed = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["checkpoints", "list", "-o", "json"])
        .arg(&manifest)
        .output()
        .expect("weir starts");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON of weir");
    let newest = listed["checkpoints"].as_array().and_then(|all| all.last()).expect("a checkpoint");
    let bytes = newest["fullBytes"].as_f64().expect("a number");
    (fresh as f64 / 1e3, again as f64 / 1e3, bytes)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip_while(|a| a != "--runs").skip(1);
    let runs: usize = args.next().map_or(5, |n| n.parse().expect("--runs takes a number"));
    for keys in [1_000, 100_000, 1_000_000, 10_000_000] {
        let all: Vec<_> = (0..runs).map(|_| run(keys)).collect();
        println!(
            "{}",
            json!({
                "keys": keys, "runs": runs,
                "fresh_start_ms": median(all.iter().map(|r| r.0)),
                "restart_ms": median(all.iter().map(|r| r.1)),
                "checkpoint_bytes": median(all.iter().map(|r| r.2)),
            })
        );
    }
}
