//! Rows of accumulators that were taken out of state, and the results that they stand for.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{LargeStringBuilder, StringBuilder, StringViewBuilder};
use arrow_array::types::{Decimal128Type, Float32Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, PrimitiveArray};
use arrow_buffer::Buffer;
use arrow_schema::{ArrowError, DataType};
use weir_protocol::{Failure, FailureKind};
use weir_state::KeyedTable;

use super::{Accumulators, Call, Kind, wide};

/// The greatest value of a DECIMAL(38).
const MAX_DECIMAL: i128 = 10_i128.pow(38) - 1;

/// Copies of rows of accumulators, one after the other.
#[derive(Debug, Default)]
pub(in crate::transforms) struct Values {
    words: Vec<u64>,
    vars: Vec<Option<Range<usize>>>,
    bytes: Vec<u8>,
    len: usize,
}

impl Values {
    pub(in crate::transforms) fn clear(&mut self) {
        self.words.clear();
        self.vars.clear();
        self.bytes.clear();
        self.len = 0;
    }

    /// Makes room for so many rows more.
    pub(in crate::transforms) fn reserve(&mut self, acc: &Accumulators, rows: usize) {
        self.words.reserve(rows * acc.fresh.len());
    }

    /// Adds a copy of a row of a table.
    #[inline]
    pub(in crate::transforms) fn push(&mut self, acc: &Accumulators, table: &KeyedTable, id: u32) {
        self.push_words(acc, &table.row(id)[..acc.fresh.len()], table, id);
    }

    /// Adds a copy of a row of a table, of which the words were taken out before.
    #[inline]
    pub(in crate::transforms) fn push_words(
        &mut self,
        acc: &Accumulators,
        words: &[u64],
        table: &KeyedTable,
        id: u32,
    ) {
        self.words.extend_from_slice(words);
        for var in 0..acc.vars.len() {
            self.push_var(table.var(id, var));
        }
        self.len += 1;
    }

    /// Adds a copy of a row of others.
    #[inline]
    pub(in crate::transforms) fn push_from(&mut self, acc: &Accumulators, other: &Self, at: usize) {
        self.words.extend_from_slice(other.words(acc, at));
        for var in 0..acc.vars.len() {
            self.push_var(other.var(acc, at, var));
        }
        self.len += 1;
    }

    /// Adds a row to those of a layout without values of varying length; gives the place of its words.
    #[inline]
    pub(in crate::transforms) fn push_row(&mut self, words: &[u64]) -> usize {
        match words {
            [one] => self.words.push(*one),
            _ => self.words.extend_from_slice(words),
        }
        self.len += 1;
        self.words.len() - words.len()
    }

    /// Adds for each count two rows of one word: the count, and the next one.
    pub(in crate::transforms) fn push_counts(&mut self, counts: &[u64]) {
        let start = self.words.len();
        self.words.resize(start + 2 * counts.len(), 0);
        for (pair, count) in self.words[start..].as_chunks_mut().0.iter_mut().zip(counts) {
            *pair = [*count, count.wrapping_add(1)];
        }
        self.len += 2 * counts.len();
    }

    fn push_var(&mut self, value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.vars.push(value.map(|_| start..self.bytes.len()));
    }

    pub(in crate::transforms) fn words(&self, acc: &Accumulators, at: usize) -> &[u64] {
        let width = acc.fresh.len();
        &self.words[at * width..(at + 1) * width]
    }

    /// The words from a place on.
    #[inline]
    pub(in crate::transforms) fn words_mut(&mut self, place: usize) -> &mut [u64] {
        &mut self.words[place..]
    }

    fn var(&self, acc: &Accumulators, at: usize, var: usize) -> Option<&[u8]> {
        self.vars[at * acc.vars.len() + var].clone().map(|r| &self.bytes[r])
    }
}

impl Accumulators {
    /// Whether the results of a row are those of a row of the table, which has these words.
    pub(in crate::transforms) fn same(
        &self,
        old: &Values,
        at: usize,
        after: &[u64],
        table: &KeyedTable,
        id: u32,
    ) -> bool {
        let before = old.words(self, at);
        self.calls.iter().all(|call| {
            if let Kind::ExtremeText(_) = call.kind {
                return old.var(self, at, call.at) == table.var(id, call.at);
            }
            call.same(before, after)
        })
    }

