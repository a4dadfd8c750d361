use std::collections::BTreeMap;

use arrow_array::{Int64Array, TimestampMillisecondArray};
use arrow_schema::{Field, Schema, TimeUnit};
use weir_runtime::SeededRandom;

use super::super::aggregate_call::{AggregateCall, AggregateFunction};
use super::super::testing::{Subtasks, below, seeds};
use super::*;
use crate::RowKind;
use crate::window::{Hop, Tumble, Window};

fn timestamp(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), true)
}

/// k BIGINT, v BIGINT, ts TIMESTAMP(3) -> k, COUNT(*), SUM(v), MIN(v), window_start, window_end, window_time
fn specs(window: Window, keyed: bool) -> (AggregateSpec, WindowSpec) {
    use AggregateFunction::{Count, Min, Sum};
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let call = |function, input| AggregateCall { function, input, filter: None, output: DataType::Int64 };
    let mut fields = vec![number("count"), number("sum"), number("min")];
    fields.extend([timestamp("window_start"), timestamp("window_end"), timestamp("window_time")]);
    let mut output = vec![WindowOutput::Call(0), WindowOutput::Call(1), WindowOutput::Call(2)];
    output.extend([WindowOutput::Start, WindowOutput::End, WindowOutput::Time]);
    if keyed {
        fields.insert(0, number("k"));
        output.insert(0, WindowOutput::Key(0));
    }
    let spec = AggregateSpec {
        keys: if keyed { vec![0] } else { Vec::new() },
        calls: vec![call(Count, None), call(Sum, Some(1)), call(Min, Some(1))],
        input_schema: Arc::new(Schema::new(vec![number("k"), number("v"), timestamp("ts")])),
        output_schema: Arc::new(Schema::new(fields)),
        retracting: false,
        update_before: true,
        ttl: None,
    };
    (spec, WindowSpec { window, time: 2, output })
}

type Row = (Option<i64>, Option<i64>, i64);

fn chunk(rows: &[Row]) -> Chunk {
    let (spec, _) = specs(Window::Tumble(Tumble::new(1, 0).expect("allowed")), true);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| Some(r.2)).collect::<TimestampMillisecondArray>()),
    ];
    Chunk::inserts(RecordBatch::try_new(spec.input_schema, columns).expect("fits"))
}

/// Every row is kept for every window it belongs to; windows go out in the order of their ends.
#[derive(Clone)]
struct Naive {
    window: Window,
    keyed: bool,
    open: BTreeMap<i64, BTreeMap<Option<i64>, Vec<Option<i64>>>>,
    watermark: i64,
    late: u64,
    out: Vec<Vec<String>>,
}

impl Naive {
    fn add(&mut self, (k, v, time): Row) {
        let Some((first, last)) = self.window.windows_of_slice(self.window.slice_end(time)) else { return };
        if last - 1 <= self.watermark {
            self.late += 1;
        }
        let mut end = first;
        while end <= last {
            if end - 1 > self.watermark {
                let key = k.filter(|_| self.keyed);
                self.open.entry(end).or_default().entry(key).or_default().push(v);
            }
            end += self.window.slide();
        }
    }

    fn fire(&mut self, watermark: i64) {
        self.watermark = watermark;
        while let Some(window) = self.open.first_entry().filter(|w| w.key() - 1 <= watermark) {
            let (end, groups) = window.remove_entry();
            let mut rows: Vec<Vec<String>> = groups.into_iter().map(|(k, v)| self.row(end, k, &v)).collect();
            rows.sort();
            self.out.extend(rows);
        }
    }

    fn row(&self, end: i64, k: Option<i64>, values: &[Option<i64>]) -> Vec<String> {
        let number = |v: Option<i64>| v.map_or_else(String::new, |v| v.to_string());
        let there: Vec<i64> = values.iter().flatten().copied().collect();
        let mut row = if self.keyed { vec![number(k)] } else { Vec::new() };
        row.push(values.len().to_string());
        row.push(number((!there.is_empty()).then(|| there.iter().sum())));
        row.push(number(there.iter().min().copied()));
        row.extend([end - self.window.size(), end, end - 1].map(time_text));
        row
    }
}

fn time_text(ms: i64) -> String {
    let array = TimestampMillisecondArray::from(vec![ms]);
    let rows = RecordBatch::try_from_iter([("t", Arc::new(array) as ArrayRef)]).expect("fits");
    super::super::testing::texts(&rows)[0][0].clone()
}

fn random_window(random: &SeededRandom) -> Window {
    let size = below(random, 40) as i64 + 1;
    if below(random, 3) == 0 {
        let offset = below(random, size as u64) as i64;
        return Window::Tumble(Tumble::new(size, offset).expect("allowed"));
    }
    let slide = below(random, 20) as i64 + 1;
    let offset = -(below(random, slide as u64) as i64);
    Window::Hop(Hop::new(size, slide, offset).expect("allowed"))
}

/// The rows in the order of their windows, those of one window in any order.
fn sorted(rows: &[(RowKind, Vec<String>)], keyed: bool) -> Vec<Vec<String>> {
    let end = if keyed { 5 } else { 4 };
    let mut rows: Vec<Vec<String>> = rows.iter().map(|(_, row)| row.clone()).collect();
    rows.chunk_by_mut(|a, b| a[end] == b[end]).for_each(<[_]>::sort);
    rows
}

