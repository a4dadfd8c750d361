use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, UInt8Array};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use weir_dataflow::{Chunk, Poll, SinkFactory, SplitState};
use weir_protocol::{CheckpointId, FailureKind};

use super::*;
use crate::ColumnPath;
use crate::testing::sink_suite::{self, exactly_the_recorded_rows, rows, write};
use crate::testing::source_suite::{every_row_once, lines};
use crate::testing::{Io, drain, next, table};

const TIME: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8View, true),
        Field::new("at", TIME, true),
    ]))
}

pub(super) fn scan_of(
    schema: &SchemaRef,
    options: &[(&str, &str)],
    columns: &[usize],
) -> Arc<dyn SourceFactory> {
    let table = source(&table(schema.clone(), options)).map_err(|e| format!("{e:?}")).unwrap();
    let columns = columns.iter().map(|column| ColumnPath { column: *column, field: None }).collect();
    table.scan(&Scan { columns, filters: vec![] }).0
}

fn scan(options: &[(&str, &str)]) -> Arc<dyn SourceFactory> {
    scan_of(&schema(), options, &[0, 1, 2])
}

fn sink_of(schema: &SchemaRef, options: &[(&str, &str)]) -> Arc<dyn SinkFactory> {
    sink::sink(&table(schema.clone(), options)).map_err(|e| format!("{e:?}")).unwrap()
}

pub(super) fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn read(factory: &dyn SourceFactory, io: &Io) -> Vec<String> {
    let mut source = factory.open(io.open_source(0, 1, None)).unwrap();
    drain(source.as_mut()).iter().flat_map(lines).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A folder with three files of rows in a format, one of them below another folder, and some that
/// readers pass over.
fn input(folder: &Path, format: &str) {
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    for (at, file) in ["a", "deep/b", "deep/er/c"].into_iter().enumerate() {
        let range = at * 20_000..at * 20_000 + 15_000 + at * 1_000;
        let path = folder.join(file);
        match format {
            "json" => {
                let line = |i| {
                    format!(
                        "{{\"at\":\"2020-01-01T00:00:00.25\", \"id\":{i},\"other\":[1],\"name\":\"n{i}\"}}\n"
                    )
                };
                std::fs::write(path, range.map(line).collect::<String>()).unwrap();
            }
            "csv" => {
                let line = |i| format!("2020-01-01 00:00:00.25,\"n{i}\n,\",{i}\n");
                std::fs::write(path, format!("at,name,id\n{}", range.map(line).collect::<String>())).unwrap();
            }
            _ => {
                let ids = arrow_array::Int32Array::from_iter_values(range.clone().map(|i| i as i32));
                let names = arrow_array::StringArray::from_iter_values(range.map(|i| format!("n{i}")));
                let columns: Vec<(&str, arrow_array::ArrayRef)> =
                    vec![("name", Arc::new(names)), ("id", Arc::new(ids))];
                let batch = RecordBatch::try_from_iter(columns).unwrap();
                let properties = ::parquet::file::properties::WriterProperties::builder()
                    .set_max_row_group_row_count(Some(4_000))
                    .build();
                let file = std::fs::File::create(path).unwrap();
                let mut writer =
                    ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
                writer.write(&batch).unwrap();
                writer.close().unwrap();
            }
        }
    }
    for hidden in [".hidden", "_SUCCESS", "deep/.part.inprogress"] {
        std::fs::write(folder.join(hidden), "not for readers").unwrap();
    }
}

#[test]
fn a_slow_reader_pauses_once_it_is_ahead_of_its_pace() {
    let folder = tempfile::tempdir().unwrap();
    input(folder.path(), "json");
    let path = text(folder.path());
    let factory = scan(&[("path", &path), ("format", "json"), ("rows-per-second", "1")]);
    let io = Io::new();
    let mut source = factory.open(io.open_source(0, 1, None)).unwrap();
    assert!(matches!(next(source.as_mut()).unwrap(), Poll::Batch { .. }));
    // The first batch alone is thousands of seconds ahead.
    assert!((0..100).all(|_| matches!(source.poll_batch().unwrap(), Poll::Pending)));
}

#[test]
fn f3_every_row_comes_once_whatever_is_restored_at_any_parallelism() {
    for (format, header) in [("json", None), ("csv", Some(("csv.header", "true"))), ("parquet", None)] {
        let folder = tempfile::tempdir().unwrap();
        input(folder.path(), format);
        let path = text(folder.path());
        let options: Vec<_> =
            [("path", path.as_str()), ("format", format)].into_iter().chain(header).collect();
        let factory = scan(&options);
        let rows = read(factory.as_ref(), &Io::new());
        assert_eq!(rows.len(), 48_000, "{format}");
        let expected = match format {
            "json" => "0|n0|2020-01-01T00:00:00.250",
            "csv" => "0|n0\n,|2020-01-01T00:00:00.250",
            _ => "0|n0|NULL",
        };
        assert_eq!(rows[0], expected);
        every_row_once(factory.as_ref(), 0..12);
    }
}

#[test]
fn only_the_columns_and_fields_that_are_asked_for_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = text(&folder.path().join("x.json"));
    std::fs::write(&path, "{\"row\":{\"a\":1,\"b\":[\"x\"]},\"n\":5}\n{\"row\":null}\n").unwrap();
    let item = Arc::new(Field::new("item", DataType::Utf8View, true));
    let row = vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::List(item), true)];
    let schema = Arc::new(Schema::new(vec![
        Field::new("n", DataType::Int32, true),
        Field::new("row", DataType::Struct(row.into()), true),
    ]));
    let table =
        source(&table(schema, &[("path", &path), ("format", "json")])).map_err(|e| format!("{e:?}")).unwrap();
    let columns = vec![ColumnPath { column: 1, field: Some(1) }, ColumnPath { column: 1, field: Some(0) }];
    assert_eq!(
        read(table.scan(&Scan { columns, filters: vec![] }).0.as_ref(), &Io::new()),
        ["[x]|1", "NULL|NULL"]
    );
    assert_eq!(
        read(table.scan(&Scan::default()).0.as_ref(), &Io::new()),
        ["", ""],
        "no columns, but two rows"
    );
}

