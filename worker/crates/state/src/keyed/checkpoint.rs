//! Freezing, sweeping and restoring a keyed table.
//!
//! A freeze keeps which rows are to go out as bits. The sweep takes them out in the order of their
//! ids; a row that is about to be written before its turn is copied first.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt8Type, UInt64Type};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use weir_protocol::{KeyGroupRange, StateTableInfo, key_group};

use super::KeyedTable;
use crate::bits::{Bits, WORD, runs};
use crate::hash::{HASH_OF_NO_COLUMNS, VarColumn, hash_keys};
use crate::key::Keys;
use crate::part::Gathered;
use crate::stored::{THERE, decode_block};
use crate::{Part, StateError, StateTable, TableStats};

/// Rows that are saved in one piece, so that nothing is copied when there are more of them.
const SAVED_ROWS: usize = if cfg!(test) { 16 } else { 4_096 };
/// Rows that are taken out one after the other, where others would be one: they take as long, and larger pieces are
/// less work for what comes after.
const DENSE: usize = 8;

/// The rows that a checkpoint in the making still has to get.
#[derive(Debug)]
pub(crate) struct Frozen {
    starts_base: bool,
    left: Bits,
    /// The word of `left` to go on with.
    cursor: usize,
    /// What had changed at the freeze.
    changed: Bits,
    dead: Vec<u32>,
    /// Rows that were about to be written.
    saved: Vec<Gathered>,
    handles: Vec<u64>,
    /// Whether words need more than 32 bits.
    wide: bool,
}

impl Frozen {
    pub(crate) fn bytes(&self) -> usize {
        let saved: usize = self.saved.iter().map(Gathered::bytes).sum();
        self.left.bytes() + self.changed.bytes() + self.dead.len() * 4 + saved
    }

    /// Has loaded what a write to a row asks for.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        self.left.prefetch(id);
    }

    /// Whether no row is left to be swept: those that are written need not be saved any more.
    #[inline]
    pub(super) fn has_all(&self) -> bool {
        self.cursor >= self.left.words()
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
            let full = |last: &Gathered| last.len() == SAVED_ROWS;
            if frozen.saved.last().is_none_or(full) {
                let mut rows = Gathered::new(self.rows.stride());
                rows.reserve(SAVED_ROWS.min(self.rows.len()));
                frozen.saved.push(rows);
            }
            if let Some(last) = frozen.saved.last_mut() {
                last.extend(self.rows.get(id), 1);
                // The bits of dead rows are far, too.
                if self.dead_count > 0 && self.dead.get(id) {
                    last.set_gone(last.len() - 1);
                }
                if self.null_row == Some(id) {
                    last.set_null_key(last.len() - 1);
                }
            }
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
            saved: Vec::new(),
            handles: Vec::new(),
            wide: false,
        });
        if let Some(null) = self.null_row {
            // So that the sweep does not have to look for it.
            self.save(null);
        }
    }

    /// See [`StateTable::sweep`]; with the rows, whether they start a base.
    pub(crate) fn sweep_rows(&mut self, max_rows: usize) -> Option<(bool, Gathered)> {
        self.give_back(max_rows);
        let frozen = self.frozen.as_mut()?;
        let mut rows = frozen.saved.pop().unwrap_or_else(|| Gathered::new(self.rows.stride()));
        let wanted = max_rows.max(1).saturating_sub(rows.len());
        let (mut span, mut count) = frozen.left.span(frozen.cursor, wanted);
        let first = span.start * WORD;
        let lie = |span: &Range<usize>| (span.len() * WORD).min(self.rows.len().saturating_sub(first));
        // Where most rows go out they are looked at one after the other, which takes less time than many small copies.
        let dense = count * 2 > lie(&span) && self.dead_count == 0 && self.form.is_fixed();
        if dense {
            (span, count) = frozen.left.span(frozen.cursor, wanted * DENSE);
        }
        frozen.cursor = span.end;
        let all = lie(&span);
        let words = frozen.left.some(span);
        let run = || self.rows.run(first as u32, all as u32);
        if !(dense && rows.extend_masked(run(), words, count, &mut frozen.wide)) {
            rows.reserve(count);
            for (from, word) in (first as u32..).step_by(WORD).zip(&*words) {
                runs(*word, |at, count| {
                    if self.dead_count > 0 {
                        let gone = (from + at..).zip(rows.len()..).take(count as usize);
                        gone.filter(|(id, _)| self.dead.get(*id)).for_each(|(_, at)| rows.set_gone(at));
                    }
                    rows.extend(self.rows.run(from + at, count), count as usize);
                });
            }
        }
        words.fill(0);
        let starts_base = std::mem::take(&mut frozen.starts_base);
        rows.complete(&self.form, &self.slab);
        (rows.len() > 0 || starts_base).then_some((starts_base, rows))
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

    /// Takes in rows with the columns of their stored form from `#gone` on.
    pub(crate) fn restore_rows(&mut self, batch: &RecordBatch) -> Result<(), StateError> {
        self.stored_once = true;
        let (key_count, word_count) = (self.spec.keys.len(), self.spec.words.len());
        let columns = batch.columns();
        let gone = columns[0].as_primitive::<UInt8Type>().values();
        let values = &columns[1 + key_count..];
        let words: Vec<&[u64]> =
            values[..word_count].iter().map(|c| c.as_primitive::<UInt64Type>().values().as_ref()).collect();
        let vars = values[word_count..].iter().map(|c| VarColumn::new(c.as_ref()));
        let vars = vars.collect::<Result<Vec<_>, _>>()?;
        let mut keys = Keys::new(&self.spec.keys)?;
        keys.fill(&columns[1..=key_count], batch.num_rows())?;
        let mut ids = Vec::new();
        let mut start = 0;
        for run in gone.chunk_by(|a, b| a == b) {
            let range = start..start + run.len();
            start = range.end;
            if run[0] != THERE {
                range.for_each(|at| self.remove_restored(&keys, at));
                continue;
            }
            self.visit_keys(&keys, range.clone(), &mut ids, &mut |at: usize, _: u32, row: &mut [u64]| {
                row.iter_mut().zip(&words).for_each(|(word, values)| *word = values[range.start + at]);
            });
            // The checkpoint has them.
            ids.iter().for_each(|id| self.dirty.clear(*id));
            for (var, texts) in vars.iter().enumerate() {
                for (at, id) in range.clone().zip(&ids) {
                    let there = values[word_count + var].is_valid(at);
                    self.set_var(*id, var, there.then(|| texts.value(at)))?;
                }
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
                self.remove_id(id);
            }
        }
        self.give_back(usize::MAX);
        Ok(())
    }

    /// Removes the row of a key, if it is there, as a restored tombstone says.
    fn remove_restored(&mut self, keys: &Keys, at: usize) {
        if let Some(id) = self.find(keys, at) {
            self.remove_id(id);
        }
    }

    fn remove_id(&mut self, id: u32) {
        self.remove(id);
        self.dirty.clear(id);
        self.dead_list.pop();
        self.reclaim.push(id);
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
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    filter_record_batch(batch, mask)
        .map_err(|e| StateError::Block { table: table.to_owned(), reason: e.to_string() })
}

impl StateTable for KeyedTable {
    fn info(&self) -> StateTableInfo {
        self.spec.info()
    }

    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError> {
        for batch in decode_block(block, &self.form.stored)? {
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
        let (starts_base, rows) = self.sweep_rows(max_rows)?;
        Some(Part { form: self.form.clone(), starts_base, slices_gone: Vec::new(), pieces: vec![(0, rows)] })
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
