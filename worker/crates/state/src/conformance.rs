//! What every table has to fulfil: random writes, removals, freezes, sweeps, aborts, completions and
//! restores at other parallelisms, against a plain map. A failing seed replays with
//! `WEIR_SEED=<seed> cargo test --workspace --lib conformance`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray,
};
use arrow_schema::DataType;
use bytes::Bytes;
use weir_protocol::{KeyGroupRange, key_group};
use weir_runtime::{Random, SeededRandom};

use crate::{
    HASH_OF_NO_COLUMNS, KeyedTable, Keys, SlicedTable, StateTable, TableSpec, TimerTable, encode_parts,
    hash_keys, starts_base,
};

const MAX_PARALLELISM: u32 = 16;
/// Keys are numbers below this; each subject makes its own keys of them.
const UNIVERSE: u64 = 300;

/// A table under test: keys are numbers, values are numbers.
trait Subject: Sized {
    fn new() -> Self;
    fn keys(numbers: &[u64]) -> Vec<ArrayRef>;
    /// `None` removes.
    fn write(&mut self, writes: &[(u64, Option<u64>)]);
    fn get(&mut self, key: u64) -> Option<u64>;
    fn table(&mut self) -> &mut dyn StateTable;
    /// What a value is after it was kept.
    fn kept(value: u64) -> u64 {
        value
    }
    /// Forgets many keys at once, as far as the table can.
    fn drop_many(&mut self, _pick: u64) -> Range<u64> {
        0..0
    }
}

/// A key column set for [`Keyed`].
trait Shape {
    fn types() -> Vec<DataType>;
    fn columns(numbers: &[u64]) -> Vec<ArrayRef>;
    const VARS: bool = false;
}

struct Whole;
impl Shape for Whole {
    fn types() -> Vec<DataType> {
        vec![DataType::Int64]
    }
    fn columns(numbers: &[u64]) -> Vec<ArrayRef> {
        // Number 7 is NULL; number 0 is the value 0.
        let value = |n: &u64| (*n != 7).then_some((*n as i64 - 100).wrapping_mul(1 << 40));
        vec![Arc::new(
            numbers.iter().map(|n| value(n).map(|v| if *n == 100 { 0 } else { v })).collect::<Int64Array>(),
        )]
    }
}

struct Texts;
impl Shape for Texts {
    fn types() -> Vec<DataType> {
        vec![DataType::Utf8]
    }
    fn columns(numbers: &[u64]) -> Vec<ArrayRef> {
        let text = |n: &u64| match n {
            0 => None,
            n if n % 3 == 0 => Some("long ".repeat(*n as usize % 60 + 5) + &n.to_string()),
            n => Some(n.to_string()),
        };
        vec![Arc::new(numbers.iter().map(text).collect::<StringArray>())]
    }
    const VARS: bool = true;
}

struct Composite;
impl Shape for Composite {
    fn types() -> Vec<DataType> {
        vec![DataType::Int32, DataType::Utf8View, DataType::Decimal128(20, 2), DataType::Float64]
    }
    fn columns(numbers: &[u64]) -> Vec<ArrayRef> {
        let part = |n: &u64, by: u64| (!(n / by).is_multiple_of(5)).then_some(n / by % 5);
        let decimals = numbers.iter().map(|n| part(n, 25).map(i128::from)).collect::<Decimal128Array>();
        vec![
            Arc::new(numbers.iter().map(|n| part(n, 1).map(|v| -(v as i32))).collect::<Int32Array>()),
            Arc::new(
                numbers
                    .iter()
                    .map(|n| part(n, 5).map(|v| "x".repeat(v as usize - 1)))
                    .collect::<StringViewArray>(),
            ),
            Arc::new(decimals.with_precision_and_scale(20, 2).expect("allowed")),
            Arc::new(
                numbers
                    .iter()
                    .map(|n| Some(if *n >= 125 { *n as f64 } else { -0.0 }))
                    .collect::<Float64Array>(),
            ),
        ]
    }
}

