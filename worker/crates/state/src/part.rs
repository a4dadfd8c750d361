//! Rows on their way into a checkpoint: copied as they lie in the table on its slot's thread, made columns elsewhere.

use std::sync::Arc;

use arrow_array::types::{UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, Int64Array, NullArray, PrimitiveArray, RecordBatch, UInt8Array,
    UInt64Array, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use crate::key::{DecodedKeys, KeyLayout, array_of_words, long_handle, to_words, var_array};
use crate::slab::{self, Slab};
use crate::stored::{GONE, SLICE_GONE, THERE, part_rows, same_field, stored_schema};
use crate::{StateError, TableSpec};

/// How the rows of a table lie in memory, and how they are stored.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) layout: KeyLayout,
    /// Words that follow those of the key.
    words: usize,
    /// Values of varying length, whose handles follow.
    vars: Vec<DataType>,
    /// Whether rows belong to slices.
    sliced: bool,
    /// The columns as they are stored, unless they are narrowed.
    pub(crate) stored: SchemaRef,
}

impl Form {
    /// # Errors
    /// A type that can't be a key.
    pub(crate) fn new(spec: &TableSpec, sliced: bool) -> Result<Self, StateError> {
        Ok(Self {
            layout: KeyLayout::new(&spec.keys)?,
            words: spec.words.len(),
            vars: spec.vars.clone(),
            sliced,
            stored: stored_schema(&spec.info(), sliced, &spec.keys, spec.words.len(), &spec.vars),
        })
    }

    /// Whether all of a row is in its words.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.layout, KeyLayout::Word(_)) && self.vars.is_empty()
    }
}

/// Rows of a table as they were at a barrier, taken out on the slot's thread and encoded elsewhere.
#[derive(Debug)]
pub struct Part {
    pub(crate) form: Arc<Form>,
    /// Whether this is the first part of a base: what came before it no longer counts.
    pub starts_base: bool,
    /// Slices that went away with all their rows.
    pub(crate) slices_gone: Vec<i64>,
    /// Rows, each piece of one slice if the table has slices.
    pub(crate) pieces: Vec<(i64, Gathered)>,
}

impl Part {
    /// How many rows, with those that say that something is gone.
    pub fn rows(&self) -> usize {
        self.slices_gone.len() + self.pieces.iter().map(|(_, rows)| rows.len()).sum::<usize>()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.slices_gone.len() * 8 + self.pieces.iter().map(|(_, rows)| rows.bytes()).sum::<usize>()
    }
}

/// Whole rows one after the other, with what is not in their words.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Words of a row.
    stride: usize,
    words: Vec<u64>,
    len: usize,
    /// Positions of rows that are gone.
    gone: Vec<u32>,
    /// Position of the row of the NULL key.
    null_key: Option<usize>,
    /// The words of more rows, which follow.
    columns: Columns,
    /// Once the rows are complete: long keys and values of varying length, to which their handles then lead.
    long: Vec<u8>,
}

impl Gathered {
    /// For rows of so many words each.
    pub(crate) fn new(stride: usize) -> Self {
        Self { stride, ..Self::default() }
    }

    /// Makes room for so many more rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.words.reserve_exact(rows * self.stride);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * 8 + self.columns.bytes() + self.gone.capacity() * 4 + self.long.capacity()
    }

    /// Adds so many rows that lie one after the other.
    #[inline]
    pub(crate) fn extend(&mut self, rows: &[u64], count: usize) {
        self.words.extend_from_slice(rows);
        self.len += count;
    }

    /// Adds those `count` rows whose bits are set, as the last ones, word by word: in 32 bits each unless they are
    /// `wide`, which it finds out. Whether it could: rows must be short.
    pub(crate) fn extend_masked(
        &mut self,
        rows: &[u64],
        masks: &[u64],
        count: usize,
        wide: &mut bool,
    ) -> bool {
        self.columns = match self.stride {
            1 => columns::<1>(rows, masks, count, wide),
            2 => columns::<2>(rows, masks, count, wide),
            3 => columns::<3>(rows, masks, count, wide),
            4 => columns::<4>(rows, masks, count, wide),
            _ => return false,
        };
        self.len += count;
        true
    }

    /// The row that was added as number `at` is gone.
    pub(crate) fn set_gone(&mut self, at: usize) {
        self.gone.push(at as u32);
    }

    /// The row that was added as number `at` is that of the NULL key.
    pub(crate) fn set_null_key(&mut self, at: usize) {
        self.null_key = Some(at);
    }

    /// Copies what the handles of all rows lead to.
    pub(crate) fn complete(&mut self, form: &Form, slab: &Slab) {
        if self.len == 0 || form.is_fixed() {
            return;
        }
        let encoded = matches!(form.layout, KeyLayout::Encoded(_));
        let vars = form.layout.words() + form.words;
        for row in self.words.chunks_exact_mut(self.stride) {
            if encoded && let Some(handle) = long_handle(row) {
                row[1] = slab::append(&mut self.long, slab.get(handle));
            }
            for handle in row[vars..].iter_mut().take(form.vars.len()).filter(|handle| **handle != 0) {
                *handle = slab::append(&mut self.long, slab.get(*handle));
            }
        }
    }

    /// The rows that have long keys or values of varying length, all of which count.
    fn rows(&self) -> std::slice::ChunksExact<'_, u64> {
        self.words.chunks_exact(self.stride.max(1))
    }

    /// The bits of a word of all rows.
    fn bits(&self, at: usize) -> BitsOf {
        let bits = BitsOf::of(self.rows().map(|row| row[at]));
        let (same, any) = match &self.columns {
            Columns::None => return bits,
            Columns::Half(columns) => (same(&columns.words[at]).map(u64::from), columns.any[at]),
            Columns::Whole(columns) => (same(&columns.words[at]), columns.any[at]),
        };
        bits.and(same.map_or(BitsOf { any, all: 0 }, BitsOf::same))
    }

    /// Adds a word of each row to `values`.
    fn column<T>(&self, at: usize, value: impl Fn(u64) -> T, values: &mut Vec<T>) {
        values.extend(self.rows().map(|row| value(row[at])));
        match &self.columns {
            Columns::None => {}
            Columns::Half(columns) => {
                values.extend(columns.words[at].iter().map(|word| value((*word).into())))
            }
            Columns::Whole(columns) => values.extend(columns.words[at].iter().map(|word| value(*word))),
        }
    }
}

