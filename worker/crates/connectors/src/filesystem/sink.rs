//! The sink's front, on the slot's thread: rows become bytes of the file that is open, files are
//! rolled, and a checkpoint turns the finished ones into handles. The writing is done by a task.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use weir_dataflow::{Chunk, Committer, IoFuture, OpenSink, Sink, SinkFactory};
use weir_protocol::{CheckpointId, Failure, FailureKind};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom, Timestamp};

use super::commit::{Handle, LocalCommitter};
use super::disk::LocalDisk;
use super::writer::{Done, Writer};
use super::{ALL_OPTIONS, Checked, checked};
use crate::formats::Encoder;
use crate::options::OptionReader;
use crate::{OptionError, TableSpec};

/// Encoded bytes are handed to the writer in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;
/// More bytes than these are not kept waiting for the writer.
const WAITING_BYTES: usize = 8 << 20;

pub(super) fn sink(spec: &TableSpec) -> Result<Arc<dyn SinkFactory>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, ALL_OPTIONS);
    let checked = checked(&mut reader);
    if let Some(name) = checked.as_ref().and_then(|c| c.files.changelog_column.as_deref()) {
        if spec.schema.field_with_name(name).is_ok() {
            let message = format!("option 'sink.changelog-column': the table has a column '{name}' already");
            reader.problem(Some("sink.changelog-column"), message);
        }
    }
    let factory = checked.map(|options| {
        let schema = with_kind(&spec.schema, options.files.changelog_column.as_deref());
        Arc::new(FileSinkFactory { name: spec.name.clone(), schema, options }) as Arc<dyn SinkFactory>
    });
    reader.finish(factory)
}

/// The schema of the files: that of the table, behind the kind of the row if it is asked for.
fn with_kind(schema: &SchemaRef, column: Option<&str>) -> SchemaRef {
    let Some(name) = column else { return schema.clone() };
    let kind = Arc::new(Field::new(name, DataType::Utf8View, false));
    let fields: Vec<_> = std::iter::once(kind).chain(schema.fields().iter().cloned()).collect();
    Arc::new(Schema::new(fields))
}

struct FileSinkFactory {
    name: String,
    schema: SchemaRef,
    options: Checked,
}

impl SinkFactory for FileSinkFactory {
    fn takes_changelog(&self) -> bool {
        self.options.files.changelog_column.is_some()
    }

    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        let disk = LocalDisk::new(self.options.place.clone());
        let trouble = context.troubles.place(format!("sink {}/{}", self.name, context.index));
        let writer = Writer::start(disk, trouble, context.waker.clone(), &context.io);
        Ok(Box::new(FileSink {
            schema: self.schema.clone(),
            options: self.options.clone(),
            clock: SystemClock::default(),
            names: Names::new(&context, &SystemRandom),
            writer,
            open: None,
            finished: 0,
        }))
    }

    fn committer(&self, io: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        Some(Box::new(LocalCommitter::new(io)))
    }
}

/// Names of files. All of them begin with attempt, execution and subtask, and hold a number that
/// nobody else has, so that no other attempt, execution, job or table makes the same.
struct Names {
    begin: String,
    nonce: String,
    next: u64,
}

impl Names {
    fn new(context: &OpenSink, random: &dyn Random) -> Self {
        let begin = format!("a{:06}-e{:03}-s{:04}", context.attempt.0, context.execution.0, context.index);
        Self { begin, nonce: format!("{:016x}", random.next_u64()), next: 0 }
    }

    /// The hidden name of the next file while it is not committed.
    fn temporary(&mut self) -> String {
        self.next += 1;
        format!(".part-{}-{}-{}.inprogress", self.begin, self.nonce, self.next)
    }

    /// The name of the `n`th file of a checkpoint.
    fn last(&self, id: CheckpointId, n: usize, extension: &str) -> String {
        format!("part-{}-c{:08}-{n:04}-{}.{extension}", self.begin, id.0, self.nonce)
    }
}

/// The file that rows are written to now.
struct OpenFile {
    encoder: Encoder,
    /// Bytes that were not handed to the writer yet.
    piece: Vec<u8>,
    bytes: u64,
    since: Timestamp,
}

struct FileSink {
    schema: SchemaRef,
    options: Checked,
    clock: SystemClock,
    names: Names,
    writer: Writer,
    open: Option<OpenFile>,
    /// Files that were finished since the last checkpoint.
    finished: usize,
}

impl Sink for FileSink {
    fn ready(&mut self) -> bool {
        self.writer.has_room(WAITING_BYTES)
    }

    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.writer.check()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let rows = self.rows(&chunk)?;
        let mut file = match self.open.take() {
            Some(file) => file,
            None => self.begin_file()?,
        };
        let before = file.piece.len();
        file.encoder.encode(&rows, &mut file.piece).map_err(|e| self.cannot_encode(&e))?;
        file.bytes += (file.piece.len() - before) as u64;
        if file.piece.len() >= PIECE_BYTES {
            self.writer.write(std::mem::take(&mut file.piece));
        }
        let full = file.bytes + file.encoder.pending() as u64 >= self.options.files.file_size.0;
        let age: Duration = self.clock.now().since(file.since);
        self.open = Some(file);
        if full || age >= self.options.files.rollover {
            self.finish_file()?;
        }
        Ok(())
    }

    fn prepare_commit(&mut self, id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        self.writer.check()?;
        self.finish_file()?;
        let count = std::mem::take(&mut self.finished);
        let names: Vec<_> = (0..count).map(|n| self.names.last(id, n, self.options.files.format.extension())).collect();
        let folder = self.options.place.display().to_string();
        let done = self.writer.prepare();
        Ok(Box::pin(async move {
            let files = done.await?;
            Ok(files.into_iter().zip(names).map(|(done, name)| handle(&folder, done, name)).collect())
        }))
    }
}

fn handle(folder: &str, done: Done, name: String) -> Vec<u8> {
    Handle { folder: folder.to_owned(), temporary: done.name, name, size: done.size, blake3: done.blake3 }.to_bytes()
}

impl FileSink {
    fn begin_file(&mut self) -> Result<OpenFile, Failure> {
        let encoder = Encoder::new(self.options.files.format, &self.options.formats, &self.schema)
            .map_err(|e| self.cannot_encode(&e))?;
        self.writer.create(self.names.temporary());
        Ok(OpenFile { encoder, piece: Vec::new(), bytes: 0, since: self.clock.now() })
    }

    fn finish_file(&mut self) -> Result<(), Failure> {
        if let Some(mut file) = self.open.take() {
            file.encoder.finish(&mut file.piece).map_err(|e| self.cannot_encode(&e))?;
            self.writer.write(file.piece);
            self.writer.finish();
            self.finished += 1;
        }
        Ok(())
    }

    fn cannot_encode(&self, reason: &str) -> Failure {
        let format = self.options.files.format.extension();
        Failure::new(FailureKind::Sink, format!("rows cannot be written as {format}: {reason}"))
    }

    /// The rows as the files hold them.
    fn rows(&self, chunk: &Chunk) -> Result<RecordBatch, Failure> {
        if self.options.files.changelog_column.is_none() {
            return Ok(chunk.rows.clone());
        }
        let kinds: StringViewArray = (0..chunk.len()).map(|row| Some(chunk.kind(row).short())).collect();
        let columns = std::iter::once(Arc::new(kinds) as _).chain(chunk.rows.columns().iter().cloned()).collect();
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("rows of the file sink: {e}")))
    }
}
