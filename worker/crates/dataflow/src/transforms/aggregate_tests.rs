use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::{ArrayRef, Date32Array};
use arrow_array::{BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use arrow_schema::{Field, Schema, SchemaRef};
use weir_runtime::SeededRandom;

use super::super::aggregate_call::{AggregateCall, AggregateFunction};
use super::super::testing::{Subtasks, apply, below, seeds};
use super::*;
use AggregateFunction::{Avg, Count, Max, Min, Sum};

/// k BIGINT, i INT, d DECIMAL(10, 2), f DOUBLE, s STRING, b BOOLEAN, t DATE; all can be NULL.
fn input_schema() -> SchemaRef {
    let column = |name: &str, t: DataType| Field::new(name, t, true);
    Arc::new(Schema::new(vec![
        column("k", DataType::Int64),
        column("i", DataType::Int32),
        column("d", DataType::Decimal128(10, 2)),
        column("f", DataType::Float64),
        column("s", DataType::Utf8),
        column("b", DataType::Boolean),
        column("t", DataType::Date32),
    ]))
}

fn spec(
    keys: &[usize],
    calls: &[(AggregateFunction, Option<usize>, Option<usize>)],
    retracting: bool,
) -> AggregateSpec {
    let input_schema = input_schema();
    let calls: Vec<AggregateCall> = calls
        .iter()
        .map(|(function, input, filter)| AggregateCall {
            function: *function,
            input: *input,
            filter: *filter,
            output: function.output_type(input.map(|i| input_schema.field(i).data_type())).expect("allowed"),
        })
        .collect();
    let mut fields: Vec<Field> = keys.iter().map(|k| input_schema.field(*k).clone()).collect();
    fields.extend(calls.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.output.clone(), true)));
    let output_schema = Arc::new(Schema::new(fields));
    let keys = keys.to_vec();
    AggregateSpec { keys, calls, input_schema, output_schema, retracting, update_before: true, ttl: None }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    k: Option<i64>,
    i: Option<i32>,
    d: Option<i128>,
    f: Option<i64>,
    s: Option<i32>,
    b: Option<bool>,
}

fn chunk(rows: &[(RowKind, Row)]) -> Chunk {
    let column = |rows: &[(RowKind, Row)]| -> Vec<ArrayRef> {
        let of = |f: fn(&Row) -> Option<i64>| rows.iter().map(move |r| f(&r.1));
        let decimals: Decimal128Array = rows.iter().map(|r| r.1.d).collect();
        vec![
            Arc::new(of(|r| r.k).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| r.1.i).collect::<Int32Array>()),
            Arc::new(decimals.with_precision_and_scale(10, 2).expect("allowed")),
            Arc::new(of(|r| r.f).map(|f| f.map(|f| f as f64)).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|r| r.1.s.map(|s| format!("s{s:03}"))).collect::<StringArray>()),
            Arc::new(rows.iter().map(|r| r.1.b).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|r| r.1.i).collect::<Date32Array>()),
        ]
    };
    let kinds = rows.iter().map(|r| r.0 as u8).collect::<Vec<_>>();
    let kinds = kinds.iter().any(|k| *k != 0).then(|| UInt8Array::from(kinds));
    Chunk { rows: RecordBatch::try_new(input_schema(), column(rows)).expect("fits"), kinds }
}

fn random_row(random: &SeededRandom, keys: u64) -> Row {
    let some = |n: u64| (below(random, 5) > 0).then(|| below(random, n) as i64 - n as i64 / 2);
    Row {
        k: some(keys),
        i: some(1_000).map(|v| v as i32),
        d: some(100_000).map(i128::from),
        f: some(1_000),
        s: some(500).map(|v| v as i32 + 250),
        b: some(2).map(|v| v < 0),
    }
}

