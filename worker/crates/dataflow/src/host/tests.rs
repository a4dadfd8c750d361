//! A worker with a job of its own kind, and a coordinator that is a test.

mod job;
mod observed;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir_checkpoint::store::{MemoryStore, Store};
use weir_protocol::{FromWorker, ToWorker};
use weir_runtime::{Clock, SystemClock};

use super::*;
use job::{Controls, expected};
use observed::Observed;
use worker::TestWorker;

/// Nothing takes that long, and it is much shorter than a test's worker waits for a slot to end.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_subtasks_that_wait_for_room_at_once_and_frees_their_slots() {
    let controls = Controls::new(1_000);
    controls.sinks_are_full.store(true, Ordering::Relaxed);
    controls.give(u64::MAX);
    let mut worker = TestWorker::start(&controls, Arc::new(MemoryStore::default()));
    worker.deploy(2, None).await;
    let full = |p: &SubtaskProgress| p.backpressured_us > 0;
    worker.progress(|all| all.iter().all(|(_, p)| full(p))).await;
    worker.tell(ToWorker::Cancel);
    worker.hear(|m| matches!(m, FromWorker::Stopped).then_some(())).await;
    // The slots are there for the next execution.
    controls.sinks_are_full.store(false, Ordering::Relaxed);
    worker.deploy(2, None).await;
    worker.progress(|all| all.iter().all(|(_, p)| p.rows_out > 0)).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_does_not_wait_for_the_store() {
    let controls = Controls::new(1_000);
    controls.give(5_000);
    let store = Observed::new(MemoryStore::default());
    let mut worker = TestWorker::start(&controls, store.clone());
    worker.deploy(2, None).await;
    controls.settled().await;
    let first = worker.checkpoint(1, None).await;
    // Reads of data get no answer from here on: the slots are up and wait for their state.
    store.hang("data/", true);
    worker.send_deploy(2, Some(first.clone()));
    store.hung().await;
    worker.tell(ToWorker::Cancel);
    worker.hear(|m| matches!(m, FromWorker::Stopped).then_some(())).await;
    store.hang("data/", false);
    worker.deploy(2, Some(first)).await;
    go_on(&controls, 1_000, 5_000).await;
    worker.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vertex_tells_its_times_and_when_its_first_rows_went_out() {
    let controls = Controls::new(100);
    let before = SystemClock::default().now().0;
    let mut worker = TestWorker::start(&controls, Arc::new(MemoryStore::default()));
    let started = Instant::now();
    worker.deploy(2, None).await;
    let quiet = worker.progress(|all| !all.is_empty()).await;
    assert!(quiet.iter().all(|(_, p)| p.first_out_us == 0), "nothing went out yet");
    controls.give(200_000);
    controls.settled().await;
    let all = worker.progress(|all| all.iter().all(|(_, p)| p.busy_us > 0 && p.rows_out > 0)).await;
    let elapsed = started.elapsed().as_micros() as u64;
    for (subtask, p) in all {
        assert!((before..before + elapsed + 1).contains(&p.first_out_us), "{subtask}: {p:?}");
        assert!(p.busy_us + p.backpressured_us <= elapsed, "{subtask}: the rest is idle: {p:?}");
        assert!(p.rows_out > 0 && p.bytes_out > 0 && p.bytes_in > 0, "{subtask}: {p:?}");
        assert_eq!(p.state_bytes > 0, subtask.vertex == job::COUNTS, "{subtask}: {p:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_to_go_says_so_once_and_goes_on_until_it_is_released() {
    let controls = Controls::new(100);
    let mut worker = TestWorker::start(&controls, Arc::new(MemoryStore::default()));
    worker.deploy(2, None).await;
    worker.send(WorkerInput::Drain);
    worker.send(WorkerInput::Drain);
    controls.give(10_000);
    controls.settled().await;
    // A connection that breaks meanwhile changes nothing: the next registration says it again.
    worker.send(WorkerInput::Disconnected);
    worker.send(WorkerInput::Connected { worker: WorkerId(2) });
    controls.give(20_000);
    controls.settled().await;
    worker.send(WorkerInput::Release);
    let said = worker.rest_until(WorkerEnd::Released).await;
    assert_eq!(said.iter().filter(|o| matches!(o, WorkerOutput::Draining)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_checkpoint_goes_out_in_many_objects_and_comes_back_at_any_parallelism() {
    let (keys, rows) = (40_000, 120_000);
    let controls = Controls::new(keys);
    controls.give(rows);
    let sizes = Sizes {
        object: 64 << 10,
        block: 16 << 10,
        frozen: 64 << 10,
        uploads: 128 << 10,
        ahead: 128 << 10,
        local: 0,
    };
    let store = Observed::new(MemoryStore::default());
    let mut worker = TestWorker::start_with(&controls, store.clone(), sizes, None);
    worker.deploy(2, None).await;
    controls.settled().await;
    let mut newest = worker.checkpoint(1, None).await;
    let objects = store.list("data/a000001/c000001/").await.unwrap();
    assert!(objects.len() >= 4, "{objects:?}");
    assert!(objects.iter().all(|o| o.size <= 2 * sizes.object), "{objects:?}");
    let mut given = rows;
    for (id, parallelism) in [(2, 3), (3, 1), (4, 2)] {
        worker.deploy(parallelism, Some(newest)).await;
        go_on(&controls, keys, given).await;
        given += keys;
        newest = worker.checkpoint(id, None).await;
    }
}

/// Restored from all rows below `given`, the job goes on right: a row more for each key shows what it holds.
async fn go_on(controls: &Controls, keys: u64, given: u64) {
    controls.forget();
    controls.give(given + keys);
    controls.settled().await;
    assert_eq!(controls.results(), expected(keys, given + keys));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_reads_from_the_store_only_what_is_not_on_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    let (keys, mut given) = (20_000, 40_000);
    let controls = Controls::new(keys);
    controls.give(given);
    let store = Observed::new(MemoryStore::default());
    let folder = scratch.path().to_owned();
    let with_scratch = Some(Scratch { folder: folder.clone(), limit: 64 << 20 });
    let mut worker = TestWorker::start_with(&controls, store.clone(), Sizes::of(1 << 30), with_scratch);
    worker.deploy(2, None).await;
    controls.settled().await;
    worker.checkpoint(1, None).await;
    given += 1_000;
    controls.give(given);
    controls.settled().await;
    let newest = worker.checkpoint(2, Some(1)).await;

    let copies = || worker::files(&folder);
    let objects = store.list("data/").await.unwrap().len();
    worker::until(|| copies().len() == objects).await;
    let report = worker.deploy(2, Some(newest.clone())).await;
    assert_eq!(store.reads("data/"), 0, "everything is here");
    assert!(report.local_bytes > 0 && report.stored_bytes == 0, "{report:?}");
    go_on(&controls, keys, given).await;

    // Gone, all of them: the store has it, and what is read is kept again.
    copies().iter().for_each(|copy| std::fs::remove_file(copy).unwrap());
    controls.give(given);
    let again = worker.deploy(2, Some(newest.clone())).await;
    let all = report.local_bytes;
    assert_eq!((again.local_bytes, again.stored_bytes), (0, all));
    let reads = store.reads("data/");
    assert!(reads > 0);
    let bytes = || copies().iter().filter_map(|c| Some(c.metadata().ok()?.len())).sum::<u64>();
    worker::until(|| bytes() == all).await;
    controls.give(given);
    let third = worker.deploy(2, Some(newest)).await;
    assert_eq!((third.local_bytes, third.stored_bytes, store.reads("data/")), (all, 0, reads));
    go_on(&controls, keys, given).await;

    // With the worker its copies go.
    worker.end().await;
    worker::until(|| copies().is_empty()).await;
}
