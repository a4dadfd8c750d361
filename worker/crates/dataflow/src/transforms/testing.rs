//! What the tests of transforms share: an output that fills up, several subtasks, checkpoints and
//! restores at other parallelisms.

use std::sync::Arc;

use arrow_array::{RecordBatch, UInt32Array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_select::take::{take, take_record_batch};
use bytes::Bytes;
use weir_protocol::{Failure, KeyGroupRange, key_group};
use weir_runtime::{Random, SeededRandom};
use weir_state::{HASH_OF_NO_COLUMNS, encode_parts, hash_keys, starts_base};

use crate::{Chunk, Emit, Flow, RowKind, Transform, TransformContext, TransformFactory, Watermark};

pub(super) const MAX_PARALLELISM: u32 = 12;

/// Keeps what comes out. It is ready only every few times.
#[derive(Default)]
pub(super) struct Out {
    pub(super) rows: Vec<(RowKind, Vec<String>)>,
    pub(super) watermarks: Vec<Watermark>,
    asked: std::cell::Cell<u32>,
}

impl Emit for Out {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        assert!(!chunk.is_empty(), "no empty chunks");
        let texts = texts(&chunk.rows);
        self.rows.extend(texts.into_iter().enumerate().map(|(i, row)| (chunk.kind(i), row)));
        Ok(())
    }
    fn watermark(&mut self, watermark: Watermark) -> Result<(), Failure> {
        self.watermarks.push(watermark);
        Ok(())
    }
    fn ready(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.asked.get().is_multiple_of(3)
    }
}

/// The rows of a batch as text; NULL is empty.
pub(super) fn texts(rows: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<_> = rows
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).expect("prints"))
        .collect();
    (0..rows.num_rows()).map(|i| columns.iter().map(|c| c.value(i).to_string()).collect()).collect()
}

/// A table of rows that is kept up to date by a changelog; every change must fit.
pub(super) fn apply(rows: &[(RowKind, Vec<String>)]) -> Vec<Vec<String>> {
    let mut table: Vec<Vec<String>> = Vec::new();
    for (kind, row) in rows {
        if kind.adds() {
            table.push(row.clone());
        } else {
            let at = table.iter().position(|r| r == row);
            table.swap_remove(
                at.unwrap_or_else(|| panic!("{} of a row that is not there: {row:?}", kind.short())),
            );
        }
    }
    table.sort();
    table
}

type Blocks = Vec<(KeyGroupRange, bytes::Bytes)>;

/// The subtasks of a transform with one table.
pub(super) struct Subtasks {
    factory: Arc<dyn TransformFactory>,
    keys: Vec<usize>,
    all: Vec<(KeyGroupRange, Box<dyn Transform>)>,
    blocks: Vec<Blocks>,
    lists: Vec<(String, Vec<Vec<u8>>)>,
    pub(super) out: Out,
}

impl Subtasks {
    pub(super) fn new(factory: Arc<dyn TransformFactory>, keys: &[usize]) -> Self {
        let mut new = Self {
            factory,
            keys: keys.to_vec(),
            all: Vec::new(),
            blocks: Vec::new(),
            lists: Vec::new(),
            out: Out::default(),
        };
        new.restart(1);
        new
    }

    /// All subtasks go on from the last checkpoint; what came out since must be undone by the caller.
    pub(super) fn restart(&mut self, parallelism: u32) {
        let old = std::mem::take(&mut self.blocks);
        self.all.clear();
        for index in 0..parallelism {
            let range = KeyGroupRange::of_subtask(index, MAX_PARALLELISM, parallelism);
            let context = TransformContext { index, parallelism, max_parallelism: MAX_PARALLELISM, range };
            let mut transform = self.factory.create(context).expect("is created");
            let mut mine = Vec::new();
            for (theirs, block) in old.iter().flatten().filter(|(theirs, _)| theirs.overlaps(range)) {
                let both =
                    KeyGroupRange { start: theirs.start.max(range.start), end: theirs.end.min(range.end) };
                transform.tables()[0].restore(block, both).expect("restores");
                mine.push((both, block.clone()));
            }
            for (name, values) in &self.lists {
                transform.restore_list(name, values.clone()).expect("restores");
            }
            self.all.push((range, transform));
            self.blocks.push(mine);
        }
    }

    pub(super) fn process(&mut self, chunk: &Chunk) -> Result<(), Failure> {
        let keys: Vec<_> = self.keys.iter().map(|k| chunk.rows.column(*k).clone()).collect();
        let mut hashes = Vec::new();
        hash_keys(&keys, &mut hashes).expect("can be keys");
        hashes.resize(chunk.len(), HASH_OF_NO_COLUMNS);
        for (range, transform) in &mut self.all {
            let mine = (0..chunk.len() as u32)
                .filter(|i| range.contains(key_group::of_hash(hashes[*i as usize], MAX_PARALLELISM)));
            let mine = UInt32Array::from_iter_values(mine);
            if mine.is_empty() {
                continue;
            }
            let rows = take_record_batch(&chunk.rows, &mine).expect("takes");
            let kinds = chunk.kinds.as_ref().map(|k| take(k, &mine, None).expect("takes").to_data().into());
            let mut flow = transform.process(0, Chunk { rows, kinds }, &mut self.out)?;
            while flow == Flow::More {
                flow = transform.resume(&mut self.out)?;
            }
        }
        Ok(())
    }

    pub(super) fn watermark(&mut self, watermark: Watermark) {
        for (_, transform) in &mut self.all {
            let mut flow = transform.watermark(watermark, &mut self.out).expect("goes on");
            while flow == Flow::More {
                flow = transform.resume(&mut self.out).expect("goes on");
            }
        }
    }

    pub(super) fn tick(&mut self, now_ms: i64) {
        self.all.iter_mut().for_each(|(_, t)| t.tick(now_ms));
    }

    pub(super) fn late_rows(&self) -> u64 {
        self.all.iter().map(|(_, t)| t.late_rows()).sum()
    }

    /// Takes a checkpoint of all subtasks, at once.
    pub(super) fn checkpoint(&mut self, full: bool) {
        self.lists.clear();
        for ((range, transform), blocks) in self.all.iter_mut().zip(&mut self.blocks) {
            for (name, values) in transform.lists() {
                match self.lists.iter_mut().find(|(n, _)| *n == name) {
                    Some((_, all)) => all.extend(values),
                    None => self.lists.push((name, values)),
                }
            }
            for table in transform.tables() {
                table.freeze(full);
                while let Some(part) = table.sweep(17) {
                    let block = Bytes::from(encode_parts(&[part]).expect("encodes").concat());
                    if starts_base(&block).expect("is a block") {
                        blocks.clear();
                    }
                    blocks.push((*range, block));
                }
                table.completed();
            }
        }
    }
}

pub(super) fn below(random: &SeededRandom, n: u64) -> u64 {
    random.next_u64() % n
}

/// Runs a random test for several seeds, or for that of `WEIR_SEED`.
pub(super) fn seeds(count: u64, test: impl Fn(&SeededRandom) + std::panic::RefUnwindSafe) {
    let seeds = match std::env::var("WEIR_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| test(&SeededRandom::new(seed)));
        assert!(result.is_ok(), "seed {seed} failed: replay with WEIR_SEED={seed}");
    }
}
