//! How soon rows come again when the pod of a worker is deleted, on a real cluster: `e2e/run.sh measure`.
//!
//! A job of two workers that counts a thousand keys, checkpoints every second; a pod that works is deleted at once and by
//! force, ten times, without and with a standby worker. The time is from the call of `kubectl delete` to the first row of a sink, by
//! the job's own report (one machine, one clock). Images are on the nodes. Prints one JSON object per case.
#![allow(clippy::print_stdout, clippy::expect_used, reason = "a bench prints what it found")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weir_e2e::{Job, Story};

const DEATHS: usize = 10;
const SQL: &str = "CREATE TABLE keys (k BIGINT NOT NULL) WITH (
  'connector' = 'datagen', 'rows-per-second' = '1000', 'fields.k.min' = '0', 'fields.k.max' = '999');
CREATE TABLE sink (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO sink SELECT k, COUNT(*) FROM keys GROUP BY k;";

fn main() {
    for standby in [0, 1] {
        let story = Story::begin(&format!("recovery-{standby}"));
        let job = Job::new("measured").with("sql", json!(SQL)).with("worker.standby", json!(standby));
        story.apply(&job);
        let mut times: Vec<u64> = (0..DEATHS).map(|_| death(&story, &job, standby)).collect();
        times.sort_unstable();
        let case = if standby == 0 { "no standby" } else { "standby" };
        println!(
            "{}",
            json!({
                "case": case, "deaths": DEATHS, "medianMs": times[DEATHS / 2], "leastMs": times[0],
                "mostMs": times[DEATHS - 1],
            })
        );
    }
}

/// Deletes the pod of a worker that works; the milliseconds until the first row after that.
fn death(story: &Story, job: &Job, standby: u64) -> u64 {
    story.until_checkpoints(job, 2);
    let whole = |engine: &Value| workers(engine).len() as u64 == 2 + standby;
    let before = story.until_engine(job, "all workers are there", whole);
    let works = workers(&before).into_iter().find(|worker| worker["used"].as_u64() > Some(0));
    let name = works.and_then(|worker| worker["name"].as_str()).expect("a worker that works");
    // The host's name, and the number of the process on it.
    let pod = name.split(' ').next().unwrap_or(name);
    let deleted = now_us();
    story.kubectl().run(&["delete", "pod", pod, "--grace-period=0", "--force", "--wait=false"]);
    let after = story.until_engine(job, "rows again", |engine| first_row(engine) > Some(deleted));
    (first_row(&after).expect("just seen") - deleted) / 1000
}

fn workers(engine: &Value) -> Vec<&Value> {
    engine["workers"].as_array().into_iter().flatten().collect()
}

/// When the newest execution gave its first row.
fn first_row(engine: &Value) -> Option<u64> {
    let recoveries = engine["recoveries"].as_array()?;
    recoveries.iter().filter_map(|recovery| recovery["firstRowUs"].as_u64()).max()
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_micros()).expect("not so far in the future")
}
