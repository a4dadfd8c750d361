//! A job put together by hand, without SQL: everything below the planner, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use weir::run::{ProgressMode, RunOptions, run};
use weir_checkpoint::Start;
use weir_connectors::{ColumnPath, CompareOp, Comparison, Scan, TableSpec, connector};
use weir_coordinator::Exit;
use weir_dataflow::{Job, Node, SourceNode};
use weir_protocol::*;

const EVENTS: u64 = 500_000;

fn table(name: &str, schema: Schema, options: &[(&str, &str)]) -> TableSpec {
    let options: BTreeMap<String, String> =
        options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TableSpec { name: name.to_owned(), schema: Arc::new(schema), options, partitioned_by: Vec::new() }
}

fn bids_to_files(folder: &Path, parallelism: u32) -> Job {
    let bid = DataType::Struct(
        vec![
            Field::new("auction", DataType::Int64, true),
            Field::new("price", DataType::Int64, true),
            Field::new("dateTime", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        ]
        .into(),
    );
    let schema =
        Schema::new(vec![Field::new("event_type", DataType::Int32, true), Field::new("bid", bid, true)]);
    let nexmark = table("nexmark", schema, &[("events.num", &EVENTS.to_string())]);
    let source = connector("nexmark").unwrap().source.unwrap()(&nexmark).unwrap_or_else(|e| panic!("{e:?}"));
    let columns = (0..3).map(|f| ColumnPath { column: 1, field: Some(f) }).collect();
    let event_type = ColumnPath { column: 0, field: None };
    let filters = vec![Comparison { path: event_type, op: CompareOp::Eq, value: 2 }];
    let (factory, _) = source.scan(&Scan { columns, filters });
    let path = folder.display().to_string();
    let sink = table("bids", factory.schema().as_ref().clone(), &[("path", &path), ("format", "json")]);
    let sink = connector("filesystem").unwrap().sink.unwrap()(&sink).unwrap_or_else(|e| panic!("{e:?}"));
    let info = |n: u64, name: &str| TransformInfo {
        id: TransformId(n),
        name: name.to_owned(),
        detail: String::new(),
        tables: Vec::new(),
    };
    let vertex = |n: u64, source, sink| Vertex {
        id: VertexId(n),
        name: String::new(),
        parallelism,
        source,
        sink,
        transforms: vec![info(n, "t")],
    };
    let edge = Edge {
        from: VertexId(1),
        to: VertexId(2),
        input: 0,
        partitioning: Partitioning::Hash { columns: vec![0] },
    };
    let graph =
        JobGraph { vertices: vec![vertex(1, true, false), vertex(2, false, true)], edges: vec![edge] };
    assert_eq!(graph.check(), Ok(()));
    let schemas = vec![factory.schema()];
    let source = SourceNode { factory, calc: None, watermark: None };
    Job {
        graph,
        nodes: vec![
            Node { source: Some(source), transforms: Vec::new(), sink: None },
            Node { source: None, transforms: Vec::new(), sink: Some(sink) },
        ],
        schemas,
    }
}

fn config(storage: &Path, parallelism: u32) -> JobConfig {
    let url = format!("file://{}", storage.display());
    let mut config = weir_protocol::testing::config("bids", &url);
    (config.parallelism, config.task_slots) = (parallelism, parallelism);
    config.checkpoint.interval = Duration::from_millis(50);
    (config.checkpoint.tolerable_failures, config.checkpoint.retain) = (3, 3);
    config
}

/// Number of visible rows.
fn rows(folder: &Path) -> usize {
    let visible = |e: &std::fs::DirEntry| !e.file_name().to_string_lossy().starts_with(['.', '_']);
    std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|e| visible(e) && e.path().is_file())
        .map(|e| std::fs::read_to_string(e.path()).unwrap().lines().count())
        .sum()
}

#[test]
fn a_job_runs_to_its_end_and_a_second_start_finds_it_finished() {
    let temp = tempfile::tempdir().unwrap();
    let (out, storage) = (temp.path().join("out"), temp.path().join("state"));
    let options = RunOptions { start: Start::Continue, listen: None, progress: ProgressMode::Never };
    let ended = run(&config(&storage, 2), bids_to_files(&out, 2), &options).unwrap();
    assert!(matches!(ended.exit, Exit::Finished { last: Some(_) }), "{ended:?}");
    // 46 of 50 events are bids.
    assert_eq!(rows(&out), EVENTS as usize / 50 * 46);
    let again = run(&config(&storage, 2), bids_to_files(&out, 2), &options).unwrap();
    assert!(matches!(again.exit, Exit::AlreadyFinished { .. }), "{again:?}");
    assert_eq!(rows(&out), EVENTS as usize / 50 * 46);
}
