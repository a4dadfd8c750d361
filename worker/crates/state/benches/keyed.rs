//! COUNT and SUM by a random Int64 key in batches of 8,192 rows, old and new values taken out as a
//! changelog would, dirty bits on. One line of JSON per measurement, in CPU time of the thread; time to make
//! the rows is taken off.
//! `cargo bench --workspace --bench keyed [-- <keys>…]`

#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, reason = "a program")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use weir_state::{KeyedTable, Keys, StateTable, TableSpec, encode_parts};

const BATCH: usize = 8_192;

struct Work {
    table: KeyedTable,
    keys: Keys,
    ids: Vec<u32>,
    random: u64,
    text: bool,
    changes: Vec<u64>,
    busy: Duration,
    longest: Duration,
    rows: usize,
}

impl Work {
    fn new(text: bool) -> Self {
        let keys = vec![if text { DataType::Utf8 } else { DataType::Int64 }];
        let spec = TableSpec {
            name: "bench".to_owned(),
            keys: keys.clone(),
            ungrouped: 0,
            words: vec![0, 0],
            vars: Vec::new(),
            meaning: "count, sum".to_owned(),
        };
        Self {
            table: KeyedTable::new(spec, 128).expect("can be keys"),
            keys: Keys::new(&keys).expect("can be keys"),
            ids: Vec::new(),
            random: 88_172_645_463_325_252,
            text,
            changes: Vec::new(),
            busy: Duration::ZERO,
            longest: Duration::ZERO,
            rows: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn column(&self, numbers: &[i64]) -> ArrayRef {
        if self.text {
            Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| format!("customer-{n:08}"))))
        } else {
            Arc::new(Int64Array::from(numbers.to_vec()))
        }
    }

    fn random_batch(&mut self, keys: u64) {
        let numbers: Vec<i64> =
            (0..BATCH).map(|_| ((u128::from(self.next()) * u128::from(keys)) >> 64) as i64).collect();
        let column = self.column(&numbers);
        self.batch(&column, &numbers, |_| {});
    }

    fn batch(&mut self, column: &ArrayRef, values: &[i64], also: impl FnOnce(&mut KeyedTable)) {
        let start = cpu();
        self.changes.clear();
        self.keys.fill(std::slice::from_ref(column), BATCH).expect("fits");
        for block in (0..BATCH).step_by(512) {
            self.table.lookup_or_insert(&self.keys, block..block + 512, &mut self.ids);
            for (id, value) in self.ids.iter().zip(&values[block..block + 512]) {
                let row = self.table.row_mut(*id);
                self.changes.extend_from_slice(&row[..2]);
                row[0] += 1;
                row[1] = row[1].wrapping_add(*value as u64);
                self.changes.extend_from_slice(&row[..2]);
            }
        }
        also(&mut self.table);
        let took = cpu() - start;
        self.busy += took;
        self.longest = self.longest.max(took);
        self.rows += BATCH;
    }

    fn report(&mut self, work: &str, keys: u64) {
        println!(
            "{{\"work\":\"{work}\",\"keys\":{keys},\"text\":{},\"m_rows_per_second\":{:.1},\"longest_batch_us\":{},\
             \"state_mib\":{}}}",
            self.text,
            self.rows as f64 / self.busy.as_secs_f64() / 1e6,
            self.longest.as_micros(),
            self.table.table_stats().bytes >> 20
        );
        (self.busy, self.longest, self.rows) = (Duration::ZERO, Duration::ZERO, 0);
    }
}

/// All keys once, in a scattered order.
fn growth(work: &mut Work, keys: u64) {
    let mut next = 0_u64;
    while next < keys {
        let numbers: Vec<i64> = (next..next + BATCH as u64)
            .map(|i| (i.wrapping_mul(0x9e37_79b1) % keys.next_power_of_two()) as i64)
            .collect();
        let column = work.column(&numbers);
        work.batch(&column, &numbers, |_| {});
        next += BATCH as u64;
    }
    work.report("growth", keys);
}

/// A checkpoint of everything that is dirty, some rows with each batch, until it is through.
fn checkpoint(work: &mut Work, keys: u64) {
    let start = cpu();
    work.table.freeze(false);
    let freeze = cpu() - start;
    let mut parts = Vec::new();
    let mut done = false;
    while !done {
        let numbers: Vec<i64> =
            (0..BATCH).map(|_| ((u128::from(work.next()) * u128::from(keys)) >> 64) as i64).collect();
        let column = work.column(&numbers);
        work.batch(&column, &numbers, |table| match table.sweep(4_096) {
            Some(part) => parts.push(part),
            None => done = true,
        });
    }
    work.table.completed();
    work.report("sweeping", keys);
    let start = cpu();
    let rows: usize = parts.iter().map(|p| p.rows()).sum();
    let blocks = parts.into_iter().map(|p| encode_parts(&[p]).expect("encodes"));
    let bytes: usize = blocks.map(|block| block.iter().map(|piece| piece.len()).sum::<usize>()).sum();
    println!(
        "{{\"work\":\"checkpoint\",\"keys\":{keys},\"rows\":{rows},\"freeze_us\":{},\"encode_ms\":{},\"mib\":{:.1}}}",
        freeze.as_micros(),
        (cpu() - start).as_millis(),
        bytes as f64 / f64::from(1 << 20)
    );
}

/// CPU time of this thread; on a machine that others use too, wall time says little.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

fn main() {
    let asked: Vec<u64> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![1_000, 1_000_000, 10_000_000] } else { asked };
    for text in [false, true] {
        for keys in sizes.iter().copied().filter(|k| !text || *k <= 1_000_000) {
            let mut work = Work::new(text);
            growth(&mut work, keys);
            for _ in 0..(keys as usize / BATCH + 500) {
                work.random_batch(keys);
            }
            work.report("steady", keys);
            for _ in 0..2_000 {
                work.random_batch(keys);
            }
            work.report("steady", keys);
            checkpoint(&mut work, keys);
        }
    }
}
