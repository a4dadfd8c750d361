//! What a checkpoint costs the coordinator, by the number of subtasks: `cargo bench --workspace --bench coordinator`.
//!
//! The real decisions and the real manifest over a store in memory; workers of ten slots are simulated, and what
//! they do is not counted. Prints one JSON object per size: medians over the checkpoints of a run.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a bench prints what it found")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_checkpoint::manifest::write_manifest;
use weir_checkpoint::store::MemoryStore;
use weir_checkpoint::{ClaimWanted, Journal, Payload, Start, Store};
use weir_coordinator::{
    Action, AppendOutcome, ClaimOutcome, Entry, Event, JobStatus, Moment, State, step, testing,
};
use weir_protocol::{
    Blob, BlockRef, CheckpointId, FromWorker, KeyGroupRange, ObjectRef, PhaseTimes, RestoreReport,
    SinkHandles, Stamp, StateTableInfo, SubtaskAck, SubtaskId, SubtaskProgress, TableState, ToWorker,
    TransformId, TransformState, VertexId, WorkerId,
};
use weir_runtime::{SeededRandom, SystemClock, Timestamp};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SLOTS: u32 = 10;
/// Deltas that a table builds on, each in another object.
const DELTAS: u64 = 5;
const CHECKPOINTS: usize = 15;
const INTERVAL: Duration = Duration::from_secs(10);

/// A coordinator with simulated workers.
struct Bench {
    state: State,
    store: Arc<MemoryStore>,
    journal: Journal,
    random: SeededRandom,
    now: Timestamp,
    placed: BTreeMap<WorkerId, Vec<SubtaskId>>,
    events: VecDeque<Event>,
    /// Time spent on decisions and on the manifest since it was last taken.
    spent: Duration,
    /// Requests to the store likewise, those of workers too.
    requests: u64,
    received: usize,
    sent: usize,
    manifest: u64,
    wakes: Option<Timestamp>,
}

impl Bench {
    async fn start(subtasks: u32) -> Self {
        let mut options = testing::options(subtasks / 2);
        options.config.max_parallelism = 32_768;
        options.config.checkpoint.interval = INTERVAL;
        options.garbage_every = u32::MAX;
        let store = Arc::new(MemoryStore::default());
        let clock = Arc::new(SystemClock::default());
        let wanted =
            ClaimWanted { spec: "spec".into(), start: Start::Continue, restore_from: None, patience: None };
        let (journal, claimed) = Journal::claim(store.clone(), clock, Arc::new(SeededRandom::new(1)), wanted)
            .await
            .expect("claimed");
        let mut bench = Self {
            state: State::new(options),
            store,
            journal,
            random: SeededRandom::new(2),
            now: Timestamp(1_000_000),
            placed: BTreeMap::new(),
            events: VecDeque::from([Event::Claimed(ClaimOutcome::Claimed(Box::new(claimed)))]),
            spent: Duration::ZERO,
            requests: 0,
            received: 0,
            sent: 0,
            manifest: 0,
            wakes: None,
        };
        for worker in 1..=u64::from((subtasks / 2).div_ceil(SLOTS)) {
            let registration = Box::new(testing::registration(SLOTS, &format!("w{worker}")));
            bench.events.push_back(Event::WorkerRegistered { worker: WorkerId(worker), registration });
        }
        bench.settle().await;
        assert!(bench.state.is_running(), "it runs");
        bench
    }

    /// Handles everything that is due, until nothing happens any more without the clock.
    async fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let begun = Instant::now();
            let actions = step(&mut self.state, event, Moment { now: self.now, random: 7 });
            self.spent += begun.elapsed();
            for action in actions {
                self.act(action).await;
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Send { worker, stamp, message } => {
                self.sent += json_bytes(&message.get());
                self.answer(worker, &stamp, message.into_inner()).await;
            }
            Action::WriteManifest(manifest) => {
                let begun = Instant::now();
                let result = write_manifest(self.store.as_ref(), &self.random, &manifest).await;
                self.spent += begun.elapsed();
                let written = result.expect("written");
                self.requests += 1;
                self.manifest = written.size;
                self.events.push_back(Event::ManifestWritten { id: manifest.id, result: Ok(written) });
            }
            Action::VerifyObjects { id, objects } => {
                // One look at each, and one write by the worker that made it.
                self.requests += 2 * objects.len() as u64;
                self.events.push_back(Event::ObjectsVerified { id, result: Ok(()) });
            }
            Action::Append(Entry::Body(body)) => {
                let durable = self.journal.append(body).await.expect("appended");
                // The record, and the look at the boundary.
                self.requests += 2;
                self.events.push_back(Event::Appended(AppendOutcome::Durable(durable)));
            }
            Action::CollectGarbage => {
                self.events.push_back(Event::GarbageCollected { proposed: Vec::new(), failure: None });
            }
            Action::SetTimer { at } => self.wakes = Some(at),
            other => panic!("not expected: {other:?}"),
        }
    }

    async fn answer(&mut self, worker: WorkerId, stamp: &Stamp, message: ToWorker) {
        let answers = match message {
            ToWorker::Deploy { placement, .. } => {
                let mine =
                    placement.into_iter().filter(|(_, to, _)| *to == worker).map(|(subtask, ..)| subtask);
                self.placed.insert(worker, mine.collect());
                vec![FromWorker::Deployed { restored: RestoreReport::default() }]
            }
            ToWorker::Commit { id, .. } => vec![FromWorker::Committed { id }],
            ToWorker::Trigger { id, .. } => {
                let key = weir_checkpoint::layout::data(stamp.attempt, id, &format!("w{worker}"));
                self.store.put(&key, Payload::from(vec![0_u8; 8])).await.expect("put");
                let placed = &self.placed[&worker];
                placed
                    .iter()
                    .map(|s| FromWorker::Ack { id, ack: Box::new(ack(*s, worker, stamp, id)) })
                    .collect()
            }
            other => panic!("not expected: {other:?}"),
        };
        for message in answers {
            self.received += json_bytes(&message);
            self.events.push_back(Event::Message { worker, stamp: stamp.clone(), message });
        }
    }

    /// What all workers report twice a second.
    async fn progress(&mut self) {
        let stamp = Stamp {
            job: testing::options(1).config.uid,
            attempt: self.state.attempt(),
            execution: self.state.execution(),
        };
        for (worker, placed) in &self.placed {
            let subtasks = placed.iter().map(|s| (*s, SubtaskProgress::default())).collect();
            let message = FromWorker::Progress { subtasks, troubles: Vec::new() };
            self.events.push_back(Event::Message { worker: *worker, stamp: stamp.clone(), message });
        }
        self.settle().await;
    }

    fn take(&mut self) -> (Duration, u64, usize, usize) {
        (
            std::mem::take(&mut self.spent),
            std::mem::take(&mut self.requests),
            std::mem::take(&mut self.received),
            std::mem::take(&mut self.sent),
        )
    }
}

