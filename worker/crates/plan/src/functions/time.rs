//! Dates and times. The session's time zone is UTC.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int32Array, Int64Array, StringViewArray};
use arrow_schema::{DataType, TimeUnit};
use datafusion_common::ScalarValue;

use super::calendar::{Civil, days_of, read_date, read_time, read_timestamp};
use super::cast::{civils, of_civils};
use super::{Takes, check, loose, strict};
use crate::call::{Arg, Call, Eval, Function, Param, Typing};
use crate::problem::nearest;
use crate::types::{STRING, TIMESTAMP_3, is_integer, sql_name};

macro_rules! part {
    ($name:literal) => {
        Function { name: $name, arity: (1, 1), typing: extract_type, native: None, eval: Some(extract) }
    };
}

pub(super) const ALL: &[Function] = &[
    part!("EXTRACT"),
    part!("YEAR"),
    part!("QUARTER"),
    part!("MONTH"),
    part!("WEEK"),
    part!("DAYOFYEAR"),
    part!("DAYOFMONTH"),
    part!("DAYOFWEEK"),
    part!("HOUR"),
    part!("MINUTE"),
    part!("SECOND"),
    Function { name: "FLOOR TO", arity: (1, 1), typing: floor_type, native: None, eval: Some(floor) },
    Function { name: "DATE_FORMAT", arity: (2, 2), typing: format_type, native: None, eval: Some(format) },
    Function {
        name: "FROM_UNIXTIME",
        arity: (1, 1),
        typing: from_unix_type,
        native: None,
        eval: Some(from_unix),
    },
    Function { name: "TO_TIMESTAMP", arity: (1, 1), typing: read_type, native: None, eval: Some(read) },
    Function { name: "TO_DATE", arity: (1, 1), typing: read_type, native: None, eval: Some(read) },
    Function {
        name: "TO_TIMESTAMP_LTZ",
        arity: (2, 2),
        typing: to_ltz_type,
        native: None,
        eval: Some(to_ltz),
    },
    Function { name: "TIMESTAMPDIFF", arity: (3, 3), typing: diff_type, native: None, eval: Some(diff) },
    Function { name: "TIMESTAMPADD", arity: (3, 3), typing: add_type, native: None, eval: Some(add) },
    Function { name: "UNIX_TIMESTAMP", arity: (1, 1), typing: unix_type, native: None, eval: Some(unix) },
];

/// The value of `DATE '…'`, `TIME '…'` or `TIMESTAMP '…'`; `None` for other types.
pub(crate) fn datetime_literal(type_name: &str, text: &str) -> Option<Result<ScalarValue, String>> {
    let name = type_name.to_uppercase();
    let bad = |form: &str| Err(format!("'{text}' is not a {name}: write {name} '{form}'"));
    Some(match name.as_str() {
        "DATE" => read_date(text)
            .and_then(|c| i32::try_from(c.days()).ok())
            .map_or_else(|| bad("2020-01-31"), |days| Ok(ScalarValue::Date32(Some(days)))),
        "TIME" => match read_time(text) {
            Some((h, m, s, 0)) => Ok(ScalarValue::Time32Second(Some((h * 3_600 + m * 60 + s) as i32))),
            Some((h, m, s, nanos)) => Ok(ScalarValue::Time32Millisecond(Some(
                ((h * 3_600 + m * 60 + s) * 1_000 + nanos / 1_000_000) as i32,
            ))),
            None => bad("12:30:00"),
        },
        "TIMESTAMP" => {
            let digits = text.split_once('.').map_or(0, |(_, f)| f.len());
            let value = |per_second| read_timestamp(text).and_then(|c| c.value(per_second));
            let literal = match digits {
                0 => value(1).map(|v| ScalarValue::TimestampSecond(Some(v), None)),
                1..=3 => value(1_000).map(|v| ScalarValue::TimestampMillisecond(Some(v), None)),
                4..=6 => value(1_000_000).map(|v| ScalarValue::TimestampMicrosecond(Some(v), None)),
                _ => value(1_000_000_000).map(|v| ScalarValue::TimestampNanosecond(Some(v), None)),
            };
            literal.map_or_else(|| bad("2020-01-31 12:30:00.000"), Ok)
        }
        _ => return None,
    })
}

const UNITS: &[&str] = &[
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "DOY",
    "DOW",
    "HOUR",
    "MINUTE",
    "SECOND",
    "MILLISECOND",
    "EPOCH",
];

