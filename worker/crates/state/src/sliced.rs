//! Keyed tables by slice of time: a slice goes away as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use weir_protocol::{KeyGroupRange, StateTableInfo};

use crate::keyed::{in_range, keep_rows};
use crate::part::{Form, Gathered};
use crate::stored::{SLICE_GONE, decode_block};
use crate::{KeyedTable, Part, StateError, StateTable, TableSpec, TableStats};

/// One [`KeyedTable`] for each slice, named by a number such as the end of its time.
#[derive(Debug)]
pub struct SlicedTable {
    spec: TableSpec,
    max_parallelism: u32,
    form: Arc<Form>,
    slices: BTreeMap<i64, KeyedTable>,
    /// Slices that went away and that a checkpoint may hold.
    dropped: BTreeSet<i64>,
    frozen: Option<Frozen>,
}

/// What a checkpoint in the making still has to get, besides what the slices keep themselves.
#[derive(Debug)]
struct Frozen {
    starts_base: bool,
    /// To be told as gone.
    gone: Vec<i64>,
    /// What was to be told as gone, for an abort.
    dropped: BTreeSet<i64>,
    /// Slices that went away after the freeze and are still to be swept.
    leaving: Vec<(i64, KeyedTable)>,
    /// The slice to go on with.
    cursor: i64,
}

impl SlicedTable {
    /// An empty table of a job with so many key groups.
    ///
    /// # Errors
    /// A type that can't be a key.
    pub fn new(spec: TableSpec, max_parallelism: u32) -> Result<Self, StateError> {
        Ok(Self {
            form: Arc::new(Form::new(&spec, true)?),
            spec,
            max_parallelism,
            slices: BTreeMap::new(),
            dropped: BTreeSet::new(),
            frozen: None,
        })
    }

    /// The slice with this name, made if it is not there.
    ///
    /// # Errors
    /// None for a table that could be made.
    pub fn slice_mut(&mut self, slice: i64) -> Result<&mut KeyedTable, StateError> {
        // It will most likely get about as many keys as the one before.
        let expected = self.slices.last_key_value().map_or(0, |(_, last)| last.len());
        match self.slices.entry(slice) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let table = entry.insert(KeyedTable::new(self.spec.clone(), self.max_parallelism)?);
                table.reserve(expected);
                Ok(table)
            }
        }
    }

    /// The slice with this name.
    pub fn slice(&self, slice: i64) -> Option<&KeyedTable> {
        self.slices.get(&slice)
    }

    /// The names of the slices that are there, rising.
    pub fn slices(&self) -> impl Iterator<Item = i64> + '_ {
        self.slices.keys().copied()
    }

    /// The slices whose names lie in a range, by rising name.
    pub fn range(&self, names: impl std::ops::RangeBounds<i64>) -> impl Iterator<Item = (i64, &KeyedTable)> {
        self.slices.range(names).map(|(name, table)| (*name, table))
    }

    /// Lets a slice go with all its rows.
    pub fn drop_slice(&mut self, slice: i64) {
        let Some(table) = self.slices.remove(&slice) else { return };
        if table.is_stored() {
            self.dropped.insert(slice);
        }
        if let Some(frozen) = self.frozen.as_mut().filter(|_| table.is_frozen()) {
            frozen.leaving.push((slice, table));
        }
    }

    /// The next rows of one slice to be swept.
    fn next_rows(&mut self, max_rows: usize) -> Option<(i64, Gathered)> {
        let frozen = self.frozen.as_mut()?;
        while let Some((slice, table)) = frozen.leaving.last_mut() {
            match table.sweep_rows(max_rows) {
                Some((_, rows)) if rows.len() > 0 => return Some((*slice, rows)),
                Some(_) => {}
                None => {
                    frozen.leaving.pop();
                }
            }
        }
        for (slice, table) in self.slices.range_mut(frozen.cursor..) {
            frozen.cursor = *slice;
            while let Some((_, rows)) = table.sweep_rows(max_rows) {
                if rows.len() > 0 {
                    return Some((*slice, rows));
                }
            }
        }
        None
    }

    fn restore_batch(&mut self, batch: &RecordBatch, range: KeyGroupRange) -> Result<(), StateError> {
        let keys = 2 + self.spec.ungrouped..2 + self.spec.keys.len();
        let inside = in_range(batch, keys, range, self.max_parallelism)?;
        let names = batch.column(0).as_primitive::<Int64Type>().values();
        let gone = batch.column(1).as_primitive::<UInt8Type>().values();
        let is_gone = |at: usize| gone[at] == SLICE_GONE;
        let columns: Vec<usize> = (1..batch.num_columns()).collect();
        let mut start = 0;
        while start < batch.num_rows() {
            let (name, all) = (names[start], is_gone(start));
            let same = (start..batch.num_rows()).take_while(|at| names[*at] == name && is_gone(*at) == all);
            let len = same.count();
            if all {
                if let Some(table) = self.slices.get_mut(&name) {
                    table.remove_stored(range)?;
                    if table.is_empty() {
                        self.slices.remove(&name);
                    }
                }
            } else if inside.slice(start, len).true_count() > 0 {
                let rows = batch.slice(start, len).project(&columns).map_err(|e| StateError::Block {
                    table: self.spec.name.clone(),
                    reason: e.to_string(),
                })?;
                let rows = keep_rows(&rows, &inside.slice(start, len), &self.spec.name)?;
                self.slice_mut(name)?.restore_rows(&rows)?;
            }
            start += len;
        }
        Ok(())
    }
}

impl StateTable for SlicedTable {
    fn info(&self) -> StateTableInfo {
        self.spec.info()
    }

    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError> {
        for batch in decode_block(block, &self.form.stored)? {
            self.restore_batch(&batch, range)?;
        }
        Ok(())
    }

    fn freeze(&mut self, full: bool) {
        if self.frozen.is_some() {
            self.aborted();
        }
        self.slices.values_mut().for_each(|table| table.freeze_rows(full));
        let dropped = std::mem::take(&mut self.dropped);
        let gone = if full { Vec::new() } else { dropped.iter().copied().collect() };
        self.frozen =
            Some(Frozen { starts_base: full, gone, dropped, leaving: Vec::new(), cursor: i64::MIN });
    }

    fn sweep(&mut self, max_rows: usize) -> Option<Part> {
        let frozen = self.frozen.as_mut()?;
        let starts_base = std::mem::take(&mut frozen.starts_base);
        let slices_gone = std::mem::take(&mut frozen.gone);
        let mut part = Part { form: self.form.clone(), starts_base, slices_gone, pieces: Vec::new() };
        let mut wanted = max_rows.max(1).saturating_sub(part.rows());
        while wanted > 0
            && let Some(piece) = self.next_rows(wanted)
        {
            wanted = wanted.saturating_sub(piece.1.len());
            part.pieces.push(piece);
        }
        (part.rows() > 0 || starts_base).then_some(part)
    }

    fn completed(&mut self) {
        self.frozen = None;
        self.slices.values_mut().for_each(KeyedTable::complete);
    }

    fn aborted(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.dropped.extend(frozen.dropped);
        }
        self.slices.values_mut().for_each(KeyedTable::abort);
    }

    fn stats(&self) -> TableStats {
        self.slices.values().map(KeyedTable::table_stats).fold(TableStats::default(), |a, b| TableStats {
            rows: a.rows + b.rows,
            bytes: a.bytes + b.bytes,
            dirty_bytes: a.dirty_bytes + b.dirty_bytes,
        })
    }
}
