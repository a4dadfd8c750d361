//! Numbers are counted and summed by key; the newest result of each key is kept where the test sees it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tokio::sync::watch;
use weir_protocol::*;

use super::LONG;
use crate::*;

/// The source.
pub(super) const NUMBERS: VertexId = VertexId(1);
/// The aggregate with the sink.
pub(super) const COUNTS: VertexId = VertexId(2);
const BATCH: u64 = 1_000;

/// Count and sum by key.
pub(super) type Results = BTreeMap<i64, (i64, i64)>;

/// What the numbers below `rows` give.
pub(super) fn expected(keys: u64, rows: u64) -> Results {
    let mut results = Results::new();
    for n in 0..rows {
        let result = results.entry(key(keys, n)).or_default();
        *result = (result.0 + 1, result.1.wrapping_add(value(n)));
    }
    results
}

fn key(keys: u64, n: u64) -> i64 {
    (n % keys) as i64
}

/// Hard to compress.
fn value(n: u64) -> i64 {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) as i64
}

/// The test's hands on the job.
#[derive(Clone)]
pub(super) struct Controls {
    keys: u64,
    /// The source gives numbers below this.
    limit: Arc<AtomicU64>,
    wakers: Arc<Mutex<Vec<Waker>>>,
    pub(super) sinks_are_full: Arc<AtomicBool>,
    results: Arc<Mutex<Results>>,
    /// The rows that the results are of.
    rows: watch::Sender<i64>,
}

impl Controls {
    pub(super) fn new(keys: u64) -> Self {
        Self {
            keys,
            limit: Arc::default(),
            wakers: Arc::default(),
            sinks_are_full: Arc::default(),
            results: Arc::default(),
            rows: watch::channel(0).0,
        }
    }

    pub(super) fn give(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
        self.wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
    }