#[test]
fn s1_to_s5_crashes_at_random_points_leave_exactly_the_recorded_rows() {
    let io = Io::new();
    for (seed, format) in (0..36).zip(["json", "csv", "parquet"].into_iter().cycle()) {
        let folder = tempfile::tempdir().unwrap();
        let path = text(&folder.path().join("out"));
        std::fs::create_dir(&path).unwrap();
        let options = [("path", path.as_str()), ("format", format), ("sink.rolling-policy.file-size", "8Ki")];
        let reader = scan_of(&sink_suite::schema(), &options[..2], &[0]);
        let visible = || {
            let mut source = reader.open(io.open_source(0, 1, None)).unwrap();
            ids(&drain(source.as_mut()))
        };
        let sink = sink_of(&sink_suite::schema(), &options);
        exactly_the_recorded_rows(sink.as_ref(), &io, seed, 6, visible);
    }
}

#[test]
fn what_is_written_is_read_back_in_every_format() {
    let io = Io::new();
    for format in ["json", "csv", "parquet"] {
        let folder = tempfile::tempdir().unwrap();
        input(&folder.path().join("in"), "json");
        let (from, to) = (text(&folder.path().join("in")), text(&folder.path().join("out/deep")));
        let sink = sink_of(&schema(), &[("path", &to), ("format", format)]);
        let mut open = sink.open(io.open_sink(0, 1, 1)).unwrap();
        let mut input =
            scan(&[("path", &from), ("format", "json")]).open(io.open_source(0, 1, None)).unwrap();
        let batches = drain(input.as_mut());
        batches.iter().for_each(|b| write(open.as_mut(), Chunk::inserts(b.clone())));
        let handles = io.wait(open.prepare_commit(CheckpointId(1)).unwrap()).unwrap();
        io.wait(sink.committer(io.handle()).unwrap().commit(handles)).unwrap();
        let expected: Vec<_> = batches.iter().flat_map(lines).collect();
        assert_eq!(read(scan(&[("path", &to), ("format", format)]).as_ref(), &io), expected, "{format}");
    }
}

