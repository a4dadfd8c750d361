//! A table from key to a row of 64-bit words, in memory.
//!
//! Owns: the index, the rows, which of them changed since the last checkpoint. How a checkpoint is
//! taken out of it and put back is in `keyed/checkpoint.rs`.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};
use weir_protocol::StateTableInfo;

use crate::bits::Bits;
use crate::index::{Index, Line, NO_ROW, candidate};
use crate::key::{DecodedKeys, KeyLayout, Keys, long_handle, same_key, store_key};
use crate::part::Form;
use crate::processor::prefetch;
use crate::rows::Rows;
use crate::slab::Slab;
use crate::{StateError, TableStats};

mod checkpoint;

use checkpoint::Frozen;
pub(crate) use checkpoint::{in_range, keep_rows};

/// Keys between the one whose index line is asked for, the one whose row is, and the one whose row is visited: as
/// many as memory brings at a time.
const AHEAD: usize = 32;
/// Keys that are looked up together in a table that is near.
const BLOCK: usize = 128;
/// Rows of a table smaller than this stay near the core by themselves. Tables of tests grow beyond it.
const NEAR_BYTES: usize = if cfg!(test) { 2 << 10 } else { 256 << 10 };

/// What a table holds.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSpec {
    /// Its name, stable within its transform.
    pub name: String,
    /// The types of the key columns.
    pub keys: Vec<DataType>,
    /// How many leading key columns do not count for the key group.
    pub ungrouped: usize,
    /// The words of a fresh row.
    pub words: Vec<u64>,
    /// The types (strings or binary data) of the values of varying length that follow the words.
    pub vars: Vec<DataType>,
    /// What words and values mean, in a few words; differs if and only if their meaning does.
    pub meaning: String,
}

impl TableSpec {
    /// Name and stored form.
    pub fn info(&self) -> StateTableInfo {
        let types = |types: &[DataType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        StateTableInfo {
            name: self.name.clone(),
            schema: format!("({}) -> {}", types(&self.keys), self.meaning),
        }
    }
}

/// What is done with the rows of the keys of a batch.
pub trait Visit {
    /// A row that will be visited soon, most likely.
    #[inline]
    fn ahead(&self, _id: u32) {}

    /// Whether the row of the key at a position of the range is to be visited; if not, it does not count as written.
    #[inline]
    fn wants(&mut self, _at: usize, _id: u32) -> bool {
        true
    }

    /// The row of the key at a position of the range, as [`KeyedTable::row_mut`] gives it.
    fn visit(&mut self, at: usize, id: u32, row: &mut [u64]);
}

impl<F: FnMut(usize, u32, &mut [u64])> Visit for F {
    #[inline]
    fn visit(&mut self, at: usize, id: u32, row: &mut [u64]) {
        self(at, id, row);
    }
}

/// A table from key to a row: words and values of varying length.
///
/// Rows have ids that stay as they are while the row is there. A row is read at any time; before it
/// is written it must have been given by [`KeyedTable::lookup_or_insert`] or to
/// [`KeyedTable::touch`] since the last `freeze`.
#[derive(Debug)]
pub struct KeyedTable {
    spec: TableSpec,
    max_parallelism: u32,
    layout: KeyLayout,
    form: Arc<Form>,
    index: Index,
    rows: Rows,
    slab: Slab,
    /// The row of the NULL key, if keys are words.
    null_row: Option<u32>,
    /// Present rows.
    len: usize,
    free: Vec<u32>,
    free_bits: Bits,
    /// Rows that were removed but are kept, as fresh rows, until a checkpoint holds their tombstones.
    dead: Bits,
    dead_count: usize,
    dead_list: Vec<u32>,
    /// Dead rows whose places can be used again.
    reclaim: Vec<u32>,
    dirty: Bits,
    frozen: Option<Frozen>,
    /// Whether any checkpoint may hold rows of this table.
    stored_once: bool,
    expiry_cursor: u32,
    scratch_keys: Keys,
    /// Room for the positions of keys that were not found at once.
    missed: Vec<u32>,
}

impl KeyedTable {
    /// An empty table of a job with so many key groups.
    ///
    /// # Errors
    /// A type that can't be a key.
    pub fn new(spec: TableSpec, max_parallelism: u32) -> Result<Self, StateError> {
        let form = Form::new(&spec, false)?;
        let layout = form.layout.clone();
        let width = layout.words() + spec.words.len() + spec.vars.len();
        Ok(Self {
            index: Index::with_room(0),
            form: Arc::new(form),
            rows: Rows::new(width),
            slab: Slab::default(),
            null_row: None,
            len: 0,
            free: Vec::new(),
            free_bits: Bits::default(),
            dead: Bits::default(),
            dead_count: 0,
            dead_list: Vec::new(),
            reclaim: Vec::new(),
            dirty: Bits::default(),
            frozen: None,
            stored_once: false,
            expiry_cursor: 0,
            missed: Vec::new(),
            scratch_keys: Keys::new(&spec.keys)?,
            layout,
            spec,
            max_parallelism,
        })
    }

