//! Keys of a batch in the form in which tables keep them, and back.
//!
//! A single column of at most 64 bits (whole numbers, dates, times) is kept as its value. All other
//! keys are encoded to bytes; up to 23 of them lie in the row, longer ones in the table's slab.

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};

use crate::hash::{HASH_OF_NO_COLUMNS, VarColumn, hash_keys};
use crate::slab::Slab;
use crate::{StateError, can_be_key};

/// Words that an encoded key takes up in a row: a byte of length and 23 bytes, or for longer ones
/// length, place and hash.
pub(crate) const ENCODED: usize = 3;
const INLINE: usize = ENCODED * 8 - 1;
const LONG: u64 = 0xff;

/// How the keys of a table are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyLayout {
    Word(DataType),
    Encoded(Vec<DataType>),
}

impl KeyLayout {
    pub(crate) fn new(columns: &[DataType]) -> Result<Self, StateError> {
        if let Some(bad) = columns.iter().find(|c| !can_be_key(c)) {
            return Err(StateError::KeyType { data_type: bad.clone() });
        }
        Ok(match columns {
            [one] if word_width(one).is_some() && !one.is_floating() => Self::Word(one.clone()),
            _ => Self::Encoded(columns.to_vec()),
        })
    }

    pub(crate) fn words(&self) -> usize {
        match self {
            Self::Word(_) => 1,
            Self::Encoded(_) => ENCODED,
        }
    }
}

/// The keys of a batch, hashed and encoded once, whatever tables they are then looked up in.
#[derive(Debug)]
pub struct Keys {
    layout: KeyLayout,
    pub(crate) hashes: Vec<u64>,
    pub(crate) words: Vec<u64>,
    pub(crate) nulls: Option<NullBuffer>,
    pub(crate) long: Vec<u8>,
    scratch: Vec<u8>,
}

