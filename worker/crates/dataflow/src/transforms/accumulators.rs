//! The accumulators of aggregate calls as words of a state row: how they take in rows, how two rows
//! are merged, and what results they give.
//!
//! Owns the layout of a row. It does not own which row a key has, nor when results go out.

use std::borrow::Cow;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, SchemaRef};
use weir_protocol::{Failure, FailureKind};
use weir_state::KeyedTable;

use super::aggregate_call::{AggregateCall, AggregateFunction};

mod results;

pub(super) use results::Values;

/// Rows of a batch that are worked on together.
pub(super) const BLOCK: usize = 512;

/// The word that counts the rows of a group.
pub(super) const LIVE: usize = 0;

/// What is computed for each group, and where it lies in the group's row.
#[derive(Debug, Clone)]
pub(super) struct Accumulators {
    calls: Vec<Call>,
    /// The first counts all rows.
    counters: Vec<Counter>,
    /// The words of a fresh row.
    pub(super) fresh: Vec<u64>,
    /// Strings of MIN and MAX.
    pub(super) vars: Vec<DataType>,
}

/// Counts rows in which a column is not NULL and a filter holds; in the word of its own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counter {
    input: Option<usize>,
    filter: Option<usize>,
}

#[derive(Debug, Clone)]
struct Call {
    /// For errors: `SUM(price)`.
    name: String,
    kind: Kind,
    input: Option<usize>,
    counter: usize,
    /// The first word, or the number of the value of varying length.
    at: usize,
    output: DataType,
    scale: i8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Count,
    SumInt,
    SumFloat,
    SumDecimal,
    AvgInt,
    AvgFloat,
    AvgDecimal,
    /// MIN (`false`) or MAX over what fits into 64 bits, in an order-preserving form.
    Extreme(bool),
    ExtremeDecimal(bool),
    ExtremeText(bool),
}

impl Accumulators {
    pub(super) fn new(calls: &[AggregateCall], schema: &SchemaRef) -> Result<Self, Failure> {
        let mut all = Self {
            calls: Vec::new(),
            counters: vec![Counter { input: None, filter: None }],
            fresh: Vec::new(),
            vars: Vec::new(),
        };
        for call in calls {
            all.add(call, schema).map_err(|e| Failure::new(FailureKind::Config, e))?;
        }
        // Counters come first, so that they are where their numbers say.
        let shift = all.counters.len();
        all.fresh.splice(0..0, std::iter::repeat_n(0, shift));
        for call in &mut all.calls {
            if !matches!(call.kind, Kind::ExtremeText(_)) {
                call.at += shift;
            }
        }
        Ok(all)
    }

