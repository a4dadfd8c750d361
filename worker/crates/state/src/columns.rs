//! The columns in which the rows of parts are stored, as narrow as their values.

use std::sync::Arc;

use arrow_array::types::{UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, Int64Array, NullArray, PrimitiveArray, RecordBatch, UInt8Array,
    UInt64Array, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::Part;
use crate::key::{DecodedKeys, KeyLayout, array_of_bytes, array_of_words, to_words, var_array};
use crate::part::{Form, Gathered};
use crate::slab;
use crate::stored::{GONE, SLICE_GONE, THERE, part_rows, same_field};

/// A column of some rows, before it is known how narrow it can be.
enum Column<'a> {
    /// One value of up to 64 bits that all rows have.
    Same(u64),
    /// A word of each row of these pieces, and which of them are NULL.
    Word(&'a [(i64, Gathered)], usize, Option<NullBuffer>),
    Array(ArrayRef),
}

/// The bits of the values of a column.
#[derive(Clone, Copy)]
pub(crate) struct BitsOf {
    /// Those that any value has.
    pub(crate) any: u64,
    /// Those that all of them have.
    pub(crate) all: u64,
}

impl BitsOf {
    /// Of no values.
    const NONE: Self = Self { any: 0, all: u64::MAX };
    /// Of values that have to stay as they are.
    const KEEP: Self = Self { any: u64::MAX, all: 0 };

    pub(crate) fn of(words: impl Iterator<Item = u64>) -> Self {
        words.fold(Self::NONE, |bits, word| Self { any: bits.any | word, all: bits.all & word })
    }

    /// Of one value that is everywhere.
    pub(crate) fn same(value: u64) -> Self {
        Self { any: value, all: value }
    }

    /// Together with NULL, which is no value that all rows could have.
    fn or_null(self, nulls: Option<&NullBuffer>) -> Self {
        if nulls.is_some() { Self { any: self.any | 1, all: 0 } } else { self }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { any: self.any | other.any, all: self.all & other.all }
    }

    /// The field for a column of such values.
    fn narrow(self, field: &Field) -> Field {
        let wide = field.data_type().primitive_width() == Some(size_of::<u64>());
        match self.any.leading_zeros() {
            _ if self.any == self.all => same_field(field, self.all),
            56.. if wide => field.clone().with_data_type(DataType::UInt8),
            48..56 if wide => field.clone().with_data_type(DataType::UInt16),
            32..48 if wide => field.clone().with_data_type(DataType::UInt32),
            _ => field.clone(),
        }
    }
}

impl Column<'_> {
    fn bits(&self) -> BitsOf {
        match self {
            Self::Same(value) => BitsOf::same(*value),
            Self::Word(pieces, at, nulls) => {
                let bits = pieces.iter().fold(BitsOf::NONE, |bits, (_, rows)| bits.and(rows.bits(*at)));
                bits.or_null(nulls.as_ref())
            }
            Self::Array(array) if array.data_type().primitive_width() != Some(size_of::<u64>()) => {
                BitsOf::KEEP
            }
            Self::Array(array) => BitsOf::of(to_words(array.as_ref()).into_iter()).or_null(array.nulls()),
        }
    }

    /// The column for so many rows, as one of this type.
    fn array(self, data_type: &DataType, rows: usize) -> Result<ArrayRef, ArrowError> {
        if let Self::Word([(_, all)], at, nulls) = &self
            && let Some(values) = all.whole_column(*at, data_type.primitive_width().unwrap_or(0))
        {
            return array_of_bytes(data_type, rows, values, nulls.clone());
        }
        Ok(match (self, data_type) {
            (_, DataType::Null) => Arc::new(NullArray::new(rows)),
            (Self::Same(value), _) => array_of_words(data_type, vec![value; rows], None)?,
            (Self::Word(pieces, at, nulls), DataType::UInt8) => {
                narrow::<UInt8Type>(pieces, at, nulls, |word| word as u8)
            }
            (Self::Word(pieces, at, nulls), DataType::UInt16) => {
                narrow::<UInt16Type>(pieces, at, nulls, |word| word as u16)
            }
            (Self::Word(pieces, at, nulls), DataType::UInt32) => {
                narrow::<UInt32Type>(pieces, at, nulls, |word| word as u32)
            }
            (Self::Word(pieces, at, nulls), _) => {
                array_of_words(data_type, column(pieces, at, |word| word), nulls)?
            }
            (Self::Array(array), _) if array.data_type() == data_type => array,
            (Self::Array(array), _) => {
                array_of_words(data_type, to_words(array.as_ref()), array.nulls().cloned())?
            }
        })
    }
}

fn narrow<T: ArrowPrimitiveType>(
    pieces: &[(i64, Gathered)],
    at: usize,
    nulls: Option<NullBuffer>,
    value: impl Fn(u64) -> T::Native,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(column(pieces, at, value).into(), nulls))
}

