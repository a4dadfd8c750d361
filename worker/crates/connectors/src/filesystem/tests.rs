use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use weir_dataflow::Chunk;
use weir_protocol::CheckpointId;

use super::*;
use crate::ColumnPath;
use crate::testing::{Io, drain, table};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8View, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

fn scan(options: &[(&str, &str)]) -> Arc<dyn SourceFactory> {
    let table = source(&table(schema(), options)).map_err(|e| format!("{e:?}")).unwrap();
    let columns = (0..3).map(|column| ColumnPath { column, field: None }).collect();
    table.scan(&Scan { columns, filters: vec![] }).0
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn what_is_written_and_committed_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out").display().to_string();
    let options = [("path", path.as_str()), ("format", "json")];
    let io = Io::new();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let lines: String = (0..20_000)
        .map(|i| format!("{{\"id\":{i},\"name\":\"n{i}\",\"at\":\"2020-01-01 00:00:00.5\"}}\n"))
        .collect();
    std::fs::write(folder.path().join("in/a.json"), lines).unwrap();
    let input = folder.path().join("in").display().to_string();
    let mut from = scan(&[("path", &input), ("format", "json")]).open(io.open_source(0, 1, None)).unwrap();
    let rows = drain(from.as_mut());
    assert_eq!(ids(&rows), (0..20_000).collect::<Vec<_>>());

    let factory = sink::sink(&table(schema(), &options)).map_err(|e| format!("{e:?}")).unwrap();
    let mut to = factory.open(io.open_sink(0, 1, 1)).unwrap();
    for batch in rows {
        to.write(Chunk::inserts(batch)).unwrap();
    }
    let handles = io.wait(to.prepare_commit(CheckpointId(1)).unwrap()).unwrap();
    let read = || {
        let mut source = scan(&options).open(io.open_source(0, 1, None)).unwrap();
        ids(&drain(source.as_mut()))
    };
    assert_eq!(read(), Vec::<i64>::new(), "nothing is visible before the commit");
    let committer = factory.committer(io.handle()).unwrap();
    for _ in 0..2 {
        io.wait(committer.commit(handles.clone())).unwrap();
        assert_eq!(read(), (0..20_000).collect::<Vec<_>>());
    }
}
