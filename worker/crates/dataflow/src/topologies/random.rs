//! Random small job graphs that know how many rows must come out of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use weir_protocol::*;
use weir_runtime::{Random, SeededRandom};

use super::shapes::Shape;
use crate::*;

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// Rows of one batch of a source.
const BATCH: u64 = 3;

/// What went through the sinks, in all and up to each barrier.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) sunk: AtomicU64,
    /// By checkpoint: rows that must come out of what sources gave before the barrier, and rows that sinks saw
    /// before it.
    pub(super) cuts: Mutex<BTreeMap<u64, (u64, u64)>>,
}

impl Seen {
    fn cut(&self, id: u64, given: u64, sunk: u64) {
        let mut cuts = self.cuts.lock().unwrap();
        let cut = cuts.entry(id).or_default();
        *cut = (cut.0 + given, cut.1 + sunk);
    }
}

/// Gives a number of batches.
struct Batches {
    left: u64,
    /// Rows that come out of the sinks for each row that it gives.
    weight: Arc<OnceLock<u64>>,
    given: u64,
    barriers: u64,
    seen: Arc<Seen>,
}

impl Source for Batches {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        if self.left == 0 {
            return Ok(Poll::Exhausted);
        }
        self.left -= 1;
        self.given += BATCH;
        let n = self.left as i64;
        let column = Arc::new(Int64Array::from(vec![n, n * 31, n * 977]));
        Ok(Poll::Batch { split: 0, rows: RecordBatch::try_new(schema(), vec![column]).unwrap() })
    }
    fn snapshot(&mut self) -> Vec<SplitState> {
        self.barriers += 1;
        self.seen.cut(self.barriers, self.given * self.weight.get().unwrap(), 0);
        Vec::new()
    }
}

struct BatchesFactory {
    batches: u64,
    weight: Arc<OnceLock<u64>>,
    seen: Arc<Seen>,
}

impl SourceFactory for BatchesFactory {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn open(&self, _: OpenSource) -> Result<Box<dyn Source>, Failure> {
        let (weight, seen) = (self.weight.clone(), self.seen.clone());
        Ok(Box::new(Batches { left: self.batches, weight, given: 0, barriers: 0, seen }))
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

/// Counts rows; has no room the first time it is asked after each batch.
struct Counter {
    rows: u64,
    seen: Arc<Seen>,
    waker: std::task::Waker,
    full: bool,
}

impl Sink for Counter {
    fn ready(&mut self) -> bool {
        if std::mem::take(&mut self.full) {
            self.waker.wake_by_ref();
            return false;
        }
        true
    }
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.full = true;
        self.rows += chunk.len() as u64;
        self.seen.sunk.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    fn prepare_commit(&mut self, id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        self.seen.cut(id.0, 0, self.rows);
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}

struct CounterFactory(Arc<Seen>);

impl SinkFactory for CounterFactory {
    fn takes_changelog(&self) -> bool {
        true
    }
    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        Ok(Box::new(Counter { rows: 0, seen: self.0.clone(), waker: context.waker, full: false }))
    }
    fn committer(&self, _: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

/// A shape for a random graph: each vertex takes from up to two that come before it.
fn random_shape(pick: impl Fn(u64) -> u64) -> (usize, Shape) {
    let count = 2 + pick(5) as usize;
    let inputs = |at: usize| if at == 0 || pick(4) == 0 { 0 } else { 1 + pick(2) };
    let edges = (0..count).flat_map(|at| (0..inputs(at)).map(move |_| at).collect::<Vec<_>>());
    (count, edges.map(|at| (pick(at as u64) as usize, at)).collect())
}

/// A random graph, of a certain shape if one is given, with the number of rows that its sinks must see in all.
pub(super) fn random_job(random: &SeededRandom, seen: &Arc<Seen>, shape: Option<&Shape>) -> (Job, u64) {
    let pick = |n: u64| random.next_u64() % n;
    // A vertex with many inputs gives many rows.
    let (most_batches, most_times) = if shape.is_some() { (5, 2) } else { (12, 3) };
    let (count, shape) = match shape {
        Some(shape) => (1 + shape.iter().map(|edge| edge.1).max().unwrap_or(0), shape.clone()),
        None => random_shape(pick),
    };
    let (mut vertices, mut nodes, mut edges): (Vec<Vertex>, Vec<Node>, Vec<Edge>) = (vec![], vec![], vec![]);
    // Rows that each vertex gives over all its subtasks.
    let mut rows: Vec<u64> = Vec::new();
    let mut factors: Vec<u64> = Vec::new();
    let weights: Vec<Arc<OnceLock<u64>>> = (0..count).map(|_| Arc::default()).collect();
    for (at, weight) in weights.iter().enumerate() {
        let inputs: Vec<usize> = shape.iter().filter(|edge| edge.1 == at).map(|edge| edge.0).collect();
        let source = inputs.is_empty();
        let mut parallelism = 1 + pick(3) as u32;
        let times = 1 + pick(most_times);
        let mut taken = 0;
        for (input, from) in inputs.into_iter().enumerate() {
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
            edges.push(Edge { from: VertexId(from as u64), to: VertexId(at as u64), input: 0, partitioning });
        }
        let batches = pick(most_batches);
        rows.push(if source { batches * BATCH * u64::from(parallelism) } else { taken } * times);
        factors.push(times);
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
            factory: Arc::new(BatchesFactory { batches, weight: weight.clone(), seen: seen.clone() }),
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
            nodes[at].sink = Some(Arc::new(CounterFactory(seen.clone())));
        }
    }
    for at in (0..count).rev() {
        let further = |e: &Edge| {
            let to = &vertices[e.to.0 as usize];
            let copies =
                if e.partitioning == Partitioning::Broadcast { u64::from(to.parallelism) } else { 1 };
            copies * weights[e.to.0 as usize].get().unwrap()
        };
        let out: u64 = edges.iter().filter(|e| e.from == vertices[at].id).map(further).sum();
        weights[at].set(factors[at] * if vertices[at].sink { 1 } else { out }).unwrap();
    }
    let schemas = edges.iter().map(|_| schema()).collect();
    let graph = JobGraph { vertices, edges };
    assert_eq!(graph.check(), Ok(()));
    (Job { graph, nodes, schemas }, expected)
}