fn like_the_reference(random: &SeededRandom, keyed: bool) {
    let window = random_window(random);
    let (spec, window_spec) = specs(window, keyed);
    let keys = spec.keys.clone();
    let mut subtasks = Subtasks::new(WindowAggregate::factory(spec, window_spec).expect("allowed"), &keys);
    let open = BTreeMap::new();
    let mut naive = Naive { window, keyed, open, watermark: i64::MIN, late: 0, out: Vec::new() };
    let mut saved = (naive.clone(), 0);
    let mut late_before = 0;
    let mut base = -200_i64;
    for _ in 0..40 {
        match below(random, 8) {
            0 => {
                subtasks.checkpoint(below(random, 3) == 0);
                saved = (naive.clone(), subtasks.out.rows.len());
            }
            1 => {
                late_before += subtasks.late_rows();
                late_before -= naive.late - saved.0.late;
                subtasks.restart(below(random, 3) as u32 + 1);
                subtasks.out.rows.truncate(saved.1);
                naive = saved.0.clone();
                base = naive.watermark.max(-200);
            }
            2 | 3 => {
                base += below(random, 40) as i64;
                if base > naive.watermark {
                    naive.fire(base);
                    subtasks.watermark(Watermark(base));
                }
            }
            _ => {
                let row = |_| {
                    let value = |n| (below(random, 6) > 0).then(|| below(random, n) as i64);
                    (value(30), value(100), base + below(random, 120) as i64 - 50)
                };
                let rows: Vec<Row> = (0..below(random, 700) + 1).map(row).collect();
                rows.iter().for_each(|row| naive.add(*row));
                subtasks.process(&chunk(&rows)).expect("goes on");
            }
        }
    }
    naive.fire(i64::MAX);
    subtasks.watermark(Watermark::MAX);
    assert_eq!(late_before + subtasks.late_rows(), naive.late, "late rows of {window:?}");
    let got = sorted(&subtasks.out.rows, keyed);
    let mut by_window = naive.out.clone();
    by_window.chunk_by_mut(|a, b| a[a.len() - 2] == b[b.len() - 2]).for_each(<[_]>::sort);
    // Subtasks fire one after the other: their rows of one watermark are put together by window.
    let (mut got_all, mut all) = (got, by_window);
    got_all.sort();
    all.sort();
    assert_eq!(got_all, all, "{window:?}");
}

#[test]
fn keyed_windows_equal_the_reference_through_checkpoints_restores_and_late_rows() {
    seeds(60, |random| like_the_reference(random, true));
}

#[test]
fn global_windows_equal_the_reference() {
    seeds(30, |random| like_the_reference(random, false));
}

fn fired(subtasks: &Subtasks) -> Vec<String> {
    subtasks.out.rows.iter().map(|(_, row)| row.join(",")).collect()
}

#[test]
fn windows_go_out_by_their_ends_and_before_the_watermark() {
    let (spec, window) = specs(Window::Hop(Hop::new(10, 5, 0).expect("allowed")), false);
    let mut subtasks = Subtasks::new(WindowAggregate::factory(spec, window).expect("allowed"), &[]);
    subtasks
        .process(&chunk(&[(None, Some(1), 12), (None, Some(2), -1), (None, Some(3), 7)]))
        .expect("goes on");
    subtasks.watermark(Watermark(8));
    let of = |count: i64, sum: i64, min: i64, start: i64| {
        let times = [start, start + 10, start + 9].map(time_text).join(",");
        format!("{count},{sum},{min},{times}")
    };
    assert_eq!(fired(&subtasks), [of(1, 2, 2, -10), of(1, 2, 2, -5)]);
    subtasks.watermark(Watermark(9));
    assert_eq!(fired(&subtasks)[2..], [of(1, 3, 3, 0)]);
    // 4 is late for the windows up to 10, 7 is not for the one that ends at 15.
    subtasks.process(&chunk(&[(None, Some(8), 4), (None, Some(9), 7)])).expect("goes on");
    assert_eq!(subtasks.late_rows(), 1);
    subtasks.watermark(Watermark::MAX);
    assert_eq!(fired(&subtasks)[3..], [of(3, 13, 1, 5), of(1, 1, 1, 10)]);
    assert_eq!(subtasks.out.watermarks, [Watermark(8), Watermark(9), Watermark::MAX]);
}

#[test]
fn large_windows_go_out_in_pieces() {
    let (spec, window) = specs(Window::Tumble(Tumble::new(10, 0).expect("allowed")), true);
    let mut subtasks = Subtasks::new(WindowAggregate::factory(spec, window).expect("allowed"), &[0]);
    let rows: Vec<Row> = (0..20_000).map(|k| (Some(k), Some(1), 3)).collect();
    subtasks.process(&chunk(&rows)).expect("goes on");
    subtasks.watermark(Watermark(20));
    assert_eq!(subtasks.out.rows.len(), 20_000);
}

#[test]
fn a_null_time_fails_and_names_the_column() {
    let (spec, window) = specs(Window::Tumble(Tumble::new(10, 0).expect("allowed")), true);
    let schema = spec.input_schema.clone();
    let mut subtasks = Subtasks::new(WindowAggregate::factory(spec, window).expect("allowed"), &[0]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(TimestampMillisecondArray::from(vec![None])),
    ];
    let rows = RecordBatch::try_new(schema, columns).expect("fits");
    let failure = subtasks.process(&Chunk::inserts(rows)).expect_err("has no time");
    assert_eq!(failure.kind, FailureKind::Expression);
    assert!(failure.message.contains("\"ts\" is NULL"), "{failure}");
}

#[test]
fn a_changelog_is_refused() {
    let (spec, window) = specs(Window::Tumble(Tumble::new(10, 0).expect("allowed")), true);
    let spec = AggregateSpec { retracting: true, ..spec };
    assert!(WindowAggregate::factory(spec, window).is_err());
}
