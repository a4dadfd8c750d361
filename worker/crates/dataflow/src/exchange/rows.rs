//! Batches of rows on the wire: the body and the metadata of an Arrow IPC record batch, without the schema, which
//! both ends have from the plan. Pure.
//!
//! ```text
//! body: the buffers, each padded to 16 bytes   metadata: a flatbuffers `Message` of Arrow IPC
//! ```
//! The body comes first so that its buffers are aligned in memory where they are received, and are used there
//! without a copy. Nothing that is received is trusted: the metadata is checked against the plan's schema and the body's
//! length before Arrow reads it (whose reader panics on a buffer outside of the body), and Arrow then checks the
//! buffers themselves: offsets, text, views.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryViewArray, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StringViewArray, StructArray,
};
use arrow_buffer::Buffer;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_ipc::{MessageHeader, MetadataVersion, root_as_message};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use weir_protocol::{Failure, FailureKind};

use super::Malformed;
use crate::{Chunk, RowKind};

/// Most rows of one frame.
pub(super) const MAX_ROWS: usize = 1 << 20;
/// Most values in a nested column of one frame: a list of nothing costs no bytes.
const MAX_NESTED: usize = 1 << 28;
/// Arrow panicked: a gap in [`Layout::check`].
const PANICKED: Malformed = Malformed("rows that can't be read");
/// Alignment of buffers in a body: that of the widest number.
const ALIGNMENT: usize = 16;

/// A batch in its form on the wire.
#[derive(Debug)]
pub(super) struct Encoded {
    /// Whether the last column has the kinds of the rows.
    pub(super) changes: bool,
    pub(super) body: Vec<u8>,
    pub(super) metadata: Vec<u8>,
}

impl Encoded {
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.metadata.len()
    }
}

/// The form of the rows of one edge.
#[derive(Debug, Clone)]
pub(super) struct Form {
    inserts: SchemaRef,
    changes: SchemaRef,
}

impl Form {
    /// Of rows with this schema.
    ///
    /// # Errors
    /// A type that does not travel.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self, Failure> {
        if let Some(field) = schema.fields().iter().find(|f| !travels(f.data_type())) {
            let text = format!("column {}: type {} can't be exchanged", field.name(), field.data_type());
            return Err(Failure::new(FailureKind::Bug, text));
        }
        // Whether a source keeps its word on nulls is not for the exchange to find out.
        let nullable = |f: &FieldRef| Arc::new(f.as_ref().clone().with_nullable(true));
        let fields: Vec<FieldRef> = schema.fields().iter().map(nullable).collect();
        let kinds = Arc::new(Field::new("#kind", DataType::UInt8, false));
        let changes = Schema::new(fields.iter().cloned().chain([kinds]).collect::<Vec<_>>());
        Ok(Self { inserts: Arc::new(Schema::new(fields)), changes: Arc::new(changes) })
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Anything that is not a batch of this form.
    pub(super) fn decode(
        &self,
        changes: bool,
        payload: &Buffer,
        metadata: usize,
    ) -> Result<Chunk, Malformed> {
        let body = payload.len().checked_sub(metadata).ok_or(Malformed("rows without metadata"))?;
        let (body, metadata) = (payload.slice_with_length(0, body), &payload.as_slice()[body..]);
        let message = root_as_message(metadata).map_err(|_| Malformed("rows with broken metadata"))?;
        let batch = message.header_as_record_batch();
        let whole =
            message.version() == MetadataVersion::V5 && message.header_type() == MessageHeader::RecordBatch;
        let batch = batch.filter(|b| whole && b.compression().is_none());
        let batch = batch.ok_or(Malformed("metadata of something else than plain rows"))?;
        if usize::try_from(message.bodyLength()) != Ok(body.len()) {
            return Err(Malformed("rows with a body of another length"));
        }
        let schema = if changes { &self.changes } else { &self.inserts };
        Layout::of(&batch, body.len())?.check(schema)?;
        // What gets past `check` and still makes Arrow panic must not take the connection's task with it: the
        // execution would never hear of it.
        let read =
            || read_record_batch(&body, batch, schema.clone(), &HashMap::new(), None, &MetadataVersion::V5);
        let rows = catch_unwind(AssertUnwindSafe(read))
            .map_err(|_| PANICKED)?
            .map_err(|_| Malformed("rows with broken columns"))?;
        if changes { self.split(&rows) } else { Ok(Chunk::inserts(rows)) }
    }

