//! Random small job graphs over queues with room for one input: rows, watermarks and barriers get
//! through, and nothing waits for itself. F31.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tokio::sync::mpsc;
use weir_protocol::*;
use weir_runtime::{Random, SeededRandom, SystemClock};

use crate::deploy::Deployment;
use crate::encoder::{Encoded, Encoder};
use crate::restore::Restored;
use crate::slot::{Command, Events, SlotEvent, SlotHandle};
use crate::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Gives a number of batches of three rows.
struct Batches(u64);

impl Source for Batches {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        if self.0 == 0 {
            return Ok(Poll::Exhausted);
        }
        self.0 -= 1;
        let n = self.0 as i64;
        let column = Arc::new(Int64Array::from(vec![n, n * 31, n * 977]));
        Ok(Poll::Batch { split: 0, rows: RecordBatch::try_new(schema(), vec![column]).unwrap() })
    }
    fn snapshot(&mut self) -> Vec<SplitState> {
        Vec::new()
    }
}

struct BatchesFactory(u64);

impl SourceFactory for BatchesFactory {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn open(&self, _: OpenSource) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Batches(self.0)))
    }
}

/// Gives every input several times, a piece at a time.
struct Repeat {
    times: u64,
    left: Option<(Chunk, u64)>,
}

impl Transform for Repeat {
    fn process(&mut self, _: u32, chunk: Chunk, out: &mut dyn Emit) -> Result<Flow, Failure> {
        assert!(self.left.is_none(), "given an input before the one before was done");
        self.left = Some((chunk, self.times));
        self.resume(out)
    }
    fn resume(&mut self, out: &mut dyn Emit) -> Result<Flow, Failure> {
        let Some((chunk, mut left)) = self.left.take() else { return Ok(Flow::Done) };
        while left > 0 {
            if !out.ready() {
                self.left = Some((chunk, left));
                return Ok(Flow::More);
            }
            out.chunk(chunk.clone())?;
            left -= 1;
        }
        Ok(Flow::Done)
    }
}

struct RepeatFactory(u64);

impl TransformFactory for RepeatFactory {
    fn create(&self, _: TransformContext) -> Result<Box<dyn Transform>, Failure> {
        Ok(Box::new(Repeat { times: self.0, left: None }))
    }
}

/// Counts rows; has room only every other time it is asked.
struct Counter {
    rows: Arc<AtomicU64>,
    waker: std::task::Waker,
    room: bool,
}

