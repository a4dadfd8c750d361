//! Files as tables: JSON lines, CSV, Parquet; on this machine and on S3; read and written.
//!
//! Owns: which files are read, positions in them, exactly-once writing. It does not own formats
//! (`formats`) and the S3 client (`weir-checkpoint`).

mod bad_records;
mod columnar;
mod commit;
mod disk;
mod files;
mod retry;
mod s3;
mod sink;
mod source;
mod text;
mod writer;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arrow_schema::SchemaRef;
use bad_records::{BadRecords, OnBadRecord};
use columnar::ParquetReader;
use files::{FileInfo, Files, LocalFiles};
use retry::Reader;
use s3::{S3Files, S3Place};
use source::{FileSource, Position};
use text::{MakeDecoder, TextFormat, TextReader};
use weir_checkpoint::store::s3::S3Options;
use weir_dataflow::{OpenSource, Source, SourceFactory};
use weir_protocol::{Failure, FailureKind};

use crate::formats::csv::{CsvDecoder, CsvOptions};
use crate::formats::json::{JsonDecoder, JsonOptions};
use crate::formats::parquet::ParquetOptions;
use crate::formats::projection::Projection;
use crate::formats::records::Framing;
use crate::formats::{Format, FormatOptions};
use crate::options::{ABSENT, ByteSize, OptionReader, OptionRow, REQUIRED, count, join, options};
use crate::{Connector, OptionError, Scan, SourceTable, TableSpec};

options! {
    /// Options of a table of files, for reading and writing.
    struct FileOptions {
        ["path", REQUIRED, "a file or folder: '/absolute', 'file:///absolute' or 's3://bucket/prefix'"] path: String,
        ["format", REQUIRED, "what the files hold: 'json', 'csv' or 'parquet'"] format: Format,
        ["source.monitor-interval", ABSENT, "how often to look for new files; without it the files that are there are read and the source ends"] monitor: Option<Duration>,
        ["rows-per-second", ABSENT, "rows that all subtasks together read in a second; without it as many as are taken"] rate: Option<NonZeroU64>,
        ["bad-records", Some("fail"), "what to do with a record that cannot be decoded: 'fail', 'skip' or 'dead-letter'"] bad_records: OnBadRecord,
        ["bad-records.path", ABSENT, "a file on the worker's disk to which bad records are appended, as JSON lines, with file, offset and reason"] dead_letters: Option<String>,
        ["sink.rolling-policy.file-size", Some("128mb"), "a file is finished when it has this size"] file_size: ByteSize,
        ["sink.rolling-policy.rollover-interval", Some("30 min"), "a file is finished when it is this old; every checkpoint finishes it anyway"] rollover: Duration,
        ["s3.endpoint", ABSENT, "URL of another S3 server than Amazon's; default: AWS_ENDPOINT_URL of the environment"] s3_endpoint: Option<String>,
        ["s3.region", ABSENT, "region of the bucket; default: that of the environment, or us-east-1"] s3_region: Option<String>,
        ["s3.path-style", ABSENT, "whether the bucket stands in the path instead of the host name; default: 'true' if there is an endpoint"] s3_path_style: Option<bool>,
        ["sink.changelog-column", ABSENT, "name of a first column that tells the kind of the row: +I, -U, +U or -D; without it only inserts can be written"] changelog_column: Option<String>,
    }
}

const OPTION_LISTS: &[&[OptionRow]] =
    &[FileOptions::ROWS, JsonOptions::ROWS, CsvOptions::ROWS, ParquetOptions::ROWS];
const ALL_OPTIONS: &[OptionRow] = &join::<{ count(OPTION_LISTS) }>(OPTION_LISTS);

/// The connector `filesystem`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "filesystem", source: Some(source), sink: Some(sink::sink), options: ALL_OPTIONS };

/// The options of a table, checked.
#[derive(Debug, Clone)]
struct Checked {
    files: FileOptions,
    formats: FormatOptions,
    place: Place,
}

/// Where the files are.
#[derive(Debug, Clone)]
enum Place {
    Local(PathBuf),
    S3(S3Place),
}

/// Reads and checks what reading and writing have in common.
fn checked(reader: &mut OptionReader<'_>) -> Option<Checked> {
    let files = FileOptions::read(reader);
    let (json, csv, parquet) =
        (JsonOptions::read(reader), CsvOptions::read(reader), ParquetOptions::read(reader));
    let place = files.as_ref().and_then(|f| place(f, reader));
    if let Some(format) = files.as_ref().map(|f| f.format) {
        check_format(format, reader);
    }
    if !reader.table().partitioned_by.is_empty() {
        reader.problem(None, "PARTITIONED BY is not supported by the connector 'filesystem' yet");
    }
    let formats = FormatOptions { json: json?, csv: csv?, parquet: parquet? };
    Some(Checked { files: files?, formats, place: place? })
}

/// Columns that the format can't carry, and options of other formats.
fn check_format(format: Format, reader: &mut OptionReader<'_>) {
    let name = format.extension();
    for field in reader.table().schema.fields() {
        if let Some(sql) = format.unsupported(field) {
            let message =
                format!("column '{}': {sql} cannot be carried by the format '{name}'", field.name());
            reader.problem(None, message);
        }
    }
    for other in ["json", "csv", "parquet"].into_iter().filter(|o| *o != name) {
        let prefix = format!("{other}.");
        for key in reader.table().options.keys().filter(|k| k.starts_with(&prefix)) {
            let message =
                format!("option '{key}' belongs to the format '{other}', but the format is '{name}'");
            reader.problem(Some(key), message);
        }
    }
}