    /// Takes the kinds out of the last column.
    fn split(&self, rows: &RecordBatch) -> Result<Chunk, Malformed> {
        let broken = Malformed("rows with broken kinds");
        let (kinds, columns) = rows.columns().split_last().ok_or(broken)?;
        let kinds = kinds.as_primitive().clone();
        if kinds.null_count() > 0 || kinds.values().iter().any(|k| RowKind::from_byte(*k).is_none()) {
            return Err(broken);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.inserts.clone(), columns.to_vec(), &options)
            .map_err(|_| broken)?;
        Ok(Chunk { rows, kinds: Some(kinds) })
    }
}

/// Encodes the rows of one channel; keeps what can be used again.
pub(super) struct Encoder {
    form: Form,
    options: IpcWriteOptions,
    context: IpcWriteContext,
    dictionaries: DictionaryTracker,
}

impl Encoder {
    pub(super) fn new(form: Form) -> Result<Self, Failure> {
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(bug)?;
        Ok(Self {
            form,
            options,
            context: IpcWriteContext::default(),
            dictionaries: DictionaryTracker::new(false),
        })
    }

    /// Encodes at most [`MAX_ROWS`] rows.
    ///
    /// # Errors
    /// Rows that are not of this form: a defect of whatever made them.
    pub(super) fn encode(&mut self, chunk: &Chunk) -> Result<Encoded, Failure> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(chunk.rows.num_columns() + 1);
        for column in chunk.rows.columns() {
            columns.push(compact(column).map_err(bug)?);
        }
        let schema = match &chunk.kinds {
            Some(kinds) => {
                columns.push(Arc::new(kinds.clone()));
                &self.form.changes
            }
            None => &self.form.inserts,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(bug)?;
        let (_, data) = IpcDataGenerator::default()
            .encode(&rows, &mut self.dictionaries, &self.options, &mut self.context)
            .map_err(bug)?;
        Ok(Encoded { changes: chunk.kinds.is_some(), body: data.arrow_data, metadata: data.ipc_message })
    }
}

fn bug(error: ArrowError) -> Failure {
    Failure::new(FailureKind::Bug, format!("exchange: {error}"))
}

/// Whether columns of a type can be sent; what SQL's types are stored as all can.
fn travels(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Null | Boolean | Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView => true,
        FixedSizeBinary(width) => *width >= 0,
        List(inner) | LargeList(inner) => travels(inner.data_type()),
        FixedSizeList(inner, length) => *length >= 0 && travels(inner.data_type()),
        Struct(fields) => fields.iter().all(|f| travels(f.data_type())),
        other => other.is_primitive(),
    }
}

/// Whether a column has views anywhere.
fn has_views(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            has_views(inner.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|f| has_views(f.data_type())),
        _ => false,
    }
}

/// Lets views hold nothing but what they show: the rows that go one way out of many share their text with all
/// others, and IPC would send all of it each way.
fn compact(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_views(column.data_type()) {
        return Ok(column.clone());
    }
    Ok(match column.data_type() {
        DataType::Utf8View => compact_text(column.as_string_view(), column),
        DataType::BinaryView => compact_bytes(column.as_binary_view(), column),
        DataType::List(_) => compact_list(column.as_list::<i32>())?,
        DataType::LargeList(_) => compact_list(column.as_list::<i64>())?,
        DataType::FixedSizeList(field, length) => {
            let list = column.as_fixed_size_list();
            let values = compact(list.values())?;
            let nulls = list.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(
                field.clone(),
                *length,
                values,
                nulls,
                list.len(),
            )?)
        }
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let columns = parts.columns().iter().map(compact).collect::<Result<Vec<_>, _>>()?;
            let nulls = parts.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, parts.len())?)
        }
        _ => column.clone(),
    })
}

fn compact_list<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<ArrayRef, ArrowError> {
    let field = match list.data_type() {
        DataType::List(field) | DataType::LargeList(field) => field.clone(),
        other => return Err(ArrowError::InvalidArgumentError(format!("{other} is not a list"))),
    };
    let values = compact(list.values())?;
    Ok(Arc::new(GenericListArray::try_new(field, list.offsets().clone(), values, list.nulls().cloned())?))
}

fn compact_text(views: &StringViewArray, column: &ArrayRef) -> ArrayRef {
    let held = views.data_buffers().iter().map(Buffer::len).sum();
    if wastes(views.total_buffer_bytes_used(), held) { Arc::new(views.gc()) } else { column.clone() }
}

fn compact_bytes(views: &BinaryViewArray, column: &ArrayRef) -> ArrayRef {
    let held = views.data_buffers().iter().map(Buffer::len).sum();
    if wastes(views.total_buffer_bytes_used(), held) { Arc::new(views.gc()) } else { column.clone() }
}

/// Whether copying the text of views beforehand is worth it: it is copied once more in any case.
fn wastes(used: usize, held: usize) -> bool {
    held > used + used / 4
}

