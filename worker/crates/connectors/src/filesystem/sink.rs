//! The sink's front, on the slot's thread: rows become bytes of the file that is open, files are
//! rolled, and a checkpoint turns the finished ones into handles. The writing is done by a task.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use weir_dataflow::{Chunk, Committer, IoFuture, OpenSink, Sink, SinkFactory};
use weir_protocol::{CheckpointId, Failure, FailureKind};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom, Timestamp};

use super::commit::{FileCommitter, Handle, HandlePlace};
use super::disk::{DiskTarget, LocalDisk};
use super::s3::S3Target;
use super::writer::{Done, Target, Writer};
use super::{ALL_OPTIONS, Checked, Place, checked};
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
    if let Some(name) = checked.as_ref().and_then(|c| c.files.changelog_column.as_deref())
        && spec.schema.field_with_name(name).is_ok()
    {
        let message = format!("option 'sink.changelog-column': the table has a column '{name}' already");
        reader.problem(Some("sink.changelog-column"), message);
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

/// Makes the subtasks of a table of files that is written.
pub(super) struct FileSinkFactory {
    pub(super) name: String,
    /// The schema of the files.
    pub(super) schema: SchemaRef,
    pub(super) options: Checked,
}

impl SinkFactory for FileSinkFactory {
    fn takes_changelog(&self) -> bool {
        self.options.files.changelog_column.is_some()
    }

    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        match &self.options.place {
            Place::Local(folder) => {
                let folder = folder.clone();
                let text = folder.display().to_string();
                let place = move |name: &str, ()| HandlePlace::Folder(text.clone(), name.to_owned());
                Ok(self.open_on(DiskTarget::new(LocalDisk::new(folder)), place, &context))
            }
            Place::S3(place) => {
                let target = S3Target::new(place.clone());
                Ok(self.open_on(target, |_, uploaded| HandlePlace::Upload(uploaded), &context))
            }
        }
    }

    fn committer(&self, io: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        let s3 = match &self.options.place {
            Place::Local(_) => None,
            Place::S3(place) => Some(place.clone()),
        };
        Some(Box::new(FileCommitter { io, s3 }))
    }
}

impl FileSinkFactory {
    fn open_on<T: Target>(
        &self,
        target: T,
        place: impl Fn(&str, T::Finished) -> HandlePlace + Send + Sync + 'static,
        context: &OpenSink,
    ) -> Box<dyn Sink> {
        let trouble = context.troubles.place(format!("sink {}/{}", self.name, context.index));
        let extension = self.options.files.format.extension();
        Box::new(FileSink {
            schema: self.schema.clone(),
            options: self.options.clone(),
            clock: SystemClock::default(),
            names: Names::new(context, &SystemRandom, extension),
            writer: Writer::start(target, trouble, context.waker.clone(), &context.io),
            place: Arc::new(place),
            open: None,
        })
    }
}

/// Names of files. All of them begin with attempt, execution and subtask, and hold a number that
/// nobody else has, so that no other attempt, execution, job or table makes the same.
struct Names {
    begin: String,
    extension: &'static str,
    next: u64,
}

impl Names {
    fn new(context: &OpenSink, random: &dyn Random, extension: &'static str) -> Self {
        let (attempt, execution) = (context.attempt.0, context.execution.0);
        let nonce = random.next_u64();
        let begin = format!("part-a{attempt:06}-e{execution:03}-s{:04}-{nonce:016x}", context.index);
        Self { begin, extension, next: 0 }
    }

    fn next(&mut self) -> String {
        self.next += 1;
        format!("{}-{:06}.{}", self.begin, self.next, self.extension)
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

/// Where a finished file of a name lies.
type PlaceOf<F> = dyn Fn(&str, F) -> HandlePlace + Send + Sync;

struct FileSink<F> {
    schema: SchemaRef,
    options: Checked,
    clock: SystemClock,
    names: Names,
    writer: Writer<F>,
    place: Arc<PlaceOf<F>>,
    open: Option<OpenFile>,
}

impl<F: Send + 'static> Sink for FileSink<F> {
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

    fn prepare_commit(&mut self, _id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        self.writer.check()?;
        self.finish_file()?;
        let done = self.writer.prepare();
        let place = self.place.clone();
        Ok(Box::pin(async move {
            let handle = |file: Done<F>| {
                let place = place(&file.name, file.finished);
                Handle { size: file.size, blake3: file.blake3, place }.to_bytes()
            };
            Ok(done.await?.into_iter().map(handle).collect())
        }))
    }
}

impl<F: Send + 'static> FileSink<F> {
    fn begin_file(&mut self) -> Result<OpenFile, Failure> {
        let encoder = Encoder::new(self.options.files.format, &self.options.formats, &self.schema)
            .map_err(|e| self.cannot_encode(&e))?;
        self.writer.create(self.names.next());
        Ok(OpenFile { encoder, piece: Vec::new(), bytes: 0, since: self.clock.now() })
    }

    fn finish_file(&mut self) -> Result<(), Failure> {
        if let Some(mut file) = self.open.take() {
            file.encoder.finish(&mut file.piece).map_err(|e| self.cannot_encode(&e))?;
            self.writer.write(file.piece);
            self.writer.finish();
        }
        Ok(())
    }

    fn cannot_encode(&self, reason: &str) -> Failure {
        let format = self.options.files.format.extension();
        Failure::new(FailureKind::Sink, format!("rows cannot be written as {format}: {reason}"))
    }

    /// The rows as the files hold them.
    fn rows(&self, chunk: &Chunk) -> Result<RecordBatch, Failure> {
        // Columns are handed over by position; their names are the table's.
        let columns = chunk.rows.columns().iter().cloned();
        let columns = match self.options.files.changelog_column {
            None => columns.collect(),
            Some(_) => {
                let kinds: StringViewArray =
                    (0..chunk.len()).map(|row| Some(chunk.kind(row).short())).collect();
                std::iter::once(Arc::new(kinds) as _).chain(columns).collect()
            }
        };
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("rows of the file sink: {e}")))
    }
}
