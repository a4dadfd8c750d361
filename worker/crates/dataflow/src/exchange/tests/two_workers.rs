//! A counting job on two workers that exchange rows: a checkpoint, a redeployment with survivors, a restore.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use weir_checkpoint::manifest::write_manifest;
use weir_checkpoint::store::MemoryStore;
use weir_checkpoint::{Manifest, Part, Store};
use weir_protocol::*;
use weir_runtime::tls::Transport;
use weir_runtime::{SystemClock, SystemRandom};

use crate::exchange::testing::{exchange, tls};
use crate::topologies::config;
use crate::*;

/// Rows of a batch, and different keys.
const BATCH: u64 = 100;
const KEYS: u64 = 17;

fn schema(columns: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|c| Field::new(*c, DataType::Int64, false)).collect::<Vec<_>>()))
}

/// What all sources and sinks of the test share.
#[derive(Default)]
struct World {
    /// Rows that a source subtask may give.
    allowed: AtomicU64,
    /// After so many it ends.
    end: u64,
    wakers: Mutex<Vec<Waker>>,
    /// The newest count of each key.
    counts: Mutex<BTreeMap<i64, i64>>,
    changed: Notify,
}

impl World {
    fn allow(&self, rows: u64) {
        self.allowed.store(rows, Ordering::SeqCst);
        self.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    }

    /// Waits until every row so far is counted.
    async fn counted(&self, rows: u64) {
        while self.counts.lock().unwrap().values().sum::<i64>() != rows as i64 {
            self.changed.notified().await;
        }
    }
}

struct Numbers {
    world: Arc<World>,
    index: u32,
    waker: Waker,
    given: u64,
}

impl Source for Numbers {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        if self.given == self.world.end {
            return Ok(Poll::Exhausted);
        }
        if self.given == self.world.allowed.load(Ordering::SeqCst) {
            self.world.wakers.lock().unwrap().push(self.waker.clone());
            // It may have been allowed meanwhile.
            if self.given == self.world.allowed.load(Ordering::SeqCst) {
                return Ok(Poll::Pending);
            }
        }
        let numbers = self.given..self.given + BATCH;
        self.given += BATCH;
        let keys: Int64Array = numbers.map(|n| (n % KEYS) as i64).collect();
        Ok(Poll::Batch {
            split: 0,
            rows: RecordBatch::try_new(schema(&["k"]), vec![Arc::new(keys)]).unwrap(),
        })
    }
    fn snapshot(&mut self) -> Vec<SplitState> {
        let position = self.given.to_le_bytes().to_vec();
        vec![SplitState { id: self.index.to_string(), ended: false, position }]
    }
}

struct NumbersFactory(Arc<World>);

impl SourceFactory for NumbersFactory {
    fn schema(&self) -> SchemaRef {
        schema(&["k"])
    }
    fn bounded(&self) -> bool {
        true
    }
    fn open(&self, context: OpenSource) -> Result<Box<dyn Source>, Failure> {
        let mine = |s: &&SplitState| s.id == context.index.to_string();
        let split = context.restored.as_ref().and_then(|all| all.iter().find(mine));
        let given = split.map_or(0, |s| u64::from_le_bytes(s.position[..].try_into().unwrap()));
        let (world, index) = (self.0.clone(), context.index);
        Ok(Box::new(Numbers { world, index, waker: context.waker, given }))
    }
}

struct Counts(Arc<World>);

impl Sink for Counts {
    fn ready(&mut self) -> bool {
        true
    }
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let mut counts = self.0.counts.lock().unwrap();
        let column = |at: usize| chunk.rows.column(at).as_primitive::<Int64Type>().clone();
        let (keys, numbers) = (column(0), column(1));
        for row in (0..chunk.len()).filter(|r| chunk.kind(*r).adds()) {
            counts.insert(keys.value(row), numbers.value(row));
        }
        self.0.changed.notify_one();
        Ok(())
    }
    fn prepare_commit(&mut self, _: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}

struct CountsFactory(Arc<World>);

