//! Keyed tables by slice of time: a slice goes away as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt8Array, new_null_array};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat_batches;
use weir_protocol::{KeyGroupRange, StateTableInfo};

use crate::keyed::{in_range, keep_rows};
use crate::stored::{SLICE_GONE, decode_block, part_rows};
use crate::{KeyedTable, Part, StateError, StateTable, TableSpec, TableStats};

/// One [`KeyedTable`] for each slice, named by a number such as the end of its time.
#[derive(Debug)]
pub struct SlicedTable {
    spec: TableSpec,
    max_parallelism: u32,
    stored: SchemaRef,
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
        KeyedTable::new(spec.clone(), max_parallelism)?;
        Ok(Self {
            stored: spec.stored(true),
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
    fn next_rows(&mut self, max_rows: usize) -> Option<(i64, usize, Vec<ArrayRef>)> {
        let frozen = self.frozen.as_mut()?;
        while let Some((slice, table)) = frozen.leaving.last_mut() {
            match table.sweep_rows(max_rows) {
                Some((_, rows, columns)) if rows > 0 => return Some((*slice, rows, columns)),
                Some(_) => {}
                None => {
                    frozen.leaving.pop();
                }
            }
        }
        for (slice, table) in self.slices.range_mut(frozen.cursor..) {
            frozen.cursor = *slice;
            while let Some((_, rows, columns)) = table.sweep_rows(max_rows) {
                if rows > 0 {
                    return Some((*slice, rows, columns));
                }
            }
        }
        None
    }

    fn gone_rows(&self, gone: Vec<i64>) -> Result<RecordBatch, ArrowError> {
        let rows = gone.len();
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(gone)), Arc::new(UInt8Array::from(vec![SLICE_GONE; rows]))];
        for field in &self.stored.fields()[2..] {
            columns.push(if field.is_nullable() {
                new_null_array(field.data_type(), rows)
            } else {
                Arc::new(arrow_array::UInt64Array::from(vec![0; rows]))
            });
        }
        part_rows(&self.stored, columns, rows)
    }

    fn slice_rows(&self, slice: i64, rows: usize, columns: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
        let mut all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![slice; rows]))];
        all.extend(columns);
        part_rows(&self.stored, all, rows)
    }

    fn sweep_part(&mut self, max_rows: usize) -> Result<Option<Part>, ArrowError> {
        let Some(frozen) = &mut self.frozen else { return Ok(None) };
        let starts_base = std::mem::take(&mut frozen.starts_base);
        let gone = std::mem::take(&mut frozen.gone);
        let mut batches = Vec::new();
        let mut count = gone.len();
        if !gone.is_empty() {
            batches.push(self.gone_rows(gone)?);
        }
        while count < max_rows.max(1)
            && let Some((slice, rows, columns)) = self.next_rows(max_rows - count)
        {
            batches.push(self.slice_rows(slice, rows, columns)?);
            count += rows;
        }
        if batches.is_empty() && !starts_base {
            return Ok(None);
        }
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.stored, several)?,
        };
        Ok(Some(Part { rows, starts_base }))
    }

    fn restore_batch(&mut self, batch: &RecordBatch, range: KeyGroupRange) -> Result<(), StateError> {
        let keys = 2 + self.spec.ungrouped..2 + self.spec.keys.len();
        let inside = in_range(batch, keys, range, self.max_parallelism)?;
        let names = batch.column(0).as_primitive::<Int64Type>().values();
        let gone = batch.column(1).as_primitive::<UInt8Type>().values();
        for (name, _) in names.iter().zip(gone).filter(|(_, gone)| **gone == SLICE_GONE) {
            if let Some(table) = self.slices.get_mut(name) {
                table.remove_stored(range)?;
                if table.is_empty() {
                    self.slices.remove(name);
                }
            }
        }
        let present: BTreeSet<i64> =
            names.iter().zip(gone).filter(|(_, gone)| **gone != SLICE_GONE).map(|(name, _)| *name).collect();
        for name in present {
            let mask: BooleanArray = (0..batch.num_rows())
                .map(|i| Some(names[i] == name && gone[i] != SLICE_GONE && inside.value(i)))
                .collect();
            if mask.true_count() > 0 {
                let rows = keep_rows(batch, &mask, &self.spec.name)?;
                let columns: Vec<usize> = (1..rows.num_columns()).collect();
                let rows = rows.project(&columns).map_err(|e| StateError::Block {
                    table: self.spec.name.clone(),
                    reason: e.to_string(),
                })?;
                self.slice_mut(name)?.restore_rows(&rows)?;
            }
        }
        Ok(())
    }
}

impl StateTable for SlicedTable {
    fn info(&self) -> StateTableInfo {
        self.spec.info()
    }

    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError> {
        for batch in decode_block(block, &self.stored)? {
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
        self.sweep_part(max_rows).expect("rows of this table have the types of this table")
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
