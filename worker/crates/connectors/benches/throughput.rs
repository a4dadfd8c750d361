//! Rows per second and CPU per million rows of generation and decoding, one subtask, one thread:
//! `cargo bench --workspace --bench throughput`. Prints one line of JSON per measurement, the median of five runs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench stops when something is wrong and prints"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_connectors::{ColumnPath, CompareOp, Comparison, Scan, TableSpec, connector};
use weir_dataflow::{OpenSource, Poll, SourceFactory, Troubles};

const RUNS: usize = 5;
const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn scan(name: &str, schema: &SchemaRef, options: &[(&str, &str)], scan: &Scan) -> Arc<dyn SourceFactory> {
    let spec = TableSpec {
        name: "t".into(),
        schema: schema.clone(),
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        partitioned_by: vec![],
    };
    let source = connector(name).unwrap().source.unwrap();
    source(&spec).unwrap_or_else(|e| panic!("{e:?}")).scan(scan).0
}

fn columns(paths: &[(usize, Option<usize>)]) -> Vec<ColumnPath> {
    paths.iter().map(|(column, field)| ColumnPath { column: *column, field: *field }).collect()
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks =
        |at: usize| after.split_whitespace().nth(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn measure(name: &str, factory: &dyn SourceFactory, io: &tokio::runtime::Runtime) {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let context = OpenSource {
            index: 0,
            parallelism: 1,
            restored: None,
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
            io: io.handle().clone(),
            troubles: Troubles::default(),
        };
        let mut source = factory.open(context).unwrap();
        let (start, before, mut rows) = (Instant::now(), cpu(), 0);
        loop {
            match source.poll_batch().unwrap() {
                Poll::Batch { rows: batch, .. } => rows += std::hint::black_box(batch).num_rows(),
                Poll::Reading(_) => {}
                Poll::Pending => std::thread::park(),
                Poll::Exhausted => break,
            }
        }
        rates.push(rows as f64 / start.elapsed().as_secs_f64() / 1e6);
        costs.push((cpu() - before) / (rows as f64 / 1e6));
    }
    rates.sort_by(f64::total_cmp);
    costs.sort_by(f64::total_cmp);
    println!(
        "{{\"bench\":\"{name}\",\"million_rows_per_second\":{:.2},\"cpu_seconds_per_million_rows\":{:.3}}}",
        rates[RUNS / 2],
        costs[RUNS / 2]
    );
}

fn nexmark_schema() -> SchemaRef {
    let bid = vec![
        Field::new("auction", DataType::Int64, true),
        Field::new("bidder", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
        Field::new("dateTime", TIME, true),
        Field::new("channel", DataType::Utf8View, true),
        Field::new("url", DataType::Utf8View, true),
        Field::new("extra", DataType::Utf8View, true),
    ];
    Arc::new(Schema::new(vec![
        Field::new("event_type", DataType::Int32, true),
        Field::new("bid", DataType::Struct(bid.into()), true),
    ]))
}

fn main() {
    let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bids = vec![Comparison { path: ColumnPath { column: 0, field: None }, op: CompareOp::Eq, value: 2 }];
    let numbers = [(1, Some(0)), (1, Some(1)), (1, Some(2)), (1, Some(3))];
    let all: Vec<_> = (0..7).map(|field| (1, Some(field))).collect();
    for (name, events, paths) in [
        ("nexmark bids, four columns", "20000000", numbers.as_slice()),
        ("nexmark bids, all columns", "4000000", &all),
    ] {
        let wanted = Scan { columns: columns(paths), filters: bids.clone() };
        let factory = scan("nexmark", &nexmark_schema(), &[("events.num", events)], &wanted);
        measure(name, factory.as_ref(), &io);
    }

    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("ts", TIME, false)]));
    let options = [
        ("number-of-rows", "50000000"),
        ("rows-per-second", "0"),
        ("fields.k.min", "0"),
        ("fields.k.max", "999999"),
        ("fields.ts.kind", "sequence"),
        ("fields.ts.interval", "1ms"),
    ];
    for (name, used) in [
        ("datagen, a random BIGINT", [(0, None)].as_slice()),
        ("datagen, it and a time", &[(0, None), (1, None)]),
    ] {
        let wanted = Scan { columns: columns(used), filters: vec![] };
        measure(name, scan("datagen", &schema, &options, &wanted).as_ref(), &io);
    }

    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("auction", DataType::Int64, true),
        Field::new("bidder", DataType::Int64, true),
        Field::new("price", DataType::Int64, true),
        Field::new("dateTime", TIME, true),
    ]));
    let wanted = Scan { columns: columns(&[(0, None), (1, None), (2, None), (3, None)]), filters: vec![] };
    let folder = tempfile::tempdir().unwrap();
    let (mut json, mut csv) = (String::new(), String::new());
    for i in 0..1_000_000_u64 {
        let (auction, bidder, price) = (1_000 + i / 15, 1_000 + i % 977, i * 31 % 100_000);
        let at = format!("2015-07-15 00:{:02}:{:02}.{:03}", i / 60_000 % 60, i / 1_000 % 60, i % 1_000);
        writeln!(
            json,
            "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"dateTime\":\"{at}\"}}"
        )
        .unwrap();
        writeln!(csv, "{auction},{bidder},{price},{at}").unwrap();
    }
    for (format, text) in [("json", json), ("csv", csv)] {
        let path = folder.path().join(format).display().to_string();
        std::fs::write(&path, text).unwrap();
        let factory = scan("filesystem", &schema, &[("path", &path), ("format", format)], &wanted);
        measure(&format!("{format}, four columns"), factory.as_ref(), &io);
    }
}