/// The unit that a call asks for.
fn unit(call: &Call) -> &str {
    match (&call.param, call.function.name) {
        (Param::Text(unit), _) => match unit.as_str() {
            "DAYOFYEAR" => "DOY",
            "DAYOFWEEK" => "DOW",
            unit => unit,
        },
        (_, "DAYOFYEAR") => "DOY",
        (_, "DAYOFMONTH") => "DAY",
        (_, "DAYOFWEEK") => "DOW",
        (_, name) => name,
    }
}

fn known_unit(call: &Call, allowed: &[&str]) -> Result<(), String> {
    let unit = unit(call);
    if allowed.contains(&unit) {
        return Ok(());
    }
    let near =
        nearest(unit, allowed.iter().copied()).map(|n| format!(", did you mean {n}?")).unwrap_or_default();
    Err(format!("the unit {unit} is not supported{near}; the units are {}", allowed.join(", ")))
}

/// A time of these kinds, or a text or NULL that is read as a TIMESTAMP(3) where `texts`.
fn time_arg(call: &Call, arg: &Arg, texts: bool) -> Result<DataType, String> {
    match &arg.data_type {
        t @ (DataType::Timestamp(..) | DataType::Date32) => Ok(t.clone()),
        DataType::Null => Ok(TIMESTAMP_3),
        t if *t == STRING && texts => Ok(TIMESTAMP_3),
        t => Err(format!("{} takes a TIMESTAMP or a DATE, not {}", call.function.name, sql_name(t))),
    }
}

fn extract_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    known_unit(call, UNITS)?;
    let t = match &args[0].data_type {
        t @ DataType::Time32(_) if ["HOUR", "MINUTE", "SECOND", "MILLISECOND"].contains(&unit(call)) => {
            t.clone()
        }
        _ => time_arg(call, &args[0], false)?,
    };
    strict(args, vec![t], DataType::Int64)
}

fn extract(eval: &Eval) -> Result<ArrayRef, String> {
    let unit = unit(eval.call);
    let times = civils(&eval.array(0)?)?;
    Ok(Arc::new(times.into_iter().map(|c| c.map(|c| part_of(&c, unit))).collect::<Int64Array>()))
}

fn part_of(c: &Civil, unit: &str) -> i64 {
    match unit {
        "YEAR" => c.year,
        "QUARTER" => (c.month + 2) / 3,
        "MONTH" => c.month,
        "WEEK" => iso_week(c),
        "DAY" => c.day,
        "DOY" => c.days() - days_of(c.year, 1, 1) + 1,
        // Sunday is 1; 1970-01-01 was a Thursday.
        "DOW" => (c.days() + 4).rem_euclid(7) + 1,
        "HOUR" => c.hour,
        "MINUTE" => c.minute,
        "SECOND" => c.second,
        "MILLISECOND" => c.second * 1_000 + c.nanos / 1_000_000,
        _ => c.days() * 86_400 + c.hour * 3_600 + c.minute * 60 + c.second,
    }
}

/// The week that holds the year's first Thursday is its first; weeks start on Monday.
fn iso_week(c: &Civil) -> i64 {
    let thursday = c.days() - (c.days() + 3).rem_euclid(7) + 3;
    let (year, _, _) = super::calendar::date_of(thursday);
    (thursday - days_of(year, 1, 1)) / 7 + 1
}

fn floor_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    known_unit(call, &["YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"])?;
    let t = time_arg(call, &args[0], false)?;
    strict(args, vec![t.clone()], t)
}

fn floor(eval: &Eval) -> Result<ArrayRef, String> {
    let rank = ["YEAR", "QUARTER", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"]
        .iter()
        .position(|u| *u == unit(eval.call))
        .unwrap_or(6);
    let one = |c: Civil| Civil {
        month: if rank < 1 {
            1
        } else if rank < 2 {
            (c.month - 1) / 3 * 3 + 1
        } else {
            c.month
        },
        day: if rank < 3 { 1 } else { c.day },
        hour: if rank < 4 { 0 } else { c.hour },
        minute: if rank < 5 { 0 } else { c.minute },
        second: if rank < 6 { 0 } else { c.second },
        nanos: 0,
        ..c
    };
    of_civils(civils(&eval.array(0)?)?.into_iter().map(|c| Ok(c.map(one))), eval.result)
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Letter(char, usize),
}

/// Takes a pattern of Java's DateTimeFormatter apart.
fn pieces(pattern: &str) -> Result<Vec<Piece>, String> {
    let mut out: Vec<Piece> = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            let mut text = String::new();
            loop {
                match chars.next() {
                    Some('\'') if chars.peek() == Some(&'\'') => text.extend(chars.next()),
                    Some('\'') => break,
                    Some(c) => text.push(c),
                    None => return Err(format!("the pattern {pattern:?} has a quote that is not closed")),
                }
            }
            out.push(Piece::Text(if text.is_empty() { "'".into() } else { text }));
        } else if c.is_ascii_alphabetic() {
            let mut n = 1;
            while chars.next_if_eq(&c).is_some() {
                n += 1;
            }
            let known = match c {
                'y' | 'u' => n == 2 || n == 4,
                'M' | 'd' | 'H' | 'm' | 's' => n <= 2,
                'S' => n <= 9,
                _ => false,
            };
            if !known {
                let letters = c.to_string().repeat(n);
                return Err(format!(
                    "{letters:?} in the pattern {pattern:?} is not supported: the letters are yyyy, MM, dd, HH, mm, ss, SSS"
                ));
            }
            out.push(Piece::Letter(c, n));
        } else {
            out.push(Piece::Text(c.to_string()));
        }
    }
    Ok(out)
}

