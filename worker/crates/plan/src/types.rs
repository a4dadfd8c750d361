//! SQL types: how Flink writes them, and the Arrow type that carries each.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | CHAR, VARCHAR, STRING | Utf8View (a declared length is not enforced, as in Flink by default) |
//! | BINARY, VARBINARY, BYTES | Binary |
//! | TIMESTAMP(0, 3, 6, 9) | Timestamp in s, ms, µs, ns without a zone |
//! | TIMESTAMP_LTZ(0, 3, 6, 9) | the same with the zone UTC |
//! | TIME(0, 3) | Time32 in s, ms |
//! | ROW, ARRAY | Struct, List |

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, TimeUnit};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use crate::problem::{Fault, Place, nearest};
use crate::script::{parser_fault, word};

/// STRING.
pub(crate) const STRING: DataType = DataType::Utf8View;
/// TIMESTAMP(3).
pub(crate) const TIMESTAMP_3: DataType = DataType::Timestamp(TimeUnit::Millisecond, None);
/// INTERVAL … DAY TO SECOND.
pub(crate) const INTERVAL_SECONDS: DataType = DataType::Duration(TimeUnit::Millisecond);
/// INTERVAL … YEAR TO MONTH.
pub(crate) const INTERVAL_MONTHS: DataType = DataType::Interval(arrow_schema::IntervalUnit::YearMonth);

/// A type as declared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Declared {
    pub(crate) data_type: DataType,
    pub(crate) nullable: bool,
    /// The length of CHAR(n) (padded) or VARCHAR(n), which only casts use.
    pub(crate) length: Option<(usize, bool)>,
}

impl Declared {
    fn plain(data_type: DataType) -> Self {
        Self { data_type, nullable: true, length: None }
    }
}

const NAMES: &[&str] = &[
    "CHAR",
    "VARCHAR",
    "STRING",
    "BOOLEAN",
    "BINARY",
    "VARBINARY",
    "BYTES",
    "DECIMAL",
    "NUMERIC",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP_LTZ",
    "ROW",
    "ARRAY",
];

/// Parses a type with its `NULL` or `NOT NULL`, if any.
pub(crate) fn parse_type(p: &mut Parser) -> Result<Declared, Fault> {
    let mut declared = parse_bare(p)?;
    while p.parse_keyword(Keyword::ARRAY) {
        declared = Declared::plain(DataType::List(Arc::new(Field::new("item", declared.data_type, true))));
    }
    if p.parse_keywords(&[Keyword::NOT, Keyword::NULL]) {
        declared.nullable = false;
    } else {
        let _ = p.parse_keyword(Keyword::NULL);
    }
    Ok(declared)
}

fn parse_bare(p: &mut Parser) -> Result<Declared, Fault> {
    let token = p.next_token();
    let place = Place::of(token.span);
    let Token::Word(w) = &token.token else {
        return Err(Fault::new(place, format!("expected a type, found {token}")));
    };
    let name = w.value.to_uppercase();
    let plain = |t| Ok(Declared::plain(t));
    match name.as_str() {
        "CHAR" | "CHARACTER" => string(p, true, Some(1)),
        "VARCHAR" => string(p, false, None),
        "STRING" => plain(STRING),
        "BOOLEAN" => plain(DataType::Boolean),
        "BINARY" | "VARBINARY" => {
            number(p, place, "length", 1, i64::from(i32::MAX))?;
            plain(DataType::Binary)
        }
        "BYTES" => plain(DataType::Binary),
        "DECIMAL" | "DEC" | "NUMERIC" => decimal(p, place).map(Declared::plain),
        "TINYINT" => plain(DataType::Int8),
        "SMALLINT" => plain(DataType::Int16),
        "INT" | "INTEGER" => plain(DataType::Int32),
        "BIGINT" => plain(DataType::Int64),
        "FLOAT" => plain(DataType::Float32),
        "DOUBLE" => {
            if word(p, "PRECISION") {
                p.next_token();
            }
            plain(DataType::Float64)
        }
        "DATE" => plain(DataType::Date32),
        "TIME" => {
            let unit = precision(p, place, "TIME", 0, &[(0, TimeUnit::Second), (3, TimeUnit::Millisecond)])?;
            zone(p, place, "TIME")?;
            plain(DataType::Time32(unit))
        }
        "TIMESTAMP" => {
            let unit = precision(p, place, "TIMESTAMP", 6, UNITS)?;
            let zoned = zone(p, place, "TIMESTAMP")?;
            plain(DataType::Timestamp(unit, zoned.then(|| "UTC".into())))
        }
        "TIMESTAMP_LTZ" => {
            let unit = precision(p, place, "TIMESTAMP_LTZ", 6, UNITS)?;
            plain(DataType::Timestamp(unit, Some("UTC".into())))
        }
        "ROW" => row(p).map(Declared::plain),
        "ARRAY" => {
            angle(p, &Token::Lt)?;
            let item = parse_type(p)?;
            close_angle(p)?;
            plain(DataType::List(Arc::new(Field::new("item", item.data_type, item.nullable))))
        }
        "MAP" | "MULTISET" | "RAW" | "VARIANT" | "STRUCTURED" | "INTERVAL" => {
            Err(Fault::new(place, format!("the type {name} is not supported yet")))
        }
        _ => {
            let fault = Fault::new(place, format!("unknown type {}", w.value));
            Err(match nearest(&name, NAMES.iter().copied()) {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => fault.hint(format!("the types are {}", NAMES.join(", "))),
            })
        }
    }
}