fn number(value: Option<i128>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

fn decimal(value: Option<i128>, scale: u32) -> String {
    value.map_or_else(String::new, |v| {
        let (power, size) = (10_u128.pow(scale), v.unsigned_abs());
        format!(
            "{}{}.{:0width$}",
            if v < 0 { "-" } else { "" },
            size / power,
            size % power,
            width = scale as usize
        )
    })
}

/// The whole result, computed from all rows that are there.
fn reference(rows: &[Row], keyed: bool, extremes: bool) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row.k.filter(|_| keyed)).or_default().push(row);
    }
    let mut table: Vec<Vec<String>> = groups
        .iter()
        .map(|(k, rows)| {
            let i: Vec<i128> = rows.iter().filter_map(|r| r.i.map(i128::from)).collect();
            let d: Vec<i128> = rows.iter().filter_map(|r| r.d).collect();
            let f: Vec<i128> = rows.iter().filter_map(|r| r.f.map(i128::from)).collect();
            let s: Vec<i128> = rows.iter().filter_map(|r| r.s.map(i128::from)).collect();
            let filtered: Vec<i128> =
                rows.iter().filter(|r| r.b == Some(true)).filter_map(|r| r.i.map(i128::from)).collect();
            let sum = |v: &[i128]| (!v.is_empty()).then(|| v.iter().sum::<i128>());
            let mean_f = (!f.is_empty()).then(|| f.iter().sum::<i128>() as f64 / f.len() as f64);
            let mean_d = sum(&d).map(|s| {
                let (scaled, n) = (s * 10_000, d.len() as i128);
                (2 * scaled.abs() + n) / (2 * n) * scaled.signum()
            });
            let mut row = if keyed { vec![number(k.map(i128::from))] } else { Vec::new() };
            row.extend([
                rows.len().to_string(),
                i.len().to_string(),
                number(sum(&i)),
                number(sum(&i).map(|s| s / i.len() as i128)),
                decimal(sum(&d), 2),
                decimal(mean_d, 6),
                mean_f.map_or_else(String::new, |v| format!("{v:?}")),
                number(sum(&filtered)),
            ]);
            if extremes {
                let text = |v: Option<&i128>| v.map_or_else(String::new, |s| format!("s{s:03}"));
                row.extend([
                    number(i.iter().min().copied()),
                    decimal(d.iter().max().copied(), 2),
                    f.iter().max().map_or_else(String::new, |v| format!("{:?}", *v as f64)),
                    text(s.iter().min()),
                    text(s.iter().max()),
                ]);
            }
            row
        })
        .collect();
    table.sort();
    table
}

const CALLS: [(AggregateFunction, Option<usize>, Option<usize>); 13] = [
    (Count, None, None),
    (Count, Some(1), None),
    (Sum, Some(1), None),
    (Avg, Some(1), None),
    (Sum, Some(2), None),
    (Avg, Some(2), None),
    (Avg, Some(3), None),
    (Sum, Some(1), Some(5)),
    (Min, Some(1), None),
    (Max, Some(2), None),
    (Max, Some(3), None),
    (Min, Some(4), None),
    (Max, Some(4), None),
];

/// Random rows, checkpoints and restores; the changelog's table equals the reference all along.
fn like_the_reference(random: &SeededRandom, keyed: bool, retracting: bool) {
    let keys: &[usize] = if keyed { &[0] } else { &[] };
    let spec = spec(keys, if retracting { &CALLS[..8] } else { &CALLS }, retracting);
    let mut subtasks = Subtasks::new(Aggregate::factory(spec).expect("allowed"), keys);
    let many = [3, 40, 2_000][below(random, 3) as usize];
    let mut rows: Vec<Row> = Vec::new();
    let (mut rows_then, mut out_then) = (Vec::new(), 0);
    for _ in 0..30 {
        match below(random, 6) {
            0 => {
                subtasks.checkpoint(below(random, 3) == 0);
                (rows_then, out_then) = (rows.clone(), subtasks.out.rows.len());
            }
            1 => {
                subtasks.restart(below(random, 3) as u32 + 1);
                rows = rows_then.clone();
                subtasks.out.rows.truncate(out_then);
            }
            _ => {
                let mut batch = Vec::new();
                for _ in 0..below(random, 900) + 1 {
                    if retracting && !rows.is_empty() && below(random, 2) == 0 {
                        let gone = rows.swap_remove(below(random, rows.len() as u64) as usize);
                        let kind =
                            if below(random, 2) == 0 { RowKind::Delete } else { RowKind::UpdateBefore };
                        batch.push((kind, gone));
                    } else {
                        let row = random_row(random, many);
                        rows.push(row);
                        batch.push((RowKind::Insert, row));
                    }
                }
                subtasks.process(&chunk(&batch)).expect("no overflow");
            }
        }
        assert_eq!(apply(&subtasks.out.rows), reference(&rows, keyed, !retracting));
    }
}

