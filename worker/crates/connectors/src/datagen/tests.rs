use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};

use super::*;
use crate::ColumnPath;
use crate::testing::{Io, drain, table};

fn columns() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("n", DataType::Int32),
        field("price", DataType::Decimal128(10, 2)),
        field("x", DataType::Float64),
        field("name", DataType::Utf8View),
        field("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        field("ok", DataType::Boolean),
        field("day", DataType::Date32),
    ]))
}

const OPTIONS: &[(&str, &str)] = &[
    ("rows-per-second", "0"),
    ("seed", "7"),
    ("fields.id.kind", "sequence"),
    ("fields.id.start", "100"),
    ("fields.id.end", "20099"),
    ("fields.n.min", "-3"),
    ("fields.n.max", "3"),
    ("fields.price.min", "1"),
    ("fields.price.max", "2.5"),
    ("fields.x.min", "0"),
    ("fields.x.max", "1"),
    ("fields.x.null-rate", "0.25"),
    ("fields.name.length", "6"),
    ("fields.name.var-len", "true"),
    ("fields.at.kind", "sequence"),
    ("fields.at.interval", "250ms"),
];

fn lines(options: &[(&str, &str)], used: &[usize]) -> Vec<String> {
    let table = source(&table(columns(), options)).map_err(|e| format!("{e:?}")).unwrap();
    let columns = used.iter().map(|column| ColumnPath { column: *column, field: None }).collect();
    let (factory, _) = table.scan(&Scan { columns, filters: vec![] });
    let io = Io::new();
    let mut source = factory.open(io.open_source(0, 1, None)).unwrap();
    let text = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in drain(source.as_mut()) {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &text).unwrap()).collect();
        lines.extend((0..batch.num_rows()).map(|row| {
            columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|")
        }));
    }
    lines
}

#[test]
fn the_first_rows_never_change() {
    let all: Vec<_> = (0..8).collect();
    assert_eq!(lines(OPTIONS, &all)[..2], GOLDEN);
}

const GOLDEN: [&str; 2] = [
    "100|0|1.35|0.894236971967903|16935|2026-01-01T00:00:00|true|2026-01-01",
    "101|1|1.41|0.5759184428606042|5|2026-01-01T00:00:00.250|false|2026-01-01",
];

#[test]
fn a_sequence_ends_the_source_and_random_values_stay_in_their_range() {
    let all = lines(OPTIONS, &[0, 1, 2, 3, 5]);
    assert_eq!(all.len(), 20_000);
    let mut nulls = 0;
    for (row, line) in all.iter().enumerate() {
        let parts: Vec<_> = line.split('|').collect();
        assert_eq!(parts[0], (100 + row).to_string());
        assert!((-3..=3).contains(&parts[1].parse::<i32>().unwrap()), "{line}");
        assert!((1.0..=2.5).contains(&parts[2].parse::<f64>().unwrap()), "{line}");
        nulls += usize::from(parts[3] == "NULL");
    }
    assert!((4_600..5_400).contains(&nulls), "a quarter of 20,000: {nulls}");
    assert!(all[3].ends_with("|2026-01-01T00:00:00.750"), "{}", all[3]);
}

#[test]
fn a_column_is_the_same_whatever_other_columns_are_read() {
    let (all, one) = (lines(OPTIONS, &[0, 1, 4]), lines(OPTIONS, &[4]));
    assert!(all.iter().zip(&one).all(|(all, one)| all.ends_with(one.as_str())));
    let other: Vec<_> = OPTIONS.iter().map(|(k, v)| if *k == "seed" { (*k, "8") } else { (*k, *v) }).collect();
    assert_ne!(lines(&other, &[4]), one);
}

#[test]
fn wrong_options_are_told_with_the_column() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("fields.nam.length", "3")], "option 'fields.nam.length': the table has no column 'nam'; did you mean 'name'?"),
        (&[("fields.n.min", "5"), ("fields.n.max", "3")], "column 'n': 'min' and 'max' must be in order and in the range of the type"),
        (&[("fields.n.kind", "sequence")], "column 'n': a sequence needs 'start' and 'end' in the range of its type"),
        (&[("fields.n.kind", "sequenc")], "option 'fields.n.kind': 'sequenc' is not allowed: write one of 'random', 'sequence'; did you mean 'sequence'?"),
        (&[("fields.x.null-rate", "2")], "column 'x': 'null-rate' is a number from 0 to 1, and 0 for a NOT NULL column"),
        (&[("fields.n.size", "2")], "unknown option 'fields.n.size'; did you mean 'fields.#.end'?"),
    ];
    for (options, message) in cases {
        let errors = source(&table(columns(), options)).err().unwrap();
        assert_eq!(errors[0].message, *message);
    }
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let schema = Arc::new(Schema::new(vec![Field::new("list", list, true)]));
    let errors = source(&table(schema, &[])).err().unwrap();
    assert!(errors[0].message.starts_with("column 'list': datagen makes no random values of this type"));
}