    pub(super) fn given(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Waits until the results are those of all rows that the source may give.
    pub(super) async fn settled(&self) {
        let given = self.given() as i64;
        let settled = async { self.rows.subscribe().wait_for(|rows| *rows == given).await.map(|_| ()) };
        let settled = tokio::time::timeout(LONG, settled).await;
        settled.unwrap_or_else(|_| panic!("{} of {given} rows", *self.rows.borrow())).unwrap();
    }

    /// Forgets the results so far: what comes from here on is of what subtasks hold.
    pub(super) fn forget(&self) {
        self.results.lock().unwrap().clear();
        self.rows.send_replace(0);
    }

    pub(super) fn results(&self) -> Results {
        self.results.lock().unwrap().clone()
    }

    /// Plans the job.
    pub(super) fn plan(&self, parallelism: u32) -> Job {
        let aggregate = aggregate();
        let context = TransformContext {
            index: 0,
            parallelism: 1,
            max_parallelism: 16,
            range: KeyGroupRange { start: 0, end: 16 },
        };
        let mut sample = aggregate.create(context).unwrap();
        let tables = sample.tables().iter().map(|t| t.info()).collect();
        let info = |id: u64, name: &str, tables| TransformInfo {
            id: TransformId(id),
            name: name.to_owned(),
            detail: String::new(),
            tables,
        };
        let vertex = |id, source, transforms| Vertex {
            id,
            name: String::new(),
            parallelism,
            source,
            sink: !source,
            transforms,
        };
        let vertices = vec![
            vertex(NUMBERS, true, vec![info(1, "numbers", Vec::new())]),
            vertex(COUNTS, false, vec![info(2, "counts", tables), info(3, "results", Vec::new())]),
        ];
        let partitioning = Partitioning::Hash { columns: vec![0] };
        let edges = vec![Edge { from: NUMBERS, to: COUNTS, input: 0, partitioning }];
        let factory: Arc<dyn SourceFactory> = Arc::new(Numbers(self.clone()));
        let source = Some(SourceNode { factory, calc: None, watermark: None });
        let sink: Arc<dyn SinkFactory> = Arc::new(ResultsSink(self.clone()));
        let nodes = vec![
            Node { source, transforms: Vec::new(), sink: None },
            Node { source: None, transforms: vec![aggregate], sink: Some(sink) },
        ];
        Job { graph: JobGraph { vertices, edges }, nodes, schemas: vec![schema(&["k", "v"])] }
    }
}

fn schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| Field::new(*name, DataType::Int64, true);
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn aggregate() -> Arc<dyn TransformFactory> {
    let call = |function, input| AggregateCall { function, input, filter: None, output: DataType::Int64 };
    let spec = AggregateSpec {
        keys: vec![0],
        calls: vec![call(AggregateFunction::Count, None), call(AggregateFunction::Sum, Some(1))],
        input_schema: schema(&["k", "v"]),
        output_schema: schema(&["k", "count", "sum"]),
        retracting: false,
        update_before: false,
        ttl: None,
    };
    Aggregate::factory(spec).unwrap()
}

/// Numbers in splits that never change: split i gives i, i + 4, i + 8, …
struct Numbers(Controls);

struct NumbersSource {
    controls: Controls,
    /// The ids of splits, with the next number and the step.
    splits: Vec<(u64, u64, u64)>,
    next: usize,
}

/// How many, whatever the parallelism.
const SPLITS: u64 = 4;

impl SourceFactory for Numbers {
    fn schema(&self) -> SchemaRef {
        schema(&["k", "v"])
    }
    fn bounded(&self) -> bool {
        false
    }
    fn open(&self, open: OpenSource) -> Result<Box<dyn Source>, Failure> {
        self.0.wakers.lock().unwrap().push(open.waker);
        let position = |id: u64| {
            let restored = open.restored.as_ref()?.iter().find(|s| s.id == id.to_string())?;
            Some(u64::from_le_bytes(restored.position.as_slice().try_into().unwrap()))
        };
        let mine = (0..SPLITS).filter(|id| id % u64::from(open.parallelism) == u64::from(open.index));
        let splits = mine.map(|id| (id, position(id).unwrap_or(id), SPLITS)).collect();
        Ok(Box::new(NumbersSource { controls: self.0.clone(), splits, next: 0 }))
    }
}

impl Source for NumbersSource {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        let limit = self.controls.given();
        for _ in 0..self.splits.len() {
            let split = self.next;
            self.next = (split + 1) % self.splits.len();
            let (_, next, step) = &mut self.splits[split];
            let end = limit.min(next.saturating_add(BATCH * *step));
            if *next >= end {
                continue;
            }
            let numbers: Vec<u64> = (*next..end).step_by(*step as usize).collect();
            *next += numbers.len() as u64 * *step;
            let keys: Int64Array = numbers.iter().map(|n| Some(key(self.controls.keys, *n))).collect();
            let values: Int64Array = numbers.iter().map(|n| Some(value(*n))).collect();
            let rows = RecordBatch::try_new(schema(&["k", "v"]), vec![Arc::new(keys), Arc::new(values)]);
            return Ok(Poll::Batch { split, rows: rows.unwrap() });
        }
        Ok(Poll::Pending)
    }
    fn snapshot(&mut self) -> Vec<SplitState> {
        let state = |(id, next, _): &(u64, u64, u64)| SplitState {
            id: id.to_string(),
            ended: false,
            position: next.to_le_bytes().to_vec(),
        };
        self.splits.iter().map(state).collect()
    }
}

struct ResultsSink(Controls);

struct OpenResults(Controls);

impl SinkFactory for ResultsSink {
    fn takes_changelog(&self) -> bool {
        true
    }
    fn open(&self, open: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        self.0.wakers.lock().unwrap().push(open.waker);
        Ok(Box::new(OpenResults(self.0.clone())))
    }
    fn committer(&self, _: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

impl Sink for OpenResults {
    fn ready(&mut self) -> bool {
        !self.0.sinks_are_full.load(Ordering::Relaxed)
    }
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let column = |at: usize| chunk.rows.column(at).as_primitive::<Int64Type>();
        let mut results = self.0.results.lock().unwrap();
        let mut more = 0;
        for row in 0..chunk.len() {
            let (count, sum) = (column(1).value(row), column(2).value(row));
            let before = results.insert(column(0).value(row), (count, sum));
            more += count - before.map_or(0, |(count, _)| count);
        }
        drop(results);
        self.0.rows.send_modify(|rows| *rows += more);
        Ok(())
    }
    fn prepare_commit(&mut self, _: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}