#[test]
fn a_changelog_is_written_with_the_kind_of_each_row() {
    let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
    let path = text(folder.path());
    let options = [("path", path.as_str()), ("format", "json"), ("sink.changelog-column", "op")];
    assert!(!sink_of(&sink_suite::schema(), &options[..2]).takes_changelog());
    let sink = sink_of(&sink_suite::schema(), &options);
    assert!(sink.takes_changelog());
    let mut open = sink.open(io.open_sink(0, 1, 1)).unwrap();
    let chunk = Chunk { kinds: Some(UInt8Array::from(vec![0, 1, 2, 3])), ..rows(0..4) };
    write(open.as_mut(), chunk);
    let handles = io.wait(open.prepare_commit(CheckpointId(1)).unwrap()).unwrap();
    io.wait(sink.committer(io.handle()).unwrap().commit(handles)).unwrap();
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let lines = std::fs::read_to_string(file).unwrap();
    let ops: Vec<_> = lines.lines().map(|l| &l[..12]).collect();
    assert_eq!(ops, ["{\"op\":\"+I\",\"", "{\"op\":\"-U\",\"", "{\"op\":\"+U\",\"", "{\"op\":\"-D\",\""]);
}

/// What reading a file gives: its rows or the failure, the number of bad records, and the dead letters.
fn with_bad_records(content: &str, options: &[(&str, &str)]) -> (Result<Vec<String>, String>, u64, String) {
    let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
    let (path, letters) = (text(&folder.path().join("in.txt")), text(&folder.path().join("x/dead.json")));
    std::fs::write(&path, content).unwrap();
    let mut all = vec![("path", path.as_str())];
    all.extend_from_slice(options);
    if options.contains(&("bad-records", "dead-letter")) {
        all.push(("bad-records.path", letters.as_str()));
    }
    let mut source = scan(&all).open(io.open_source(0, 1, None)).unwrap();
    let mut rows = Ok(Vec::new());
    loop {
        match (next(source.as_mut()), &mut rows) {
            (Ok(Poll::Batch { rows: batch, .. }), Ok(rows)) => rows.extend(lines(&batch)),
            (Err(failure), _) => {
                assert_eq!(failure.kind, FailureKind::BadRecord);
                rows = Err(failure.message.replace(&path, "FILE"));
                break;
            }
            _ => break,
        }
    }
    let letters = std::fs::read_to_string(&letters).unwrap_or_default().replace(&path, "FILE");
    (rows, source.bad_records(), letters)
}

const BAD_JSON: &str =
    "{\"id\":1}\n{\"id\":2\n{\"id\":\"x\"}\n{\"id\":3}{\"id\":4}\n[5]\n\n  {\"id\":6}  \n7\n{\"id\":8}";

#[test]
fn a_bad_record_fails_the_job_with_its_place_and_reason() {
    let (rows, _, _) = with_bad_records(BAD_JSON, &[("format", "json")]);
    assert_eq!(
        rows.unwrap_err(),
        "FILE, at byte 9: the record cannot be decoded: the line is not one JSON object: \"{\\\"id\\\":2\" (the option 'bad-records' can be 'skip' or 'dead-letter')"
    );
    let (rows, _, _) = with_bad_records("1,a,b,c\n", &[("format", "csv")]);
    assert!(rows.unwrap_err().starts_with(
        "FILE, at byte 0: the record cannot be decoded: wrong number of fields: expected 3 got 4: \"1,a,b,c\""
    ));
}

#[test]
fn bad_records_are_skipped_and_counted_and_the_rest_of_their_batch_is_kept() {
    for skip in [("bad-records", "skip"), ("json.ignore-parse-errors", "true")] {
        let (rows, bad, letters) = with_bad_records(BAD_JSON, &[("format", "json"), skip]);
        assert_eq!(rows.unwrap(), ["1|NULL|NULL", "6|NULL|NULL", "8|NULL|NULL"]);
        assert_eq!((bad, letters.as_str()), (5, ""));
    }
    let strict = [("format", "json"), ("bad-records", "skip"), ("json.fail-on-missing-field", "true")];
    let content = "{\"id\":1}\n{\"id\":2,\"name\":null,\"at\":null}\n";
    assert_eq!(with_bad_records(content, &strict).0.unwrap(), ["2|NULL|NULL"]);
}

