//! Rows on their way into a checkpoint, as a slot's thread takes them out of a table; columns are made of them elsewhere.

use std::sync::Arc;

use arrow_buffer::{ArrowNativeType, Buffer, ScalarBuffer};
use arrow_schema::{DataType, SchemaRef};

use crate::bits::WORD;
use crate::columns::BitsOf;
use crate::key::{KeyLayout, long_handle};
use crate::slab::{self, Slab};
use crate::stored::stored_schema;
use crate::{StateError, TableSpec};

/// How the rows of a table lie in memory, and how they are stored.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) layout: KeyLayout,
    /// Words that follow those of the key.
    pub(crate) words: usize,
    /// Values of varying length, whose handles follow.
    pub(crate) vars: Vec<DataType>,
    /// Whether rows belong to slices.
    pub(crate) sliced: bool,
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

/// Rows of a table, with what is not in their words.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Words of a row.
    stride: usize,
    /// Rows one after the other.
    words: Vec<u64>,
    len: usize,
    /// Positions of rows that are gone.
    pub(crate) gone: Vec<u32>,
    /// Position of the row of the NULL key.
    pub(crate) null_key: Option<usize>,
    /// The words of more rows, which follow.
    columns: Columns,
    /// Once the rows are complete: long keys and values of varying length, to which their handles then lead.
    pub(crate) long: Vec<u8>,
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

    /// Adds those `count` rows whose bits are set (64 to a mask), as the last ones, word by word: in 32 bits each unless
    /// they are `wide`, which it finds out. Whether it did: rows of more than four words are left to the caller.
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

    /// The rows that are not in columns: all of them if not all of a row is in its words.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, u64> {
        self.words.chunks_exact(self.stride.max(1))
    }

    /// The bits of a word of all rows.
    pub(crate) fn bits(&self, at: usize) -> BitsOf {
        let bits = BitsOf::of(self.rows().map(|row| row[at]));
        let (same, any) = match &self.columns {
            Columns::None => return bits,
            Columns::Half(columns) => (same(&columns.words[at]).map(u64::from), columns.any[at]),
            Columns::Whole(columns) => (same(&columns.words[at]), columns.any[at]),
        };
        bits.and(same.map_or(BitsOf { any, all: 0 }, BitsOf::same))
    }

    /// A word of all rows, if it lies in one column and takes so many bytes there.
    pub(crate) fn whole_column(&self, at: usize, width: usize) -> Option<Buffer> {
        let buffer = match (&self.columns, width) {
            (Columns::Half(columns), 4) => columns.words[at].inner(),
            (Columns::Whole(columns), 8) => columns.words[at].inner(),
            _ => return None,
        };
        self.words.is_empty().then(|| buffer.clone())
    }

    /// Adds a word of each row to `values`.
    pub(crate) fn column<T>(&self, at: usize, value: impl Fn(u64) -> T, values: &mut Vec<T>) {
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
    /// None has more than 32 bits.
    Half(WordsOf<u32>),
    Whole(WordsOf<u64>),
}

#[derive(Debug)]
struct WordsOf<T: ArrowNativeType> {
    words: Vec<ScalarBuffer<T>>,
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

impl<T: ArrowNativeType> WordsOf<T> {
    fn bytes(&self) -> usize {
        self.words.iter().map(|words| words.inner().len()).sum()
    }
}

/// The word that all are equal to.
fn same<T: Copy + PartialEq>(words: &[T]) -> Option<T> {
    let (first, others) = words.split_first()?;
    others.iter().all(|word| word == first).then_some(*first)
}

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
fn transpose<T: ArrowNativeType, const STRIDE: usize>(
    rows: &[u64],
    masks: &[u64],
    count: usize,
    value: impl Fn(u64) -> T,
) -> WordsOf<T> {
    let mut words: [Vec<T>; STRIDE] = std::array::from_fn(|_| Vec::with_capacity(count));
    let (mut some, mut any) = ([[T::default(); WORD]; STRIDE], [0; STRIDE]);
    for (rows, mask) in rows.as_chunks::<STRIDE>().0.chunks(WORD).zip(masks) {
        let mut at = 0;
        for (row, bit) in rows.iter().zip(0..) {
            // No branch for each row: bits of no order can't be foreseen.
            for ((column, any), word) in some.iter_mut().zip(&mut any).zip(row) {
                column[at % WORD] = value(*word);
                *any |= word;
            }
            at += (mask >> bit & 1) as usize;
        }
        words.iter_mut().zip(&some).for_each(|(words, some)| words.extend_from_slice(&some[..at]));
    }
    WordsOf { words: words.map(ScalarBuffer::from).into(), any: any.into() }
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
