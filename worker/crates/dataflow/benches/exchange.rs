//! Rows from a worker to another over the exchange, as a share of what the same TLS connection carries of bytes:
//! a source subtask on one worker, a sink subtask on the other, batches out of memory into nothing. One line of JSON per
//! shape of rows; `share` is the exchange's bytes per second over the raw ones with records of the same size.
//! `cargo bench --workspace --bench exchange [-- <megabytes>]`

#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, reason = "a program")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow_schema::{Field, Schema, SchemaRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use weir_checkpoint::store::MemoryStore;
use weir_dataflow::{
    Chunk, Committer, Exchange, ExchangeLimits, ExchangeOptions, IoFuture, Job, Node, OpenSink, OpenSource,
    Poll, Sink, SinkFactory, Source, SourceFactory, SourceNode, SplitState, WorkerInput, WorkerOptions,
    WorkerOutput, run_worker,
};
use weir_protocol::*;
use weir_runtime::tls::{CertificateOptions, Tls, Transport, create_certificates};
use weir_runtime::{Clock, SystemClock, SystemRandom};

/// The one that the workers have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const JOB: &str = "bench";
/// Runs of each kind; the median counts.
const RUNS: usize = 5;

/// Gives one batch many times.
struct Same {
    rows: RecordBatch,
    left: u64,
}

impl Source for Same {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        if self.left == 0 {
            return Ok(Poll::Exhausted);
        }
        self.left -= 1;
        Ok(Poll::Batch { split: 0, rows: self.rows.clone() })
    }
    fn snapshot(&mut self) -> Vec<SplitState> {
        Vec::new()
    }
}

struct SameFactory {
    rows: RecordBatch,
    batches: u64,
}

impl SourceFactory for SameFactory {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn open(&self, _: OpenSource) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(Same { rows: self.rows.clone(), left: self.batches }))
    }
}

/// Tells when all rows are there.
#[derive(Default)]
struct Arrived {
    rows: AtomicU64,
    wanted: u64,
    all: Notify,
}

struct Blackhole(Arc<Arrived>);

impl Sink for Blackhole {
    fn ready(&mut self) -> bool {
        true
    }
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let rows = chunk.len() as u64;
        if self.0.rows.fetch_add(rows, Ordering::Relaxed) + rows == self.0.wanted {
            self.0.all.notify_one();
        }
        Ok(())
    }
    fn prepare_commit(&mut self, _: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}

struct BlackholeFactory(Arc<Arrived>);