    /// Makes room for so many keys in a table that is empty, so that it does not have to grow up to them. More than
    /// a million it has to grow up to: a larger index is slow while nearly all of it is empty.
    pub fn reserve(&mut self, keys: usize) {
        if self.rows.len() == 0 && keys <= 1 << 20 {
            self.index = Index::with_room(keys);
        }
    }

    /// What it holds.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// Number of keys that are present.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no key is present.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row ids of the keys, in order, into `ids` (cleared first). Keys that are not there get
    /// fresh rows. All rows count as written.
    pub fn lookup_or_insert(&mut self, keys: &Keys, range: Range<usize>, ids: &mut Vec<u32>) {
        self.visit_keys(keys, range, ids, &mut |_: usize, _: u32, _: &mut [u64]| {});
    }

    /// The same, and the rows are visited, those of one key in their order: what is done with one row takes place
    /// while memory brings the rows of later keys.
    #[inline]
    pub fn visit_keys(
        &mut self,
        keys: &Keys,
        range: Range<usize>,
        ids: &mut Vec<u32>,
        visit: &mut impl Visit,
    ) {
        ids.clear();
        self.give_back(range.len() * 2);
        let plain = self.dead_count == 0 && self.frozen.as_ref().is_none_or(Frozen::has_all);
        match (self.is_near(), &self.layout) {
            (true, KeyLayout::Word(_)) => self.look_up_near::<true>(keys, range, ids),
            (true, KeyLayout::Encoded(_)) => self.look_up_near::<false>(keys, range, ids),
            (false, KeyLayout::Word(_)) if plain => {
                return self.visit_far::<true, true>(keys, range, ids, visit);
            }
            (false, KeyLayout::Word(_)) => return self.visit_far::<true, false>(keys, range, ids, visit),
            (false, KeyLayout::Encoded(_)) => return self.visit_far::<false, false>(keys, range, ids, visit),
        }
        let width = self.layout.words();
        for (at, id) in ids.iter().enumerate() {
            if visit.wants(at, *id) {
                self.touch(*id);
                visit.visit(at, *id, &mut self.rows.get_mut(*id)[width..]);
            }
        }
    }

    /// The row of a key.
    pub fn find(&self, keys: &Keys, at: usize) -> Option<u32> {
        self.position(keys, at).filter(|id| !self.dead.get(*id))
    }

    /// The words of a row: those of the specification, and one for each value of varying length.
    #[inline]
    pub fn row(&self, id: u32) -> &[u64] {
        &self.rows.get(id)[self.layout.words()..]
    }

    /// The same, to be written.
    #[inline]
    pub fn row_mut(&mut self, id: u32) -> &mut [u64] {
        &mut self.rows.get_mut(id)[self.layout.words()..]
    }

    /// A row is about to be written.
    #[inline]
    pub fn touch(&mut self, id: u32) {
        self.dirty.set(id);
        if self.frozen.as_ref().is_some_and(|f| !f.has_all()) {
            self.save(id);
        }
        if self.dead_count > 0 {
            self.revive(id);
        }
    }

    /// A value of varying length of a row.
    pub fn var(&self, id: u32, var: usize) -> Option<&[u8]> {
        match self.row(id)[self.spec.words.len() + var] {
            0 => None,
            handle => Some(self.slab.get(handle)),
        }
    }

