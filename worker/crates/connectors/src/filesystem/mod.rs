//! Files as tables: JSON lines, CSV, Parquet; on this machine and on S3; read and written.
//!
//! Owns: which files are read, positions in them, exactly-once writing. It does not own formats
//! (`formats`) and the S3 client (`weir-checkpoint`).

mod bad_records;
mod commit;
mod disk;
mod files;
mod retry;
mod sink;
mod source;
mod text;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arrow_schema::SchemaRef;
use bad_records::{BadRecords, OnBadRecord};
use files::{FileInfo, Files, LocalFiles};
use retry::Reader;
use source::{FileSource, Position};
use text::{TextFormat, TextReader};
use weir_dataflow::{OpenSource, Source, SourceFactory};
use weir_protocol::Failure;

use crate::formats::json::{self, JsonDecoder, JsonOptions};
use crate::formats::projection::Projection;
use crate::formats::records::Framing;
use crate::formats::Format;
use crate::options::{ABSENT, ByteSize, OptionReader, OptionRow, REQUIRED, join, options};
use crate::{Connector, OptionError, Scan, SourceTable, TableSpec};

options! {
    /// Options of a table of files, for reading and writing.
    struct FileOptions {
        ["path", REQUIRED, "a file or folder: '/absolute', 'file:///absolute' or 's3://bucket/prefix'"] path: String,
        ["format", REQUIRED, "what the files hold: 'json', 'csv' or 'parquet'"] format: Format,
        ["source.monitor-interval", ABSENT, "how often to look for new files; without it the files that are there are read and the source ends"] monitor: Option<Duration>,
        ["bad-records", Some("fail"), "what to do with a record that cannot be decoded: 'fail', 'skip' or 'dead-letter'"] bad_records: OnBadRecord,
        ["bad-records.path", ABSENT, "a file on the worker's disk to which bad records are appended, as JSON lines, with file, offset and reason"] dead_letters: Option<String>,
        ["sink.rolling-policy.file-size", Some("128mb"), "a file is finished when it has this size"] file_size: ByteSize,
        ["sink.rolling-policy.rollover-interval", Some("30 min"), "a file is finished when it is this old; every checkpoint finishes it anyway"] rollover: Duration,
        ["sink.changelog-column", ABSENT, "name of a first column that tells the kind of the row: +I, -U, +U or -D; without it only inserts can be written"] changelog_column: Option<String>,
    }
}

const ALL_OPTIONS: &[OptionRow] =
    &join::<{ FileOptions::ROWS.len() + JsonOptions::ROWS.len() }>(&[FileOptions::ROWS, JsonOptions::ROWS]);

/// The connector `filesystem`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "filesystem", source: Some(source), sink: Some(sink::sink), options: ALL_OPTIONS };

/// The options of a table, checked.
#[derive(Debug, Clone)]
struct Checked {
    files: FileOptions,
    json: JsonOptions,
    place: PathBuf,
}

/// Reads and checks what reading and writing have in common.
fn checked(reader: &mut OptionReader<'_>) -> Option<Checked> {
    let (files, json) = (FileOptions::read(reader), JsonOptions::read(reader));
    let place = files.as_ref().and_then(|f| local_path(&f.path, reader));
    for field in reader.table().schema.fields() {
        if let Some(sql) = json::unsupported(field) {
            let message = format!("column '{}': {sql} cannot be carried by the format 'json'", field.name());
            reader.problem(None, message);
        }
    }
    if !reader.table().partitioned_by.is_empty() {
        reader.problem(None, "PARTITIONED BY is not supported by the connector 'filesystem' yet");
    }
    Some(Checked { files: files?, json: json?, place: place? })
}

fn local_path(text: &str, reader: &mut OptionReader<'_>) -> Option<PathBuf> {
    let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    reader.problem(
        Some("path"),
        format!("option 'path': '{text}' is not allowed: write '/absolute' or 'file:///absolute'"),
    );
    None
}

fn source(spec: &TableSpec) -> Result<Arc<dyn SourceTable>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, ALL_OPTIONS);
    let mut checked = checked(&mut reader);
    if let Some(options) = &mut checked {
        check_bad_records(options, &mut reader);
    }
    let table = checked
        .map(|options| Arc::new(DeclaredFiles { spec: spec.clone(), options }) as Arc<dyn SourceTable>);
    reader.finish(table)
}

fn check_bad_records(options: &mut Checked, reader: &mut OptionReader<'_>) {
    if options.json.ignore_parse_errors {
        if reader.has("bad-records") && options.files.bad_records != OnBadRecord::Skip {
            let message = "option 'bad-records': 'json.ignore-parse-errors' says 'skip' at the same time";
            reader.problem(Some("bad-records"), message);
        }
        options.files.bad_records = OnBadRecord::Skip;
    }
    match (options.files.bad_records, &options.files.dead_letters) {
        (OnBadRecord::DeadLetter, None) => reader.problem(
            Some("bad-records"),
            "option 'bad-records': 'dead-letter' needs the option 'bad-records.path'",
        ),
        (OnBadRecord::DeadLetter, Some(path)) if !Path::new(path).is_absolute() => {
            reader.problem(Some("bad-records.path"), "option 'bad-records.path': an absolute path is needed");
        }
        _ => {}
    }
}

/// A table of files as declared.
struct DeclaredFiles {
    spec: TableSpec,
    options: Checked,
}

impl SourceTable for DeclaredFiles {
    fn scan(&self, scan: &Scan) -> (Arc<dyn SourceFactory>, Vec<bool>) {
        let table = FileTable {
            name: self.spec.name.clone(),
            projection: Arc::new(Projection::new(&self.spec.schema, &scan.columns)),
            files: Arc::new(LocalFiles::new(self.options.place.clone())),
            monitor: self.options.files.monitor,
            options: self.options.clone(),
        };
        (Arc::new(FileSourceFactory(Arc::new(table))), vec![false; scan.filters.len()])
    }
}

/// What one scan reads.
struct FileTable {
    name: String,
    projection: Arc<Projection>,
    files: Arc<dyn Files>,
    monitor: Option<Duration>,
    options: Checked,
}

/// Reads one file.
enum RowReader {
    Text(TextReader),
}

impl FileTable {
    /// Where a file begins.
    fn start(&self) -> Position {
        Position::Byte(0)
    }

    fn bad_records(&self) -> BadRecords {
        let files = &self.options.files;
        BadRecords::new(files.bad_records, files.dead_letters.as_ref().map(PathBuf::from))
    }

    fn open_file(&self, file: &FileInfo, at: Position, reader: &Reader, waker: &Waker) -> Result<RowReader, Failure> {
        let Position::Byte(at) = at;
        let format = TextFormat {
            framing: Framing::Lines,
            decoder: Box::new(JsonDecoder::new(self.projection.decoded.clone(), &self.options.json)),
            projection: self.projection.clone(),
        };
        Ok(RowReader::Text(TextReader::new(file.clone(), at, format, reader.clone(), waker.clone())))
    }
}

struct FileSourceFactory(Arc<FileTable>);

impl SourceFactory for FileSourceFactory {
    fn schema(&self) -> SchemaRef {
        self.0.projection.schema.clone()
    }

    fn bounded(&self) -> bool {
        self.0.monitor.is_none()
    }

    fn open(&self, context: OpenSource) -> Result<Box<dyn Source>, Failure> {
        Ok(Box::new(FileSource::open(self.0.clone(), &context)?))
    }
}

#[cfg(test)]
mod tests;