struct Nothing;
impl Shape for Nothing {
    fn types() -> Vec<DataType> {
        Vec::new()
    }
    fn columns(_numbers: &[u64]) -> Vec<ArrayRef> {
        Vec::new()
    }
}

fn spec<S: Shape>() -> TableSpec {
    TableSpec {
        name: "t".to_owned(),
        keys: S::types(),
        ungrouped: 0,
        words: vec![5, 0],
        vars: if S::VARS { vec![DataType::Utf8] } else { Vec::new() },
        meaning: "test".to_owned(),
    }
}

fn write_keyed<S: Shape>(table: &mut KeyedTable, keys: &mut Keys, writes: &[(u64, Option<u64>)]) {
    let numbers: Vec<u64> = writes.iter().map(|w| w.0).collect();
    keys.fill(&S::columns(&numbers), numbers.len()).expect("fits");
    let mut ids = Vec::new();
    table.lookup_or_insert(keys, 0..writes.len(), &mut ids);
    for (id, (number, value)) in ids.into_iter().zip(writes) {
        match value {
            Some(value) => {
                table.row_mut(id)[1] = *value;
                if S::VARS {
                    let text = "v".repeat((*value % 100) as usize) + &number.to_string();
                    table.set_var(id, 0, Some(text.as_bytes())).expect("short");
                }
            }
            None => {
                if table.row(id)[0] == 5 {
                    table.remove(id);
                }
            }
        }
    }
}

fn get_keyed<S: Shape>(table: &KeyedTable, keys: &mut Keys, number: u64) -> Option<u64> {
    keys.fill(&S::columns(&[number]), 1).expect("fits");
    let id = table.find(keys, 0)?;
    let value = table.row(id)[1];
    assert_eq!(table.row(id)[0], 5, "the first word is that of a fresh row");
    if S::VARS {
        let text = "v".repeat((value % 100) as usize) + &number.to_string();
        assert_eq!(table.var(id, 0), Some(text.as_bytes()));
    }
    Some(value)
}

struct Keyed<S>(KeyedTable, Keys, std::marker::PhantomData<S>);
impl<S: Shape> Subject for Keyed<S> {
    fn new() -> Self {
        let table = KeyedTable::new(spec::<S>(), MAX_PARALLELISM).expect("can be keys");
        Self(table, Keys::new(&S::types()).expect("can be keys"), std::marker::PhantomData)
    }
    fn keys(numbers: &[u64]) -> Vec<ArrayRef> {
        S::columns(numbers)
    }
    fn write(&mut self, writes: &[(u64, Option<u64>)]) {
        // A batch may hold a key several times, but not after it was removed in the same batch.
        for (key, value) in writes {
            write_keyed::<S>(&mut self.0, &mut self.1, &[(*key, *value)]);
        }
        let again: Vec<_> = writes.iter().filter(|w| w.1.is_some()).copied().collect();
        let removed = |key| writes.iter().any(|w| w.0 == key && w.1.is_none());
        let again: Vec<_> = again.into_iter().filter(|w| !removed(w.0)).collect();
        write_keyed::<S>(&mut self.0, &mut self.1, &again);
    }
    fn get(&mut self, key: u64) -> Option<u64> {
        get_keyed::<S>(&self.0, &mut self.1, key)
    }
    fn table(&mut self) -> &mut dyn StateTable {
        &mut self.0
    }
}