#[test]
fn grouped_results_equal_the_reference_through_checkpoints_and_restores() {
    seeds(12, |random| like_the_reference(random, true, false));
}

#[test]
fn grouped_results_over_a_changelog_equal_the_reference() {
    seeds(12, |random| like_the_reference(random, true, true));
}

#[test]
fn global_results_equal_the_reference() {
    seeds(6, |random| like_the_reference(random, false, false));
    seeds(6, |random| like_the_reference(random, false, true));
}

/// Batches of few and of many keys: those of the large ones are counted one by one once that is known of them.
fn counts_like_the_reference(random: &SeededRandom) {
    let update_before = below(random, 2) == 0;
    let spec = AggregateSpec { update_before, ..spec(&[0], &[(Count, None, None)], false) };
    let mut subtasks = Subtasks::new(Aggregate::factory(spec).expect("allowed"), &[0]);
    let (mut counts, mut table) = (BTreeMap::new(), BTreeMap::new());
    let mut then = (counts.clone(), table.clone());
    for _ in 0..30 {
        match below(random, 8) {
            0 => {
                subtasks.checkpoint(below(random, 3) == 0);
                then = (counts.clone(), table.clone());
            }
            1 => {
                subtasks.restart(below(random, 3) as u32 + 1);
                (counts, table) = then.clone();
            }
            _ => {
                let keys = [20, 30_000][below(random, 2) as usize];
                let rows = [10, 4_000][below(random, 2) as usize];
                // A NULL now and then.
                let key = || (below(random, 50) > 0).then(|| below(random, keys) as i64);
                let row = || Row { k: key(), ..row(0, 0) };
                let batch: Vec<_> = (0..rows).map(|_| (RowKind::Insert, row())).collect();
                batch.iter().for_each(|(_, row)| *counts.entry(row.k).or_insert(0) += 1);
                subtasks.process(&chunk(&batch)).expect("goes on");
            }
        }
        for (kind, row) in subtasks.out.rows.drain(..) {
            let (key, count) = (row[0].parse::<i64>().ok(), row[1].parse::<i64>().expect("a count"));
            let before = if kind.adds() { table.insert(key, count) } else { table.remove(&key) };
            match kind {
                RowKind::UpdateBefore => assert_eq!(before, Some(count)),
                RowKind::UpdateAfter => assert_eq!(before.is_none(), update_before),
                _ => assert_eq!(before, None),
            }
        }
        let differs = counts.iter().find(|(key, count)| table.get(*key) != Some(*count));
        assert!(differs.is_none() && table.len() == counts.len(), "{differs:?}, {} keys", table.len());
    }
}

#[test]
fn counts_equal_the_reference_whether_batches_repeat_their_keys_or_not() {
    seeds(8, counts_like_the_reference);
}

fn row(k: i64, i: i32) -> Row {
    Row { k: Some(k), i: Some(i), d: None, f: None, s: None, b: None }
}

fn run(spec: AggregateSpec, batches: &[&[(RowKind, Row)]]) -> Vec<String> {
    let keys = spec.keys.clone();
    let mut subtasks = Subtasks::new(Aggregate::factory(spec).expect("allowed"), &keys);
    for batch in batches {
        subtasks.process(&chunk(batch)).expect("goes on");
    }
    subtasks.out.rows.iter().map(|(kind, row)| format!("{} {}", kind.short(), row.join(","))).collect()
}