    /// Sets a value of varying length of a row that was touched.
    ///
    /// # Errors
    /// A value of 2 GiB or more.
    pub fn set_var(&mut self, id: u32, var: usize, value: Option<&[u8]>) -> Result<(), StateError> {
        let new = match value {
            None => 0,
            Some(bytes) if bytes.len() > crate::slab::LONGEST => {
                return Err(StateError::TooLong { table: self.spec.name.clone(), bytes: bytes.len() });
            }
            Some(bytes) => self.slab.put(bytes),
        };
        let at = self.spec.words.len() + var;
        let old = std::mem::replace(&mut self.row_mut(id)[at], new);
        self.free_handle(old);
        Ok(())
    }

    /// Makes a row that was touched a fresh one.
    pub fn reset_row(&mut self, id: u32) {
        self.reset(id);
    }

    /// Takes a row out of the table.
    pub fn remove(&mut self, id: u32) {
        self.touch(id);
        self.reset(id);
        self.len -= 1;
        self.dead.set(id);
        self.dead_count += 1;
        if self.stored_once {
            self.dead_list.push(id);
        } else {
            self.dirty.clear(id);
            self.reclaim.push(id);
        }
    }

    /// The first present row with this id or a higher one.
    pub fn next_id(&self, from: u32) -> Option<u32> {
        let absent = |id| self.free_bits.get(id) || self.dead.get(id);
        (from..self.rows.len() as u32).find(|id| !absent(*id))
    }

    /// The key columns of rows.
    ///
    /// # Errors
    /// Never for rows of this table.
    pub fn keys_of(&self, ids: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut keys = DecodedKeys::with_room(&self.layout, ids.len());
        keys.extend(ids.iter().map(|id| self.rows.get(*id)), |handle| self.slab.get(handle));
        let nulls = self.null_row.map(|null| NullBuffer::from_iter(ids.iter().map(|id| *id != null)));
        keys.columns(nulls.filter(|n| n.null_count() > 0))
    }

    /// Looks at the next `max_rows` rows in turn and removes those whose word number `word` (a time
    /// in milliseconds) is below `before_ms`.
    pub fn expire(&mut self, word: usize, before_ms: i64, max_rows: usize) {
        let len = self.rows.len() as u32;
        for _ in 0..max_rows.min(len as usize) {
            let id = self.expiry_cursor % len;
            self.expiry_cursor = id + 1;
            let there = !self.free_bits.get(id) && !self.dead.get(id);
            if there && (self.row(id)[word] as i64) < before_ms {
                self.remove(id);
            }
        }
    }

    /// Whether its rows are so few that they stay near the core by themselves.
    pub fn is_near(&self) -> bool {
        self.rows.len() * self.rows.row_bytes() <= NEAR_BYTES
    }

    /// What the table occupies.
    pub fn table_stats(&self) -> TableStats {
        let lists = self.free.capacity() + self.dead_list.capacity() + self.reclaim.capacity();
        let bits = self.dirty.bytes() + self.dead.bytes() + self.free_bits.bytes();
        let frozen = self.frozen.as_ref().map_or(0, Frozen::bytes);
        TableStats {
            rows: self.len as u64,
            bytes: (self.index.bytes() + self.rows.bytes() + self.slab.bytes() + lists * 4 + bits + frozen)
                as u64,
            dirty_bytes: (self.dirty.count() * self.rows.row_bytes()) as u64,
        }
    }

    /// There is nothing to wait for: small loops one after the other are fastest.
    fn look_up_near<const WORD: bool>(&mut self, keys: &Keys, range: Range<usize>, ids: &mut Vec<u32>) {
        for start in range.clone().step_by(BLOCK) {
            let (block, from) = (start..range.end.min(start + BLOCK), ids.len());
            ids.extend(
                keys.hashes[block.clone()].iter().map(|hash| candidate(self.index.line(*hash), *hash)),
            );
            for (at, id) in block.zip(&mut ids[from..]) {
                *id = self.confirm::<WORD>(*id, keys, at);
            }
        }
    }

