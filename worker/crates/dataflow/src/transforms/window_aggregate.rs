//! GROUP BY over the windows of a window table function: rows are added to slices of time, and a
//! window's results go out when the watermark passes its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::DataType;
use arrow_select::take::take_record_batch;
use weir_protocol::{Failure, FailureKind, KeyGroupRange, StateTableInfo};
use weir_state::{KeyedTable, Keys, SlicedTable, StateTable, TableSpec};

use super::accumulators::{Accumulators, LIVE, Values, blocks};
use super::aggregate::{bug, key_types, state};
use super::aggregate_call::AggregateSpec;
use super::window_assign::{event_times, timestamps};
use crate::window::{WindowOutput, WindowSpec};
use crate::{Chunk, Emit, Flow, Transform, TransformContext, TransformFactory, Watermark};

/// Rows that go out at once at most.
const ROWS_OUT: usize = 8_192;
/// The list of operator state with the position of each subtask.
const POSITION: &str = "position";

/// A window aggregation in one subtask.
#[derive(Debug)]
pub struct WindowAggregate {
    plan: Arc<Plan>,
    table: SlicedTable,
    keys: Keys,
    ids: Vec<u32>,
    max_parallelism: u32,
    range: KeyGroupRange,
    /// Every window whose last millisecond is not after this has gone out.
    position: i64,
    /// The watermark that is being worked off.
    due: Option<Watermark>,
    firing: Option<Firing>,
    late: u64,
}

/// A window that is going out.
#[derive(Debug)]
struct Firing {
    end: i64,
    /// Its slices put together; none if it has only the one slice.
    merged: Option<KeyedTable>,
    slice: i64,
    next_row: u32,
}

#[derive(Debug)]
struct Plan {
    spec: AggregateSpec,
    window: WindowSpec,
    acc: Accumulators,
    table: TableSpec,
}

impl Plan {
    fn new(spec: AggregateSpec, window: WindowSpec) -> Result<Self, Failure> {
        let config = |message: &str| Failure::new(FailureKind::Config, message);
        if spec.retracting {
            return Err(config(
                "a window aggregation takes rows that are only added, not updated or deleted ones",
            ));
        }
        if spec.ttl.is_some() {
            return Err(config("a window aggregation has no time to live: its windows end by the watermark"));
        }
        let acc = Accumulators::new(&spec.calls, &spec.input_schema)?;
        let keys = key_types(&spec)?;
        let time = spec.input_schema.fields().get(window.time).map(|f| f.data_type());
        if !matches!(time, Some(DataType::Timestamp(..))) {
            return Err(config(&format!("the event time of a window must be a timestamp, not {time:?}")));
        }
        let fields = spec.output_schema.fields();
        let fits = |(output, field): (&WindowOutput, &Arc<arrow_schema::Field>)| match output {
            WindowOutput::Key(k) => keys.get(*k) == Some(field.data_type()),
            WindowOutput::Call(c) => spec.calls.get(*c).map(|c| &c.output) == Some(field.data_type()),
            _ => matches!(field.data_type(), DataType::Timestamp(..)),
        };
        if fields.len() != window.output.len() || !window.output.iter().zip(fields).all(fits) {
            return Err(config(&format!("the columns {fields:?} are not those of the window aggregation")));
        }
        let table = TableSpec {
            name: "slices".to_owned(),
            keys,
            ungrouped: 0,
            words: acc.fresh.clone(),
            vars: acc.vars.clone(),
            meaning: format!("slices of {} ms: {}", window.window.pane(), acc.meaning()),
        };
        Ok(Self { spec, window, acc, table })
    }
}

impl WindowAggregate {
    /// Makes the transforms of a window aggregation.
    ///
    /// # Errors
    /// A specification that can't be computed, with what is allowed.
    pub fn factory(spec: AggregateSpec, window: WindowSpec) -> Result<Arc<dyn TransformFactory>, Failure> {
        let plan = Arc::new(Plan::new(spec, window)?);
        KeyedTable::new(plan.table.clone(), 1).map_err(state)?;
        Ok(Arc::new(Factory(plan)))
    }

    /// The state that a window aggregation declares.
    ///
    /// # Errors
    /// As [`WindowAggregate::factory`].
    pub fn tables(spec: &AggregateSpec, window: &WindowSpec) -> Result<Vec<StateTableInfo>, Failure> {
        Ok(vec![Plan::new(spec.clone(), window.clone())?.table.info()])
    }