struct Sliced<S>(SlicedTable, Keys, std::marker::PhantomData<S>);
impl<S> Sliced<S> {
    const SLICE: u64 = 50;
}
impl<S: Shape> Subject for Sliced<S> {
    fn new() -> Self {
        let table = SlicedTable::new(spec::<S>(), MAX_PARALLELISM).expect("can be keys");
        Self(table, Keys::new(&S::types()).expect("can be keys"), std::marker::PhantomData)
    }
    fn keys(numbers: &[u64]) -> Vec<ArrayRef> {
        S::columns(&numbers.iter().map(|n| n % Self::SLICE).collect::<Vec<_>>())
    }
    fn write(&mut self, writes: &[(u64, Option<u64>)]) {
        for (key, value) in writes {
            let slice = self.0.slice_mut((key / Self::SLICE) as i64 - 3).expect("can be made");
            write_keyed::<S>(slice, &mut self.1, &[(key % Self::SLICE, *value)]);
        }
    }
    fn get(&mut self, key: u64) -> Option<u64> {
        let slice = self.0.slice((key / Self::SLICE) as i64 - 3)?;
        get_keyed::<S>(slice, &mut self.1, key % Self::SLICE)
    }
    fn table(&mut self) -> &mut dyn StateTable {
        &mut self.0
    }
    fn drop_many(&mut self, pick: u64) -> Range<u64> {
        let slice = pick % (UNIVERSE / Self::SLICE);
        self.0.drop_slice(slice as i64 - 3);
        slice * Self::SLICE..(slice + 1) * Self::SLICE
    }
}

struct Timers(TimerTable);
impl Subject for Timers {
    fn new() -> Self {
        Self(TimerTable::new("t", &[DataType::Int64], MAX_PARALLELISM).expect("can be keys"))
    }
    fn keys(numbers: &[u64]) -> Vec<ArrayRef> {
        vec![Arc::new(numbers.iter().map(|n| Some((n % 20) as i64)).collect::<Int64Array>())]
    }
    fn write(&mut self, writes: &[(u64, Option<u64>)]) {
        for (key, value) in writes {
            let (keys, time) = (Self::keys(&[*key]), [(key / 20) as i64]);
            match value {
                Some(_) => self.0.set(&keys, &time).expect("fits"),
                None => self.0.cancel(&keys, &time).expect("fits"),
            }
        }
    }
    fn get(&mut self, key: u64) -> Option<u64> {
        let mut copy = Self::new();
        self.0.freeze(true);
        while let Some(part) = self.0.sweep(1_000) {
            let block = encode_parts(&[part]).expect("encodes").concat();
            copy.0.restore(&block, KeyGroupRange::all(MAX_PARALLELISM)).expect("decodes");
        }
        self.0.aborted();
        let mut last = i64::MIN;
        let mut found = None;
        while let Some(time) = copy.0.next() {
            let (times, keys) = copy.0.take_due(time, 7).expect("takes");
            assert!(last <= times[0] && times.iter().all(|t| *t == time));
            last = time;
            let numbers: &Int64Array = keys[0].as_any().downcast_ref().expect("declared");
            if times[0] == (key / 20) as i64 && numbers.values().contains(&((key % 20) as i64)) {
                found = Some(0);
            }
        }
        found
    }
    fn table(&mut self) -> &mut dyn StateTable {
        &mut self.0
    }
    fn kept(_value: u64) -> u64 {
        0
    }
}

/// The blocks that a subtask's state consists of, each with the key groups that it counts for.
type Blocks = Vec<(KeyGroupRange, Bytes)>;

struct Run<S> {
    random: SeededRandom,
    subtasks: Vec<(KeyGroupRange, S)>,
    blocks: Vec<Blocks>,
    parts: Vec<Blocks>,
    now: BTreeMap<u64, u64>,
    at_freeze: Option<BTreeMap<u64, u64>>,
    completed: BTreeMap<u64, u64>,
}

impl<S: Subject> Run<S> {
    fn new(seed: u64) -> Self {
        let mut run = Self {
            random: SeededRandom::new(seed),
            subtasks: Vec::new(),
            blocks: Vec::new(),
            parts: Vec::new(),
            now: BTreeMap::new(),
            at_freeze: None,
            completed: BTreeMap::new(),
        };
        run.restart(1);
        run
    }

    fn below(&self, n: u64) -> u64 {
        self.random.next_u64() % n
    }