    /// The results of all calls, in order. `values` is empty afterwards.
    pub(in crate::transforms) fn all_results(&self, values: &mut Values) -> Result<Vec<ArrayRef>, Failure> {
        let all = if self.only_counts() {
            // Nothing but the number of rows: what was put down is the column.
            let counts = Buffer::from_vec(std::mem::take(&mut values.words));
            let counts: ArrayRef = Arc::new(Int64Array::new(counts.into(), None));
            Ok(vec![counts; self.calls.len()])
        } else {
            (0..self.calls.len()).map(|call| self.results(call, values)).collect()
        };
        values.clear();
        all
    }

    /// The results of a call.
    pub(in crate::transforms) fn results(&self, call: usize, values: &Values) -> Result<ArrayRef, Failure> {
        let width = self.fresh.len();
        let call = &self.calls[call];
        let rows = || values.words.chunks_exact(width);
        let bug = |e: ArrowError| Failure::new(FailureKind::Bug, format!("{}: {e}", call.name));
        let there = |row: &[u64]| row[call.counter] as i64 > 0;
        Ok(match call.kind {
            Kind::Count => Arc::new(Int64Array::from_iter_values(rows().map(|row| row[call.counter] as i64))),
            Kind::SumInt if call.output == DataType::Int64 => {
                Arc::new(rows().map(|row| there(row).then(|| row[call.at] as i64)).collect::<Int64Array>())
            }
            Kind::SumInt | Kind::AvgInt => {
                let ints: Int64Array = rows().map(|row| there(row).then(|| call.int(row))).collect();
                call.narrow(ints)?
            }
            Kind::SumFloat | Kind::AvgFloat => {
                let floats = rows().map(|row| there(row).then(|| call.float(row)));
                if call.output == DataType::Float32 {
                    Arc::new(floats.map(|v| v.map(|v| v as f32)).collect::<PrimitiveArray<Float32Type>>())
                } else {
                    Arc::new(floats.collect::<Float64Array>())
                }
            }
            Kind::SumDecimal | Kind::AvgDecimal | Kind::ExtremeDecimal(_) => {
                let values = rows().map(|row| there(row).then(|| call.decimal(row)).transpose());
                let values = values.collect::<Result<PrimitiveArray<Decimal128Type>, _>>()?;
                Arc::new(values.with_data_type(call.output.clone()))
            }
            Kind::Extreme(_) => {
                call.extremes(rows().map(|row| there(row).then(|| row[call.at] as i64))).map_err(bug)?
            }
            Kind::ExtremeText(_) => {
                let texts = (0..values.len).map(|at| values.var(self, at, call.at));
                let texts = texts.map(|t| t.map(std::str::from_utf8).transpose());
                let texts = texts.collect::<Result<Vec<_>, _>>();
                let texts = texts.map_err(|e| Failure::new(FailureKind::StateUnreadable, e.to_string()))?;
                strings(&call.output, &texts)
            }
        })
    }
}

impl Call {
    fn same(&self, before: &[u64], after: &[u64]) -> bool {
        let there = |row: &[u64]| row[self.counter] as i64 > 0;
        if self.kind == Kind::Count {
            return before[self.counter] == after[self.counter];
        }
        if there(before) != there(after) || !there(after) {
            return there(before) == there(after);
        }
        match self.kind {
            Kind::AvgInt => self.int(before) == self.int(after),
            Kind::SumFloat | Kind::AvgFloat => self.float(before).to_bits() == self.float(after).to_bits(),
            Kind::AvgDecimal => self.decimal(before).ok() == self.decimal(after).ok(),
            Kind::SumDecimal | Kind::ExtremeDecimal(_) => wide(&before[self.at..]) == wide(&after[self.at..]),
            _ => before[self.at] == after[self.at],
        }
    }