fn formatted(c: &Civil, pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Letter('y' | 'u', 2) => out.push_str(&format!("{:02}", c.year.rem_euclid(100))),
            Piece::Letter('S', n) => out.push_str(&format!("{:09}", c.nanos)[..*n]),
            Piece::Letter(letter, n) => {
                let value = match letter {
                    'y' | 'u' => c.year,
                    'M' => c.month,
                    'd' => c.day,
                    'H' => c.hour,
                    'm' => c.minute,
                    _ => c.second,
                };
                out.push_str(&format!("{value:0n$}"));
            }
        }
    }
    out
}

fn pattern(call: &Call) -> Result<Vec<Piece>, String> {
    match &call.param {
        Param::Text(text) => pieces(text),
        _ => Err("a format without a pattern".into()),
    }
}

fn format_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    pattern(call)?;
    let t = match time_arg(call, &args[0], true)? {
        DataType::Date32 => return Err("DATE_FORMAT takes a TIMESTAMP or a STRING, not DATE".into()),
        t => t,
    };
    strict(args, vec![t], STRING)
}

fn format(eval: &Eval) -> Result<ArrayRef, String> {
    let pieces = pattern(eval.call)?;
    let times = civils(&eval.array(0)?)?;
    Ok(Arc::new(times.into_iter().map(|c| c.map(|c| formatted(&c, &pieces))).collect::<StringViewArray>()))
}

fn whole(call: &Call, arg: &Arg) -> Result<DataType, String> {
    match &arg.data_type {
        DataType::Null => Ok(DataType::Int64),
        t if is_integer(t) => Ok(DataType::Int64),
        t => Err(format!("{} takes a BIGINT, not {}", call.function.name, sql_name(t))),
    }
}

fn from_unix_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    strict(args, vec![whole(call, &args[0])?], STRING)
}

fn from_unix(eval: &Eval) -> Result<ArrayRef, String> {
    let seconds = eval.array(0)?;
    // 3,000,000 years: further off, days no longer fit a date.
    let valid = |s: &i64| s.unsigned_abs() < 94_670_000_000_000;
    let text = |s: i64| {
        let c = Civil::of(s, 1);
        format!("{} {}", c.date_text(), c.time_text(0))
    };
    let texts = seconds.as_primitive::<Int64Type>().iter().map(|s| s.filter(valid).map(text));
    Ok(Arc::new(texts.collect::<StringViewArray>()))
}

/// Texts that are no times give NULL.
fn read_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let wanted = check(call, args, &[Takes::Text])?;
    loose(wanted, if call.function.name == "TO_DATE" { DataType::Date32 } else { TIMESTAMP_3 })
}

fn read(eval: &Eval) -> Result<ArrayRef, String> {
    let texts = eval.array(0)?;
    let to_date = eval.call.function.name == "TO_DATE";
    let one = |t: &str| if to_date { read_date(t.trim()) } else { read_timestamp(t.trim()) };
    of_civils(texts.as_string_view().iter().map(|t| Ok(t.and_then(one))), eval.result)
}

fn unix_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    strict(args, check(call, args, &[Takes::Text])?, DataType::Int64)
}

fn unix(eval: &Eval) -> Result<ArrayRef, String> {
    let texts = eval.array(0)?;
    let one = |text: &str| {
        let time = read_timestamp(text.trim())
            .ok_or_else(|| format!("{text:?} is not a time: write yyyy-MM-dd HH:mm:ss"))?;
        Ok(Some(part_of(&time, "EPOCH")))
    };
    let seconds = texts.as_string_view().iter().map(|t| t.map_or(Ok(None), one));
    Ok(Arc::new(seconds.collect::<Result<Int64Array, String>>()?))
}

fn to_ltz_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let first = whole(call, &args[0])?;
    whole(call, &args[1])?;
    let result = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    strict(args, vec![first, DataType::Int32], result)
}

