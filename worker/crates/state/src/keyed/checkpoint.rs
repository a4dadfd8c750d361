//! Freezing, sweeping and restoring a keyed table.
//!
//! A freeze keeps which rows are to go out as bits. The sweep takes them out in the order of their
//! ids; a row that is about to be written before its turn is copied first.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt8Type, UInt64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt8Array, UInt64Array};
use arrow_buffer::NullBuffer;
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use weir_protocol::{KeyGroupRange, StateTableInfo, key_group};

use super::KeyedTable;
use crate::bits::Bits;
use crate::hash::{HASH_OF_NO_COLUMNS, VarColumn, hash_keys};
use crate::key::{Keys, decode_keys, var_array};
use crate::stored::{GONE, THERE, decode_block, part_rows};
use crate::{Part, StateError, StateTable, TableStats};

/// The rows that a checkpoint in the making still has to get.
#[derive(Debug)]
pub(crate) struct Frozen {
    starts_base: bool,
    left: Bits,
    cursor: u32,
    /// What had changed at the freeze.
    changed: Bits,
    dead: Vec<u32>,
    saved: Gathered,
    /// Room for the next rows.
    spare: Gathered,
    handles: Vec<u64>,
}

/// Whole rows one after the other, with what is not in their words.
#[derive(Debug, Default)]
struct Gathered {
    words: Vec<u64>,
    gone: Vec<u8>,
    /// Position of the row of the NULL key.
    null_key: Option<usize>,
}

impl Gathered {
    fn push(&mut self, row: &[u64], gone: bool, null_key: bool) {
        if null_key {
            self.null_key = Some(self.gone.len());
        }
        self.words.extend_from_slice(row);
        self.gone.push(if gone { GONE } else { THERE });
    }
}

impl Frozen {
    pub(crate) fn bytes(&self) -> usize {
        let room = self.saved.words.capacity() + self.spare.words.capacity();
        self.left.bytes() + self.changed.bytes() + self.dead.len() * 4 + room * 8
    }

    /// Has loaded what a write to a row asks for.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        self.left.prefetch(id);
    }

    pub(crate) fn keep_handle(&mut self, handle: u64) {
        self.handles.push(handle);
    }

    /// Whether the place of a row must be kept for this checkpoint or the abort of it.
    pub(crate) fn needs(&self, id: u32) -> bool {
        self.left.get(id) || self.changed.get(id)
    }
}

impl KeyedTable {
    /// Keeps the values of a row for the sweep if it has not been swept yet.
    pub(super) fn save(&mut self, id: u32) {
        if let Some(frozen) = self.frozen.as_mut().filter(|f| f.left.get(id)) {
            frozen.left.clear(id);
            // The bits of dead rows are far, too.
            let gone = self.dead_count > 0 && self.dead.get(id);
            frozen.saved.push(self.rows.get(id), gone, self.null_row == Some(id));
        }
    }

    /// See [`StateTable::freeze`].
    pub(crate) fn freeze_rows(&mut self, full: bool) {
        if self.frozen.is_some() {
            self.abort();
        }
        self.stored_once = true;
        let mut changed = Bits::default();
        changed.reserve(self.rows.len());
        std::mem::swap(&mut self.dirty, &mut changed);
        let left = if full {
            let mut all = Bits::ones(self.rows.len());
            all.and_not(&self.free_bits);
            all.and_not(&self.dead);
            all
        } else {
            changed.clone()
        };
        self.frozen = Some(Frozen {
            starts_base: full,
            left,
            cursor: 0,
            changed,
            dead: std::mem::take(&mut self.dead_list),
            saved: Gathered::default(),
            spare: Gathered::default(),
            handles: Vec::new(),
        });
    }

