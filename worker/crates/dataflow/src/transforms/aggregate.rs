//! Unbounded GROUP BY with changelog output.
//!
//! Every key that a batch touches gives one change per batch: `+I`, `-U` and `+U`, or `-D` when its
//! last row was taken back. Where rows are counted and batches hardly have a key twice, each row gives one.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use weir_protocol::{Failure, FailureKind, StateTableInfo};
use weir_state::{KeyedTable, Keys, StateError, StateTable, TableSpec, Visit, prefetch};

use super::accumulators::{Accumulators, BLOCK, LIVE, Values, blocks};
use super::aggregate_call::AggregateSpec;
use super::places::Places;
use crate::{Chunk, Emit, Flow, RowKind, Transform, TransformContext, TransformFactory};

/// Rows between the one that is asked for and the one that is written.
const AHEAD: usize = 32;
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
    /// The rows of the table whose counts are in these places, for the moment.
    tallied: Vec<(u32, u32)>,
    distinct: Distinct,
    /// The counts before each row of the batch.
    before: Vec<u64>,
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

/// Whether batches have most of their keys once only. There is nothing to gain then by putting the changes of a
/// key together.
#[derive(Debug, Default)]
struct Distinct {
    /// The size of the batch that was looked at last.
    rows: usize,
    /// Rows to go until one is looked at again; none if that one had its keys several times.
    left: usize,
}

impl Distinct {
    /// Smaller batches say too little about larger ones.
    const FEWEST: usize = 1_024;
    /// One of so many batches is looked at.
    const OF: usize = 64;

    /// Whether that is so for the next batch, as far as is known.
    fn next(&mut self, rows: usize) -> bool {
        let known = rows <= self.rows.min(self.left);
        if known {
            self.left -= rows;
        }
        known
    }

    fn look(&mut self, rows: usize, keys: usize) {
        let mostly = rows >= Self::FEWEST && keys > rows / 8 * 7;
        *self = Self { rows, left: if mostly { rows * Self::OF } else { 0 } };
    }
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

/// Counts the rows of each group of a batch beside the table, and puts its change down at the first of them.
struct Tally<'a> {
    width: usize,
    update_before: bool,
    /// The first row of the block.
    start: usize,
    changes: &'a mut Changes,
    /// Where the words after the batch are of each row that it touched.
    places: &'a mut Places,
    tallied: &'a mut Vec<(u32, u32)>,
}

impl Visit for Tally<'_> {
    #[inline]
    fn ahead(&self, id: u32) {
        self.places.prefetch(id);
    }

    #[inline(always)]
    fn wants(&mut self, _at: usize, id: u32) -> bool {
        let Some(place) = self.places.find(id) else { return true };
        let count = &mut self.changes.values.words_mut(place as usize)[LIVE];
        *count = count.wrapping_add(1);
        false
    }

    #[inline]
    fn visit(&mut self, at: usize, id: u32, row: &mut [u64]) {
        let words = &row[..self.width];
        let place = self.changes.open(words, (self.start + at) as u32, self.update_before);
        self.changes.values.words_mut(place)[LIVE] = words[LIVE].wrapping_add(1);
        self.places.put(id, place as u32);
        self.tallied.push((id, place as u32));
    }
}

/// Counts row by row: the count before each of them.
struct Each<'a>(&'a mut [u64]);