const UNITS: &[(i64, TimeUnit)] = &[
    (0, TimeUnit::Second),
    (3, TimeUnit::Millisecond),
    (6, TimeUnit::Microsecond),
    (9, TimeUnit::Nanosecond),
];

fn string(p: &mut Parser, padded: bool, default: Option<i64>) -> Result<Declared, Fault> {
    let place = Place::of(p.get_current_token().span);
    let length = number(p, place, "length", 1, i64::from(i32::MAX))?.or(default);
    let length = length.and_then(|n| usize::try_from(n).ok()).map(|n| (n, padded));
    Ok(Declared { length, ..Declared::plain(STRING) })
}

fn decimal(p: &mut Parser, place: Place) -> Result<DataType, Fault> {
    let bad =
        |what: String| Fault::new(place, what).hint("write DECIMAL(p, s) with 1 <= p <= 38 and 0 <= s <= p");
    let (mut precision, mut scale) = (10, 0);
    if p.consume_token(&Token::LParen) {
        precision = p.parse_literal_uint().map_err(|e| parser_fault(&e, place))?;
        if p.consume_token(&Token::Comma) {
            scale = p.parse_literal_uint().map_err(|e| parser_fault(&e, place))?;
        }
        p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, place))?;
    }
    if !(1..=38).contains(&precision) || scale > precision {
        return Err(bad(format!("DECIMAL({precision}, {scale}) is not a type")));
    }
    // Both are at most 38.
    Ok(DataType::Decimal128(precision as u8, scale as i8))
}

/// `(n)`, if it is there.
fn number(p: &mut Parser, place: Place, what: &str, low: i64, high: i64) -> Result<Option<i64>, Fault> {
    if !p.consume_token(&Token::LParen) {
        return Ok(None);
    }
    let n = p.parse_literal_uint().map_err(|e| parser_fault(&e, place))?;
    p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, place))?;
    match i64::try_from(n) {
        Ok(n) if (low..=high).contains(&n) => Ok(Some(n)),
        _ => Err(Fault::new(place, format!("the {what} {n} is not between {low} and {high}"))),
    }
}

fn precision(
    p: &mut Parser,
    place: Place,
    name: &str,
    default: i64,
    units: &[(i64, TimeUnit)],
) -> Result<TimeUnit, Fault> {
    let given = number(p, place, "precision", 0, 9)?.unwrap_or(default);
    units.iter().find(|(n, _)| *n == given).map(|(_, unit)| *unit).ok_or_else(|| {
        let allowed: Vec<_> = units.iter().map(|(n, _)| n.to_string()).collect();
        Fault::new(place, format!("{name}({given}) is not supported yet"))
            .hint(format!("the precision may be {}", allowed.join(", ")))
    })
}

/// `WITHOUT TIME ZONE` (false), `WITH LOCAL TIME ZONE` (true).
fn zone(p: &mut Parser, place: Place, name: &str) -> Result<bool, Fault> {
    if p.parse_keywords(&[Keyword::WITHOUT, Keyword::TIME, Keyword::ZONE]) {
        return Ok(false);
    }
    if p.parse_keywords(&[Keyword::WITH, Keyword::LOCAL, Keyword::TIME, Keyword::ZONE]) && name != "TIME" {
        return Ok(true);
    }
    if p.parse_keywords(&[Keyword::WITH, Keyword::TIME, Keyword::ZONE]) {
        return Err(Fault::new(place, format!("{name} WITH TIME ZONE is not supported"))
            .hint("TIMESTAMP_LTZ is a point in time"));
    }
    Ok(false)
}