    /// One loop: while a row is visited, that of a key further on is on its way, and the line of the index of one
    /// twice as far. What it does not find at once is looked for after it: so it calls nothing, and is short.
    /// `PLAIN` says that a write to a row asks for nothing but its dirty bit.
    fn visit_far<const WORD: bool, const PLAIN: bool>(
        &mut self,
        keys: &Keys,
        range: Range<usize>,
        ids: &mut Vec<u32>,
        visit: &mut impl Visit,
    ) {
        let width = self.layout.words();
        let index = std::mem::replace(&mut self.index, Index::nothing());
        let mut missed = std::mem::take(&mut self.missed);
        // Those after the range are most likely asked for next.
        let (hashes, after) = (&keys.hashes[range.clone()], &keys.hashes[range.start..]);
        ids.resize(hashes.len(), NO_ROW);
        let mut lines = [index.line(0); 2 * AHEAD];
        for (line, hash) in lines.iter_mut().zip(after) {
            *line = index.line(*hash);
            prefetch(*line);
        }
        for ((id, hash), line) in ids.iter_mut().zip(hashes).zip(&lines[..AHEAD]) {
            *id = self.fetch::<PLAIN>(&index, line, *hash, visit);
        }
        for at in 0..hashes.len() {
            if let Some(hash) = after.get(at + 2 * AHEAD) {
                let line = index.line(*hash);
                prefetch(line);
                lines[at % (2 * AHEAD)] = line;
            }
            if let Some(hash) = hashes.get(at + AHEAD) {
                ids[at + AHEAD] =
                    self.fetch::<PLAIN>(&index, lines[(at + AHEAD) % (2 * AHEAD)], *hash, visit);
            }
            let id = ids[at];
            if id == NO_ROW || !self.is_row_of::<WORD>(id, keys, range.start + at) {
                missed.push(at as u32);
                continue;
            }
            if visit.wants(at, id) {
                if PLAIN {
                    self.dirty.set(id);
                } else {
                    self.touch(id);
                }
                visit.visit(at, id, &mut self.rows.get_mut(id)[width..]);
            }
        }
        self.index = index;
        for (number, at) in missed.iter().enumerate() {
            // After so many rows it is far again.
            if let Some(next) = missed.get(number + AHEAD / 2) {
                prefetch(self.index.line(hashes[*next as usize]));
            }
            let at = *at as usize;
            let id = self.find_or_insert(keys, range.start + at);
            ids[at] = id;
            if visit.wants(at, id) {
                self.touch(id);
                visit.visit(at, id, &mut self.rows.get_mut(id)[width..]);
            }
        }
        missed.clear();
        self.missed = missed;
    }

    /// The row that most likely has the key of a hash, which is loaded.
    #[inline(always)]
    fn fetch<const PLAIN: bool>(&self, index: &Index, line: &Line, hash: u64, visit: &impl Visit) -> u32 {
        let id = candidate(line, hash);
        if id == NO_ROW {
            index.prefetch_next(hash);
            return id;
        }
        self.rows.prefetch(id);
        self.dirty.prefetch(id);
        if !PLAIN && let Some(frozen) = &self.frozen {
            frozen.prefetch(id);
        }
        visit.ahead(id);
        id
    }

    /// The row of a key, which most likely is this one.
    #[inline(always)]
    fn confirm<const WORD: bool>(&mut self, id: u32, keys: &Keys, at: usize) -> u32 {
        if id == NO_ROW || !self.is_row_of::<WORD>(id, keys, at) {
            return self.find_or_insert(keys, at);
        }
        id
    }

    /// Whether a row that an index led to is that of a key, which is of one word or encoded.
    #[inline(always)]
    fn is_row_of<const WORD: bool>(&self, id: u32, keys: &Keys, at: usize) -> bool {
        let null = WORD && keys.nulls.as_ref().is_some_and(|n| n.is_null(at));
        !null && self.is_key::<WORD>(id, keys, at)
    }

    /// Whether the key of a row, which is not that of NULL if keys are words, is this one.
    #[inline(always)]
    fn is_key<const WORD: bool>(&self, id: u32, keys: &Keys, at: usize) -> bool {
        if WORD {
            self.rows.get(id)[0] == keys.words[at]
        } else {
            same_key(self.rows.get(id), keys.encoded(at), &self.slab)
        }
    }