/// A word of each row.
fn column<T>(pieces: &[(i64, Gathered)], at: usize, value: impl Fn(u64) -> T) -> Vec<T> {
    let mut values = Vec::with_capacity(pieces.iter().map(|(_, rows)| rows.len()).sum());
    pieces.iter().for_each(|(_, rows)| rows.column(at, &value, &mut values));
    values
}

/// The rows of parts of one table in its stored form: columns of 64 bits have as few bits as all their values fit into,
/// and one value that all rows have is stored once. The less is left to compress and to write.
pub(crate) fn batches_of(form: &Form, parts: &[Part]) -> Result<(SchemaRef, Vec<RecordBatch>), ArrowError> {
    let gone: Vec<i64> = parts.iter().flat_map(|part| part.slices_gone.iter().copied()).collect();
    let mut batches = Vec::with_capacity(parts.len() + 1);
    if !gone.is_empty() {
        // What there is of a slice of that name came later.
        batches.push((gone.len(), gone_slices(form, gone)));
    }
    for part in parts {
        let rows = part.pieces.iter().map(|(_, rows)| rows.len()).sum();
        batches.push((rows, columns_of(form, &part.pieces, rows)?));
    }
    let mut bits = vec![BitsOf::NONE; form.stored.fields().len()];
    for (_, columns) in &batches {
        bits.iter_mut().zip(columns).for_each(|(bits, column)| *bits = bits.and(column.bits()));
    }
    let fields: Vec<Field> =
        form.stored.fields().iter().zip(bits).map(|(field, bits)| bits.narrow(field)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, form.stored.metadata().clone()));
    let done = batches.into_iter().map(|(rows, columns)| {
        let arrays = columns.into_iter().zip(schema.fields()).map(|(c, f)| c.array(f.data_type(), rows));
        part_rows(&schema, arrays.collect::<Result<_, _>>()?, rows)
    });
    let done = done.collect::<Result<_, _>>()?;
    Ok((schema, done))
}

fn columns_of<'a>(
    form: &Form,
    pieces: &'a [(i64, Gathered)],
    count: usize,
) -> Result<Vec<Column<'a>>, ArrowError> {
    let mut columns = Vec::with_capacity(form.stored.fields().len());
    if form.sliced {
        columns.push(match pieces {
            [(first, _), others @ ..] if others.iter().all(|(slice, _)| slice == first) => {
                Column::Same(*first as u64)
            }
            _ => {
                let slices = pieces.iter().flat_map(|(slice, rows)| std::iter::repeat_n(*slice, rows.len()));
                Column::Array(Arc::new(Int64Array::from_iter_values(slices)))
            }
        });
    }
    columns.push(if pieces.iter().all(|(_, rows)| rows.gone.is_empty()) {
        Column::Same(THERE.into())
    } else {
        let mut said = Vec::with_capacity(count);
        for (_, rows) in pieces {
            let start = said.len();
            said.resize(start + rows.len(), THERE);
            rows.gone.iter().for_each(|at| said[start + *at as usize] = GONE);
        }
        Column::Array(Arc::new(UInt8Array::from(said)))
    });

    // Each slice has its own.
    let nulls = pieces.iter().any(|(_, rows)| rows.null_key.is_some()).then(|| {
        let valid = pieces.iter().flat_map(|(_, rows)| (0..rows.len()).map(|at| Some(at) != rows.null_key));
        NullBuffer::from_iter(valid)
    });
    match &form.layout {
        KeyLayout::Word(_) => columns.push(Column::Word(pieces, 0, nulls)),
        KeyLayout::Encoded(_) => {
            let mut keys = DecodedKeys::with_room(&form.layout, count);
            for (_, rows) in pieces {
                keys.extend(rows.rows(), |handle| slab::appended(&rows.long, handle));
            }
            columns.extend(keys.columns(nulls)?.into_iter().map(Column::Array));
        }
    }
    let from = form.layout.words();
    columns.extend((from..from + form.words).map(|at| Column::Word(pieces, at, None)));
    for (at, data_type) in (from + form.words..).zip(&form.vars) {
        let values: Vec<Option<&[u8]>> = pieces
            .iter()
            .flat_map(|(_, rows)| rows.rows().map(move |row| (rows, row[at])))
            .map(|(rows, handle)| (handle != 0).then(|| slab::appended(&rows.long, handle)))
            .collect();
        columns.push(Column::Array(var_array(data_type, &values)?));
    }
    Ok(columns)
}

/// Rows that say that slices are gone.
fn gone_slices(form: &Form, gone: Vec<i64>) -> Vec<Column<'static>> {
    let said = vec![SLICE_GONE; gone.len()];
    let others = form.stored.fields()[2..].iter().map(|field| match field.is_nullable() {
        true => new_null_array(field.data_type(), said.len()),
        false => Arc::new(UInt64Array::from(vec![0; said.len()])),
    });
    let others: Vec<ArrayRef> = others.collect();
    let names: [ArrayRef; 2] = [Arc::new(Int64Array::from(gone)), Arc::new(UInt8Array::from(said))];
    names.into_iter().chain(others).map(Column::Array).collect()
}
