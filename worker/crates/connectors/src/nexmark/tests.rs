use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};

use super::*;

use crate::testing::table;

fn spec(schema: Schema, options: &[(&str, &str)]) -> TableSpec {
    table(Arc::new(schema), options)
}

fn scan(options: &[(&str, &str)], paths: &[(usize, Option<usize>)], filters: &[(CompareOp, i64)]) -> Arc<dyn SourceFactory> {
    let table = source(&spec(schema::whole_table(), options)).unwrap();
    let path = |column, field| ColumnPath { column, field };
    let scan = Scan {
        columns: paths.iter().map(|(c, f)| path(*c, *f)).collect(),
        filters: filters.iter().map(|(op, value)| Comparison { path: path(0, None), op: *op, value: *value }).collect(),
    };
    let (factory, taken) = table.scan(&scan);
    assert!(taken.iter().all(|t| *t), "filters on event_type are taken over");
    factory
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let columns: Vec<_> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(line).collect()
}

fn all_rows(factory: &dyn SourceFactory) -> Vec<RecordBatch> {
    let runtime = crate::testing::Io::new();
    let mut source = factory.open(runtime.open_source(0, 1, None)).unwrap();
    crate::testing::drain(source.as_mut())
}

#[test]
fn print_golden() {
    let factory = scan(&[("events.num", "6")], &[(0, None), (1, None), (2, None), (3, None)], &[]);
    for batch in all_rows(factory.as_ref()) {
        for line in lines(&batch) { println!("{line}"); }
    }
}

#[test]
fn proportions_and_hot_ratios_are_those_of_the_benchmark() {
    let factory = scan(&[("events.num", "100000")], &[(0, None), (3, Some(0)), (3, Some(1)), (2, Some(7))], &[]);
    let batches = all_rows(factory.as_ref());
    let mut kinds = [0; 3];
    let (mut hot_auctions, mut hot_bidders, mut hot_sellers) = (0, 0, 0);
    for batch in &batches {
        let kind = batch.column(0).as_primitive::<Int32Type>();
        let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().clone();
        let (auctions, bidders, sellers) = (column(1), column(2), column(3));
        for row in 0..batch.num_rows() {
            let at = kind.value(row) as usize;
            kinds[at] += 1;
            assert_eq!(auctions.is_valid(row), at == 2);
            assert_eq!(sellers.is_valid(row), at == 1);
            hot_auctions += usize::from(at == 2 && auctions.value(row) % 100 == 0);
            hot_bidders += usize::from(at == 2 && bidders.value(row) % 100 == 1);
            hot_sellers += usize::from(at == 1 && sellers.value(row) % 100 == 0);
        }
    }
    assert_eq!(kinds, [2_000, 6_000, 92_000]);
    assert!((44_500..48_500).contains(&hot_auctions), "half of 92,000: {hot_auctions}");
    assert!((67_500..71_000).contains(&hot_bidders), "three quarters of 92,000: {hot_bidders}");
    assert!((4_350..4_750).contains(&hot_sellers), "three quarters of 6,000: {hot_sellers}");
}

#[test]
fn event_time_follows_the_rate() {
    let factory = scan(&[("events.num", "100"), ("first-event.rate", "3000")], &[(3, Some(5))], &[(CompareOp::Eq, 2)]);
    let batches = all_rows(factory.as_ref());
    let times: Vec<_> = batches
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<TimestampMillisecondType>().values().to_vec())
        .collect();
    let expected: Vec<_> = (0..100).filter(|n| n % 50 >= 4).map(|n| 1_436_918_400_000 + n / 3).collect();
    assert_eq!(times, expected);
}

#[test]
fn a_filter_on_the_event_type_leaves_the_same_rows() {
    let options = [("events.num", "20000")];
    let paths = [(0, None), (3, Some(0)), (3, Some(3)), (1, Some(1))];
    let collect = |filters: &[(CompareOp, i64)]| -> Vec<String> {
        all_rows(scan(&options, &paths, filters).as_ref()).iter().flat_map(lines).collect()
    };
    let all = collect(&[]);
    let with = |kinds: &[&str]| -> Vec<String> {
        all.iter().filter(|l| kinds.contains(&&l[..1])).cloned().collect()
    };
    assert_eq!(collect(&[(CompareOp::Eq, 2)]), with(&["2"]));
    assert_eq!(collect(&[(CompareOp::NotEq, 2)]), with(&["0", "1"]));
    assert_eq!(collect(&[(CompareOp::GtEq, 1), (CompareOp::Lt, 2)]), with(&["1"]));
    assert_eq!(collect(&[(CompareOp::Eq, 7)]), with(&[]));
}

#[test]
fn bidders_and_auctions_that_are_named_exist_or_come_soon() {
    let factory = scan(&[("events.num", "50000")], &[(0, None), (1, Some(0)), (2, Some(0)), (3, Some(0)), (3, Some(1))], &[]);
    let (mut last_person, mut last_auction) = (0, 0);
    for batch in all_rows(factory.as_ref()) {
        let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().clone();
        for row in 0..batch.num_rows() {
            match batch.column(0).as_primitive::<Int32Type>().value(row) {
                0 => last_person = column(1).value(row),
                1 => last_auction = column(2).value(row),
                _ => {
                    assert!((1_000..=last_auction + 10).contains(&column(3).value(row)));
                    assert!((1_000..=last_person + 10).contains(&column(4).value(row)));
                }
            }
        }
    }
    assert_eq!((last_person, last_auction), (1_999, 3_999));
}

#[test]
fn wrong_columns_are_refused_with_what_is_allowed() {
    use arrow_schema::{DataType, Fields};
    let row = |name: &str, field: Field| Field::new(name, DataType::Struct(Fields::from(vec![field])), true);
    let cases = [
        (Field::new("event_type", DataType::Int64, true), "column 'event_type' of a nexmark table is an INT"),
        (Field::new("bids", DataType::Int32, true), "column 'bids' is not one of a nexmark table: it may have event_type, person, auction and bid; did you mean 'bid'?"),
        (row("bid", Field::new("prize", DataType::Int64, true)), "'bid' of a nexmark table has no field 'prize': it is a ROW<auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, dateTime TIMESTAMP(3), extra STRING>; did you mean 'price'?"),
        (row("bid", Field::new("price", DataType::Int32, true)), "field 'bid.price' of a nexmark table is a BIGINT"),
    ];
    for (field, message) in cases {
        let errors = source(&spec(Schema::new(vec![field]), &[])).err().unwrap();
        assert_eq!(errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>(), [message]);
    }
}
