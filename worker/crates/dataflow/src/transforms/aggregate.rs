//! Unbounded GROUP BY with changelog output.
//!
//! Every key that a batch touches gives one change per batch: `+I`, `-U` and `+U`, or `-D` when its
//! last row was taken back.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use weir_protocol::{Failure, FailureKind, StateTableInfo};
use weir_state::{KeyedTable, Keys, StateError, StateTable, TableSpec, Visit};

use super::accumulators::{Accumulators, LIVE, Values};
use super::aggregate_call::AggregateSpec;
use super::places::Places;
use crate::{Chunk, Emit, Flow, RowKind, Transform, TransformContext, TransformFactory};

/// Rows that are worked on together.
const BLOCK: usize = 512;
/// Rows that are looked at for expiry with each batch, besides as many as the batch has.
const EXPIRY_ROWS: usize = 1_024;

/// An unbounded aggregation in one subtask.
#[derive(Debug)]
pub struct Aggregate {
    plan: Arc<Plan>,
    table: KeyedTable,
    keys: Keys,
    ids: Vec<u32>,
    signs: Vec<i8>,
    /// For each row of the table that the batch touched its place among those or, if changes are put down at
    /// once, that of its new words.
    places: Places,
    touched: Touched,
    changes: Changes,
    now_ms: i64,
}

/// The groups that a batch touched, in the order in which it did.
#[derive(Debug, Default)]
struct Touched {
    ids: Vec<u32>,
    /// The first row of the batch with the key.
    rows: Vec<u32>,
    /// The accumulators before the batch.
    old: Values,
    /// The words of the accumulators after the batch. In a large table they are copied block by block,
    /// so that rows need not be fetched once more when the batch is through.
    new: Vec<u64>,
}

/// The changes of a batch, in the order in which they go out.
#[derive(Debug, Default)]
struct Changes {
    values: Values,
    /// The row of the batch that has the key.
    sources: Vec<u32>,
    kinds: Vec<u8>,
    updates: bool,
    /// How many the last batch made.
    expected: usize,
}

/// Counts rows, and puts the change of each group down: its old words, and a place for the new ones.
struct Count<'a> {
    width: usize,
    update_before: bool,
    /// The first row of the block.
    start: usize,
    changes: &'a mut Changes,
    places: &'a mut Places,
}

impl Visit for Count<'_> {
    #[inline]
    fn ahead(&self, id: u32) {
        self.places.prefetch(id);
    }

    #[inline(always)]
    fn visit(&mut self, at: usize, id: u32, row: &mut [u64]) {
        let Self { changes, places, .. } = self;
        let place = places.find(id).unwrap_or_else(|vacant| {
            let source = (self.start + at) as u32;
            let place = changes.open(&row[..self.width], source, self.update_before) as u32;
            places.put(vacant, id, place);
            place
        });
        row[LIVE] = row[LIVE].wrapping_add(1);
        changes.values.words_mut(place as usize)[LIVE] = row[LIVE];
    }
}

impl Touched {
    fn clear(&mut self) {
        self.ids.clear();
        self.rows.clear();
        self.old.clear();
        self.new.clear();
    }
}

#[derive(Debug)]
struct Plan {
    spec: AggregateSpec,
    acc: Accumulators,
    table: TableSpec,
    /// The word with the time of the last change, and after how many milliseconds a group is forgotten.
    ttl: Option<(usize, i64)>,
    /// Whether each group to which a batch of inserts adds has a change, whatever it adds.
    always_changes: bool,
}

impl Plan {
    fn new(spec: AggregateSpec) -> Result<Self, Failure> {
        let config = |message: String| Failure::new(FailureKind::Config, message);
        let acc = Accumulators::new(&spec.calls, &spec.input_schema)?;
        if spec.retracting && !acc.retractable() {
            return Err(config(
                "MIN and MAX cannot be computed over rows that are updated or deleted later: COUNT, SUM and AVG can"
                    .to_owned(),
            ));
        }
        let keys = key_types(&spec)?;
        let fields = spec.output_schema.fields();
        let outputs = keys.iter().chain(spec.calls.iter().map(|c| &c.output));
        if fields.len() != keys.len() + spec.calls.len()
            || fields.iter().zip(outputs).any(|(f, t)| f.data_type() != t)
        {
            return Err(config(format!(
                "the columns {fields:?} are not the keys and results of the aggregation"
            )));
        }
        let mut words = acc.fresh.clone();
        let ttl = spec.ttl.map(|after| (words.len(), i64::try_from(after.as_millis()).unwrap_or(i64::MAX)));
        if ttl.is_some() {
            words.push(0);
        }
        let meaning = acc.meaning() + if ttl.is_some() { ", last change" } else { "" };
        let table = TableSpec {
            name: "groups".to_owned(),
            keys,
            ungrouped: 0,
            words,
            vars: acc.vars.clone(),
            meaning,
        };
        let always_changes = ttl.is_none() && acc.count_all();
        Ok(Self { spec, acc, table, ttl, always_changes })
    }
}