    fn owner(&self, key: u64) -> usize {
        let mut hashes = Vec::new();
        hash_keys(&S::keys(&[key]), &mut hashes).expect("can be keys");
        let hash = hashes.first().copied().unwrap_or(HASH_OF_NO_COLUMNS);
        let group = key_group::of_hash(hash, MAX_PARALLELISM);
        key_group::owner(group, MAX_PARALLELISM, self.subtasks.len() as u32) as usize
    }

    fn step(&mut self, universe: u64) {
        match self.below(20) {
            0..8 => self.write(universe),
            8..10 => self.drop_many(),
            10..12 if self.at_freeze.is_none() => {
                let full = self.below(4) == 0;
                self.subtasks.iter_mut().for_each(|(_, s)| s.table().freeze(full));
                self.at_freeze = Some(self.now.clone());
                self.parts = vec![Vec::new(); self.subtasks.len()];
            }
            10..17 => {
                let some = self.below(30) as usize;
                self.sweep(some);
            }
            17 => self.complete(),
            18 if self.at_freeze.take().is_some() => {
                self.subtasks.iter_mut().for_each(|(_, s)| s.table().aborted());
            }
            19 => {
                let parallelism = self.below(4) as u32 + 1;
                self.restart(parallelism);
                self.compare(universe, "after a restore");
            }
            _ => {}
        }
    }

    fn write(&mut self, universe: u64) {
        let mut writes = vec![Vec::new(); self.subtasks.len()];
        // As many as a look at keys far ahead needs, now and then.
        for _ in 0..self.below([60, 400][self.below(2) as usize]) {
            let key = self.below(universe);
            let value = (self.below(3) > 0).then(|| self.below(1 << 40));
            writes[self.owner(key)].push((key, value));
            match value {
                Some(value) => self.now.insert(key, S::kept(value)),
                None => self.now.remove(&key),
            };
        }
        for ((_, subject), writes) in self.subtasks.iter_mut().zip(writes) {
            subject.write(&writes);
        }
    }

    fn drop_many(&mut self) {
        let pick = self.below(UNIVERSE);
        let mut gone = 0..0;
        self.subtasks.iter_mut().for_each(|(_, s)| gone = s.drop_many(pick));
        self.now.retain(|key, _| !gone.contains(key));
    }

    fn sweep(&mut self, max_rows: usize) -> bool {
        let mut more = false;
        for (i, (range, subject)) in self.subtasks.iter_mut().enumerate() {
            if let Some(part) = subject.table().sweep(max_rows) {
                more = true;
                let base = part.starts_base;
                let block = Bytes::from(encode_parts(&[part]).expect("encodes").concat());
                assert_eq!(starts_base(&block).expect("is a block"), base);
                if self.at_freeze.is_some() {
                    self.parts[i].push((*range, block));
                }
            }
        }
        more
    }

    fn complete(&mut self) {
        if self.at_freeze.is_none() {
            return;
        }
        while self.sweep(50) {}
        for (blocks, parts) in self.blocks.iter_mut().zip(&mut self.parts) {
            for (range, block) in parts.drain(..) {
                if starts_base(&block).expect("is a block") {
                    blocks.clear();
                }
                blocks.push((range, block));
            }
        }
        self.completed = self.at_freeze.take().expect("was frozen");
        self.subtasks.iter_mut().for_each(|(_, s)| s.table().completed());
    }

    fn restart(&mut self, parallelism: u32) {
        let old = std::mem::take(&mut self.blocks);
        self.subtasks.clear();
        for index in 0..parallelism {
            let range = KeyGroupRange::of_subtask(index, MAX_PARALLELISM, parallelism);
            let mut subject = S::new();
            let mut mine = Vec::new();
            for (theirs, block) in old.iter().flatten().filter(|(theirs, _)| theirs.overlaps(range)) {
                let both =
                    KeyGroupRange { start: theirs.start.max(range.start), end: theirs.end.min(range.end) };
                subject.table().restore(block, both).expect("restores");
                mine.push((both, block.clone()));
            }
            self.subtasks.push((range, subject));
            self.blocks.push(mine);
        }
        self.at_freeze = None;
        self.now = self.completed.clone();
    }

