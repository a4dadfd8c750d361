//! The stored form of a part of a table: a small header with a checksum, then an Arrow IPC stream, compressed with
//! lz4 where that makes it smaller.
//!
//! ```text
//! "WEIRSTB" version(1 byte, now 2)  flags(1: bit 0 starts a base)  xxh3-64 of flags and body (8, little endian)  body
//! ```
//! The name and the schema text of the table are metadata of the stream's schema. A column of 64 bits is
//! stored as one of 8, 16 or 32 (`UInt8`, `UInt16`, `UInt32`) if all its values fit. Of a column of up to 64 bits that
//! has one value in all rows only that is stored, in decimal as metadata of a field without values (`Null`).

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::Buffer;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamEncoder};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use weir_protocol::StateTableInfo;
use xxhash_rust::xxh3::Xxh3;

use crate::columns::batches_of;
use crate::key::{array_of_words, to_words, word_width};
use crate::{Part, StateError};

const MAGIC: &[u8; 8] = b"WEIRSTB\x02";
/// Had a column of values for each of the schema.
const OLDEST_VERSION: u8 = 1;
const HEADER: usize = MAGIC.len() + 1 + 8;
const STARTS_BASE: u8 = 1;
const TABLE: &str = "weir.table";
const SCHEMA: &str = "weir.schema";
const SAME: &str = "weir.same";

/// More rows than a part ever has. Where values are stored once, nothing else bounds what a block claims.
const MOST_ROWS: usize = 1 << 24;
/// Rows that tell whether a block is worth compressing.
const SAMPLE_ROWS: usize = 1024;
/// Bytes below which a piece of a block is copied: it would take as long to go its own way.
const SMALL: usize = 4096;

/// What a stored row says: it is there.
pub(crate) const THERE: u8 = 0;
/// What a stored row says: its key is gone.
pub(crate) const GONE: u8 = 1;
/// What a stored row says: its slice is gone, with all keys.
pub(crate) const SLICE_GONE: u8 = 2;