/// The types of the grouping keys.
pub(super) fn key_types(spec: &AggregateSpec) -> Result<Vec<DataType>, Failure> {
    let fields = spec.input_schema.fields();
    spec.keys
        .iter()
        .map(|k| fields.get(*k).map(|f| f.data_type().clone()))
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::new(FailureKind::Bug, format!("no such key columns: {:?}", spec.keys)))
}

pub(super) fn state(error: StateError) -> Failure {
    Failure::new(FailureKind::Config, error.to_string())
}

pub(super) fn bug(error: ArrowError) -> Failure {
    Failure::new(FailureKind::Bug, format!("aggregation: {error}"))
}

impl Aggregate {
    /// Makes the transforms of an aggregation.
    ///
    /// # Errors
    /// A specification that can't be computed, with what is allowed.
    pub fn factory(spec: AggregateSpec) -> Result<Arc<dyn TransformFactory>, Failure> {
        let plan = Arc::new(Plan::new(spec)?);
        KeyedTable::new(plan.table.clone(), 1).map_err(state)?;
        Ok(Arc::new(Factory(plan)))
    }

    /// The state that an aggregation declares.
    ///
    /// # Errors
    /// As [`Aggregate::factory`].
    pub fn tables(spec: &AggregateSpec) -> Result<Vec<StateTableInfo>, Failure> {
        Ok(vec![Plan::new(spec.clone())?.table.info()])
    }

    /// Counts rows, each of which changes the results of its group, and puts the changes down at once.
    fn count(&mut self, range: Range<usize>) {
        let Self { plan, table, keys, ids, changes, places, .. } = self;
        let mut count = Count {
            width: plan.acc.fresh.len(),
            update_before: plan.spec.update_before,
            start: range.start,
            changes,
            places,
        };
        table.visit_keys(keys, range, ids, &mut count);
    }

    /// Notes the groups that a block touches for the first time, and counts its rows.
    fn visit(&mut self, chunk: &Chunk, start: usize) {
        self.signs.clear();
        match &chunk.kinds {
            None => self.visit_added(start),
            Some(_) => self.visit_changed(chunk, start),
        }
    }

    /// All rows of the block add.
    fn visit_added(&mut self, start: usize) {
        for at in 0..self.ids.len() {
            let id = self.ids[at];
            self.touch_first(id, start + at);
            let live = &mut self.table.row_mut(id)[LIVE];
            *live = live.wrapping_add(1);
        }
    }

    fn visit_changed(&mut self, chunk: &Chunk, start: usize) {
        for at in 0..self.ids.len() {
            let id = self.ids[at];
            self.touch_first(id, start + at);
            let live = &mut self.table.row_mut(id)[LIVE];
            let sign = match (chunk.kind(start + at).adds(), *live) {
                (true, _) => 1,
                // What was never there, or was forgotten, is not taken back.
                (false, 0) => 0,
                (false, _) => -1,
            };
            *live = live.wrapping_add_signed(sign);
            self.signs.push(sign as i8);
        }
    }

    /// Notes a row if the batch has not touched it yet.
    #[inline]
    fn touch_first(&mut self, id: u32, at: usize) {
        let Err(vacant) = self.places.find(id) else { return };
        self.places.put(vacant, id, self.touched.ids.len() as u32);
        if let Some((word, after)) = self.plan.ttl {
            let last = self.table.row(id)[word] as i64;
            if last.saturating_add(after) < self.now_ms {
                self.table.reset_row(id);
            }
            self.table.row_mut(id)[word] = self.now_ms as u64;
        }
        self.touched.ids.push(id);
        self.touched.rows.push(at as u32);
        self.touched.old.push(&self.plan.acc, &self.table, id);
    }

    /// Takes the words of rows that were touched out.
    fn take_words(&mut self, ids: &[u32]) {
        let width = self.plan.acc.fresh.len();
        let touched = self.touched.ids.len().max(ids.len());
        self.touched.new.resize(touched * width, 0);
        for id in ids {
            let row = self.table.row(*id);
            let at = self.places.get(*id) * width;
            self.touched.new[at..at + width].copy_from_slice(&row[..width]);
        }
    }

    /// Puts the words of the rows of a block where their changes are.
    fn put_words(&mut self) {
        let Self { plan, table, ids, changes, places, .. } = self;
        let width = plan.acc.fresh.len();
        for id in ids.iter() {
            changes.values.words_mut(places.get(*id))[..width].copy_from_slice(&table.row(*id)[..width]);
        }
    }

    /// Finds the changes of the groups that were touched.
    fn compare(&mut self) {
        let acc = &self.plan.acc;
        let changes = &mut self.changes;
        let new = self.touched.new.chunks_exact(acc.fresh.len());
        for (at, ((id, source), new)) in self.touched.ids.iter().zip(&self.touched.rows).zip(new).enumerate()
        {
            let before = self.touched.old.words(acc, at)[LIVE] != 0;
            let after = new[LIVE] != 0;
            let same = || self.plan.ttl.is_none() && acc.same(&self.touched.old, at, new, &self.table, *id);
            if before && after && same() {
                continue;
            }
            if before && (!after || self.plan.spec.update_before) {
                changes.values.push_from(acc, &self.touched.old, at);
                changes.push(*source, if after { RowKind::UpdateBefore } else { RowKind::Delete });
            }
            if after {
                changes.values.push_words(acc, new, &self.table, *id);
                changes.push(*source, if before { RowKind::UpdateAfter } else { RowKind::Insert });
            } else {
                self.table.remove(*id);
            }
        }
    }

