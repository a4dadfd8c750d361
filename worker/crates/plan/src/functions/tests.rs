//! What expressions give, by Flink's documented behaviour.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema};
use datafusion_common::DFSchema;
use datafusion_sql::sqlparser::parser::Parser;

use crate::desugar::Desugar;
use crate::dialect::Flink;
use crate::lower::Lower;
use crate::problem::Place;
use crate::resolve::{self, Catalog};
use crate::types::{Declared, STRING, TIMESTAMP_3, sql_name};

const START: Place = Place { line: 1, column: 1, length: 1 };

/// Type and value of an expression in a row with i = 7, b = 9, n = NULL, s = 'Weir', ts = 2020-02-29 23:59:58.123.
fn evaluate(sql: &str) -> Result<(String, String), String> {
    let (t, mut values) = evaluate_rows(sql, vec![Some(7)])?;
    Ok((t, values.remove(0)))
}

/// The same for several rows, which differ in `i`.
fn evaluate_rows(sql: &str, i: Vec<Option<i32>>) -> Result<(String, Vec<String>), String> {
    let rows = i.len();
    let fields = vec![
        Field::new("i", DataType::Int32, true),
        Field::new("b", DataType::Int64, true),
        Field::new("n", DataType::Int32, true),
        Field::new("s", STRING, true),
        Field::new("ts", TIMESTAMP_3, true),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(i)),
        Arc::new(Int64Array::from(vec![9; rows])),
        Arc::new(Int32Array::from(vec![None; rows])),
        Arc::new(StringViewArray::from(vec!["Weir"; rows])),
        Arc::new(TimestampMillisecondArray::from(vec![1_583_020_798_123; rows])),
    ];
    let mut e =
        Parser::new(&Flink).try_with_sql(sql).and_then(|mut p| p.parse_expr()).map_err(|e| e.to_string())?;
    let mut desugar = Desugar::default();
    desugar.expr(&mut e);
    if let Some(fault) = desugar.faults.first() {
        return Err(fault.message.clone());
    }
    let schema = DFSchema::from_unqualified_fields(fields.clone().into(), Default::default())
        .map_err(|e| e.to_string())?;
    let e = resolve::expression(&Catalog::default(), &desugar, e, &schema, START)
        .map_err(|f| f.map(|f| f.message).unwrap_or_default())?;
    let e = Lower { start: START }.finish(&e, &schema, &fields).map_err(|f| f.message)?;
    let (t, nullable) = crate::rel::typed(&e, &fields).map_err(|e| e.to_string())?;
    let compiled = crate::expression::compile(&e, &fields, sql.to_owned())?;
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| e.to_string())?;
    let array = compiled.evaluate(&rows).map_err(|f| f.message)?;
    assert_eq!(*array.data_type(), t, "{sql}: the declared type");
    assert!(nullable || array.logical_null_count() == 0, "{sql}: NULL in a column that is not nullable");
    let text =
        super::cast::convert(&array, &Declared { data_type: STRING, nullable: true, length: None }, false)?;
    let texts = text.as_string_view().iter().map(|t| t.unwrap_or("NULL").to_owned()).collect();
    Ok((sql_name(&t), texts))
}

fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (sql, t, value) in cases {
        let want = Ok(((*t).to_owned(), (*value).to_owned()));
        let got = evaluate(sql);
        if got != want {
            wrong.push(format!("{sql}: want {want:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_failures(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (sql, message) in cases {
        let got = evaluate(sql);
        if got != Err((*message).to_owned()) {
            wrong.push(format!("{sql}: want {message:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn literals_have_flinks_types() {
    check(&[
        ("1", "INT", "1"),
        ("2147483648", "BIGINT", "2147483648"),
        ("-9223372036854775808", "BIGINT", "-9223372036854775808"),
        ("0.908", "DECIMAL(3, 3)", "0.908"),
        ("12.50", "DECIMAL(4, 2)", "12.50"),
        ("1e3", "DOUBLE", "1000.0"),
        ("'it''s'", "STRING", "it's"),
        ("TRUE", "BOOLEAN", "TRUE"),
        ("DATE '2020-02-29'", "DATE", "2020-02-29"),
        ("TIMESTAMP '2020-02-29 01:02:03.123'", "TIMESTAMP(3)", "2020-02-29 01:02:03.123"),
        ("TIME '01:02:03'", "TIME(0)", "01:02:03"),
    ]);
}

#[test]
fn arithmetic_has_flinks_types_and_results() {
    check(&[
        ("i + 1", "INT", "8"),
        ("i + b", "BIGINT", "16"),
        ("i / 2", "INT", "3"),
        ("-7 / 2", "INT", "-3"),
        ("-7 % 3", "INT", "-1"),
        ("MOD(b, 4)", "BIGINT", "1"),
        ("i + n", "INT", "NULL"),
        ("i * 2147483647", "INT", "2147483641"),
        ("2147483647 + i", "INT", "-2147483642"),
        ("-i", "INT", "-7"),
        ("0.908 * b", "DECIMAL(23, 3)", "8.172"),
        ("1.5 + 2.25", "DECIMAL(4, 2)", "3.75"),
        ("1.0 / 3.0", "DECIMAL(8, 6)", "0.333333"),
        ("2.0 / 3.0", "DECIMAL(8, 6)", "0.666667"),
        ("-2.0 / 3.0", "DECIMAL(8, 6)", "-0.666667"),
        ("7.5 % 2", "DECIMAL(2, 1)", "1.5"),
        ("i + 0.5e0", "DOUBLE", "7.5"),
        ("1e0 / 0e0", "DOUBLE", "Infinity"),
        ("CAST(99999999999999999999999999999999999999 AS DECIMAL(38, 0)) * 10", "DECIMAL(38, 0)", "NULL"),
    ]);
    check_failures(&[
        ("i / (i - 7)", "i / (i - 7): Divide by zero error"),
        ("s + 1", "STRING + INT is not possible"),
        ("ts - ts", "TIMESTAMP(3) - TIMESTAMP(3) is not possible: use TIMESTAMPDIFF"),
    ]);
}

#[test]
fn and_or_are_decided_row_by_row_from_left_to_right() {
    let i = || vec![Some(7), Some(8), None, Some(5)];
    let rows = |sql: &str| evaluate_rows(sql, i()).map(|(_, values)| values.join(" "));
    for (sql, values) in [
        ("i <> 7 AND 1 / (i - 7) > 0", "FALSE TRUE NULL FALSE"),
        ("i = 7 OR 1 / (i - 7) > 0", "TRUE TRUE NULL FALSE"),
        ("i = 0 AND 1 / (i - 7) > 0", "FALSE FALSE NULL FALSE"),
        ("i <> 7 AND (i = 8 OR 8 / (i - 8) < 0) AND 1 / (i - 7) > 0", "FALSE TRUE NULL FALSE"),
        ("NOT (i = 7 OR (i = 8 OR 1 / (i - 8) > 0) AND n = 1)", "FALSE NULL NULL TRUE"),
    ] {
        assert_eq!(rows(sql), Ok(values.to_owned()), "{sql}");
    }
    // What is unknown on the left settles nothing.
    assert!(rows("n = 1 AND 1 / (i - 7) > 0").is_err_and(|e| e.contains("ivi")));
}

#[test]
fn conditions_and_null_follow_sql() {
    check(&[
        ("n = 1", "BOOLEAN", "NULL"),
        ("n IS NULL", "BOOLEAN", "TRUE"),
        ("n IS DISTINCT FROM 1", "BOOLEAN", "TRUE"),
        ("n = 1 AND i = 8", "BOOLEAN", "FALSE"),
        ("n = 1 OR i = 7", "BOOLEAN", "TRUE"),
        ("i IN (1, 7)", "BOOLEAN", "TRUE"),
        ("i NOT IN (1, 2)", "BOOLEAN", "TRUE"),
        ("i BETWEEN 7 AND b", "BOOLEAN", "TRUE"),
        ("CASE WHEN i > 8 THEN 'a' WHEN i > 6 THEN 'b' END", "STRING", "b"),
        ("CASE i WHEN 7 THEN 1 ELSE 2.5 END", "DECIMAL(11, 1)", "1.0"),
        ("CASE WHEN i > 8 THEN 1 END", "INT", "NULL"),
        ("IF(i = 7, 'x', 'y')", "STRING", "x"),
        ("COALESCE(n, b)", "BIGINT", "9"),
        ("NULLIF(i, 7)", "INT", "NULL"),
        ("ts > '2020-02-29'", "BOOLEAN", "TRUE"),
        ("i <> 7 AND 1 / (i - 7) > 0", "BOOLEAN", "FALSE"),
        ("i = 7 OR 1 / (i - 7) > 0", "BOOLEAN", "TRUE"),
        ("CASE WHEN i = 7 THEN 0 ELSE 1 / (i - 7) END", "INT", "0"),
        ("GREATEST(i, b)", "BIGINT", "9"),
        ("LEAST(i, n)", "INT", "NULL"),
    ]);
    check_failures(&[
        ("s = 1", "STRING and INT cannot be compared: CAST one of them"),
        ("NOT i", "NOT takes a BOOLEAN, not INT"),
    ]);
}

#[test]
fn casts_follow_flink() {
    check(&[
        ("CAST(300 AS TINYINT)", "TINYINT", "44"),
        ("CAST(4294967297 AS INT)", "INT", "1"),
        ("CAST(2.9 AS INT)", "INT", "2"),
        ("CAST(-2.9e0 AS INT)", "INT", "-2"),
        ("CAST(1e20 AS INT)", "INT", "2147483647"),
        ("CAST(' 12 ' AS INT)", "INT", "12"),
        ("CAST('12.7' AS INT)", "INT", "12"),
        ("TRY_CAST('x' AS INT)", "INT", "NULL"),
        ("CAST('1.255' AS DECIMAL(5, 2))", "DECIMAL(5, 2)", "1.26"),
        ("CAST(12345 AS DECIMAL(3, 0))", "DECIMAL(3, 0)", "NULL"),
        ("CAST('yes' AS BOOLEAN)", "BOOLEAN", "TRUE"),
        ("CAST(TRUE AS INT)", "INT", "1"),
        ("CAST(i = 7 AS STRING)", "STRING", "TRUE"),
        ("CAST(1e10 AS STRING)", "STRING", "1.0E10"),
        ("CAST(1.5e-5 AS STRING)", "STRING", "1.5E-5"),
        ("CAST(123456.789e0 AS STRING)", "STRING", "123456.789"),
        ("CAST(CAST(0.1 AS FLOAT) AS STRING)", "STRING", "0.1"),
        ("CAST(-0.05 AS STRING)", "STRING", "-0.05"),
        ("CAST(ts AS STRING)", "STRING", "2020-02-29 23:59:58.123"),
        ("CAST(ts AS DATE)", "DATE", "2020-02-29"),
        ("CAST(ts AS TIME)", "TIME(0)", "23:59:58"),
        ("CAST('2020-01-01 10:00:00.5' AS TIMESTAMP(3))", "TIMESTAMP(3)", "2020-01-01 10:00:00.500"),
        ("CAST(DATE '2020-01-01' AS TIMESTAMP(0))", "TIMESTAMP(0)", "2020-01-01 00:00:00"),
        ("CAST('Wehr' AS VARCHAR(2))", "STRING", "We"),
        ("CAST('ab' AS CHAR(4)) || '|'", "STRING", "ab  |"),
    ]);
    check_failures(&[
        ("CAST(s AS INT)", "CAST(s AS INT): \"Weir\" is not a value of type INT"),
        (
            "CAST('2020-02-30' AS DATE)",
            "CAST('2020-02-30' AS DATE): \"2020-02-30\" is not a value of type DATE",
        ),
        ("CAST(ts AS BIGINT)", "TIMESTAMP(3) cannot be cast to BIGINT: use EXTRACT or TIMESTAMPDIFF"),
    ]);
}

#[test]
fn text_functions_follow_flink() {
    check(&[
        ("UPPER(s)", "STRING", "WEIR"),
        ("CHAR_LENGTH('größe')", "INT", "5"),
        ("SUBSTRING(s, 2)", "STRING", "eir"),
        ("SUBSTRING(s FROM 2 FOR 2)", "STRING", "ei"),
        ("SUBSTR(s, -2)", "STRING", "ir"),
        ("SUBSTR(s, 0, 2)", "STRING", "We"),
        ("SUBSTR(s, 2, -1)", "STRING", "NULL"),
        ("TRIM('  x ')", "STRING", "x"),
        ("TRIM(LEADING 'x' FROM 'xxyx')", "STRING", "yx"),
        ("CONCAT(s, '-', s)", "STRING", "Weir-Weir"),
        ("CONCAT(s, CAST(n AS STRING))", "STRING", "NULL"),
        ("CONCAT_WS(',', 'a', CAST(NULL AS STRING), 'b')", "STRING", "a,b"),
        ("s || '!'", "STRING", "Weir!"),
        ("REPLACE('abab', 'a', 'x')", "STRING", "xbxb"),
        ("POSITION('i' IN s)", "INT", "3"),
        ("LPAD('7', 3, '0')", "STRING", "007"),
        ("RPAD('abcd', 2, '0')", "STRING", "ab"),
        ("SPLIT_INDEX('a,b,,c', ',', 2)", "STRING", ""),
        ("SPLIT_INDEX('a,b', ',', 5)", "STRING", "NULL"),
        ("REGEXP_EXTRACT('x&channel_id=12&y', '(&|^)channel_id=([^&]*)', 2)", "STRING", "12"),
        ("REGEXP_EXTRACT('x', '([0-9]+)', 1)", "STRING", "NULL"),
        ("REGEXP_REPLACE('a1b22', '\\d+', '<$0>')", "STRING", "a<1>b<22>"),
        ("s LIKE 'W%r'", "BOOLEAN", "TRUE"),
        ("s LIKE '_e'", "BOOLEAN", "FALSE"),
        ("'a%b' LIKE 'a!%b' ESCAPE '!'", "BOOLEAN", "TRUE"),
        ("'a\\b' LIKE 'a\\b'", "BOOLEAN", "TRUE"),
        ("INITCAP('hello wORLD')", "STRING", "Hello World"),
        ("LEFT(s, 2) || RIGHT(s, 1)", "STRING", "Wer"),
    ]);
    check_failures(&[("UPPER(i)", "UPPER takes a STRING, not INT")]);
}

#[test]
fn number_functions_follow_flink() {
    check(&[
        ("ABS(-5)", "INT", "5"),
        ("ROUND(2.345, 2)", "DECIMAL(4, 2)", "2.35"),
        ("ROUND(-2.5, 0)", "DECIMAL(2, 0)", "-3"),
        ("ROUND(1.005e0, 2)", "DOUBLE", "1.01"),
        ("ROUND(155, -1)", "INT", "160"),
        ("TRUNCATE(42.345, 2)", "DECIMAL(5, 2)", "42.34"),
        ("FLOOR(-1.5)", "DECIMAL(2, 0)", "-2"),
        ("CEIL(1.2e0)", "DOUBLE", "2.0"),
        ("POWER(2, 10)", "DOUBLE", "1024.0"),
        ("SQRT(9)", "DOUBLE", "3.0"),
        ("SIGN(-2.5)", "DECIMAL(2, 1)", "-1.0"),
    ]);
}

#[test]
fn time_functions_follow_flink() {
    check(&[
        ("HOUR(ts)", "BIGINT", "23"),
        ("EXTRACT(DAY FROM ts)", "BIGINT", "29"),
        ("EXTRACT(DOW FROM ts)", "BIGINT", "7"),
        ("EXTRACT(WEEK FROM DATE '2021-01-03')", "BIGINT", "53"),
        ("QUARTER(ts)", "BIGINT", "1"),
        ("DATE_FORMAT(ts, 'yyyy-MM-dd HH:mm')", "STRING", "2020-02-29 23:59"),
        ("DATE_FORMAT(ts, 'yyyyMMdd''T''HHmmss.SSS')", "STRING", "20200229T235958.123"),
        ("ts + INTERVAL '2' SECOND", "TIMESTAMP(3)", "2020-03-01 00:00:00.123"),
        ("ts - INTERVAL '4' SECOND", "TIMESTAMP(3)", "2020-02-29 23:59:54.123"),
        ("ts + INTERVAL '1' YEAR", "TIMESTAMP(3)", "2021-02-28 23:59:58.123"),
        ("ts - INTERVAL '1:30' MINUTE TO SECOND", "TIMESTAMP(3)", "2020-02-29 23:58:28.123"),
        ("FLOOR(ts TO HOUR)", "TIMESTAMP(3)", "2020-02-29 23:00:00.000"),
        ("TIMESTAMPDIFF(DAY, TIMESTAMP '2020-01-01 00:00:00', ts)", "INT", "59"),
        ("TIMESTAMPDIFF(MONTH, TIMESTAMP '2020-01-31 00:00:00', ts)", "INT", "0"),
        ("TIMESTAMPADD(HOUR, 1, ts)", "TIMESTAMP(3)", "2020-03-01 00:59:58.123"),
        ("TO_TIMESTAMP('2020-01-01 00:00:01')", "TIMESTAMP(3)", "2020-01-01 00:00:01.000"),
        ("TO_TIMESTAMP('soon')", "TIMESTAMP(3)", "NULL"),
        ("TO_TIMESTAMP_LTZ(1000, 3)", "TIMESTAMP_LTZ(3)", "1970-01-01 00:00:01.000"),
        ("FROM_UNIXTIME(0)", "STRING", "1970-01-01 00:00:00"),
        ("UNIX_TIMESTAMP('1970-01-01 00:01:00')", "BIGINT", "60"),
    ]);
    check_failures(&[(
        "DATE_FORMAT(ts, 'YYYY')",
        "\"YYYY\" in the pattern \"YYYY\" is not supported: the letters are yyyy, MM, dd, HH, mm, ss, SSS",
    )]);
}

#[test]
fn every_function_is_explained_and_its_example_is_right() {
    let listed = super::LISTS.iter().flat_map(|l| l.iter()).map(|f| f.name);
    // What the planner makes by itself has no form that a person writes.
    let written = listed.filter(|name| !["literal", "field"].contains(name));
    let explained = |name: &str| super::help::FUNCTIONS.iter().any(|help| help.names.contains(&name));
    let missing: Vec<_> = written.filter(|name| !explained(name)).collect();
    assert!(missing.is_empty(), "functions/help.rs lacks {missing:?}");
    let unknown = |name: &&&str| **name != "IF" && super::find(name).is_none();
    let unknown: Vec<_> = super::help::FUNCTIONS.iter().flat_map(|h| h.names).filter(unknown).collect();
    assert!(unknown.is_empty(), "functions/help.rs explains {unknown:?}, which are not there");
    let examples: Vec<_> =
        super::help::FUNCTIONS.iter().map(|help| (help.example, help.data_type, help.value)).collect();
    check(&examples);
}