impl SinkFactory for BlackholeFactory {
    fn takes_changelog(&self) -> bool {
        true
    }
    fn open(&self, _: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        Ok(Box::new(Blackhole(self.0.clone())))
    }
    fn committer(&self, _: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

fn job(rows: &RecordBatch, batches: u64, arrived: &Arc<Arrived>) -> Job {
    let vertex = |n: u64| {
        let info = TransformInfo {
            id: TransformId(n),
            name: String::new(),
            detail: String::new(),
            tables: Vec::new(),
        };
        let (source, sink) = (n == 1, n == 2);
        Vertex { id: VertexId(n), name: String::new(), parallelism: 1, source, sink, transforms: vec![info] }
    };
    let edge = Edge { from: VertexId(1), to: VertexId(2), input: 0, partitioning: Partitioning::Forward };
    let source = SourceNode {
        factory: Arc::new(SameFactory { rows: rows.clone(), batches }),
        calc: None,
        watermark: None,
    };
    Job {
        graph: JobGraph { vertices: vec![vertex(1), vertex(2)], edges: vec![edge] },
        nodes: vec![
            Node { source: Some(source), transforms: Vec::new(), sink: None },
            Node {
                source: None,
                transforms: Vec::new(),
                sink: Some(Arc::new(BlackholeFactory(arrived.clone()))),
            },
        ],
        schemas: vec![rows.schema()],
    }
}

fn config() -> JobConfig {
    weir_protocol::testing::config(JOB, "memory://bench")
}

struct Worker {
    input: mpsc::UnboundedSender<WorkerInput>,
    output: mpsc::UnboundedReceiver<WorkerOutput>,
    exchange: Arc<Exchange>,
    address: String,
}

async fn worker(number: u64, job: &Job, transport: &Transport) -> Worker {
    let config = Arc::new(config());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address").to_string();
    let limits = ExchangeLimits::default();
    let options = ExchangeOptions { transport: transport.clone(), job: config.uid.clone(), limits };
    let exchange = Exchange::start(listener, options);
    let (input, told) = mpsc::unbounded_channel();
    let (says, output) = mpsc::unbounded_channel();
    let job = Arc::new(job.clone());
    let options = WorkerOptions {
        plan: Arc::new(move |_| Ok(job.clone())),
        config,
        store: Arc::new(MemoryStore::named("memory", JOB)),
        clock: Arc::new(SystemClock::default()),
        random: Arc::new(SystemRandom),
        scratch: None,
        coordinator_timeout: Duration::MAX,
        exchange: Some(exchange.clone()),
    };
    tokio::spawn(run_worker(options, told, says, watch::channel(None).0));
    input.send(WorkerInput::Connected { worker: WorkerId(number) }).expect("it listens");
    Worker { input, output, exchange, address }
}

/// What one run came to.
struct Run {
    bytes_per_second: f64,
    /// Bytes of a frame.
    record: usize,
}

async fn exchanged(rows: &RecordBatch, batches: u64, transport: &Transport) -> Run {
    let arrived = Arc::new(Arrived { wanted: batches * rows.num_rows() as u64, ..Arrived::default() });
    let job = job(rows, batches, &arrived);
    let mut workers = [worker(1, &job, transport).await, worker(2, &job, transport).await];
    let stamp = Stamp { job: config().uid, attempt: Attempt(1), execution: Execution(1) };
    let subtask = |n: u64| SubtaskId { vertex: VertexId(n), index: 0 };
    let placement = vec![(subtask(1), WorkerId(1), 0), (subtask(2), WorkerId(2), 0)];
    let peers = vec![(WorkerId(1), workers[0].address.clone()), (WorkerId(2), workers[1].address.clone())];
    let tell = |worker: &Worker, message: ToWorker| {
        worker.input.send(WorkerInput::Message(stamp.clone(), message)).expect("it listens");
    };
    for worker in &workers {
        let (placement, peers) = (placement.clone(), peers.clone());
        tell(worker, ToWorker::Deploy { parallelism: 1, placement, peers, restore: None });
    }
    for worker in &mut workers {
        while !matches!(
            worker.output.recv().await,
            Some(WorkerOutput::Message(_, FromWorker::Deployed { .. }))
        ) {}
    }
    let start = Instant::now();
    for worker in &workers {
        tell(worker, ToWorker::Commit { id: CheckpointId(0), sinks: Vec::new() });
    }
    arrived.all.notified().await;
    let took = start.elapsed();
    let counters = workers[1].exchange.counters();
    for worker in &workers {
        worker.input.send(WorkerInput::Release).expect("it listens");
    }
    Run {
        bytes_per_second: counters.bytes_in as f64 / took.as_secs_f64(),
        record: (counters.bytes_in / counters.frames_in) as usize,
    }
}

async fn raw(record: usize, records: u64, transport: &Transport) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let accepting = transport.clone();
    let reading = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut stream = accepting.accept(stream).await.expect("shakes hands");
        let mut buffer = vec![0; record];
        for _ in 0..records {
            stream.read_exact(&mut buffer).await.expect("reads");
        }
    });
    let mut stream =
        transport.connect(TcpStream::connect(address).await.expect("connects")).await.expect("shakes hands");
    let data = vec![7; record];
    let start = Instant::now();
    for _ in 0..records {
        stream.write_all(&data).await.expect("writes");
    }
    stream.flush().await.expect("flushes");
    reading.await.expect("reads all");
    (record as u64 * records) as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Two numbers, or two numbers and a text of 60 bytes.
fn rows(count: i64, text: bool) -> RecordBatch {
    let numbers =
        |factor: i64| Arc::new(Int64Array::from_iter_values((0..count).map(|n| n * factor))) as ArrayRef;
    let mut columns = vec![numbers(1), numbers(977)];
    if text {
        columns.push(Arc::new(StringViewArray::from_iter_values((0..count).map(|n| format!("{n:060}")))));
    }
    let field = |(i, c): (usize, &ArrayRef)| Field::new(format!("c{i}"), c.data_type().clone(), false);
    let schema = Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
}

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|a| a.parse::<u64>().ok()).unwrap_or(1_000);
    let folder = tempfile::tempdir().expect("a folder");
    let options = CertificateOptions {
        job: JOB,
        processes: &["worker"],
        now: SystemClock::default().now(),
        valid: Duration::from_secs(3600),
        keep_ca_key: false,
    };
    let files = create_certificates(folder.path(), &options).expect("certificates");
    let transport = Transport::Tls(Tls::load(files[0].clone(), JOB).expect("loads"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (shape, text) in [("two numbers", false), ("two numbers and a text", true)] {
        for count in [256, 2_048, 8_192] {
            let batch = rows(count, text);
            let size = batch.get_array_memory_size() as u64;
            let batches = (megabytes << 20) / size;
            let (mut shares, mut exchange, mut wire, mut record) = (vec![], vec![], vec![], 0);
            // In turn, so that what else the machine does hits both.
            for _ in 0..RUNS {
                let run = runtime.block_on(exchanged(&batch, batches, &transport));
                let raw = runtime.block_on(raw(run.record, batches, &transport));
                shares.push(run.bytes_per_second / raw);
                exchange.push(run.bytes_per_second);
                wire.push(raw);
                record = run.record;
            }
            println!(
                r#"{{"bench":"exchange","rows":"{shape}","batch_rows":{count},"record_bytes":{record},"exchange_mb_s":{:.0},"raw_tls_mb_s":{:.0},"share":{:.3}}}"#,
                median(exchange) / 1e6,
                median(wire) / 1e6,
                median(shares)
            );
        }
    }
}