/// The metadata of a batch that came in, as far as it was checked.
struct Layout<'a> {
    rows: usize,
    body: usize,
    nodes: Box<dyn Iterator<Item = (i64, i64)> + 'a>,
    buffers: Box<dyn Iterator<Item = (i64, i64)> + 'a>,
    views: Box<dyn Iterator<Item = i64> + 'a>,
}

impl<'a> Layout<'a> {
    fn of(batch: &arrow_ipc::RecordBatch<'a>, body: usize) -> Result<Self, Malformed> {
        let absent = Malformed("rows without columns");
        let (nodes, buffers) = (batch.nodes().ok_or(absent)?, batch.buffers().ok_or(absent)?);
        let rows = usize::try_from(batch.length()).ok().filter(|rows| *rows <= MAX_ROWS);
        Ok(Self {
            rows: rows.ok_or(Malformed("more rows than a frame may have"))?,
            body,
            nodes: Box::new(nodes.iter().map(|n| (n.length(), n.null_count()))),
            buffers: Box::new(buffers.iter().map(|b| (b.offset(), b.length()))),
            views: Box::new(batch.variadicBufferCounts().into_iter().flatten()),
        })
    }

    /// Follows the columns of a schema as Arrow's reader will.
    fn check(mut self, schema: &Schema) -> Result<(), Malformed> {
        let rows = self.rows;
        for field in schema.fields() {
            self.column(field.data_type(), Some(rows))?;
        }
        let over =
            self.nodes.next().is_none() && self.buffers.next().is_none() && self.views.next().is_none();
        if over { Ok(()) } else { Err(Malformed("rows with more columns than planned")) }
    }

    /// `expected`: how many values, where that is known.
    fn column(&mut self, data_type: &DataType, expected: Option<usize>) -> Result<(), Malformed> {
        let (length, nulls) = self.nodes.next().ok_or(Malformed("rows with fewer columns than planned"))?;
        let count = |n: i64, most: usize| usize::try_from(n).ok().filter(|n| *n <= most);
        let wrong = Malformed("a column of a length that can't be");
        let length = count(length, MAX_NESTED).ok_or(wrong)?;
        let nulls = count(nulls, length).ok_or(wrong)?;
        if expected.is_some_and(|expected| expected != length) {
            return Err(wrong);
        }
        if *data_type == DataType::Null {
            return if nulls == length { Ok(()) } else { Err(wrong) };
        }
        let validity = self.buffer(1)?;
        if nulls > 0 && validity < length.div_ceil(8) {
            return Err(Malformed("a column with too few bits of validity"));
        }
        match data_type {
            DataType::Utf8 | DataType::Binary => {
                self.buffer(size_of::<i32>())?;
                self.buffer(1)?;
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                self.buffer(size_of::<i64>())?;
                self.buffer(1)?;
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.buffer(size_of::<u128>())?;
                let views = self.views.next().ok_or(Malformed("views without a count of buffers"))?;
                if views < 0 {
                    return Err(Malformed("fewer buffers of views than none"));
                }
                // Ends with the buffers, however many were said to be there.
                for _ in 0..views {
                    self.buffer(1)?;
                }
            }
            DataType::List(inner) => {
                self.buffer(size_of::<i32>())?;
                self.column(inner.data_type(), None)?;
            }
            DataType::LargeList(inner) => {
                self.buffer(size_of::<i64>())?;
                self.column(inner.data_type(), None)?;
            }
            DataType::FixedSizeList(inner, width) => {
                let values = usize::try_from(*width).ok().and_then(|width| width.checked_mul(length));
                self.column(inner.data_type(), Some(values.ok_or(wrong)?))?;
            }
            DataType::Struct(fields) => {
                for field in fields {
                    self.column(field.data_type(), Some(length))?;
                }
            }
            // `travels` lets nothing else through but numbers and the like.
            other => {
                self.buffer(other.primitive_width().unwrap_or(1))?;
            }
        }
        Ok(())
    }

    /// The length of the next buffer, which lies within the body and has whole values of a width.
    fn buffer(&mut self, width: usize) -> Result<usize, Malformed> {
        let (offset, length) = self.buffers.next().ok_or(Malformed("rows with too few buffers"))?;
        let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else {
            return Err(Malformed("a buffer before the body"));
        };
        match offset.checked_add(length) {
            Some(_) if !length.is_multiple_of(width) => Err(Malformed("a buffer that ends within a value")),
            Some(end) if end <= self.body => Ok(length),
            _ => Err(Malformed("a buffer beyond the body")),
        }
    }
}

#[cfg(test)]
mod tests;