    /// Takes out about `max_rows` rows: whether they start a base, how many they are, and their
    /// columns from `#gone` on.
    pub(crate) fn sweep_rows(&mut self, max_rows: usize) -> Option<(bool, usize, Vec<ArrayRef>)> {
        self.give_back(max_rows);
        let frozen = self.frozen.as_mut()?;
        let mut gathered = std::mem::replace(&mut frozen.saved, std::mem::take(&mut frozen.spare));
        while gathered.gone.len() < max_rows.max(1)
            && let Some(id) = frozen.left.next(frozen.cursor)
        {
            frozen.left.clear(id);
            frozen.cursor = id;
            gathered.push(self.rows.get(id), self.dead.get(id), self.null_row == Some(id));
        }
        let starts_base = std::mem::take(&mut frozen.starts_base);
        if gathered.gone.is_empty() && !starts_base {
            return None;
        }
        let rows = gathered.gone.len();
        let columns = self.columns(&mut gathered).expect("rows of this table have the types of this table");
        if let Some(frozen) = &mut self.frozen {
            frozen.spare = gathered;
        }
        Some((starts_base, rows, columns))
    }

    /// The columns of rows, which are empty afterwards.
    fn columns(&self, rows: &mut Gathered) -> Result<Vec<ArrayRef>, ArrowError> {
        let stride = self.rows.row_bytes() / 8;
        let count = rows.gone.len();
        let keys = self.layout.words();
        let mut key_words = Vec::with_capacity(count * keys);
        for row in rows.words.chunks_exact(stride) {
            key_words.extend_from_slice(&row[..keys]);
        }
        let nulls = rows.null_key.take().map(|null| NullBuffer::from_iter((0..count).map(|i| i != null)));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt8Array::from(std::mem::take(&mut rows.gone)))];
        columns.extend(decode_keys(&self.layout, key_words, nulls, &self.slab)?);
        let word = |w: usize| rows.words.chunks_exact(stride).map(move |row| row[keys + w]);
        for w in 0..self.spec.words.len() {
            columns.push(Arc::new(UInt64Array::from_iter_values(word(w))));
        }
        for (v, data_type) in self.spec.vars.iter().enumerate() {
            let values: Vec<Option<&[u8]>> = word(self.spec.words.len() + v)
                .map(|handle| (handle != 0).then(|| self.slab.get(handle)))
                .collect();
            columns.push(var_array(data_type, &values)?);
        }
        rows.words.clear();
        Ok(columns)
    }

    /// See [`StateTable::completed`].
    pub(crate) fn complete(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.reclaim.extend(frozen.dead);
            frozen.handles.into_iter().for_each(|h| self.slab.free(h));
        }
    }

    /// See [`StateTable::aborted`].
    pub(crate) fn abort(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.dirty.or(&frozen.changed);
            self.dead_list.extend(frozen.dead);
            frozen.handles.into_iter().for_each(|h| self.slab.free(h));
        }
    }

    /// Takes in rows with the columns of [`KeyedTable::sweep_rows`].
    pub(crate) fn restore_rows(&mut self, batch: &RecordBatch) -> Result<(), StateError> {
        self.stored_once = true;
        let key_count = self.spec.keys.len();
        let columns = batch.columns();
        let gone = columns[0].as_primitive::<UInt8Type>().values();
        let mut keys = std::mem::replace(&mut self.scratch_keys, Keys::empty());
        keys.fill(&columns[1..=key_count], batch.num_rows())?;
        let ids = self.restore_ids(&keys, gone);
        self.scratch_keys = keys;
        for (w, column) in columns[1 + key_count..].iter().enumerate() {
            if w < self.spec.words.len() {
                let values = column.as_primitive::<UInt64Type>().values();
                for (id, value) in ids.iter().zip(values).filter_map(|(id, v)| id.map(|id| (id, v))) {
                    self.row_mut(id)[w] = *value;
                }
                continue;
            }
            let values = VarColumn::new(column.as_ref())?;
            for (at, id) in ids.iter().enumerate().filter_map(|(at, id)| id.map(|id| (at, id))) {
                let value = column.is_valid(at).then(|| values.value(at));
                self.set_var(id, w - self.spec.words.len(), value)?;
            }
        }
        self.give_back(usize::MAX);
        Ok(())
    }

    /// Whether a checkpoint may hold rows of this table.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored_once
    }

    /// Whether a checkpoint in the making may still need rows of this table.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Removes the restored rows of these key groups, as a restored tombstone of all of them says.
    pub(crate) fn remove_stored(&mut self, range: KeyGroupRange) -> Result<(), StateError> {
        let ids: Vec<u32> = std::iter::successors(self.next_id(0), |id| self.next_id(id + 1)).collect();
        let fail = |e: ArrowError| StateError::Block { table: self.spec.name.clone(), reason: e.to_string() };
        let columns = self.keys_of(&ids).map_err(fail)?;
        let mut hashes = Vec::new();
        hash_keys(&columns[self.spec.ungrouped..], &mut hashes)?;
        hashes.resize(ids.len(), HASH_OF_NO_COLUMNS);
        for (id, hash) in ids.into_iter().zip(hashes) {
            if range.contains(key_group::of_hash(hash, self.max_parallelism)) {
                self.remove_restored(id);
            }
        }
        self.give_back(usize::MAX);
        Ok(())
    }

    fn remove_restored(&mut self, id: u32) {
        self.remove(id);
        self.dirty.clear(id);
        self.dead_list.pop();
        self.reclaim.push(id);
    }

    /// The rows of keys that are there; the others are removed.
    fn restore_ids(&mut self, keys: &Keys, gone: &[u8]) -> Vec<Option<u32>> {
        let mut ids = Vec::with_capacity(gone.len());
        for (at, gone) in gone.iter().enumerate() {
            if *gone == THERE {
                let id = self.find_or_insert(keys, at);
                self.revive(id);
                ids.push(Some(id));
                continue;
            }
            if let Some(id) = self.find(keys, at) {
                self.remove_restored(id);
            }
            ids.push(None);
        }
        ids
    }
}