    fn compare(&mut self, universe: u64, when: &str) {
        let rows: u64 = self.subtasks.iter_mut().map(|(_, s)| s.table().stats().rows).sum();
        assert_eq!(rows, self.now.len() as u64, "rows {when}");
        for key in 0..universe {
            let owner = self.owner(key);
            assert_eq!(self.subtasks[owner].1.get(key), self.now.get(&key).copied(), "key {key} {when}");
        }
    }
}

fn conforms<S: Subject>(universe: u64, seeds: u64, steps: usize) {
    let seeds = match std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..seeds,
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut run = Run::<S>::new(seed);
            for _ in 0..steps {
                run.step(universe);
            }
            if run.at_freeze.is_none() {
                run.compare(universe, "at the end");
            }
            run.complete();
            run.restart(3);
            run.compare(universe, "after the last restore");
        });
        assert!(result.is_ok(), "seed {seed} failed: replay with WEIR_SEED={seed}");
    }
}

#[test]
fn keyed_table_of_whole_numbers_and_null_conforms() {
    conforms::<Keyed<Whole>>(UNIVERSE, 60, 150);
}

#[test]
fn keyed_table_of_strings_with_string_values_conforms() {
    conforms::<Keyed<Texts>>(UNIVERSE, 60, 150);
}

#[test]
fn keyed_table_of_composite_keys_conforms() {
    conforms::<Keyed<Composite>>(UNIVERSE, 60, 150);
}

#[test]
fn keyed_table_without_key_columns_conforms() {
    conforms::<Keyed<Nothing>>(1, 30, 150);
}

#[test]
fn sliced_table_conforms() {
    conforms::<Sliced<Whole>>(UNIVERSE, 60, 150);
    conforms::<Sliced<Texts>>(UNIVERSE, 60, 150);
}

#[test]
fn timer_table_conforms() {
    conforms::<Timers>(60, 8, 80);
}

#[test]
fn damaged_blocks_are_refused_by_name_and_never_panic() {
    let mut source = Keyed::<Texts>::new();
    source.write(&(0..100).map(|key| (key, Some(key))).collect::<Vec<_>>());
    source.0.freeze(true);
    let block = encode_parts(&[source.0.sweep(1_000).expect("rows")]).expect("encodes").concat();
    let random = SeededRandom::new(7);
    let all = KeyGroupRange::all(MAX_PARALLELISM);
    for _ in 0..2_000 {
        let mut bad = block.to_vec();
        match random.next_u64() % 3 {
            0 => bad.truncate((random.next_u64() % block.len() as u64) as usize),
            _ => bad[(random.next_u64() % block.len() as u64) as usize] ^= 1 << (random.next_u64() % 8),
        }
        let error = Keyed::<Texts>::new().0.restore(&bad, all).expect_err("is damaged").to_string();
        assert!(error.contains("\"t\""), "{error}");
    }
    let mut other =
        KeyedTable::new(TableSpec { meaning: "other".to_owned(), ..spec::<Texts>() }, 1).expect("ok");
    let error = other.restore(&block, all).expect_err("is another table's").to_string();
    assert!(error.contains("-> test") && error.contains("-> other"), "{error}");
}

#[test]
fn expired_rows_go_away_a_few_at_a_time() {
    let mut subject = Keyed::<Whole>::new();
    subject.write(&(0..100).map(|key| (key, Some(key))).collect::<Vec<_>>());
    for _ in 0..10 {
        subject.0.expire(1, 60, 10);
    }
    assert_eq!(subject.0.len(), 40);
    assert!((0..100).all(|key| subject.get(key).is_some() == (key >= 60)));
}