    /// Adds rows that all belong to one slice.
    fn add(&mut self, slice_end: i64, rows: &RecordBatch) -> Result<(), Failure> {
        let plan = self.plan.clone();
        let Some((_, last)) = plan.window.window.windows_of_slice(slice_end) else { return Ok(()) };
        if last - 1 <= self.position {
            self.late += rows.num_rows() as u64;
            return Ok(());
        }
        let keys: Vec<ArrayRef> = plan.spec.keys.iter().map(|k| rows.column(*k).clone()).collect();
        self.keys.fill(&keys, rows.num_rows()).map_err(state)?;
        let inputs = plan.acc.prepare(rows)?;
        let table = self.table.slice_mut(slice_end).map_err(state)?;
        for range in blocks(rows.num_rows(), plan.acc.block(rows.num_rows())) {
            let mut count = |_: usize, _: u32, row: &mut [u64]| row[LIVE] += 1;
            table.visit_keys(&self.keys, range.clone(), &mut self.ids, &mut count);
            plan.acc.update(&inputs, range, &self.ids, None, table)?;
        }
        Ok(())
    }

    /// Gives what is due, and then the watermark.
    fn give(&mut self, out: &mut dyn Emit) -> Result<Flow, Failure> {
        let Some(due) = self.due else { return Ok(Flow::Done) };
        loop {
            if self.firing.is_none() {
                let Some(end) = self.next_window().filter(|end| end - 1 <= due.0) else { break };
                self.firing = Some(self.open(end)?);
            }
            let Some(firing) = &mut self.firing else { break };
            let piece = firing.piece(&self.plan, &self.table)?;
            let end = firing.end;
            match piece {
                Some(rows) => out.chunk(Chunk::inserts(rows))?,
                None => self.close(end),
            }
            if !out.ready() {
                return Ok(Flow::More);
            }
        }
        self.position = self.position.max(due.0);
        self.due = None;
        out.watermark(due)?;
        Ok(Flow::Done)
    }

    /// The end of the first window with rows that has not gone out.
    fn next_window(&mut self) -> Option<i64> {
        let window = self.plan.window.window;
        loop {
            let slice = self.table.slices().next()?;
            let unfired = self.position.saturating_add(2);
            match window.windows_of_slice(slice) {
                Some((first, _)) if unfired <= first => return Some(first),
                Some((_, last)) if unfired <= last => return Some(window.window_end_from(unfired)),
                _ => self.table.drop_slice(slice),
            }
        }
    }

    fn open(&mut self, end: i64) -> Result<Firing, Failure> {
        let start = end - self.plan.window.window.size();
        let slices: Vec<i64> = self.table.range(start + 1..=end).map(|(slice, _)| slice).collect();
        let first = slices.first().copied().unwrap_or(end);
        if slices.len() <= 1 {
            return Ok(Firing { end, merged: None, slice: first, next_row: 0 });
        }
        let mut merged = KeyedTable::new(self.plan.table.clone(), self.max_parallelism).map_err(state)?;
        merged.reserve(self.table.range(start + 1..=end).map(|(_, table)| table.len()).max().unwrap_or(0));
        for slice in slices {
            let Some(table) = self.table.slice(slice) else { continue };
            let mut next = 0;
            while let Some(from) = some_rows(table, &mut next) {
                let keys = table.keys_of(&from).map_err(bug)?;
                self.keys.fill(&keys, from.len()).map_err(state)?;
                merged.lookup_or_insert(&self.keys, 0..from.len(), &mut self.ids);
                for (from, id) in from.iter().zip(&self.ids) {
                    self.plan.acc.merge(table, *from, &mut merged, *id)?;
                }
            }
        }
        Ok(Firing { end, merged: Some(merged), slice: first, next_row: 0 })
    }

    /// A window has gone out: slices that are in no later one are not needed any more.
    fn close(&mut self, end: i64) {
        self.firing = None;
        self.position = end - 1;
        let window = self.plan.window.window;
        let done = |slice: &i64| window.windows_of_slice(*slice).is_none_or(|(_, last)| last <= end);
        let gone: Vec<i64> = self.table.slices().take_while(done).collect();
        gone.into_iter().for_each(|slice| self.table.drop_slice(slice));
    }
}

/// The next rows of a table, none at its end.
fn some_rows(table: &KeyedTable, next: &mut u32) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    while ids.len() < ROWS_OUT
        && let Some(id) = table.next_id(*next)
    {
        ids.push(id);
        *next = id + 1;
    }
    (!ids.is_empty()).then_some(ids)
}