fn row(p: &mut Parser) -> Result<DataType, Fault> {
    let round = p.consume_token(&Token::LParen);
    if !round {
        angle(p, &Token::Lt)?;
    }
    let mut fields: Vec<Field> = Vec::new();
    loop {
        let place = Place::of(p.peek_token().span);
        let name = p.parse_identifier().map_err(|e| parser_fault(&e, place))?;
        let declared = parse_type(p)?;
        if p.parse_keyword(Keyword::COMMENT) {
            p.parse_literal_string().map_err(|e| parser_fault(&e, place))?;
        }
        if fields.iter().any(|f| *f.name() == name.value) {
            return Err(Fault::new(place, format!("the ROW has two fields `{}`", name.value)));
        }
        fields.push(Field::new(name.value, declared.data_type, declared.nullable));
        if !p.consume_token(&Token::Comma) {
            break;
        }
    }
    if round {
        let place = Place::of(p.peek_token().span);
        p.expect_token(&Token::RParen).map_err(|e| parser_fault(&e, place))?;
    } else {
        close_angle(p)?;
    }
    Ok(DataType::Struct(Fields::from(fields)))
}

fn angle(p: &mut Parser, token: &Token) -> Result<(), Fault> {
    let place = Place::of(p.peek_token().span);
    p.expect_token(token).map(|_| ()).map_err(|e| parser_fault(&e, place))
}

/// `>`; the script's tokens never hold `>>` (it is split before parsing).
fn close_angle(p: &mut Parser) -> Result<(), Fault> {
    angle(p, &Token::Gt)
}

/// The type as Flink writes it.
pub(crate) fn sql_name(t: &DataType) -> String {
    let digits = |u: &TimeUnit| UNITS.iter().find(|(_, unit)| unit == u).map_or(0, |(n, _)| *n);
    match t {
        DataType::Null => "NULL".into(),
        DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => "STRING".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Binary | DataType::BinaryView => "BYTES".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(p, s) => format!("DECIMAL({p}, {s})"),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(unit) => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        DataType::Duration(_) => "INTERVAL DAY TO SECOND".into(),
        DataType::Interval(_) => "INTERVAL YEAR TO MONTH".into(),
        DataType::List(item) => format!("ARRAY<{}>", sql_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|f| format!("`{}` {}", f.name(), sql_name(f.data_type()))).collect();
            format!("ROW<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// TINYINT … BIGINT.
pub(crate) fn is_integer(t: &DataType) -> bool {
    matches!(t, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// FLOAT, DOUBLE.
pub(crate) fn is_approximate(t: &DataType) -> bool {
    matches!(t, DataType::Float32 | DataType::Float64)
}

/// Any number.
pub(crate) fn is_numeric(t: &DataType) -> bool {
    is_integer(t) || is_approximate(t) || matches!(t, DataType::Decimal128(..))
}

/// Precision and scale of an exact number.
pub(crate) fn as_decimal(t: &DataType) -> Option<(i32, i32)> {
    match t {
        DataType::Int8 => Some((3, 0)),
        DataType::Int16 => Some((5, 0)),
        DataType::Int32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::Decimal128(p, s) => Some((i32::from(*p), i32::from(*s))),
        _ => None,
    }
}

/// Flink's rule when a result needs more than 38 digits: the integer part is kept, the scale gives
/// way, but not below 6.
pub(crate) fn adjusted_decimal(precision: i32, scale: i32) -> DataType {
    if precision <= 38 {
        return DataType::Decimal128(precision.max(1) as u8, scale as i8);
    }
    let scale = (38 - (precision - scale)).max(scale.min(6));
    DataType::Decimal128(38, scale as i8)
}

/// The type that both can be turned into without loss, as Flink chooses it for CASE, IN, UNION and
/// comparisons.
pub(crate) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (DataType::Null, t) | (t, DataType::Null) => Some(t.clone()),
        (DataType::Timestamp(u, z), DataType::Timestamp(v, y)) if z == y => {
            Some(DataType::Timestamp((*u).max(*v), z.clone()))
        }
        (DataType::Date32, t @ DataType::Timestamp(_, None))
        | (t @ DataType::Timestamp(_, None), DataType::Date32) => Some(t.clone()),
        (DataType::Time32(_), DataType::Time32(_)) => Some(DataType::Time32(TimeUnit::Millisecond)),
        _ if is_numeric(a) && is_numeric(b) => Some(common_number(a, b)),
        _ => None,
    }
}

fn common_number(a: &DataType, b: &DataType) -> DataType {
    if is_integer(a) && is_integer(b) {
        return if as_decimal(a) >= as_decimal(b) { a.clone() } else { b.clone() };
    }
    match (as_decimal(a), as_decimal(b)) {
        (Some((p1, s1)), Some((p2, s2))) => {
            let scale = s1.max(s2);
            adjusted_decimal((p1 - s1).max(p2 - s2) + scale, scale)
        }
        _ if matches!((a, b), (DataType::Float32, t) | (t, DataType::Float32) if is_integer(t)) => {
            DataType::Float32
        }
        _ => DataType::Float64,
    }
}