    /// A sum or mean of whole numbers of a group with values.
    fn int(&self, row: &[u64]) -> i64 {
        let sum = row[self.at] as i64;
        if self.kind == Kind::AvgInt { sum / (row[self.counter] as i64) } else { sum }
    }

    fn float(&self, row: &[u64]) -> f64 {
        let sum = f64::from_bits(row[self.at]);
        if self.kind == Kind::AvgFloat { sum / row[self.counter] as f64 } else { sum }
    }

    fn decimal(&self, row: &[u64]) -> Result<i128, Failure> {
        let value = wide(&row[self.at..]);
        let overflow = || self.overflow("DECIMAL(38)");
        let value = if self.kind == Kind::AvgDecimal {
            let DataType::Decimal128(_, scale) = self.output else { return Err(overflow()) };
            let more = u32::from((scale - self.scale).unsigned_abs());
            divide_half_up(value, i128::from(row[self.counter]), more).ok_or_else(overflow)?
        } else {
            value
        };
        if value.unsigned_abs() > MAX_DECIMAL.unsigned_abs() { Err(overflow()) } else { Ok(value) }
    }

    /// Whole numbers as the output type, which they must fit.
    fn narrow(&self, ints: Int64Array) -> Result<ArrayRef, Failure> {
        let (least, greatest, name) = match self.output {
            DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX), "TINYINT"),
            DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX), "SMALLINT"),
            DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX), "INT"),
            _ => return Ok(Arc::new(ints)),
        };
        if ints.iter().flatten().any(|v| v < least || v > greatest) {
            return Err(self.overflow(name));
        }
        arrow_cast::cast(&ints, &self.output)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("{}: {e}", self.name)))
    }

    fn extremes(&self, values: impl Iterator<Item = Option<i64>>) -> Result<ArrayRef, ArrowError> {
        if self.output.is_floating() {
            // The order-preserving form is its own inverse.
            let back = |v: i64| f64::from_bits((v ^ (((v >> 63) as u64) >> 1) as i64) as u64);
            let floats: Float64Array = values.map(|v| v.map(back)).collect();
            return arrow_cast::cast(&floats, &self.output);
        }
        let ints: PrimitiveArray<Int64Type> = values.collect();
        match self.output {
            DataType::Date32 | DataType::Time32(_) => {
                let narrow = arrow_cast::cast(&ints, &DataType::Int32)?;
                arrow_cast::cast(&narrow, &self.output)
            }
            _ => arrow_cast::cast(&ints, &self.output),
        }
    }
}

/// `value * 10^more / count`, halves away from zero.
fn divide_half_up(value: i128, count: i128, more: u32) -> Option<i128> {
    // Whole part first, so that only the remainder is multiplied.
    let power = 10_i128.checked_pow(more)?;
    let (whole, rest) = (value / count, value % count);
    let rest = rest.checked_mul(power)?;
    let (part, left) = (rest / count, rest % count);
    let round = if left.unsigned_abs() * 2 >= count.unsigned_abs() { value.signum() } else { 0 };
    whole.checked_mul(power)?.checked_add(part)?.checked_add(round)
}

fn strings(data_type: &DataType, values: &[Option<&str>]) -> ArrayRef {
    match data_type {
        DataType::LargeUtf8 => {
            let mut builder = LargeStringBuilder::new();
            values.iter().for_each(|v| builder.append_option(*v));
            Arc::new(builder.finish())
        }
        DataType::Utf8View => {
            let mut builder = StringViewBuilder::new();
            values.iter().for_each(|v| builder.append_option(*v));
            Arc::new(builder.finish())
        }
        _ => {
            let mut builder = StringBuilder::new();
            values.iter().for_each(|v| builder.append_option(*v));
            Arc::new(builder.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_decimals_are_rounded_half_away_from_zero() {
        for (value, count, more, expected) in
            [(5, 2, 0, 3), (-5, 2, 0, -3), (1, 3, 4, 3_333), (2, 3, 4, 6_667), (7, 1, 2, 700), (-1, 3, 0, 0)]
        {
            assert_eq!(divide_half_up(value, count, more), Some(expected), "{value} / {count}");
        }
        assert_eq!(divide_half_up(i128::MAX, 1, 6), None);
    }
}