impl Firing {
    /// The next results.
    fn piece(&mut self, plan: &Plan, slices: &SlicedTable) -> Result<Option<RecordBatch>, Failure> {
        let Some(table) = self.merged.as_ref().or_else(|| slices.slice(self.slice)) else { return Ok(None) };
        let Some(ids) = some_rows(table, &mut self.next_row) else { return Ok(None) };
        let keys = table.keys_of(&ids).map_err(bug)?;
        let mut values = Values::default();
        ids.iter().for_each(|id| values.push(&plan.acc, table, *id));
        let schema = &plan.spec.output_schema;
        let time =
            |ms: i64, i: usize| timestamps(vec![ms; ids.len()], schema.field(i).data_type()).map_err(bug);
        let mut columns = Vec::with_capacity(plan.window.output.len());
        for (i, output) in plan.window.output.iter().enumerate() {
            columns.push(match output {
                WindowOutput::Key(k) => keys[*k].clone(),
                WindowOutput::Call(c) => plan.acc.results(*c, &values)?,
                WindowOutput::Start => time(self.end - plan.window.window.size(), i)?,
                WindowOutput::End => time(self.end, i)?,
                WindowOutput::Time => time(self.end - 1, i)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(ids.len()));
        RecordBatch::try_new_with_options(schema.clone(), columns, &options).map(Some).map_err(bug)
    }
}

/// Rows of a batch in a row that belong to one slice.
struct Stretch {
    slice_end: i64,
    start: usize,
    len: usize,
}

fn stretches(times: &[i64], plan: &Plan) -> Vec<Stretch> {
    let window = plan.window.window;
    let mut all: Vec<Stretch> = Vec::new();
    let mut start = 0;
    while let Some(first) = times.get(start) {
        let slice_end = window.slice_end(*first);
        let slice = slice_end - window.pane()..slice_end;
        let len = times[start..].iter().take_while(|time| slice.contains(time)).count();
        all.push(Stretch { slice_end, start, len });
        start += len;
    }
    all
}

impl Transform for WindowAggregate {
    fn process(&mut self, _input: u32, chunk: Chunk, _out: &mut dyn Emit) -> Result<Flow, Failure> {
        let times = event_times(&chunk.rows, self.plan.window.time)?;
        let stretches = stretches(&times, &self.plan);
        let mut by_slice: BTreeMap<i64, Vec<&Stretch>> = BTreeMap::new();
        for stretch in &stretches {
            by_slice.entry(stretch.slice_end).or_default().push(stretch);
        }
        for (slice_end, parts) in by_slice {
            if let [one] = parts.as_slice() {
                self.add(slice_end, &chunk.rows.slice(one.start, one.len))?;
                continue;
            }
            let rows = parts.iter().flat_map(|p| p.start as u32..(p.start + p.len) as u32);
            let rows = UInt32Array::from_iter_values(rows);
            self.add(slice_end, &take_record_batch(&chunk.rows, &rows).map_err(bug)?)?;
        }
        Ok(Flow::Done)
    }

    fn watermark(&mut self, watermark: Watermark, out: &mut dyn Emit) -> Result<Flow, Failure> {
        self.due = Some(watermark);
        self.give(out)
    }

    fn resume(&mut self, out: &mut dyn Emit) -> Result<Flow, Failure> {
        self.give(out)
    }

    fn tables(&mut self) -> Vec<&mut dyn StateTable> {
        vec![&mut self.table]
    }

    fn lists(&mut self) -> Vec<(String, Vec<Vec<u8>>)> {
        let mut value = Vec::with_capacity(16);
        value.extend(self.range.start.to_le_bytes());
        value.extend(self.range.end.to_le_bytes());
        value.extend(self.position.to_le_bytes());
        vec![(POSITION.to_owned(), vec![value])]
    }

    /// The position is the lowest of the subtasks that had key groups of this one.
    fn restore_list(&mut self, name: &str, values: Vec<Vec<u8>>) -> Result<(), Failure> {
        let unreadable = || {
            Failure::new(
                FailureKind::StateUnreadable,
                format!("window aggregation: the list {name:?} is not its own"),
            )
        };
        if name != POSITION {
            return Err(unreadable());
        }
        let mut lowest: Option<i64> = None;
        for value in values {
            let value: [u8; 16] = value.try_into().map_err(|_| unreadable())?;
            let number = u128::from_le_bytes(value);
            let theirs = KeyGroupRange { start: number as u32, end: (number >> 32) as u32 };
            let position = (number >> 64) as i64;
            if theirs.overlaps(self.range) {
                lowest = Some(lowest.map_or(position, |lowest| lowest.min(position)));
            }
        }
        self.position = lowest.unwrap_or(i64::MIN);
        Ok(())
    }

    fn late_rows(&self) -> u64 {
        self.late
    }
}

#[derive(Debug)]
struct Factory(Arc<Plan>);

impl TransformFactory for Factory {
    fn create(&self, context: TransformContext) -> Result<Box<dyn Transform>, Failure> {
        Ok(Box::new(WindowAggregate {
            table: SlicedTable::new(self.0.table.clone(), context.max_parallelism).map_err(state)?,
            keys: Keys::new(&self.0.table.keys).map_err(state)?,
            plan: self.0.clone(),
            ids: Vec::new(),
            max_parallelism: context.max_parallelism,
            range: context.range,
            position: i64::MIN,
            due: None,
            firing: None,
            late: 0,
        }))
    }
}

#[cfg(test)]
#[path = "window_aggregate_tests.rs"]
mod tests;