#[test]
fn dead_letters_have_file_offset_reason_and_record() {
    let (rows, bad, letters) =
        with_bad_records(BAD_JSON, &[("format", "json"), ("bad-records", "dead-letter")]);
    assert_eq!((rows.unwrap().len(), bad), (3, 5));
    let letters: Vec<_> = letters.lines().collect();
    assert_eq!(letters.len(), 5);
    assert_eq!(
        letters[0],
        r#"{"file":"FILE","offset":9,"reason":"the line is not one JSON object","record":"{\"id\":2"}"#
    );
    assert!(letters[1].starts_with(r#"{"file":"FILE","offset":17,"reason":"#), "{}", letters[1]);
}

#[test]
fn a_watched_folder_gives_new_files_and_no_file_twice() {
    let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
    let path = text(folder.path());
    let put = |name: &str, id: i64| {
        // As a careful writer does: hidden until it is whole.
        let hidden = folder.path().join(format!(".{name}"));
        std::fs::write(&hidden, format!("{{\"id\":{id}}}\n")).unwrap();
        std::fs::rename(hidden, folder.path().join(name)).unwrap();
    };
    let factory = scan(&[("path", &path), ("format", "json"), ("source.monitor-interval", "5ms")]);
    assert!(!factory.bounded());
    put("b.json", 1);
    let mut source = factory.open(io.open_source(0, 1, None)).unwrap();
    let one = |source: &mut dyn Source| match next(source).unwrap() {
        Poll::Batch { rows, split } => (split, ids(&[rows])),
        other => panic!("{other:?}"),
    };
    assert_eq!(one(source.as_mut()), (0, vec![1]));
    put("a.json", 2);
    assert_eq!(one(source.as_mut()), (1, vec![2]));
    let mut states = source.snapshot();
    states.sort_by(|a, b| a.id.cmp(&b.id));
    drop(source);
    put("c.json", 3);
    let mut source = factory.open(io.open_source(0, 1, Some(Arc::new(states)))).unwrap();
    assert_eq!(one(source.as_mut()), (2, vec![3]), "only the new one");
}

#[test]
fn a_file_that_changed_since_the_checkpoint_is_a_clear_failure() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 3] = [
        (|path| std::fs::remove_file(path).unwrap(), "the file is gone since the checkpoint"),
        (
            |path| std::fs::write(path, "{\"id\":1}\n").unwrap(),
            "the file shrank from 248890 to 9 bytes since the checkpoint",
        ),
        (
            |path| {
                let text = std::fs::read_to_string(path).unwrap();
                std::fs::write(path, text.replace('7', "8")).unwrap();
            },
            "the file was changed since the checkpoint",
        ),
    ];
    for (change, expected) in changes {
        let (io, folder) = (Io::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join("a.json");
        std::fs::write(&path, (0..20_000).map(|i| format!("{{\"id\":{i}}}\n")).collect::<String>()).unwrap();
        let factory = scan(&[("path", &text(folder.path())), ("format", "json")]);
        let mut source = factory.open(io.open_source(0, 1, None)).unwrap();
        next(source.as_mut()).unwrap();
        let states: Vec<SplitState> = source.snapshot();
        change(&path);
        let mut source = factory.open(io.open_source(0, 1, Some(Arc::new(states)))).unwrap();
        let message = next(source.as_mut()).unwrap_err().message;
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn wrong_options_are_told_together() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[("path", "x/../y"), ("format", "json")],
            "option 'path': 'x/../y' is not allowed: write a path, 'file:///absolute' or 's3://bucket/prefix', without '..'",
        ),
        (
            &[("path", "/x"), ("format", "jsno")],
            "option 'format': 'jsno' is not allowed: write one of 'json', 'csv', 'parquet'; did you mean 'json'?",
        ),
        (
            &[("path", "/x"), ("format", "json"), ("csv.header", "true")],
            "option 'csv.header' belongs to the format 'csv', but the format is 'json'",
        ),
        (
            &[("path", "/x"), ("format", "json"), ("s3.region", "r")],
            "option 's3.region' is for paths on S3, but 'path' is '/x'",
        ),
        (
            &[("path", "/x"), ("format", "json"), ("bad-records", "dead-letter")],
            "option 'bad-records': 'dead-letter' needs the option 'bad-records.path'",
        ),
        (
            &[("path", "/x"), ("format", "csv"), ("csv.field-delimiter", ";;")],
            "option 'csv.field-delimiter': \";;\" is not a single ASCII character (\\t for a tab; line ends and quotes are not allowed)",
        ),
        (
            &[("path", "/x"), ("format", "json"), ("source.monitor-intervall", "1s")],
            "unknown option 'source.monitor-intervall'; did you mean 'source.monitor-interval'?",
        ),
    ];
    for (options, message) in cases {
        let errors = source(&table(schema(), options)).err().unwrap();
        assert_eq!(errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>(), [*message]);
    }
}