impl Visit for Each<'_> {
    #[inline(always)]
    fn visit(&mut self, at: usize, _id: u32, row: &mut [u64]) {
        self.0[at] = row[LIVE];
        row[LIVE] = row[LIVE].wrapping_add(1);
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

    /// Takes in rows each of which changes the results of its group.
    fn add_at_once(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let plan = self.plan.clone();
        if plan.acc.only_counts() && self.distinct.next(chunk.len()) {
            self.count_each(chunk.len());
            return Ok(());
        }
        self.places.start(chunk.len());
        let inputs = plan.acc.prepare(&chunk.rows)?;
        for range in blocks(chunk.len(), plan.acc.block(chunk.len())) {
            self.count(range.clone());
            plan.acc.update(&inputs, range, &self.ids, None, &mut self.table)?;
            self.put_words();
        }
        self.distinct.look(chunk.len(), self.tallied.len());
        self.put_counts();
        Ok(())
    }

    /// Takes in rows of any kind.
    fn add(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let plan = self.plan.clone();
        let inputs = plan.acc.prepare(&chunk.rows)?;
        self.places.start(chunk.len());
        self.touched.clear();
        let near = self.table.is_near();
        for range in blocks(chunk.len(), BLOCK) {
            self.table.lookup_or_insert(&self.keys, range.clone(), &mut self.ids);
            self.visit(chunk, range.start);
            let signs = chunk.kinds.is_some().then_some(self.signs.as_slice());
            plan.acc.update(&inputs, range, &self.ids, signs, &mut self.table)?;
            if !near {
                let ids = std::mem::take(&mut self.ids);
                self.take_words(&ids);
                self.ids = ids;
            }
        }
        if near {
            let ids = std::mem::take(&mut self.touched.ids);
            self.take_words(&ids);
            self.touched.ids = ids;
        }
        self.compare();
        Ok(())
    }

    /// Counts rows, each of which changes the results of its group, and puts the changes down at once.
    fn count(&mut self, range: Range<usize>) {
        let Self { plan, table, keys, ids, changes, places, tallied, .. } = self;
        let mut tally = Tally {
            width: plan.acc.fresh.len(),
            update_before: plan.spec.update_before,
            start: range.start,
            changes,
            places,
            tallied,
        };
        table.visit_keys(keys, range, ids, &mut tally);
    }

    /// The same where nothing but rows are counted, and nearly each has a key of its own.
    fn count_each(&mut self, rows: usize) {
        let Self { plan, table, keys, ids, changes, before, .. } = self;
        before.clear();
        before.resize(rows, 0);
        table.visit_keys(keys, 0..rows, ids, &mut Each(before));
        if plan.spec.update_before && !before.contains(&0) {
            return changes.push_updates(before);
        }
        for (at, count) in before.iter().enumerate() {
            let place = changes.open(&[*count], at as u32, plan.spec.update_before);
            changes.values.words_mut(place)[LIVE] = count.wrapping_add(1);
        }
    }

    /// Puts counts where they belong.
    fn put_counts(&mut self) {
        for at in 0..self.tallied.len() {
            if let Some((id, _)) = self.tallied.get(at + AHEAD) {
                prefetch(&self.table.row(*id)[LIVE]);
            }
            let (id, place) = self.tallied[at];
            self.table.row_mut(id)[LIVE] = self.changes.values.words_mut(place as usize)[LIVE];
        }
        self.tallied.clear();
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
        if self.places.find(id).is_some() {
            return;
        }
        self.places.put(id, self.touched.ids.len() as u32);
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

    /// Puts the words of the rows of a block, but for the counts, where their changes are.
    fn put_words(&mut self) {
        let Self { plan, table, ids, changes, places, .. } = self;
        let rest = LIVE + 1..plan.acc.fresh.len();
        if rest.is_empty() {
            return;
        }
        for id in ids.iter() {
            let words = &mut changes.values.words_mut(places.get(*id))[rest.clone()];
            words.copy_from_slice(&table.row(*id)[rest.clone()]);
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

    /// The changes of rows each of which adds one to a count.
    fn push_updates(&mut self, counts: &[u64]) {
        self.values.push_counts(counts);
        self.sources.resize(2 * counts.len(), 0);
        for (pair, at) in self.sources.as_chunks_mut().0.iter_mut().zip(0..) {
            *pair = [at; 2];
        }
        self.kinds.resize(2 * counts.len(), RowKind::UpdateAfter as u8);
        for pair in self.kinds.as_chunks_mut::<2>().0 {
            pair[0] = RowKind::UpdateBefore as u8;
        }
        self.updates = true;
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
        self.changes.reserve(&plan.acc);
        if plan.always_changes && chunk.kinds.is_none() {
            self.add_at_once(&chunk)?;
        } else {
            self.add(&chunk)?;
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
            tallied: Vec::new(),
            distinct: Distinct::default(),
            before: Vec::new(),
            changes: Changes::default(),
            now_ms: i64::MIN,
        }))
    }
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