    /// The row of a key, present or dead.
    fn position(&self, keys: &Keys, at: usize) -> Option<u32> {
        match &self.layout {
            KeyLayout::Word(_) if keys.nulls.as_ref().is_some_and(|n| n.is_null(at)) => self.null_row,
            KeyLayout::Word(_) => self.index.find(keys.hashes[at], |id| self.is_key::<true>(id, keys, at)),
            KeyLayout::Encoded(_) => {
                self.index.find(keys.hashes[at], |id| self.is_key::<false>(id, keys, at))
            }
        }
    }

    #[inline(never)]
    fn find_or_insert(&mut self, keys: &Keys, at: usize) -> u32 {
        if let Some(id) = self.position(keys, at) {
            return id;
        }
        let id = self.fresh();
        self.len += 1;
        let hash = keys.hashes[at];
        match &self.layout {
            KeyLayout::Word(_) if keys.nulls.as_ref().is_some_and(|n| n.is_null(at)) => {
                self.rows.get_mut(id)[0] = 0;
                self.null_row = Some(id);
            }
            KeyLayout::Word(_) => {
                self.rows.get_mut(id)[0] = keys.words[at];
                self.index.insert(hash, id);
            }
            KeyLayout::Encoded(_) => {
                store_key(self.rows.get_mut(id), keys.encoded(at), &mut self.slab);
                self.index.insert(hash, id);
            }
        }
        id
    }

    /// A fresh row under a new or a free id.
    fn fresh(&mut self) -> u32 {
        let id = match self.free.pop() {
            Some(id) => {
                self.free_bits.clear(id);
                id
            }
            None => {
                let id = self.rows.push();
                let len = self.rows.len();
                self.dirty.reserve(len);
                self.dead.reserve(len);
                self.free_bits.reserve(len);
                id
            }
        };
        self.fill_fresh(id);
        id
    }

    fn fill_fresh(&mut self, id: u32) {
        let row = &mut self.rows.get_mut(id)[self.layout.words()..];
        let (words, others) = row.split_at_mut(self.spec.words.len());
        words.copy_from_slice(&self.spec.words);
        others.fill(0);
    }

    /// Makes the values of a row those of a fresh one.
    fn reset(&mut self, id: u32) {
        for var in 0..self.spec.vars.len() {
            self.free_handle(self.row(id)[self.spec.words.len() + var]);
        }
        self.fill_fresh(id);
    }

    fn free_handle(&mut self, handle: u64) {
        match &mut self.frozen {
            _ if handle == 0 => {}
            // A row that was saved for the sweep may still show it.
            Some(frozen) => frozen.keep_handle(handle),
            None => self.slab.free(handle),
        }
    }

    fn revive(&mut self, id: u32) {
        if self.dead.get(id) {
            self.dead.clear(id);
            self.dead_count -= 1;
            self.len += 1;
        }
    }

    /// Makes up to `max` places of dead rows free whose tombstones are not needed any more.
    fn give_back(&mut self, max: usize) {
        if self.reclaim.is_empty() || max == 0 {
            return;
        }
        let some = self.reclaim.split_off(self.reclaim.len().saturating_sub(max));
        let needed = |id: &u32| {
            !self.dead.get(*id) || self.dirty.get(*id) || self.frozen.as_ref().is_some_and(|f| f.needs(*id))
        };
        let mut gone: Vec<u32> = some.into_iter().filter(|id| !needed(id)).collect();
        gone.sort_unstable();
        gone.dedup();
        let Ok(columns) = self.keys_of(&gone) else { return };
        let mut keys = std::mem::replace(&mut self.scratch_keys, Keys::empty());
        if keys.fill(&columns, gone.len()).is_ok() {
            gone.iter().enumerate().for_each(|(at, id)| self.forget(*id, &keys, at));
        }
        self.scratch_keys = keys;
    }

    fn forget(&mut self, id: u32, keys: &Keys, at: usize) {
        let hash = keys.hashes[at];
        match &self.layout {
            KeyLayout::Word(_) if self.null_row == Some(id) => self.null_row = None,
            KeyLayout::Word(_) => self.index.remove(hash, id),
            KeyLayout::Encoded(_) => {
                self.index.remove(hash, id);
                if let Some(handle) = long_handle(self.rows.get(id)) {
                    self.slab.free(handle);
                }
            }
        }
        self.dead.clear(id);
        self.dead_count -= 1;
        self.free_bits.set(id);
        self.free.push(id);
    }
}
