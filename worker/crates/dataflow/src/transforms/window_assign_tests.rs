use arrow_array::{Int64Array, TimestampMillisecondArray};
use arrow_schema::{Field, Schema, TimeUnit};

use super::super::testing::{Subtasks, below, seeds, texts};
use super::*;
use crate::RowKind;
use crate::window::{Hop, Tumble};

fn schemas() -> (SchemaRef, SchemaRef) {
    let time = |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Millisecond, None), false);
    let mut fields = vec![Field::new("v", DataType::Int64, false), time("ts")];
    let input = Arc::new(Schema::new(fields.clone()));
    fields.extend([time("window_start"), time("window_end"), time("window_time")]);
    (input, Arc::new(Schema::new(fields)))
}

fn batch(schema: &SchemaRef, columns: &[Vec<i64>]) -> RecordBatch {
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(columns[0].clone()))];
    arrays.extend(
        columns[1..].iter().map(|c| Arc::new(TimestampMillisecondArray::from(c.clone())) as ArrayRef),
    );
    RecordBatch::try_new(schema.clone(), arrays).expect("fits")
}

#[test]
fn every_row_goes_to_all_its_windows_with_its_kind() {
    seeds(20, |random| {
        let (input, output) = schemas();
        let window = if below(random, 2) == 0 {
            Window::Tumble(Tumble::new(below(random, 9) as i64 + 1, 0).expect("allowed"))
        } else {
            Window::Hop(
                Hop::new(below(random, 400) as i64 + 1, below(random, 9) as i64 + 1, 0).expect("allowed"),
            )
        };
        let count = below(random, 500) as i64 + 1;
        let times: Vec<i64> = (0..count).map(|_| below(random, 1_000) as i64 - 500).collect();
        let kinds: Vec<u8> = (0..count).map(|_| below(random, 4) as u8).collect();
        let mut expected: Vec<Vec<i64>> = vec![Vec::new(); 5];
        let mut expected_kinds = Vec::new();
        for (v, time) in times.iter().enumerate() {
            for start in -1_000..1_000 {
                if start % window.slide() == 0 && start <= *time && *time < start + window.size() {
                    for (column, value) in expected.iter_mut().zip([
                        v as i64,
                        *time,
                        start,
                        start + window.size(),
                        start + window.size() - 1,
                    ]) {
                        column.push(value);
                    }
                    expected_kinds.push(RowKind::from_byte(kinds[v]).expect("a kind"));
                }
            }
        }
        let factory = WindowAssign::factory(&input, output.clone(), 1, window).expect("fits");
        let mut subtasks = Subtasks::new(factory, &[0]);
        let rows = batch(&input, &[(0..count).collect(), times]);
        subtasks.process(&Chunk { rows, kinds: Some(kinds.into()) }).expect("goes on");
        let (got_kinds, got): (Vec<_>, Vec<_>) = subtasks.out.rows.iter().cloned().unzip();
        assert_eq!(got, texts(&batch(&output, &expected)), "{window:?}");
        assert_eq!(got_kinds, expected_kinds);
    });
}
