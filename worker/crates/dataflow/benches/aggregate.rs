//! GROUP BY k with COUNT(*), and TUMBLE with COUNT(*) by key, from batches of 8,192 and 4,096 rows in
//! memory (k BIGINT, ts TIMESTAMP(3)) into nothing. One line of JSON per measurement, in CPU time of
//! the thread: of all rows, and the median of the hundreds of batches.
//! `cargo bench --workspace --bench aggregate [-- <keys>…]`

#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, reason = "a program")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use weir_dataflow::window::{Tumble, Window, WindowOutput, WindowSpec};
use weir_dataflow::{
    Aggregate, AggregateCall, AggregateFunction, AggregateSpec, Chunk, Emit, Flow, Transform,
    TransformContext, TransformFactory, Watermark, WindowAggregate,
};
use weir_protocol::{Failure, KeyGroupRange};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts what comes out.
#[derive(Default)]
struct Blackhole(usize);

impl Emit for Blackhole {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.0 += chunk.len();
        Ok(())
    }
    fn watermark(&mut self, _watermark: Watermark) -> Result<(), Failure> {
        Ok(())
    }
    fn ready(&self) -> bool {
        true
    }
}

fn timestamp(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false)
}

fn spec(output: Vec<Field>) -> AggregateSpec {
    AggregateSpec {
        keys: vec![0],
        calls: vec![AggregateCall {
            function: AggregateFunction::Count,
            input: None,
            filter: None,
            output: DataType::Int64,
        }],
        input_schema: Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), timestamp("ts")])),
        output_schema: Arc::new(Schema::new(output)),
        retracting: false,
        update_before: true,
        ttl: None,
    }
}

fn group_by() -> Arc<dyn TransformFactory> {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    Aggregate::factory(spec(vec![number("k"), number("count")])).expect("allowed")
}

/// Windows of 10 seconds.
fn tumble() -> Arc<dyn TransformFactory> {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    let output = vec![number("k"), number("count"), timestamp("window_start"), timestamp("window_end")];
    let window = WindowSpec {
        window: Window::Tumble(Tumble::new(10_000, 0).expect("allowed")),
        time: 1,
        output: vec![WindowOutput::Key(0), WindowOutput::Call(0), WindowOutput::Start, WindowOutput::End],
    };
    WindowAggregate::factory(spec(output), window).expect("allowed")
}

/// Random numbers: Xorshift64* (Sebastiano Vigna, public domain).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(n)) >> 64) as u64
    }
}

/// CPU time of this thread; on a machine that others use too, wall time says little.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// A million rows per second of event time.
fn batch(random: &mut Random, keys: u64, number: usize, rows: usize) -> Chunk {
    let schema = Schema::new(vec![Field::new("k", DataType::Int64, false), timestamp("ts")]);
    let k = Int64Array::from_iter_values((0..rows).map(|_| random.below(keys) as i64));
    let ts = (0..rows).map(|i| ((number * rows + i) / 1_000) as i64);
    let columns: Vec<ArrayRef> = vec![Arc::new(k), Arc::new(TimestampMillisecondArray::from_iter_values(ts))];
    Chunk::inserts(RecordBatch::try_new(Arc::new(schema), columns).expect("fits"))
}

fn measure(work: &str, factory: &dyn TransformFactory, keys: u64, batch_rows: usize) -> Result<(), Failure> {
    let range = KeyGroupRange::all(128);
    let context = TransformContext { index: 0, parallelism: 1, max_parallelism: 128, range };
    let mut transform = factory.create(context)?;
    let mut random = Random(88_172_645_463_325_252);
    let mut out = Blackhole::default();
    let warm = keys as usize * 2 / batch_rows + 100;
    let mut busy: Vec<Duration> = Vec::new();
    let measured = 4_000;
    let mut next = 0;
    while next < warm + measured {
        // Made ahead, so that the time of making them is not measured.
        let some: Vec<Chunk> = (next..next + 100).map(|n| batch(&mut random, keys, n, batch_rows)).collect();
        let start = cpu();
        for chunk in some {
            next += 1;
            let watermark = Watermark((next * batch_rows / 1_000) as i64 - 1);
            run(transform.as_mut(), chunk, watermark, &mut out)?;
        }
        if next > warm {
            busy.push(cpu() - start);
        } else {
            out.0 = 0;
        }
    }
    let rows = busy.len() * 100 * batch_rows;
    let all: Duration = busy.iter().sum();
    busy.sort();
    let median = busy[busy.len() / 2].as_secs_f64() * 1e9 / (100 * batch_rows) as f64;
    let stats = transform.tables()[0].stats();
    println!(
        "{{\"work\":\"{work}\",\"keys\":{keys},\"batch\":{batch_rows},\"m_rows_per_second\":{:.1},\
         \"median_ns_per_row\":{median:.1},\"rows_out_per_row\":{:.2},\"state_mib\":{}}}",
        rows as f64 / all.as_secs_f64() / 1e6,
        out.0 as f64 / rows as f64,
        stats.bytes >> 20
    );
    Ok(())
}

fn run(
    transform: &mut dyn Transform,
    chunk: Chunk,
    watermark: Watermark,
    out: &mut Blackhole,
) -> Result<(), Failure> {
    let mut flow = transform.process(0, chunk, out)?;
    while flow == Flow::More {
        flow = transform.resume(out)?;
    }
    flow = transform.watermark(watermark, out)?;
    while flow == Flow::More {
        flow = transform.resume(out)?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let asked: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 1_000_000, 10_000_000] } else { asked };
    for keys in sizes {
        for batch in [8_192, 4_096] {
            measure("group-by-count", group_by().as_ref(), keys, batch)?;
            measure("tumble-count", tumble().as_ref(), keys, batch)?;
        }
    }
    Ok(())
}