/// Words of rows, those of one place together.
#[derive(Debug, Default)]
enum Columns {
    #[default]
    None,
    Half(WordsOf<u32>),
    Whole(WordsOf<u64>),
}

#[derive(Debug)]
struct WordsOf<T> {
    words: Vec<Vec<T>>,
    /// For each place the bits that any word has, or more.
    any: Vec<u64>,
}

impl Columns {
    fn bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Half(columns) => columns.bytes(),
            Self::Whole(columns) => columns.bytes(),
        }
    }
}

impl<T> WordsOf<T> {
    fn bytes(&self) -> usize {
        self.words.iter().map(|words| words.capacity() * size_of::<T>()).sum()
    }
}

/// The word that all are equal to.
fn same<T: Copy + PartialEq>(words: &[T]) -> Option<T> {
    let (first, others) = words.split_first()?;
    others.iter().all(|word| word == first).then_some(*first)
}

/// Of a word of a mask.
const BITS: usize = u64::BITS as usize;

/// See [`Gathered::extend_masked`].
fn columns<const STRIDE: usize>(rows: &[u64], masks: &[u64], count: usize, wide: &mut bool) -> Columns {
    if !*wide {
        let half = transpose::<u32, STRIDE>(rows, masks, count, |word| word as u32);
        if half.any.iter().all(|any| u32::try_from(*any).is_ok()) {
            return Columns::Half(half);
        }
        *wide = true;
    }
    Columns::Whole(transpose::<u64, STRIDE>(rows, masks, count, |word| word))
}

/// The words of those `count` rows whose bits are set.
fn transpose<T: Copy + Default, const STRIDE: usize>(
    rows: &[u64],
    masks: &[u64],
    count: usize,
    value: impl Fn(u64) -> T,
) -> WordsOf<T> {
    let mut words: [Vec<T>; STRIDE] = std::array::from_fn(|_| Vec::with_capacity(count));
    let (mut some, mut any) = ([[T::default(); BITS]; STRIDE], [0; STRIDE]);
    for (rows, mask) in rows.as_chunks::<STRIDE>().0.chunks(BITS).zip(masks) {
        let mut at = 0;
        for (row, bit) in rows.iter().zip(0..) {
            // No branch for each row: bits of no order can't be foreseen.
            for ((column, any), word) in some.iter_mut().zip(&mut any).zip(row) {
                column[at % BITS] = value(*word);
                *any |= word;
            }
            at += (mask >> bit & 1) as usize;
        }
        words.iter_mut().zip(&some).for_each(|(words, some)| words.extend_from_slice(&some[..at]));
    }
    WordsOf { words: words.into(), any: any.into() }
}

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
struct BitsOf {
    /// Those that any value has.
    any: u64,
    /// Those that all of them have.
    all: u64,
}

impl BitsOf {
    /// Of no values.
    const NONE: Self = Self { any: 0, all: u64::MAX };
    /// Of values that have to stay as they are.
    const KEEP: Self = Self { any: u64::MAX, all: 0 };

    fn of(words: impl Iterator<Item = u64>) -> Self {
        words.fold(Self::NONE, |bits, word| Self { any: bits.any | word, all: bits.all & word })
    }

    /// Of one value that is everywhere.
    fn same(value: u64) -> Self {
        Self { any: value, all: value }
    }

    /// Together with NULL, which is no value that all rows could have.
    fn or_null(self, nulls: Option<&NullBuffer>) -> Self {
        if nulls.is_some() { Self { any: self.any | 1, all: 0 } } else { self }
    }

    fn and(self, other: Self) -> Self {
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
/// and one value that all rows have is stored once. The less is left to compress, which is most of the work.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_count_are_left_out_whatever_their_length() {
        let masks: [u64; 3] = [0xf0f0_1234_8000_0001, u64::MAX, 0b101];
        let count = masks.iter().map(|mask| mask.count_ones() as usize).sum();
        for (stride, first) in (1..=4).flat_map(|stride| [(stride, 0), (stride, u64::from(u32::MAX) - 100)]) {
            // The last word of bits is of fewer rows.
            let rows: Vec<u64> = (first..).take((128 + 5) * stride).collect();
            let mut gathered = Gathered::new(stride);
            let before = vec![7; 2 * stride];
            gathered.extend(&before, 2);
            let mut wide = false;
            assert!(gathered.extend_masked(&rows, &masks, count, &mut wide));
            assert_eq!(wide, first > 0);
            let counts = |at: usize| masks[at / 64] >> (at % 64) & 1 == 1;
            let kept = rows.chunks(stride).enumerate().filter(|(at, _)| counts(*at)).map(|(_, row)| row);
            let expected: Vec<&[u64]> = before.chunks(stride).chain(kept).collect();
            assert_eq!(gathered.len(), expected.len(), "{stride}");
            for at in 0..stride {
                let mut values = Vec::new();
                gathered.column(at, |word| word, &mut values);
                assert!(values.into_iter().eq(expected.iter().map(|row| row[at])), "word {at} of {stride}");
            }
        }
    }
}