fn place(options: &FileOptions, reader: &mut OptionReader<'_>) -> Option<Place> {
    let text = options.path.as_str();
    let s3_options = [
        ("s3.endpoint", options.s3_endpoint.is_some()),
        ("s3.region", options.s3_region.is_some()),
        ("s3.path-style", options.s3_path_style.is_some()),
    ];
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
        let root = root.trim_end_matches('/');
        if !bucket.is_empty()
            && !root.split('/').skip(usize::from(root.is_empty())).any(|p| p.is_empty() || p == "..")
        {
            return Some(Place::S3(s3_place(options, bucket, root)));
        }
    } else {
        for (key, _) in s3_options.iter().filter(|(_, given)| *given) {
            reader.problem(Some(key), format!("option '{key}' is for paths on S3, but 'path' is '{text}'"));
        }
        let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
        // A relative path is below the folder that the process was started in.
        let whole = !text.starts_with("file://") || path.is_absolute();
        if whole
            && !path.components().any(|c| c == std::path::Component::ParentDir)
            && let Ok(path) = std::path::absolute(path)
        {
            return Some(Place::Local(path));
        }
    }
    let message = format!(
        "option 'path': '{text}' is not allowed: write a path, 'file:///absolute' or 's3://bucket/prefix', without '..'"
    );
    reader.problem(Some("path"), message);
    None
}

fn s3_place(options: &FileOptions, bucket: &str, root: &str) -> S3Place {
    let other_server = options.s3_endpoint.is_some() || std::env::var_os("AWS_ENDPOINT_URL").is_some();
    S3Place {
        options: S3Options {
            bucket: bucket.to_owned(),
            endpoint: options.s3_endpoint.clone(),
            region: options.s3_region.clone(),
            path_style: options.s3_path_style.unwrap_or(other_server),
            credentials: None,
        },
        root: root.to_owned(),
    }
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
    if options.formats.json.ignore_parse_errors || options.formats.csv.ignore_parse_errors {
        if reader.has("bad-records") && options.files.bad_records != OnBadRecord::Skip {
            let message = "option 'bad-records': 'ignore-parse-errors' says 'skip' at the same time";
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
        let files: Arc<dyn Files> = match &self.options.place {
            Place::Local(path) => Arc::new(LocalFiles::new(path.clone())),
            Place::S3(place) => Arc::new(S3Files::new(place.clone())),
        };
        let table = FileTable {
            name: self.spec.name.clone(),
            projection: Arc::new(Projection::new(&self.spec.schema, &scan.columns)),
            schema: self.spec.schema.clone(),
            files,
            monitor: self.options.files.monitor,
            rate: self.options.files.rate.map(NonZeroU64::get),
            options: self.options.clone(),
        };
        (Arc::new(FileSourceFactory(Arc::new(table))), vec![false; scan.filters.len()])
    }
}

/// What one scan reads.
struct FileTable {
    name: String,
    schema: SchemaRef,
    projection: Arc<Projection>,
    files: Arc<dyn Files>,
    monitor: Option<Duration>,
    /// Rows per second of all subtasks together.
    rate: Option<u64>,
    options: Checked,
}

/// Reads one file.
enum RowReader {
    Text(TextReader),
    Parquet(ParquetReader),
}

impl FileTable {
    /// Where a file begins.
    fn start(&self) -> Position {
        match self.options.files.format {
            Format::Json | Format::Csv => Position::Byte(0),
            Format::Parquet => Position::Row(0),
        }
    }

    fn bad_records(&self) -> BadRecords {
        let files = &self.options.files;
        BadRecords::new(files.bad_records, files.dead_letters.as_ref().map(PathBuf::from))
    }

    fn open_file(
        &self,
        file: &FileInfo,
        at: Position,
        reader: &Reader,
        waker: &Waker,
    ) -> Result<RowReader, Failure> {
        let (reader, waker) = (reader.clone(), waker.clone());
        match (self.options.files.format, at) {
            (Format::Parquet, Position::Row(row)) => {
                let parquet = ParquetReader::new(file.clone(), row, self.projection.clone(), reader, waker)?;
                Ok(RowReader::Parquet(parquet))
            }
            (Format::Json | Format::Csv, Position::Byte(byte)) => {
                Ok(RowReader::Text(TextReader::new(file.clone(), byte, self.text_format()?, reader, waker)))
            }
            _ => {
                let message =
                    format!("{}: the checkpoint's position was made with another format", file.path);
                Err(Failure::new(FailureKind::StateIncompatible, message))
            }
        }
    }

    fn text_format(&self) -> Result<TextFormat, Failure> {
        let wanted = self.projection.decoded.clone();
        let (framing, decoder) = match self.options.files.format {
            Format::Csv => {
                let options = self.options.formats.csv.clone();
                (Framing::QuotedFields { delimiter: options.delimiter.0 }, self.csv_decoder(options, wanted)?)
            }
            Format::Json | Format::Parquet => {
                let decoder = JsonDecoder::new(wanted, &self.options.formats.json);
                (Framing::Lines, MakeDecoder::Ready(Box::new(decoder)))
            }
        };
        Ok(TextFormat { framing, decoder, projection: self.projection.clone() })
    }

    fn csv_decoder(&self, options: CsvOptions, wanted: SchemaRef) -> Result<MakeDecoder, Failure> {
        if options.header {
            return Ok(MakeDecoder::OfHeader(Box::new(move |header| {
                Ok(Box::new(CsvDecoder::with_header(header, &wanted, &options)?))
            })));
        }
        let decoder = CsvDecoder::new(&self.schema, &wanted, &options)
            .map_err(|e| Failure::new(FailureKind::Config, e).at(&self.name))?;
        Ok(MakeDecoder::Ready(Box::new(decoder)))
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
mod fault_tests;
#[cfg(test)]
mod tests;