/// The rows of a decoded block whose key groups are in the range. `keys` are the positions of the
/// columns that decide the key group; `max_parallelism` is the number of key groups of the job.
pub(crate) fn in_range(
    batch: &RecordBatch,
    keys: std::ops::Range<usize>,
    range: KeyGroupRange,
    max_parallelism: u32,
) -> Result<BooleanArray, StateError> {
    let mut hashes = Vec::new();
    hash_keys(&batch.columns()[keys], &mut hashes)?;
    hashes.resize(batch.num_rows(), HASH_OF_NO_COLUMNS);
    let inside = |hash: &u64| range.contains(key_group::of_hash(*hash, max_parallelism));
    Ok(hashes.iter().map(|h| Some(inside(h))).collect())
}

pub(crate) fn keep_rows(
    batch: &RecordBatch,
    mask: &BooleanArray,
    table: &str,
) -> Result<RecordBatch, StateError> {
    filter_record_batch(batch, mask)
        .map_err(|e| StateError::Block { table: table.to_owned(), reason: e.to_string() })
}

impl StateTable for KeyedTable {
    fn info(&self) -> StateTableInfo {
        self.spec.info()
    }

    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError> {
        for batch in decode_block(block, &self.stored)? {
            let keys = 1 + self.spec.ungrouped..1 + self.spec.keys.len();
            let mask = in_range(&batch, keys, range, self.max_parallelism)?;
            self.restore_rows(&keep_rows(&batch, &mask, &self.spec.name)?)?;
        }
        Ok(())
    }

    fn freeze(&mut self, full: bool) {
        self.freeze_rows(full);
    }

    fn sweep(&mut self, max_rows: usize) -> Option<Part> {
        let (starts_base, rows, columns) = self.sweep_rows(max_rows)?;
        let rows = part_rows(&self.stored, columns, rows).expect("the columns are those of the schema");
        Some(Part { rows, starts_base })
    }

    fn completed(&mut self) {
        self.complete();
    }

    fn aborted(&mut self) {
        self.abort();
    }

    fn stats(&self) -> TableStats {
        self.table_stats()
    }
}