fn json_bytes(message: &impl serde::Serialize) -> usize {
    serde_json::to_vec(message).expect("it has a JSON form").len()
}

/// A source's position, or a table that builds on some deltas and a prepared file.
fn ack(subtask: SubtaskId, worker: WorkerId, stamp: &Stamp, id: CheckpointId) -> SubtaskAck {
    let source = subtask.vertex == VertexId::of("source");
    let oldest = id.0.saturating_sub(DELTAS - 1).max(1);
    let object = |checkpoint: u64| ObjectRef {
        key: weir_checkpoint::layout::data(stamp.attempt, CheckpointId(checkpoint), &format!("w{worker}")),
        size: 1 << 20,
        digest: "0123456789abcdef".repeat(4),
    };
    let objects: Vec<ObjectRef> =
        if source { Vec::new() } else { (oldest..=id.0).rev().map(object).collect() };
    let blocks = (0..objects.len() as u32).rev();
    let blocks = blocks.map(|object| BlockRef { object, offset: 4096, length: 65_536, crc: 7, rows: 1_000 });
    let table = TableState {
        info: StateTableInfo { name: "accumulators".into(), schema: "BIGINT -> BIGINT, BIGINT".into() },
        range: KeyGroupRange { start: subtask.index, end: subtask.index + 1 },
        blocks: blocks.collect(),
    };
    let transform = TransformId(subtask.vertex.0);
    let position = vec![("splits".to_owned(), vec![Blob::Inline(vec![7; 40])])];
    let (tables, lists) = if source { (Vec::new(), position) } else { (vec![table], Vec::new()) };
    let handles = vec![Blob::Inline(vec![7; 120])];
    SubtaskAck {
        subtask,
        new_objects: u32::from(!objects.is_empty()),
        objects,
        state: vec![TransformState { transform, tables, lists }],
        sinks: if source { Vec::new() } else { vec![SinkHandles { transform, handles }] },
        times: PhaseTimes::default(),
        new_bytes: 65_536,
        full_bytes: 65_536 * DELTAS,
    }
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort_unstable();
    all[all.len() / 2]
}

async fn measure(subtasks: u32) {
    let begun = Instant::now();
    let mut bench = Bench::start(subtasks).await;
    let started = begun.elapsed();
    bench.take();
    let (mut spent, mut requests, mut received, mut sent, mut until) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CHECKPOINTS {
        bench.now = bench.wakes.take().expect("a checkpoint is due");
        bench.events.push_back(Event::Timer);
        let begun = Instant::now();
        bench.settle().await;
        until.push(begun.elapsed());
        let (cpu, asked, from, to) = bench.take();
        spent.push(cpu);
        requests.push(asked);
        received.push(from);
        sent.push(to);
    }
    bench.progress().await;
    let (progress, ..) = bench.take();
    let begun = Instant::now();
    let status = JobStatus::of(&bench.state, bench.now);
    let told = begun.elapsed();
    assert_eq!(status.checkpoints.counters.completed, CHECKPOINTS as u64, "each completed");
    let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    let per_hour = median(requests) * (3600 / INTERVAL.as_secs());
    let line = json!({
        "subtasks": subtasks,
        "workers": bench.placed.len(),
        "deployMs": ms(started),
        "cpuMsPerCheckpoint": ms(median(spent)),
        "triggerToCommittedMs": ms(median(until)),
        "bytesFromWorkers": median(received),
        "bytesToWorkers": median(sent),
        "manifestBytes": bench.manifest,
        "requestsPerHour": per_hour,
        "cpuMsOfProgressPerRound": ms(progress),
        "cpuMsOfStatus": ms(told),
    });
    println!("{line}");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for subtasks in [10, 100, 1_000, 10_000] {
        runtime.block_on(measure(subtasks));
    }
}