impl Keys {
    /// Room for keys of these columns.
    ///
    /// # Errors
    /// A type that can't be a key.
    pub fn new(columns: &[DataType]) -> Result<Self, StateError> {
        Ok(Self {
            layout: KeyLayout::new(columns)?,
            hashes: Vec::new(),
            words: Vec::new(),
            nulls: None,
            long: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// No keys of no columns.
    pub(crate) fn empty() -> Self {
        Self {
            layout: KeyLayout::Encoded(Vec::new()),
            hashes: Vec::new(),
            words: Vec::new(),
            nulls: None,
            long: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes in the keys of a batch of `rows` rows.
    ///
    /// # Errors
    /// Columns of other types than declared.
    pub fn fill(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), StateError> {
        hash_keys(columns, &mut self.hashes)?;
        self.hashes.resize(rows, HASH_OF_NO_COLUMNS);
        self.words.clear();
        self.long.clear();
        match &self.layout {
            KeyLayout::Word(declared) => {
                let [column] = columns else {
                    return Err(columns_differ(std::slice::from_ref(declared), columns));
                };
                if column.data_type() != declared {
                    return Err(columns_differ(std::slice::from_ref(declared), columns));
                }
                words_of(column.as_ref(), &mut self.words);
                self.nulls = column.nulls().filter(|n| n.null_count() > 0).cloned();
            }
            KeyLayout::Encoded(declared) => {
                if declared.len() != columns.len()
                    || declared.iter().zip(columns).any(|(d, c)| d != c.data_type())
                {
                    return Err(columns_differ(declared, columns));
                }
                let parts = columns.iter().map(|c| Part::new(c.as_ref())).collect::<Result<Vec<_>, _>>()?;
                for row in 0..rows {
                    self.scratch.clear();
                    parts.iter().for_each(|part| part.encode(row, &mut self.scratch));
                    self.push_encoded(row);
                }
            }
        }
        Ok(())
    }

    fn push_encoded(&mut self, row: usize) {
        let bytes = &self.scratch;
        if bytes.len() > INLINE {
            self.words.extend([LONG | (bytes.len() as u64) << 8, self.long.len() as u64, self.hashes[row]]);
            self.long.extend_from_slice(bytes);
            return;
        }
        let mut inline = [0_u8; ENCODED * 8];
        inline[0] = bytes.len() as u8;
        inline[1..=bytes.len()].copy_from_slice(bytes);
        let (words, _) = inline.as_chunks::<8>();
        self.words.extend(words.iter().map(|w| u64::from_le_bytes(*w)));
    }

    /// The words of a key, and its bytes if they are not in the words.
    #[inline]
    pub(crate) fn encoded(&self, row: usize) -> (&[u64], &[u8]) {
        let words = &self.words[row * ENCODED..(row + 1) * ENCODED];
        if words[0] & LONG != LONG {
            return (words, &[]);
        }
        let start = words[1] as usize;
        (words, &self.long[start..start + (words[0] >> 8) as usize])
    }
}

/// Whether the key in a row is the one given.
#[inline]
pub(crate) fn same_key(row: &[u64], (words, long): (&[u64], &[u8]), slab: &Slab) -> bool {
    if long.is_empty() {
        return row[..ENCODED] == *words;
    }
    row[0] == words[0] && row[2] == words[2] && slab.get(row[1]) == long
}

/// Keeps a key in a row.
pub(crate) fn store_key(row: &mut [u64], (words, long): (&[u64], &[u8]), slab: &mut Slab) {
    row[..ENCODED].copy_from_slice(words);
    if !long.is_empty() {
        row[1] = slab.put(long);
    }
}

/// The handle of the bytes of a key that are not in the row.
pub(crate) fn long_handle(row: &[u64]) -> Option<u64> {
    (row[0] & LONG == LONG).then_some(row[1])
}

fn columns_differ(declared: &[DataType], columns: &[ArrayRef]) -> StateError {
    let given: Vec<_> = columns.iter().map(|c| c.data_type().clone()).collect();
    StateError::Columns { declared: format!("{declared:?}"), given: format!("{given:?}") }
}

/// Bytes of a type whose values fit into a word.
pub(crate) fn word_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        t => t.primitive_width().filter(|w| *w <= 8),
    }
}

/// The values of a column as [`words_of`] gives them.
pub(crate) fn to_words(array: &dyn Array) -> Vec<u64> {
    let mut words = Vec::with_capacity(array.len());
    words_of(array, &mut words);
    words
}

/// The values of a column of up to 64 bits, sign-extended; zero where NULL. Added to `words`.
fn words_of(array: &dyn Array, words: &mut Vec<u64>) {
    let start = words.len();
    if let Some(bits) = array.as_boolean_opt() {
        words.extend(bits.values().iter().map(u64::from));
    } else {
        let data = array.to_data();
        match array.data_type() {
            DataType::UInt8 => extend(words, &data, |v: u8| u64::from(v)),
            DataType::UInt16 => extend(words, &data, |v: u16| u64::from(v)),
            DataType::UInt32 => extend(words, &data, |v: u32| u64::from(v)),
            DataType::Float32 => extend(words, &data, |v: f32| u64::from(canonical_f32(v).to_bits())),
            DataType::Float64 => extend(words, &data, |v: f64| canonical(v).to_bits()),
            t => match t.primitive_width() {
                Some(1) => extend(words, &data, |v: i8| i64::from(v) as u64),
                Some(2) => extend(words, &data, |v: i16| i64::from(v) as u64),
                Some(4) => extend(words, &data, |v: i32| i64::from(v) as u64),
                _ => extend(words, &data, |v: u64| v),
            },
        }
    }
    if let Some(nulls) = array.nulls().filter(|n| n.null_count() > 0) {
        for (word, valid) in words[start..].iter_mut().zip(nulls) {
            *word *= u64::from(valid);
        }
    }
}

fn extend<T: ArrowNativeType>(words: &mut Vec<u64>, data: &ArrayData, word: impl Fn(T) -> u64) {
    if let Some(buffer) = data.buffers().first() {
        let values = ScalarBuffer::<T>::new(buffer.clone(), data.offset(), data.len());
        words.extend(values.iter().map(|v| word(*v)));
    }
}

fn canonical(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v + 0.0 }
}

fn canonical_f32(v: f32) -> f32 {
    if v.is_nan() { f32::NAN } else { v + 0.0 }
}

/// A column of up to 64 bits from sign-extended words.
pub(crate) fn array_of_words(
    data_type: &DataType,
    words: Vec<u64>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let len = words.len();
    let buffer = match word_width(data_type) {
        _ if *data_type == DataType::Boolean => {
            BooleanBuffer::from_iter(words.iter().map(|w| *w != 0)).into_inner()
        }
        Some(1) => Buffer::from_vec(words.iter().map(|w| *w as u8).collect::<Vec<_>>()),
        Some(2) => Buffer::from_vec(words.iter().map(|w| *w as u16).collect::<Vec<_>>()),
        Some(4) => Buffer::from_vec(words.iter().map(|w| *w as u32).collect::<Vec<_>>()),
        _ => Buffer::from_vec(words),
    };
    array_of_bytes(data_type, len, buffer, nulls)
}

/// The array whose values lie like this.
pub(crate) fn array_of_bytes(
    data_type: &DataType,
    len: usize,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let data = ArrayData::builder(data_type.clone()).len(len).add_buffer(values).nulls(nulls);
    Ok(make_array(data.build()?))
}

/// A key column of a batch while it is encoded.
enum Part<'a> {
    Null,
    Word { width: usize, words: Vec<u64>, nulls: Option<&'a NullBuffer> },
    Wide(&'a arrow_array::Decimal128Array),
    Var { values: VarColumn<'a>, nulls: Option<&'a NullBuffer> },
}

impl<'a> Part<'a> {
    fn new(array: &'a dyn Array) -> Result<Self, StateError> {
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        Ok(match (array.data_type(), word_width(array.data_type())) {
            (DataType::Null, _) => Self::Null,
            (DataType::Decimal128(..), _) => Self::Wide(array.as_primitive::<Decimal128Type>()),
            (_, Some(width)) => Self::Word { width, words: to_words(array), nulls },
            _ => Self::Var { values: VarColumn::new(array)?, nulls },
        })
    }

    /// Fixed width: a byte (0 is NULL, 1 is a value) and the value's bytes. Varying: the length
    /// plus one in 7-bit groups (0 is NULL), then the bytes.
    fn encode(&self, row: usize, to: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Word { nulls, .. } if nulls.is_some_and(|n| n.is_null(row)) => to.push(0),
            Self::Word { width, words, .. } => {
                to.push(1);
                to.extend_from_slice(&words[row].to_le_bytes()[..*width]);
            }
            Self::Wide(values) if values.is_null(row) => to.push(0),
            Self::Wide(values) => {
                to.push(1);
                to.extend_from_slice(&values.value(row).to_le_bytes());
            }
            Self::Var { nulls, .. } if nulls.is_some_and(|n| n.is_null(row)) => to.push(0),
            Self::Var { values, .. } => {
                let value = values.value(row);
                let mut rest = value.len() + 1;
                while rest > 0x7f {
                    to.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                to.push(rest as u8);
                to.extend_from_slice(value);
            }
        }
    }
}

/// Keys on their way from rows to columns.
pub(crate) enum DecodedKeys<'a> {
    Word(&'a DataType, Vec<u64>),
    /// The encoded keys one after the other, and where each begins.
    Encoded(&'a [DataType], Vec<u8>, Vec<usize>),
}

impl<'a> DecodedKeys<'a> {
    /// Room for so many.
    pub(crate) fn with_room(layout: &'a KeyLayout, keys: usize) -> Self {
        match layout {
            KeyLayout::Word(data_type) => Self::Word(data_type, Vec::with_capacity(keys)),
            KeyLayout::Encoded(types) => {
                Self::Encoded(types, Vec::with_capacity(keys * ENCODED * 8), Vec::with_capacity(keys))
            }
        }
    }

    /// Adds the keys of rows; `long` gives the bytes behind a handle.
    pub(crate) fn extend<'r>(
        &mut self,
        rows: impl Iterator<Item = &'r [u64]>,
        long: impl Fn(u64) -> &'r [u8],
    ) {
        match self {
            Self::Word(_, words) => words.extend(rows.map(|row| row[0])),
            Self::Encoded(_, bytes, starts) => {
                for key in rows {
                    starts.push(bytes.len());
                    match long_handle(key) {
                        Some(handle) => bytes.extend_from_slice(long(handle)),
                        None => {
                            let inline = key[..ENCODED].iter().flat_map(|w| w.to_le_bytes()).skip(1);
                            bytes.extend(inline.take((key[0] & LONG) as usize));
                        }
                    }
                }
            }
        }
    }

    /// The key columns; which keys of a single word are NULL is not in rows.
    pub(crate) fn columns(self, nulls: Option<NullBuffer>) -> Result<Vec<ArrayRef>, ArrowError> {
        match self {
            Self::Word(data_type, words) => Ok(vec![array_of_words(data_type, words, nulls)?]),
            Self::Encoded(types, bytes, mut cursors) => {
                types.iter().map(|t| decode_column(t, &bytes, &mut cursors)).collect()
            }
        }
    }
}

/// Decodes the column that the cursors of all rows point at, and moves them on.
fn decode_column(data_type: &DataType, bytes: &[u8], cursors: &mut [usize]) -> Result<ArrayRef, ArrowError> {
    if *data_type == DataType::Null {
        return Ok(Arc::new(arrow_array::NullArray::new(cursors.len())));
    }
    if let DataType::Decimal128(..) = data_type {
        let (values, nulls) = decode_fixed::<16>(bytes, cursors);
        let values: Vec<i128> = values.into_iter().map(i128::from_le_bytes).collect();
        return array_of_bytes(data_type, values.len(), Buffer::from_vec(values), nulls);
    }
    let words = |values: Vec<[u8; 8]>| values.into_iter().map(u64::from_le_bytes).collect();
    if let Some(width) = word_width(data_type) {
        let (values, nulls) = decode_words(bytes, cursors, width);
        return array_of_words(data_type, words(values), nulls);
    }
    decode_var(data_type, bytes, cursors)
}

fn decode_fixed<const N: usize>(bytes: &[u8], cursors: &mut [usize]) -> (Vec<[u8; N]>, Option<NullBuffer>) {
    let mut valid = Vec::with_capacity(cursors.len());
    let values = cursors.iter_mut().map(|cursor| {
        let there = bytes[*cursor] == 1;
        valid.push(there);
        *cursor += 1;
        let mut value = [0; N];
        if there {
            value.copy_from_slice(&bytes[*cursor..*cursor + N]);
            *cursor += N;
        }
        value
    });
    let values = values.collect();
    (values, Some(NullBuffer::from(valid)).filter(|n| n.null_count() > 0))
}

fn decode_words(bytes: &[u8], cursors: &mut [usize], width: usize) -> (Vec<[u8; 8]>, Option<NullBuffer>) {
    fn widen<const N: usize>(
        (values, nulls): (Vec<[u8; N]>, Option<NullBuffer>),
    ) -> (Vec<[u8; 8]>, Option<NullBuffer>) {
        let wide = |v: [u8; N]| {
            let mut word = [0; 8];
            word[..N].copy_from_slice(&v);
            word
        };
        (values.into_iter().map(wide).collect(), nulls)
    }
    match width {
        1 => widen(decode_fixed::<1>(bytes, cursors)),
        2 => widen(decode_fixed::<2>(bytes, cursors)),
        4 => widen(decode_fixed::<4>(bytes, cursors)),
        _ => decode_fixed::<8>(bytes, cursors),
    }
}

fn decode_var(data_type: &DataType, bytes: &[u8], cursors: &mut [usize]) -> Result<ArrayRef, ArrowError> {
    let values: Vec<Option<&[u8]>> = cursors
        .iter_mut()
        .map(|cursor| {
            let (mut len, mut shift) = (0, 0);
            loop {
                let byte = bytes[*cursor];
                *cursor += 1;
                len |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            (len > 0).then(|| {
                let start = *cursor;
                *cursor += len - 1;
                &bytes[start..*cursor]
            })
        })
        .collect();
    var_array(data_type, &values)
}

/// A column of strings or binary data.
pub(crate) fn var_array(data_type: &DataType, values: &[Option<&[u8]>]) -> Result<ArrayRef, ArrowError> {
    if *data_type == DataType::Utf8View {
        let mut builder = StringViewBuilder::with_capacity(values.len());
        for value in values {
            builder.append_option(value.map(text).transpose()?);
        }
        return Ok(Arc::new(builder.finish()));
    }
    if *data_type == DataType::BinaryView {
        let mut builder = BinaryViewBuilder::with_capacity(values.len());
        values.iter().for_each(|v| builder.append_option(*v));
        return Ok(Arc::new(builder.finish()));
    }
    let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
    let nulls = Some(nulls).filter(|n| n.null_count() > 0);
    let lengths = values.iter().map(|v| v.map_or(0, <[u8]>::len));
    let data = ArrayData::builder(data_type.clone()).len(values.len()).nulls(nulls);
    let data = match data_type {
        DataType::LargeUtf8 | DataType::LargeBinary => {
            data.add_buffer(OffsetBuffer::<i64>::from_lengths(lengths).into_inner().into_inner())
        }
        DataType::FixedSizeBinary(size) => {
            let size = usize::try_from(*size).unwrap_or(0);
            let zero = vec![0; size];
            let fixed: Vec<u8> = values.iter().flat_map(|v| v.unwrap_or(&zero)).copied().collect();
            return Ok(make_array(data.add_buffer(Buffer::from_vec(fixed)).build()?));
        }
        _ => data.add_buffer(OffsetBuffer::<i32>::from_lengths(lengths).into_inner().into_inner()),
    };
    let bytes: Vec<u8> = values.iter().flatten().flat_map(|v| v.iter()).copied().collect();
    Ok(make_array(data.add_buffer(Buffer::from_vec(bytes)).build()?))
}

fn text(bytes: &[u8]) -> Result<&str, ArrowError> {
    std::str::from_utf8(bytes).map_err(|e| ArrowError::InvalidArgumentError(e.to_string()))
}
