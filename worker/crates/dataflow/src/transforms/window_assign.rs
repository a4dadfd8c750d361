//! A window table function without aggregation: adds the window to each row.

use std::sync::Arc;

use arrow_array::types::TimestampMillisecondType;
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, UInt8Array, UInt32Array};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use arrow_select::take::{take, take_record_batch};
use weir_protocol::{Failure, FailureKind};

use crate::window::{Window, no_time};
use crate::{Chunk, Emit, Flow, Transform, TransformContext, TransformFactory};

/// Rows that go out at once at most.
const ROWS_OUT: usize = 8_192;

/// Adds `window_start`, `window_end` and `window_time` (the last millisecond) after the columns of
/// the input; a row in several windows goes out once for each, a row in none (HOP with gaps) not at all.
#[derive(Debug, Clone)]
pub struct WindowAssign {
    window: Window,
    time: usize,
    output_schema: SchemaRef,
    /// What is not given yet of the input.
    rest: Option<Rest>,
}

/// The rows of a chunk and the windows that they go to.
#[derive(Debug, Clone)]
struct Rest {
    chunk: Chunk,
    times: Vec<i64>,
    /// The row to go on with, and the end of its next window if it has had some.
    row: usize,
    next_end: Option<i64>,
}

impl WindowAssign {
    /// Makes the transforms. `time` is the event time column; the output schema has the input's
    /// columns and three timestamps.
    ///
    /// # Errors
    /// A schema that does not fit.
    pub fn factory(
        input_schema: &SchemaRef,
        output_schema: SchemaRef,
        time: usize,
        window: Window,
    ) -> Result<Arc<dyn TransformFactory>, Failure> {
        let fits = output_schema.fields().len() == input_schema.fields().len() + 3
            && input_schema
                .fields()
                .iter()
                .zip(output_schema.fields())
                .all(|(i, o)| i.data_type() == o.data_type())
            && output_schema
                .fields()
                .iter()
                .rev()
                .take(3)
                .all(|f| matches!(f.data_type(), DataType::Timestamp(..)))
            && matches!(
                input_schema.fields().get(time).map(|f| f.data_type()),
                Some(DataType::Timestamp(..))
            );
        if !fits {
            return Err(Failure::new(
                FailureKind::Bug,
                format!("window table function: {output_schema:?} does not follow from {input_schema:?}"),
            ));
        }
        Ok(Arc::new(Self { window, time, output_schema, rest: None }))
    }

    /// Gives pieces until all is given or the output is full.
    fn give(&mut self, out: &mut dyn Emit) -> Result<Flow, Failure> {
        while let Some(rest) = &mut self.rest {
            let (rows, ends) = rest.piece(self.window);
            if rows.is_empty() {
                self.rest = None;
                return Ok(Flow::Done);
            }
            let chunk = assign(&rest.chunk, rows.into(), ends, self.window.size(), &self.output_schema)
                .map_err(|e| Failure::new(FailureKind::Bug, format!("window table function: {e}")))?;
            out.chunk(chunk)?;
            if rest.row == rest.times.len() {
                self.rest = None;
            } else if !out.ready() {
                return Ok(Flow::More);
            }
        }
        Ok(Flow::Done)
    }
}

impl Rest {
    /// The next rows with the end of a window for each.
    fn piece(&mut self, window: Window) -> (Vec<u32>, Vec<i64>) {
        let mut rows = Vec::new();
        let mut ends = Vec::new();
        while self.row < self.times.len() {
            let Some((first, last)) = window.windows_of_slice(window.slice_end(self.times[self.row])) else {
                self.row += 1;
                continue;
            };
            let mut end = self.next_end.take().unwrap_or(first);
            while end <= last {
                if rows.len() == ROWS_OUT {
                    self.next_end = Some(end);
                    return (rows, ends);
                }
                rows.push(u32::try_from(self.row).unwrap_or(u32::MAX));
                ends.push(end);
                end += window.slide();
            }
            self.row += 1;
        }
        (rows, ends)
    }
}

fn assign(
    chunk: &Chunk,
    rows: UInt32Array,
    ends: Vec<i64>,
    size: i64,
    schema: &SchemaRef,
) -> Result<Chunk, ArrowError> {
    let taken = take_record_batch(&chunk.rows, &rows)?;
    let kinds = match &chunk.kinds {
        Some(kinds) => {
            let kinds = take(kinds, &rows, None)?;
            Some(UInt8Array::from(kinds.to_data()))
        }
        None => None,
    };
    let mut columns = taken.columns().to_vec();
    let first = columns.len();
    for (i, shift) in [-size, 0, -1].into_iter().enumerate() {
        let times = ends.iter().map(|end| end + shift).collect();
        columns.push(timestamps(times, schema.field(first + i).data_type())?);
    }
    Ok(Chunk { rows: RecordBatch::try_new(schema.clone(), columns)?, kinds })
}

/// An array of timestamps of the given type from milliseconds.
pub(super) fn timestamps(ms: Vec<i64>, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let array: ArrayRef = Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(ms.into(), None));
    if array.data_type() == data_type { Ok(array) } else { arrow_cast::cast(&array, data_type) }
}

/// The event times of a batch in milliseconds (rounded down).
///
/// # Errors
/// A NULL, or a time that is out of range.
pub(super) fn event_times(rows: &RecordBatch, column: usize) -> Result<Vec<i64>, Failure> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{TimestampMicrosecondType, TimestampNanosecondType, TimestampSecondType};
    use arrow_schema::TimeUnit;
    let array = rows.column(column);
    let schema = rows.schema();
    let name = schema.field(column).name();
    if array.null_count() > 0 {
        return Err(no_time(name, "is NULL in a row: filter such rows out before the window"));
    }
    let times: Vec<i64> = match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            array.as_primitive::<TimestampMillisecondType>().values().to_vec()
        }
        DataType::Timestamp(TimeUnit::Second, _) => array
            .as_primitive::<TimestampSecondType>()
            .values()
            .iter()
            .map(|t| t.saturating_mul(1_000))
            .collect(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .iter()
            .map(|t| t.div_euclid(1_000))
            .collect(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .iter()
            .map(|t| t.div_euclid(1_000_000))
            .collect(),
        other => {
            return Err(Failure::new(FailureKind::Bug, format!("event time column {name:?} is a {other}")));
        }
    };
    let in_range = |t: &i64| (-crate::window::MAX_TIME..=crate::window::MAX_TIME).contains(t);
    if let Some(bad) = times.iter().find(|t| !in_range(t)) {
        return Err(no_time(name, &format!("is out of range in a row: {bad} ms")));
    }
    Ok(times)
}

impl Transform for WindowAssign {
    fn process(&mut self, _input: u32, chunk: Chunk, out: &mut dyn Emit) -> Result<Flow, Failure> {
        let times = event_times(&chunk.rows, self.time)?;
        self.rest = Some(Rest { chunk, times, row: 0, next_end: None });
        self.give(out)
    }

    fn resume(&mut self, out: &mut dyn Emit) -> Result<Flow, Failure> {
        self.give(out)
    }
}

impl TransformFactory for WindowAssign {
    fn create(&self, _context: TransformContext) -> Result<Box<dyn Transform>, Failure> {
        Ok(Box::new(self.clone()))
    }
}