    fn add(&mut self, call: &AggregateCall, schema: &SchemaRef) -> Result<(), String> {
        use AggregateFunction::{Avg, Count, Max, Min, Sum};
        let field = |i: usize| schema.fields().get(i).ok_or_else(|| format!("there is no input column {i}"));
        let input = call.input.map(field).transpose()?;
        let input_type = input.map(|f| f.data_type());
        let allowed = call.function.output_type(input_type)?;
        let name = format!("{}({})", call.function, input.map_or("*", |f| f.name()));
        if allowed != call.output {
            return Err(format!("{name} gives {allowed}, not {}", call.output));
        }
        if let Some(filter) = call.filter.map(field).transpose()?
            && *filter.data_type() != DataType::Boolean
        {
            return Err(format!("the filter of {name} must be a boolean, not {}", filter.data_type()));
        }
        let counter = self.counter(Counter {
            input: call.input.filter(|_| input.is_some_and(|f| f.is_nullable())),
            filter: call.filter,
        });
        let decimal = matches!(input_type, Some(DataType::Decimal128(..)));
        let float = input_type.is_some_and(DataType::is_floating);
        let text = input_type
            .is_some_and(|t| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View));
        let max = call.function == Max;
        let (kind, words): (Kind, Vec<u64>) = match call.function {
            Count => (Kind::Count, vec![]),
            Sum if decimal => (Kind::SumDecimal, vec![0; 2]),
            Sum if float => (Kind::SumFloat, vec![0]),
            Sum => (Kind::SumInt, vec![0]),
            Avg if decimal => (Kind::AvgDecimal, vec![0; 2]),
            Avg if float => (Kind::AvgFloat, vec![0]),
            Avg => (Kind::AvgInt, vec![0]),
            Min | Max if text => (Kind::ExtremeText(max), vec![]),
            Min | Max if decimal => {
                (Kind::ExtremeDecimal(max), wide_words(if max { i128::MIN } else { i128::MAX }).to_vec())
            }
            Min | Max => (Kind::Extreme(max), vec![if max { i64::MIN } else { i64::MAX } as u64]),
        };
        let mut at = self.fresh.len();
        if text && matches!(kind, Kind::ExtremeText(_)) {
            at = self.vars.len();
            self.vars.extend(input_type.cloned());
        }
        self.fresh.extend(words);
        let scale = if let Some(DataType::Decimal128(_, scale)) = input_type { *scale } else { 0 };
        let output = call.output.clone();
        self.calls.push(Call { name, kind, input: call.input, counter, at, output, scale });
        Ok(())
    }

    fn counter(&mut self, counter: Counter) -> usize {
        self.counters.iter().position(|c| *c == counter).unwrap_or_else(|| {
            self.counters.push(counter);
            self.counters.len() - 1
        })
    }

    /// Whether rows can be taken back.
    pub(super) fn retractable(&self) -> bool {
        !self
            .calls
            .iter()
            .any(|c| matches!(c.kind, Kind::Extreme(_) | Kind::ExtremeDecimal(_) | Kind::ExtremeText(_)))
    }

    /// Whether the results of a group change with each row that is added, and are words only.
    pub(super) fn count_all(&self) -> bool {
        self.vars.is_empty() && self.calls.iter().any(|c| c.kind == Kind::Count && c.counter == LIVE)
    }

    /// Whether there is nothing but the number of rows.
    pub(super) fn only_counts(&self) -> bool {
        self.fresh.len() == 1 && self.vars.is_empty()
    }

    /// How many rows of a batch are worked on together where nothing follows a visit but [`Accumulators::update`]:
    /// all, if that has nothing to do.
    pub(super) fn block(&self, rows: usize) -> usize {
        if self.only_counts() { rows.max(1) } else { BLOCK }
    }

    /// What the words and values mean, for the schema of the state.
    pub(super) fn meaning(&self) -> String {
        let counter = |c: &Counter| format!("count[{}]", numbers(c.input, c.filter));
        let call = |c: &Call| {
            format!("{:?}[{}] {}", c.kind, numbers(c.input, self.counters[c.counter].filter), c.output)
        };
        let calls = self.calls.iter().filter(|c| c.kind != Kind::Count).map(call);
        self.counters.iter().map(counter).chain(calls).collect::<Vec<_>>().join(", ")
    }

    /// Gets the input columns of a batch ready.
    pub(super) fn prepare<'a>(&self, rows: &'a RecordBatch) -> Result<Inputs<'a>, Failure> {
        let selections = self.counters.iter().map(|c| selection(rows, *c)).collect();
        let columns = self
            .calls
            .iter()
            .map(|call| Column::new(call.kind, call.input.map(|i| rows.column(i))))
            .collect::<Result<_, _>>()?;
        Ok(Inputs { selections, columns })
    }

    /// Takes in the rows `range` of a batch, whose groups' rows are `ids` (one for each). `signs`: 1
    /// adds, -1 takes back, 0 does not count; all add if there are none. The first counter is the
    /// caller's.
    pub(super) fn update(
        &self,
        inputs: &Inputs<'_>,
        range: Range<usize>,
        ids: &[u32],
        signs: Option<&[i8]>,
        table: &mut KeyedTable,
    ) -> Result<(), Failure> {
        if self.only_counts() {
            return Ok(());
        }
        let weights: Vec<Option<Vec<i8>>> =
            inputs.selections.iter().map(|s| weights(s.as_ref(), range.clone(), signs)).collect();
        for (word, weights) in weights.iter().enumerate().skip(1) {
            each(ids, weights.as_deref(), |id, _, sign| {
                let count = &mut table.row_mut(id)[word];
                *count = count.wrapping_add_signed(i64::from(sign));
            });
        }
        for (call, column) in self.calls.iter().zip(&inputs.columns) {
            call.update(column, range.start, ids, weights[call.counter].as_deref(), table)?;
        }
        Ok(())
    }

    /// Adds the row `from_id` of another table of the same layout to a row.
    pub(super) fn merge(
        &self,
        from: &KeyedTable,
        from_id: u32,
        into: &mut KeyedTable,
        id: u32,
    ) -> Result<(), Failure> {
        let source = from.row(from_id);
        let target = into.row_mut(id);
        for word in 0..self.counters.len() {
            target[word] = target[word].wrapping_add(source[word]);
        }
        for call in &self.calls {
            let at = call.at;
            let target = into.row_mut(id);
            match call.kind {
                Kind::Count => {}
                Kind::SumInt | Kind::AvgInt => add_int(&mut target[at], source[at] as i64, 1, call)?,
                Kind::SumFloat | Kind::AvgFloat => add_float(&mut target[at], f64::from_bits(source[at]), 1),
                Kind::SumDecimal | Kind::AvgDecimal => {
                    add_wide(&mut target[at..at + 2], wide(&source[at..]), 1, call)?;
                }
                Kind::Extreme(max) => keep_extreme(&mut target[at], source[at] as i64, max),
                Kind::ExtremeDecimal(max) => {
                    keep_wide_extreme(&mut target[at..at + 2], wide(&source[at..]), max)
                }
                Kind::ExtremeText(max) => {
                    if let Some(value) = from.var(from_id, at) {
                        keep_text(into, id, at, value, max)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A batch of so many rows in blocks.
pub(super) fn blocks(rows: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(block).map(move |start| start..rows.min(start + block))
}

fn numbers(input: Option<usize>, filter: Option<usize>) -> String {
    let column = |c: Option<usize>| c.map_or("*".to_owned(), |c| c.to_string());
    match filter {
        Some(_) => format!("{} where {}", column(input), column(filter)),
        None => column(input),
    }
}

/// The input columns of a batch in the form in which accumulators take them.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// For each counter the rows that count; all if there is none.
    selections: Vec<Option<BooleanBuffer>>,
    columns: Vec<Column<'a>>,
}

#[derive(Debug)]
enum Column<'a> {
    None,
    Int(Cow<'a, [i64]>),
    Float(Cow<'a, [f64]>),
    Wide(&'a [i128]),
    Text(ArrayRef),
}

impl<'a> Column<'a> {
    fn new(kind: Kind, array: Option<&'a ArrayRef>) -> Result<Self, Failure> {
        let Some(array) = array else { return Ok(Self::None) };
        Ok(match kind {
            Kind::Count => Self::None,
            Kind::SumInt | Kind::AvgInt => Self::Int(ints(array)?),
            Kind::SumFloat | Kind::AvgFloat => Self::Float(floats(array)),
            Kind::SumDecimal | Kind::AvgDecimal | Kind::ExtremeDecimal(_) => {
                Self::Wide(array.as_primitive::<Decimal128Type>().values())
            }
            Kind::Extreme(_) if array.data_type().is_floating() => {
                Self::Int(floats(array).iter().map(|v| ordered(*v)).collect::<Vec<_>>().into())
            }
            Kind::Extreme(_) => Self::Int(ints(array)?),
            Kind::ExtremeText(_) => Self::Text(array.clone()),
        })
    }
}

/// Whole numbers, booleans, dates and times as 64 bits.
fn ints(array: &ArrayRef) -> Result<Cow<'_, [i64]>, Failure> {
    if let Some(values) = array.as_primitive_opt::<Int64Type>() {
        return Ok(Cow::Borrowed(values.values()));
    }
    let bug = |e: arrow_schema::ArrowError| Failure::new(FailureKind::Bug, format!("aggregate input: {e}"));
    let narrow = match array.data_type() {
        DataType::Date32 | DataType::Time32(_) => arrow_cast::cast(array, &DataType::Int32).map_err(bug)?,
        _ => array.clone(),
    };
    let wide = arrow_cast::cast(&narrow, &DataType::Int64).map_err(bug)?;
    Ok(Cow::Owned(wide.as_primitive::<Int64Type>().values().to_vec()))
}

fn floats(array: &ArrayRef) -> Cow<'_, [f64]> {
    match array.as_primitive_opt::<Float64Type>() {
        Some(values) => Cow::Borrowed(values.values()),
        None => array
            .as_primitive::<Float32Type>()
            .values()
            .iter()
            .map(|v| f64::from(*v))
            .collect::<Vec<_>>()
            .into(),
    }
}

/// The bits of a float as a whole number in the same order (IEEE 754 totalOrder).
pub(super) fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn selection(rows: &RecordBatch, counter: Counter) -> Option<BooleanBuffer> {
    let valid = counter.input.and_then(|i| rows.column(i).nulls()).filter(|n| n.null_count() > 0);
    let filter = counter.filter.map(|f| {
        let filter = rows.column(f).as_boolean();
        match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        }
    });
    match (valid, filter) {
        (None, None) => None,
        (Some(valid), None) => Some(valid.inner().clone()),
        (None, Some(filter)) => Some(filter),
        (Some(valid), Some(filter)) => Some(valid.inner() & &filter),
    }
}

fn weights(selection: Option<&BooleanBuffer>, range: Range<usize>, signs: Option<&[i8]>) -> Option<Vec<i8>> {
    match (selection, signs) {
        (None, None) => None,
        (None, Some(signs)) => Some(signs.to_vec()),
        (Some(selected), None) => Some(range.map(|i| i8::from(selected.value(i))).collect()),
        (Some(selected), Some(signs)) => {
            Some(range.zip(signs).map(|(i, sign)| sign * i8::from(selected.value(i))).collect())
        }
    }
}

/// Calls `f(id, position, sign)` for each row that counts.
#[inline]
fn each(ids: &[u32], weights: Option<&[i8]>, mut f: impl FnMut(u32, usize, i8)) {
    match weights {
        None => ids.iter().enumerate().for_each(|(at, id)| f(*id, at, 1)),
        Some(weights) => {
            for (at, (id, sign)) in ids.iter().zip(weights).enumerate() {
                if *sign != 0 {
                    f(*id, at, *sign);
                }
            }
        }
    }
}

impl Call {
    fn update(
        &self,
        column: &Column<'_>,
        start: usize,
        ids: &[u32],
        weights: Option<&[i8]>,
        table: &mut KeyedTable,
    ) -> Result<(), Failure> {
        let at = self.at;
        let mut result = Ok(());
        match (self.kind, column) {
            (Kind::SumInt | Kind::AvgInt, Column::Int(values)) => {
                let values = &values[start..];
                let mut overflow = false;
                each(ids, weights, |id, i, sign| {
                    let sum = &mut table.row_mut(id)[at];
                    let (new, over) = if sign > 0 {
                        (*sum as i64).overflowing_add(values[i])
                    } else {
                        (*sum as i64).overflowing_sub(values[i])
                    };
                    overflow |= over;
                    *sum = new as u64;
                });
                if overflow {
                    return Err(self.overflow("BIGINT"));
                }
            }
            (Kind::SumFloat | Kind::AvgFloat, Column::Float(values)) => {
                each(ids, weights, |id, i, sign| {
                    add_float(&mut table.row_mut(id)[at], values[start + i], sign)
                });
            }
            (Kind::SumDecimal | Kind::AvgDecimal, Column::Wide(values)) => {
                each(ids, weights, |id, i, sign| {
                    let added = add_wide(&mut table.row_mut(id)[at..at + 2], values[start + i], sign, self);
                    result = std::mem::replace(&mut result, Ok(())).and(added);
                });
            }
            (Kind::Extreme(max), Column::Int(values)) => {
                each(ids, weights, |id, i, _| {
                    keep_extreme(&mut table.row_mut(id)[at], values[start + i], max)
                });
            }
            (Kind::ExtremeDecimal(max), Column::Wide(values)) => each(ids, weights, |id, i, _| {
                keep_wide_extreme(&mut table.row_mut(id)[at..at + 2], values[start + i], max);
            }),
            (Kind::ExtremeText(max), Column::Text(values)) => each(ids, weights, |id, i, _| {
                let kept = keep_text(table, id, at, text(values, start + i), max);
                result = std::mem::replace(&mut result, Ok(())).and(kept);
            }),
            _ => {}
        }
        result
    }

    fn overflow(&self, data_type: &str) -> Failure {
        Failure::new(
            FailureKind::Expression,
            format!("{} does not fit into {data_type}: cast its argument to a wider type", self.name),
        )
    }
}

fn text(array: &ArrayRef, i: usize) -> &[u8] {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(i).as_bytes(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(i).as_bytes(),
        _ => array.as_string_view().value(i).as_bytes(),
    }
}

fn add_int(sum: &mut u64, value: i64, sign: i8, call: &Call) -> Result<(), Failure> {
    let old = *sum as i64;
    let new = if sign > 0 { old.checked_add(value) } else { old.checked_sub(value) };
    *sum = new.ok_or_else(|| call.overflow("BIGINT"))? as u64;
    Ok(())
}

fn add_float(sum: &mut u64, value: f64, sign: i8) {
    *sum = (f64::from_bits(*sum) + value * f64::from(sign)).to_bits();
}

fn add_wide(sum: &mut [u64], value: i128, sign: i8, call: &Call) -> Result<(), Failure> {
    let old = wide(sum);
    let new = if sign > 0 { old.checked_add(value) } else { old.checked_sub(value) };
    sum.copy_from_slice(&wide_words(new.ok_or_else(|| call.overflow("DECIMAL(38)"))?));
    Ok(())
}

fn keep_extreme(kept: &mut u64, value: i64, max: bool) {
    let old = *kept as i64;
    *kept = if max { old.max(value) } else { old.min(value) } as u64;
}

fn keep_wide_extreme(kept: &mut [u64], value: i128, max: bool) {
    let old = wide(kept);
    kept.copy_from_slice(&wide_words(if max { old.max(value) } else { old.min(value) }));
}

fn keep_text(table: &mut KeyedTable, id: u32, var: usize, value: &[u8], max: bool) -> Result<(), Failure> {
    let better = table.var(id, var).is_none_or(|old| if max { value > old } else { value < old });
    if better {
        table
            .set_var(id, var, Some(value))
            .map_err(|e| Failure::new(FailureKind::Expression, e.to_string()))?;
    }
    Ok(())
}

fn wide(words: &[u64]) -> i128 {
    (u128::from(words[0]) | u128::from(words[1]) << 64) as i128
}

fn wide_words(value: i128) -> [u64; 2] {
    [value as u64, (value as u128 >> 64) as u64]
}