    /// The changes as rows; `rows` is the batch that made them.
    fn take_changes(&mut self, rows: &RecordBatch) -> Result<Option<Chunk>, Failure> {
        let changes = &mut self.changes;
        let sources = UInt32Array::from(std::mem::take(&mut changes.sources));
        let kinds = UInt8Array::from(std::mem::take(&mut changes.kinds));
        let updates = std::mem::take(&mut changes.updates);
        changes.expected = sources.len();
        if sources.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(self.plan.spec.output_schema.fields().len());
        for key in &self.plan.spec.keys {
            columns.push(take(rows.column(*key), &sources, None).map_err(bug)?);
        }
        columns.extend(self.plan.acc.all_results(&mut changes.values)?);
        let options = RecordBatchOptions::new().with_row_count(Some(sources.len()));
        let rows = RecordBatch::try_new_with_options(self.plan.spec.output_schema.clone(), columns, &options);
        Ok(Some(Chunk { rows: rows.map_err(bug)?, kinds: updates.then_some(kinds) }))
    }
}

impl Changes {
    /// Makes room for as many changes as the last batch made.
    fn reserve(&mut self, acc: &Accumulators) {
        self.values.reserve(acc, self.expected);
        self.sources.reserve(self.expected);
        self.kinds.reserve(self.expected);
    }

    #[inline]
    fn push(&mut self, source: u32, kind: RowKind) {
        self.sources.push(source);
        self.kinds.push(kind as u8);
        self.updates |= kind != RowKind::Insert;
    }

    /// Puts down the change of a group that has these words so far, and will have others; gives the
    /// place of those.
    #[inline]
    fn open(&mut self, words: &[u64], source: u32, update_before: bool) -> usize {
        match words[LIVE] {
            0 => self.push(source, RowKind::Insert),
            _ if update_before => {
                self.values.push_row(words);
                self.sources.extend([source; 2]);
                self.kinds.extend([RowKind::UpdateBefore as u8, RowKind::UpdateAfter as u8]);
                self.updates = true;
            }
            _ => self.push(source, RowKind::UpdateAfter),
        }
        self.values.push_row(words)
    }
}

impl Transform for Aggregate {
    fn process(&mut self, _input: u32, chunk: Chunk, out: &mut dyn Emit) -> Result<Flow, Failure> {
        let plan = self.plan.clone();
        let keys = plan.spec.keys.iter().map(|k| chunk.rows.column(*k).clone()).collect::<Vec<_>>();
        self.keys.fill(&keys, chunk.len()).map_err(state)?;
        let inputs = plan.acc.prepare(&chunk.rows)?;
        self.places.start(chunk.len());
        self.touched.clear();
        self.changes.reserve(&plan.acc);
        let at_once = plan.always_changes && chunk.kinds.is_none();
        let near = self.table.is_near();
        for start in (0..chunk.len()).step_by(BLOCK) {
            let range = start..chunk.len().min(start + BLOCK);
            if at_once {
                self.count(range.clone());
            } else {
                self.table.lookup_or_insert(&self.keys, range.clone(), &mut self.ids);
                self.visit(&chunk, start);
            }
            let signs = chunk.kinds.is_some().then_some(self.signs.as_slice());
            plan.acc.update(&inputs, range, &self.ids, signs, &mut self.table)?;
            if at_once && plan.acc.fresh.len() > 1 {
                self.put_words();
            } else if !at_once && !near {
                let ids = std::mem::take(&mut self.ids);
                self.take_words(&ids);
                self.ids = ids;
            }
        }
        if !at_once {
            if near {
                let ids = std::mem::take(&mut self.touched.ids);
                self.take_words(&ids);
                self.touched.ids = ids;
            }
            self.compare();
        }
        if let Some(changes) = self.take_changes(&chunk.rows)? {
            out.chunk(changes)?;
        }
        if let Some((word, after)) = plan.ttl {
            self.table.expire(word, self.now_ms.saturating_sub(after), EXPIRY_ROWS + chunk.len());
        }
        Ok(Flow::Done)
    }

    fn tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    fn tables(&mut self) -> Vec<&mut dyn StateTable> {
        vec![&mut self.table]
    }
}

#[derive(Debug)]
struct Factory(Arc<Plan>);

impl TransformFactory for Factory {
    fn create(&self, context: TransformContext) -> Result<Box<dyn Transform>, Failure> {
        Ok(Box::new(Aggregate {
            table: KeyedTable::new(self.0.table.clone(), context.max_parallelism).map_err(state)?,
            keys: Keys::new(&self.0.table.keys).map_err(state)?,
            plan: self.0.clone(),
            ids: Vec::new(),
            signs: Vec::new(),
            places: Places::default(),
            touched: Touched::default(),
            changes: Changes::default(),
            now_ms: i64::MIN,
        }))
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