impl Sink for Counter {
    fn ready(&mut self) -> bool {
        self.room = !self.room;
        if !self.room {
            self.waker.wake_by_ref();
        }
        self.room
    }
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.rows.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    fn prepare_commit(&mut self, _: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}

struct CounterFactory(Arc<AtomicU64>);

impl SinkFactory for CounterFactory {
    fn takes_changelog(&self) -> bool {
        true
    }
    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        Ok(Box::new(Counter { rows: self.0.clone(), waker: context.waker, room: false }))
    }
    fn committer(&self, _: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

/// A random graph with the number of rows that its sinks must see in all.
fn random_job(random: &SeededRandom, sunk: &Arc<AtomicU64>) -> (Job, u64) {
    let pick = |n: u64| random.next_u64() % n;
    let count = 2 + pick(5) as usize;
    let (mut vertices, mut nodes, mut edges): (Vec<Vertex>, Vec<Node>, Vec<Edge>) = (vec![], vec![], vec![]);
    // Rows that each vertex gives over all its subtasks.
    let mut rows: Vec<u64> = Vec::new();
    for at in 0..count {
        let source = at == 0 || pick(4) == 0;
        let mut parallelism = 1 + pick(3) as u32;
        let times = 1 + pick(3);
        let mut taken = 0;
        if !source {
            for input in 0..1 + pick(2) as usize {
                let from = pick(at as u64) as usize;
                let same = input == 0 || vertices[from].parallelism == parallelism;
                let partitioning = match pick(4) {
                    0 if same => {
                        parallelism = vertices[from].parallelism;
                        Partitioning::Forward
                    }
                    1 => Partitioning::Broadcast,
                    2 => Partitioning::Rebalance,
                    _ => Partitioning::Hash { columns: vec![0] },
                };
                let copies = if partitioning == Partitioning::Broadcast { u64::from(parallelism) } else { 1 };
                taken += rows[from] * copies;
                edges.push(Edge {
                    from: VertexId(from as u64),
                    to: VertexId(at as u64),
                    input: 0,
                    partitioning,
                });
            }
        }
        let batches = pick(12);
        rows.push(if source { batches * 3 * u64::from(parallelism) } else { taken } * times);
        let info = |id: usize| TransformInfo {
            id: TransformId(id as u64),
            name: format!("t{id}"),
            detail: String::new(),
            tables: Vec::new(),
        };
        let mut transforms = Vec::new();
        if source {
            transforms.push(info(at * 10));
        }
        transforms.push(info(at * 10 + 1));
        vertices.push(Vertex {
            id: VertexId(at as u64),
            name: String::new(),
            parallelism,
            source,
            sink: false,
            transforms,
        });
        let source = source.then(|| SourceNode {
            factory: Arc::new(BatchesFactory(batches)),
            calc: None,
            watermark: None,
        });
        nodes.push(Node { source, transforms: vec![Arc::new(RepeatFactory(times))], sink: None });
    }
    let mut expected = 0;
    for at in 0..count {
        if !edges.iter().any(|e| e.from == vertices[at].id) {
            expected += rows[at];
            vertices[at].sink = true;
            vertices[at].transforms.push(TransformInfo {
                id: TransformId(at as u64 * 10 + 2),
                name: "sink".to_owned(),
                detail: String::new(),
                tables: Vec::new(),
            });
            nodes[at].sink = Some(Arc::new(CounterFactory(sunk.clone())));
        }
    }
    let graph = JobGraph { vertices, edges };
    assert_eq!(graph.check(), Ok(()));
    (Job { graph, nodes }, expected)
}

fn config() -> JobConfig {
    JobConfig {
        uid: JobUid::new("test").unwrap(),
        name: "test".to_owned(),
        sql: String::new(),
        parallelism: 1,
        max_parallelism: 16,
        task_slots: 3,
        state: StateConfig {
            backend: StateBackend::Memory,
            ttl: Duration::ZERO,
            memory_limit: 1 << 30,
            deltas_per_base: 4,
        },
        checkpoint: CheckpointConfig {
            storage: StorageConfig {
                url: "memory://t".to_owned(),
                endpoint: None,
                region: None,
                path_style: false,
            },
            mode: CheckpointMode::ExactlyOnce,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(60),
            min_pause: Duration::ZERO,
            tolerable_failures: 0,
            retain: 1,
            expiration: Duration::from_secs(60),
            max_uncheckpointed_bytes: u64::MAX,
        },
        restart: RestartStrategy::None,
        on_unreadable: OnUnreadable::Stop,
        restore_from: None,
        liveness: weir_protocol::LivenessConfig::default(),
    }
}

struct Running {
    slots: Vec<SlotHandle>,
    events: mpsc::UnboundedReceiver<SlotEvent>,
    encoded: mpsc::UnboundedReceiver<Result<Encoded, (CheckpointId, Failure)>>,
}

fn start(job: Job, io: &tokio::runtime::Handle) -> Running {
    let (worker, events) = mpsc::unbounded_channel();
    let (encoder, input) = std_mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let slot_events = Events { worker, encoder, waiting: waiting.clone() };
    let placed: Vec<_> = job.graph.subtasks().map(|s| (s, s.index)).collect();
    let config = config();
    let stamp = Stamp { job: config.uid.clone(), attempt: Attempt(1), execution: Execution(1) };
    let subtasks = placed.len();
    let clock = Arc::new(SystemClock::default());
    let deployment = Deployment {
        job: Arc::new(job),
        config: Arc::new(config),
        stamp,
        placed,
        restored: Arc::new(Restored::fresh()),
        queue_bytes: 1,
        clock: clock.clone(),
        io: io.clone(),
        troubles: Troubles::default(),
    };
    let (slots, _) = deployment.slots(&slot_events).unwrap();
    let (output, encoded) = mpsc::unbounded_channel();
    let wakers = slots.iter().map(|(_, w, _)| w.clone()).collect();
    let encoder = Encoder { subtasks, input, waiting, wakers, output };
    std::thread::spawn(move || encoder.run());
    let slots = slots
        .into_iter()
        .map(|(n, w, build)| SlotHandle::start(n, w, clock.clone(), slot_events.clone(), build).unwrap())
        .collect();
    Running { slots, events, encoded }
}

fn barrier(id: u64, mode: CheckpointMode, completed: Option<CheckpointId>) -> Barrier {
    Barrier { id: CheckpointId(id), kind: CheckpointKind::Periodic, mode, completed, triggered_us: 0 }
}

async fn flow(seed: u64, io: &tokio::runtime::Handle) {
    let random = SeededRandom::new(seed);
    let sunk = Arc::new(AtomicU64::new(0));
    let (job, expected) = random_job(&random, &sunk);
    let sources: usize = job.graph.vertices.iter().filter(|v| v.source).map(|v| v.parallelism as usize).sum();
    let mode = [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce][(random.next_u64() % 2) as usize];
    let mut running = start(job, io);
    let tell = |slots: &[SlotHandle], command| slots.iter().for_each(|s| s.tell(command));
    tell(&running.slots, Command::Admit);
    // Barriers in the middle of the rows, one after the other.
    for id in 1..=3 {
        let completed = (id > 1).then(|| CheckpointId(id - 1));
        tell(&running.slots, Command::Trigger(barrier(id, mode, completed)));
        assert_eq!(running.encoded.recv().await.unwrap().map_err(|e| e.1).unwrap().id, CheckpointId(id));
    }
    let mut exhausted = 0;
    while exhausted < sources {
        match running.events.recv().await.unwrap() {
            SlotEvent::Exhausted(_) => exhausted += 1,
            SlotEvent::Opened | SlotEvent::Prepared { .. } => {}
            SlotEvent::Failed(_, failure) => panic!("{failure}"),
        }
    }
    tell(&running.slots, Command::Trigger(barrier(4, mode, None)));
    assert_eq!(running.encoded.recv().await.unwrap().map_err(|e| e.1).unwrap().id, CheckpointId(4));
    assert_eq!(sunk.load(Ordering::Relaxed), expected, "rows at the sinks");
    tell(&running.slots, Command::Stop);
    running.slots.iter_mut().for_each(SlotHandle::join);
}

/// `WEIR_SEED=k` replays one seed, `WEIR_SEEDS=n` runs that many.
#[test]
fn no_topology_of_up_to_six_vertices_deadlocks_on_queues_with_room_for_one_input() {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = number("WEIR_SEED").map_or(0..number("WEIR_SEEDS").unwrap_or(300), |k| k..k + 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for seed in seeds {
        let io = runtime.handle().clone();
        let done =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), flow(seed, &io)).await });
        assert!(done.is_ok(), "stuck; replay with WEIR_SEED={seed} cargo test -p weir-dataflow topology");
    }
}