/// Seconds (precision 0) or milliseconds (precision 3) since the epoch.
fn to_ltz(eval: &Eval) -> Result<ArrayRef, String> {
    let (numbers, precisions) = (eval.array(0)?, eval.array(1)?);
    let pairs = numbers.as_primitive::<Int64Type>().iter().zip(precisions.as_primitive::<Int32Type>());
    let one = |n: i64, p: i32| match p {
        0 => n.checked_mul(1_000).ok_or_else(|| format!("{n} seconds are out of range")),
        3 => Ok(n),
        _ => Err(format!("the precision of TO_TIMESTAMP_LTZ is 0 or 3, not {p}")),
    };
    let millis: Int64Array =
        pairs.map(|(n, p)| n.zip(p).map(|(n, p)| one(n, p)).transpose()).collect::<Result<_, _>>()?;
    let millis: ArrayRef = Arc::new(millis);
    arrow_cast::cast(&millis, eval.result).map_err(|e| e.to_string())
}

const STEPS: &[&str] = &["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"];

fn diff_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    known_unit(call, STEPS)?;
    let wanted = args.iter().map(|a| time_arg(call, a, false)).collect::<Result<Vec<_>, _>>()?;
    strict(args, wanted, DataType::Int32)
}

/// Milliseconds of a unit of fixed length.
fn fixed(unit: &str) -> Option<i64> {
    Some(match unit {
        "WEEK" => 604_800_000,
        "DAY" => 86_400_000,
        "HOUR" => 3_600_000,
        "MINUTE" => 60_000,
        "SECOND" => 1_000,
        _ => return None,
    })
}

fn months(unit: &str) -> i64 {
    match unit {
        "YEAR" => 12,
        "QUARTER" => 3,
        _ => 1,
    }
}

/// Whole units from the first to the second.
fn diff(eval: &Eval) -> Result<ArrayRef, String> {
    let unit = unit(eval.call);
    let (from, to) = (civils(&eval.array(0)?)?, civils(&eval.array(1)?)?);
    let one = |a: Civil, b: Civil| -> Option<i32> {
        let (x, y) = (a.value(1_000)?, b.value(1_000)?);
        let n = match fixed(unit) {
            Some(length) => y.checked_sub(x)? / length,
            None => whole_months(&a, &b) / months(unit),
        };
        i32::try_from(n).ok()
    };
    let out = from.into_iter().zip(to).map(|(a, b)| match a.zip(b) {
        Some((a, b)) => one(a, b).map(Some).ok_or_else(|| "the difference is out of range of INT".to_owned()),
        None => Ok(None),
    });
    Ok(Arc::new(out.collect::<Result<Int32Array, _>>()?))
}

fn whole_months(a: &Civil, b: &Civil) -> i64 {
    let months = (b.year - a.year) * 12 + b.month - a.month;
    let rest = |c: &Civil| (c.day, c.hour, c.minute, c.second, c.nanos);
    match months {
        1.. if rest(b) < rest(a) => months - 1,
        ..=-1 if rest(b) > rest(a) => months + 1,
        _ => months,
    }
}

fn add_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    known_unit(call, STEPS)?;
    let n = whole(call, &args[0])?;
    let t = match time_arg(call, &args[1], false)? {
        DataType::Date32 => return Err("TIMESTAMPADD takes a TIMESTAMP, not DATE".into()),
        t => t,
    };
    strict(args, vec![n, t.clone()], t)
}

fn add(eval: &Eval) -> Result<ArrayRef, String> {
    let unit = unit(eval.call);
    let (numbers, times) = (eval.array(0)?, civils(&eval.array(1)?)?);
    let one = |n: i64, c: Civil| -> Option<Civil> {
        if let Some(length) = fixed(unit) {
            let millis = c.value(1_000)?.checked_add(n.checked_mul(length)?)?;
            return Some(Civil {
                nanos: Civil::of(millis, 1_000).nanos + c.nanos % 1_000_000,
                ..Civil::of(millis, 1_000)
            });
        }
        let month =
            c.year.checked_mul(12)?.checked_add(c.month - 1)?.checked_add(n.checked_mul(months(unit))?)?;
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let days = days_of(next_year, next, 1) - days_of(year, month, 1);
        Some(Civil { year, month, day: c.day.min(days), ..c })
    };
    let rows = numbers.as_primitive::<Int64Type>().iter().zip(times).map(|(n, c)| match n.zip(c) {
        Some((n, c)) => one(n, c).map(Some).ok_or_else(|| "the time is out of range".to_owned()),
        None => Ok(None),
    });
    of_civils(rows, eval.result)
}