/// The columns of parts: `#slice` for sliced tables, `#gone`, then keys, words and values of varying
/// length.
pub(crate) fn stored_schema(
    info: &StateTableInfo,
    sliced: bool,
    keys: &[DataType],
    words: usize,
    vars: &[DataType],
) -> SchemaRef {
    let mut fields = Vec::new();
    if sliced {
        fields.push(Field::new("#slice", DataType::Int64, false));
    }
    fields.push(Field::new("#gone", DataType::UInt8, false));
    let columns = |prefix: &'static str, types: &[DataType]| {
        let named = |(i, t): (usize, &DataType)| Field::new(format!("{prefix}{i}"), t.clone(), true);
        types.iter().enumerate().map(named).collect::<Vec<_>>()
    };
    fields.extend(columns("key", keys));
    fields.extend((0..words).map(|i| Field::new(format!("word{i}"), DataType::UInt64, false)));
    fields.extend(columns("value", vars));
    let metadata =
        HashMap::from([(TABLE.to_owned(), info.name.clone()), (SCHEMA.to_owned(), info.schema.clone())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Encodes parts of one table, as they come after each other, as a block; meant for a background thread. The block
/// comes in pieces, many of which are memory of the parts.
///
/// # Errors
/// No parts, or rows that Arrow IPC cannot express: a defect of the table.
pub fn encode_parts(parts: &[Part]) -> Result<Vec<Bytes>, StateError> {
    let [first, ..] = parts else {
        return Err(StateError::Block {
            table: String::new(),
            reason: "there are no rows to encode".to_owned(),
        });
    };
    let table = first.form.stored.metadata().get(TABLE).cloned().unwrap_or_default();
    let fail = |e: ArrowError| StateError::Block { table: table.clone(), reason: e.to_string() };
    let (form, flags) = (first.form.clone(), if first.starts_base { STARTS_BASE } else { 0 });
    let (schema, batches) = batches_of(&form, parts).map_err(fail)?;
    let compression = compresses(&schema, &batches).map_err(fail)?.then_some(CompressionType::LZ4_FRAME);
    let body = stream(&schema, &batches, compression).map_err(fail)?;
    Ok(block(flags, body))
}

/// A block with this body.
fn block(flags: u8, body: Vec<Buffer>) -> Vec<Bytes> {
    let mut block = Pieces { done: Vec::new(), last: MAGIC.to_vec() };
    block.last.push(flags);
    block.last.extend_from_slice(&checksum(flags, body.iter().map(Buffer::as_slice)).to_le_bytes());
    body.into_iter().for_each(|buffer| block.push(buffer));
    block.finish()
}

/// A block in the making. What is small is copied together.
struct Pieces {
    done: Vec<Bytes>,
    last: Vec<u8>,
}

/// Memory of Arrow.
struct Shared(Buffer);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Pieces {
    fn push(&mut self, buffer: Buffer) {
        if buffer.len() < SMALL {
            self.last.extend_from_slice(&buffer);
            return;
        }
        self.end();
        // Compressing takes more memory than it needs in the end, which would wait with it for the store.
        let tight = buffer.capacity() <= buffer.len() + buffer.len() / 8;
        self.done.push(if tight {
            Bytes::from_owner(Shared(buffer))
        } else {
            Bytes::copy_from_slice(&buffer)
        });
    }

    fn end(&mut self) {
        if !self.last.is_empty() {
            self.done.push(Bytes::copy_from_slice(&self.last));
            self.last.clear();
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.end();
        self.done
    }
}

/// Whether compressing makes rows smaller by an eighth or more, judged by the first of them: keys of no order in
/// narrow columns are as small as they get, and trying takes a good part of the time.
fn compresses(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<bool, ArrowError> {
    let Some(first) = batches.iter().find(|rows| rows.num_rows() > 0) else { return Ok(false) };
    let sample = [first.slice(0, first.num_rows().min(SAMPLE_ROWS))];
    let bytes = |compression| {
        stream(schema, &sample, compression).map(|buffers| buffers.iter().map(Buffer::len).sum::<usize>())
    };
    Ok(bytes(Some(CompressionType::LZ4_FRAME))? * 8 <= bytes(None)? * 7)
}

/// Batches as an Arrow IPC stream. Without compression the columns are in it as they are.
fn stream(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    compression: Option<CompressionType>,
) -> Result<Vec<Buffer>, ArrowError> {
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    let mut encoder = StreamEncoder::try_new_with_options(schema, options)?;
    let mut buffers = Vec::new();
    for rows in batches {
        buffers.extend(encoder.encode(rows)?);
    }
    buffers.extend(encoder.finish()?);
    Ok(buffers)
}

/// What stands for a column of one value.
pub(crate) fn same_field(field: &Field, value: u64) -> Field {
    let metadata = HashMap::from([(SAME.to_owned(), value.to_string())]);
    Field::new(field.name(), DataType::Null, true).with_metadata(metadata)
}

/// The value of a column that has but one.
fn same_of(stored: &Field) -> Option<u64> {
    stored.metadata().get(SAME)?.parse().ok()
}

/// A column as it is expected, if it was narrowed.
fn widened(column: &ArrayRef, stored: &Field, expected: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == expected {
        return Ok(column.clone());
    }
    match same_of(stored) {
        Some(_) if column.len() > MOST_ROWS => {
            Err(ArrowError::IpcError(format!("{} rows are more than a batch can have", column.len())))
        }
        Some(value) => array_of_words(expected, vec![value; column.len()], None),
        None => array_of_words(expected, to_words(column.as_ref()), column.nulls().cloned()),
    }
}

/// Whether columns of one kind can be had from those of the other.
fn widens(stored: &Field, expected: &Field) -> bool {
    let wide = expected.data_type().primitive_width() == Some(size_of::<u64>());
    let same = same_of(stored).is_some_and(|value| *stored == same_field(expected, value));
    let narrow = matches!(stored.data_type(), DataType::UInt8 | DataType::UInt16 | DataType::UInt32);
    stored == expected
        || word_width(expected.data_type()).is_some() && same
        || wide && narrow && *stored == expected.clone().with_data_type(stored.data_type().clone())
}

fn checksum<'a>(flags: u8, body: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[flags]);
    body.into_iter().for_each(|piece| hasher.update(piece));
    hasher.digest()
}

/// Whether a block starts a base: blocks before it no longer count.
///
/// # Errors
/// A block that is damaged or none.
pub fn starts_base(block: &[u8]) -> Result<bool, StateError> {
    check(block, "").map(|flags| flags & STARTS_BASE != 0)
}

fn check(block: &[u8], table: &str) -> Result<u8, StateError> {
    let fail = |reason: String| Err(StateError::Block { table: table.to_owned(), reason });
    if block.len() < HEADER || block[..MAGIC.len() - 1] != MAGIC[..MAGIC.len() - 1] {
        return fail("this is not a block of state".to_owned());
    }
    let (version, newest) = (block[MAGIC.len() - 1], MAGIC[MAGIC.len() - 1]);
    if !(OLDEST_VERSION..=newest).contains(&version) {
        return fail(format!(
            "its stored form is version {version}, this program reads {OLDEST_VERSION} to {newest}"
        ));
    }
    if checksum(block[MAGIC.len()], [&block[HEADER..]]).to_le_bytes() != block[MAGIC.len() + 1..HEADER] {
        return fail("its checksum does not match: it is damaged".to_owned());
    }
    match block[MAGIC.len()] {
        flags if flags <= STARTS_BASE => Ok(flags),
        flags => fail(format!("it has flags that this program does not know: {flags:#x}")),
    }
}

/// Decodes a block of the table with this schema of parts.
///
/// # Errors
/// A block that is damaged, or of another table or stored form.
pub(crate) fn decode_block(block: &[u8], expected: &SchemaRef) -> Result<Vec<RecordBatch>, StateError> {
    let table = expected.metadata().get(TABLE).cloned().unwrap_or_default();
    check(block, &table)?;
    let fail = |e: ArrowError| StateError::Block { table: table.clone(), reason: e.to_string() };
    let reader = StreamReader::try_new(Cursor::new(&block[HEADER..]), None).map_err(fail)?;
    let schema = reader.schema();
    for key in [TABLE, SCHEMA] {
        let (ours, theirs) = (expected.metadata().get(key), schema.metadata().get(key));
        if ours != theirs {
            let text = |t: Option<&String>| t.cloned().unwrap_or_default();
            let reason = format!("it holds {:?}, the job declares {:?}", text(theirs), text(ours));
            return Err(StateError::Block { table, reason });
        }
    }
    let (stored, fields) = (schema.fields(), expected.fields());
    if stored.len() != fields.len() || !stored.iter().zip(fields).all(|(s, e)| widens(s, e)) {
        let reason =
            format!("it has the columns {:?}, expected are {:?}", schema.fields(), expected.fields());
        return Err(StateError::Block { table, reason });
    }
    let batches = reader.map(|batch| {
        let batch = batch?;
        let columns = batch.columns().iter().zip(stored.iter().zip(fields));
        let columns = columns.map(|(column, (stored, e))| widened(column, stored, e.data_type()));
        part_rows(expected, columns.collect::<Result<_, _>>()?, batch.num_rows())
    });
    batches.collect::<Result<_, _>>().map_err(fail)
}

/// Rows of a part from their columns.
pub(crate) fn part_rows(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        BooleanArray, Date32Array, Float64Array, Int8Array, Int32Array, Int64Array, NullArray,
    };
    use weir_protocol::KeyGroupRange;

    use super::*;
    use crate::part::Form;
    use crate::{KeyedTable, Keys, StateTable, TableSpec};

    fn spec(key: DataType) -> TableSpec {
        TableSpec {
            name: "t".to_owned(),
            keys: vec![key],
            ungrouped: 0,
            words: vec![0],
            vars: Vec::new(),
            meaning: "test".to_owned(),
        }
    }

    fn table(key: DataType) -> KeyedTable {
        KeyedTable::new(spec(key), 1).expect("can be keys")
    }

    #[test]
    fn columns_are_as_narrow_as_their_values_and_come_back_as_they_were() {
        let narrow = [(255, DataType::UInt8), (256, DataType::UInt16), (65_535, DataType::UInt16)];
        let wider = [(65_536, DataType::UInt32), (4_294_967_295, DataType::UInt32)];
        let whole = [4_294_967_296, -1, i64::MIN].map(|last| (last, DataType::Int64));
        for (last, expected) in narrow.into_iter().chain(wider).chain(whole) {
            let all: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(7), Some(0), Some(last)]));
            let mut keys = Keys::new(&[DataType::Int64]).expect("can be keys");
            keys.fill(&[all], 5).expect("is declared");
            let part = |range: std::ops::Range<usize>| {
                let mut source = table(DataType::Int64);
                let mut write = |at: usize, _: u32, row: &mut [u64]| {
                    row[0] = (range.start + at) as u64 * 1_000;
                };
                source.visit_keys(&keys, range.clone(), &mut Vec::new(), &mut write);
                source.freeze(true);
                source.sweep(9).expect("rows")
            };
            // How narrow they are is a matter of all parts.
            let block = encode_parts(&[part(0..3), part(3..5)]).expect("encodes").concat();
            let stored =
                StreamReader::try_new(Cursor::new(&block[HEADER..]), None).expect("is a stream").schema();
            let types: Vec<_> = stored.fields().iter().map(|f| f.data_type().clone()).collect();
            assert_eq!(types, [DataType::Null, expected, DataType::UInt16], "{last}");
            let mut back = table(DataType::Int64);
            back.restore(&block, KeyGroupRange::all(1)).expect("decodes");
            let found = (0..5).map(|at| back.find(&keys, at).map(|id| back.row(id)[0]));
            assert!(found.eq([0, 1_000, 2_000, 3_000, 4_000].map(Some)), "{last}");
            let error = table(DataType::Utf8).restore(&block, KeyGroupRange::all(1)).expect_err("are others");
            assert!(error.to_string().contains("\"t\""), "{error}");
        }
    }

    #[test]
    fn one_value_in_all_rows_is_stored_once_and_comes_back_in_its_type() {
        let columns: [ArrayRef; 6] = [
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(Int8Array::from(vec![-3])),
            Arc::new(Int32Array::from(vec![i32::MIN])),
            Arc::new(Date32Array::from(vec![-1])),
            Arc::new(Float64Array::from(vec![-0.5])),
            Arc::new(Int64Array::from(vec![i64::MIN])),
        ];
        for key in columns {
            let key_type = key.data_type().clone();
            let null = arrow_array::new_null_array(&key_type, 1);
            for (key, stored) in [(key, DataType::Null), (null, key_type.clone())] {
                let mut keys = Keys::new(std::slice::from_ref(&key_type)).expect("can be keys");
                keys.fill(&[key], 1).expect("is declared");
                let mut source = table(key_type.clone());
                source.visit_keys(&keys, 0..1, &mut Vec::new(), &mut |_: usize, _: u32, row: &mut [u64]| {
                    row[0] = 17;
                });
                source.freeze(true);
                let block = encode_parts(&[source.sweep(9).expect("rows")]).expect("encodes").concat();
                let schema =
                    StreamReader::try_new(Cursor::new(&block[HEADER..]), None).expect("is a stream").schema();
                let narrow = if stored.primitive_width() == Some(8) { DataType::UInt8 } else { stored };
                assert_eq!(*schema.field(1).data_type(), narrow, "{key_type}");
                let mut back = table(key_type.clone());
                back.restore(&block, KeyGroupRange::all(1)).expect("decodes");
                assert_eq!(back.find(&keys, 0).map(|id| back.row(id)[0]), Some(17), "{key_type}");
            }
        }
    }

    #[test]
    fn blocks_of_earlier_versions_are_read_and_those_of_later_ones_refused() {
        let mut keys = Keys::new(&[DataType::Int64]).expect("can be keys");
        keys.fill(&[Arc::new(Int64Array::from(vec![1, 2]))], 2).expect("is declared");
        let mut source = table(DataType::Int64);
        source.visit_keys(&keys, 0..2, &mut Vec::new(), &mut |at: usize, _: u32, row: &mut [u64]| {
            row[0] = at as u64;
        });
        source.freeze(true);
        let mut block = encode_parts(&[source.sweep(9).expect("rows")]).expect("encodes").concat();
        for (version, read) in [(0, false), (1, true), (2, true), (3, false)] {
            block[MAGIC.len() - 1] = version;
            let done = table(DataType::Int64).restore(&block, KeyGroupRange::all(1));
            match done {
                Ok(()) => assert!(read, "{version}"),
                Err(e) => {
                    assert!(!read && e.to_string().contains("this program reads 1 to 2"), "{version}: {e}");
                }
            }
        }
    }

    #[test]
    fn a_block_that_claims_more_rows_than_there_can_be_is_refused() {
        let expected = &Form::new(&spec(DataType::Int64), false).expect("can be keys").stored;
        let fields: Vec<Field> = expected.fields().iter().map(|f| same_field(f, 1)).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, expected.metadata().clone()));
        let rows = MOST_ROWS + 1;
        let nulls = schema.fields().iter().map(|_| Arc::new(NullArray::new(rows)) as ArrayRef).collect();
        let batch = part_rows(&schema, nulls, rows).expect("are rows");
        let block = block(0, stream(&schema, &[batch], None).expect("is written")).concat();
        let error = decode_block(&block, expected).expect_err("are too many");
        assert!(error.to_string().contains("16777217 rows are more than a batch can have"), "{error}");
    }
}