#[test]
fn the_changelog_is_flinks_once_per_key_and_batch() {
    use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
    let batches: &[&[(RowKind, Row)]] = &[
        &[(Insert, row(1, 5)), (Insert, row(2, 7)), (Insert, row(1, 6))],
        &[(UpdateBefore, row(1, 5)), (UpdateAfter, row(1, 5))],
        &[(Delete, row(2, 7)), (Insert, row(1, 1))],
        // Taken back without ever having been there: ignored.
        &[(Delete, row(9, 9))],
        &[(Insert, row(3, 1)), (Delete, row(3, 1))],
    ];
    let all = spec(&[0], &[(Count, None, None), (Sum, Some(1), None)], true);
    assert_eq!(run(all.clone(), batches), ["+I 1,2,11", "+I 2,1,7", "-D 2,1,7", "-U 1,2,11", "+U 1,3,12"]);
    let upsert = AggregateSpec { update_before: false, ..all };
    assert_eq!(run(upsert, batches), ["+I 1,2,11", "+I 2,1,7", "-D 2,1,7", "+U 1,3,12"]);
}

#[test]
fn nothing_goes_out_when_no_result_changed() {
    let insert = |i| (RowKind::Insert, row(1, i));
    let max = spec(&[0], &[(Max, Some(1), None), (Avg, Some(1), None)], false);
    assert_eq!(
        run(max, &[&[insert(5)], &[insert(5)], &[insert(4), insert(6)]]),
        ["+I 1,5,5", "-U 1,5,5", "+U 1,6,5"]
    );
    let distinct = spec(&[0], &[], false);
    assert_eq!(run(distinct, &[&[insert(5)], &[insert(6)]]), ["+I 1"]);
}

#[test]
fn a_sum_that_does_not_fit_fails_and_names_itself() {
    let spec = spec(&[0], &[(Sum, Some(1), None)], false);
    let mut subtasks = Subtasks::new(Aggregate::factory(spec).expect("allowed"), &[0]);
    let batch = [(RowKind::Insert, row(1, i32::MAX)), (RowKind::Insert, row(1, 1))];
    let failure = subtasks.process(&chunk(&batch)).expect_err("does not fit");
    assert_eq!(failure.kind, FailureKind::Expression);
    assert_eq!(failure.message, "SUM(i) does not fit into INT: cast its argument to a wider type");
}

#[test]
fn what_cannot_be_computed_is_refused_before_it_starts() {
    let retracted = spec(&[0], &[(Min, Some(1), None)], true);
    let error = Aggregate::factory(retracted).err().expect("refused");
    assert!(error.message.contains("MIN and MAX") && error.message.contains("COUNT, SUM and AVG"), "{error}");
    let error = Sum.output_type(Some(&DataType::Utf8)).unwrap_err();
    assert!(error.contains("SUM") && error.contains("numbers"), "{error}");
    let mut wrong = spec(&[0], &[(Sum, Some(1), None)], false);
    wrong.calls[0].output = DataType::Int64;
    assert!(Aggregate::factory(wrong).err().expect("refused").message.contains("SUM(i) gives Int32"));
}

#[test]
fn a_group_that_is_not_touched_for_its_time_to_live_is_forgotten() {
    let spec =
        AggregateSpec { ttl: Some(Duration::from_millis(100)), ..spec(&[0], &[(Count, None, None)], false) };
    let mut subtasks = Subtasks::new(Aggregate::factory(spec).expect("allowed"), &[0]);
    for (now, k) in [(1_000, 1), (1_050, 2), (1_100, 1), (1_160, 2), (1_300, 1)] {
        subtasks.tick(now);
        subtasks.process(&chunk(&[(RowKind::Insert, row(k, 0))])).expect("goes on");
    }
    let out: Vec<String> =
        subtasks.out.rows.iter().map(|(kind, row)| format!("{} {}", kind.short(), row.join(","))).collect();
    // Key 2 came back after 110 ms, key 1 once after 100 and once after 200 ms.
    assert_eq!(out, ["+I 1,1", "+I 2,1", "-U 1,1", "+U 1,2", "+I 2,1", "+I 1,1"]);
}

#[test]
fn the_declared_state_tells_apart_what_is_stored_differently() {
    let one = Aggregate::tables(&spec(&[0], &[(Sum, Some(1), None)], false)).expect("allowed");
    let other = Aggregate::tables(&spec(&[0], &[(Sum, Some(2), None)], false)).expect("allowed");
    assert_eq!(one[0].name, "groups");
    assert_ne!(one[0].schema, other[0].schema);
}