impl SinkFactory for CountsFactory {
    fn takes_changelog(&self) -> bool {
        true
    }
    fn open(&self, _: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        Ok(Box::new(Counts(self.0.clone())))
    }
    fn committer(&self, _: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

/// Numbers by hash to a count, and the counts by round robin to a sink.
fn job(world: &Arc<World>, parallelism: u32) -> Job {
    let count = AggregateCall {
        function: AggregateFunction::Count,
        input: None,
        filter: None,
        output: DataType::Int64,
    };
    let spec = AggregateSpec {
        keys: vec![0],
        calls: vec![count],
        input_schema: schema(&["k"]),
        output_schema: schema(&["k", "n"]),
        retracting: false,
        update_before: true,
        ttl: None,
    };
    let tables = Aggregate::tables(&spec).unwrap();
    let vertex = |n: u64, tables: Vec<StateTableInfo>| {
        let info = TransformInfo { id: TransformId(n), name: "t".to_owned(), detail: String::new(), tables };
        let (source, sink) = (n == 1, n == 3);
        Vertex { id: VertexId(n), name: String::new(), parallelism, source, sink, transforms: vec![info] }
    };
    let edge = |from, to, columns: Vec<usize>| {
        let partitioning = Partitioning::Hash { columns };
        Edge { from: VertexId(from), to: VertexId(to), input: 0, partitioning }
    };
    let graph = JobGraph {
        vertices: vec![vertex(1, Vec::new()), vertex(2, tables), vertex(3, Vec::new())],
        edges: vec![edge(1, 2, vec![0]), edge(2, 3, vec![0])],
    };
    assert_eq!(graph.check(), Ok(()));
    let factory = Arc::new(NumbersFactory(world.clone()));
    let source = SourceNode { factory, calc: None, watermark: None };
    let nodes = vec![
        Node { source: Some(source), transforms: Vec::new(), sink: None },
        Node { source: None, transforms: vec![Aggregate::factory(spec).unwrap()], sink: None },
        Node { source: None, transforms: Vec::new(), sink: Some(Arc::new(CountsFactory(world.clone()))) },
    ];
    Job { graph, nodes, schemas: vec![schema(&["k"]), schema(&["k", "n"])] }
}

/// One worker as its coordinator sees it.
struct Worker {
    input: mpsc::UnboundedSender<WorkerInput>,
    output: mpsc::UnboundedReceiver<WorkerOutput>,
    exchange: Arc<Exchange>,
    address: String,
    task: JoinHandle<WorkerEnd>,
}

impl Worker {
    async fn start(number: u64, job: Job, store: Arc<dyn Store>, transport: &Transport) -> Self {
        let config = Arc::new(config());
        let (exchange, address) = exchange(transport, &config.uid).await;
        let (input, told) = mpsc::unbounded_channel();
        let (says, output) = mpsc::unbounded_channel();
        let options = WorkerOptions {
            plan: Arc::new(move |_| Ok(Arc::new(job.clone()))),
            config,
            store,
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            scratch: None,
            coordinator_timeout: Duration::MAX,
            exchange: Some(exchange.clone()),
        };
        let task = tokio::spawn(run_worker(options, told, says, watch::channel(None).0));
        input.send(WorkerInput::Connected { worker: WorkerId(number) }).unwrap();
        Self { input, output, exchange, address, task }
    }

    fn tell(&self, stamp: &Stamp, message: ToWorker) {
        self.input.send(WorkerInput::Message(stamp.clone(), message)).unwrap();
    }

    /// Waits for a message; a failure is one, progress is none.
    async fn next(&mut self, stamp: &Stamp) -> FromWorker {
        loop {
            match self.output.recv().await.unwrap() {
                WorkerOutput::Message(_, FromWorker::Progress { .. }) => {}
                WorkerOutput::Message(of, message) if of == *stamp => return message,
                _ => {}
            }
        }
    }
}

struct Cluster {
    workers: Vec<Worker>,
    graph: JobGraph,
    stamp: Stamp,
}

impl Cluster {
    /// Deploys with one subtask of each vertex on each worker, and lets rows flow.
    async fn deploy(&mut self, restore: Option<ManifestRef>) {
        self.stamp.execution = self.stamp.execution.next();
        let placement: Vec<_> =
            self.graph.subtasks().map(|s| (s, WorkerId(u64::from(s.index) + 1), 0)).collect();
        let address = |(at, worker): (usize, &Worker)| (WorkerId(at as u64 + 1), worker.address.clone());
        let peers: Vec<_> = self.workers.iter().enumerate().map(address).collect();
        for worker in &self.workers {
            let (placement, peers, restore) = (placement.clone(), peers.clone(), restore.clone());
            worker.tell(&self.stamp, ToWorker::Deploy { parallelism: 2, placement, peers, restore });
        }
        for worker in &mut self.workers {
            let deployed = worker.next(&self.stamp).await;
            assert!(matches!(deployed, FromWorker::Deployed { .. }), "{deployed:?}");
        }
        for worker in &mut self.workers {
            worker.tell(&self.stamp, ToWorker::Commit { id: CheckpointId(0), sinks: Vec::new() });
        }
    }

    /// Takes a checkpoint.
    async fn checkpoint(&mut self, id: u64, store: &dyn Store) -> ManifestRef {
        let id = CheckpointId(id);
        for worker in &self.workers {
            let (kind, mode) = (CheckpointKind::Periodic, CheckpointMode::ExactlyOnce);
            worker.tell(
                &self.stamp,
                ToWorker::Trigger { id, kind, mode, completed: None, at_us: 0, hold: false },
            );
        }
        let (mut objects, mut parts) = (Vec::<ObjectRef>::new(), Vec::new());
        for worker in &mut self.workers {
            let mut left = 3;
            while left > 0 {
                match worker.next(&self.stamp).await {
                    FromWorker::Ack { ack, .. } => {
                        parts.push(part(*ack, &mut objects));
                        left -= 1;
                    }
                    FromWorker::Committed { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        parts.sort_by_key(|p| p.subtask);
        let manifest = Manifest {
            job: self.stamp.job.clone(),
            attempt: self.stamp.attempt,
            execution: self.stamp.execution,
            id,
            reason: CheckpointKind::Periodic,
            triggered_us: 0,
            max_parallelism: config().max_parallelism,
            graph: self.graph.clone(),
            parallelism: None,
            objects,
            parts,
        };
        write_manifest(store, &SystemRandom, &manifest).await.unwrap()
    }
}

/// A subtask's part of a manifest, with its objects in the manifest's list.
fn part(mut ack: SubtaskAck, objects: &mut Vec<ObjectRef>) -> Part {
    let mut place = |object: &ObjectRef| {
        objects.iter().position(|o| o == object).unwrap_or_else(|| {
            objects.push(object.clone());
            objects.len() - 1
        }) as u32
    };
    let places: Vec<u32> = ack.objects.iter().map(&mut place).collect();
    for block in ack.state.iter_mut().flat_map(|s| &mut s.tables).flat_map(|t| &mut t.blocks) {
        block.object = places[block.object as usize];
    }
    let SubtaskAck { subtask, state, sinks, times, new_bytes, full_bytes, .. } = ack;
    Part { subtask, state, sinks, times, new_bytes, full_bytes }
}

async fn counts_right(transport: Transport) {
    let world = Arc::new(World { end: 10_000, ..World::default() });
    let store: Arc<dyn Store> = Arc::new(MemoryStore::named("memory", "job"));
    let job = job(&world, 2);
    let stamp = Stamp { job: config().uid, attempt: Attempt(1), execution: Execution(0) };
    let mut cluster = Cluster { workers: Vec::new(), graph: job.graph.clone(), stamp };
    for number in 1..=2 {
        cluster.workers.push(Worker::start(number, job.clone(), store.clone(), &transport).await);
    }
    cluster.deploy(None).await;
    world.allow(4_000);
    world.counted(2 * 4_000).await;
    let checkpoint = cluster.checkpoint(1, store.as_ref()).await;
    // What comes after the checkpoint is undone by a redeployment: both workers survive it.
    world.allow(7_000);
    world.counted(2 * 7_000).await;
    world.counts.lock().unwrap().clear();
    cluster.deploy(Some(checkpoint)).await;
    world.allow(10_000);
    for worker in &mut cluster.workers {
        loop {
            match worker.next(&cluster.stamp).await {
                FromWorker::Exhausted { .. } => break,
                FromWorker::Committed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    world.counted(2 * 10_000).await;
    let expected = |k: u64| 2 * (0..10_000).filter(|n| n % KEYS == k).count() as i64;
    let counts = world.counts.lock().unwrap().clone();
    assert_eq!(counts, (0..KEYS).map(|k| (k as i64, expected(k))).collect());
    for worker in &cluster.workers {
        let counters = worker.exchange.counters();
        // One dialled, one accepted, for both deployments.
        assert_eq!(counters.connections, 2, "{counters:?}");
        assert_eq!((counters.malformed_frames, counters.lost_connections), (0, 0), "{counters:?}");
        assert!(counters.bytes_in > 0 && counters.bytes_out > 0, "{counters:?}");
        worker.input.send(WorkerInput::Release).unwrap();
    }
    for worker in cluster.workers {
        assert_eq!(worker.task.await.unwrap(), WorkerEnd::Released);
    }
}

#[tokio::test]
async fn two_workers_count_each_row_once_over_a_redeployment() {
    let done = tokio::time::timeout(Duration::from_secs(60), counts_right(Transport::Plaintext)).await;
    assert!(done.is_ok(), "stuck");
}

#[tokio::test]
async fn two_workers_count_each_row_once_over_tls() {
    let (_folder, transport) = tls(config().uid.as_str());
    let done = tokio::time::timeout(Duration::from_secs(60), counts_right(transport)).await;
    assert!(done.is_ok(), "stuck");
}
