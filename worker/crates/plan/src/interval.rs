//! `INTERVAL '…' <fields>` literals.

use datafusion_sql::sqlparser::ast::{DateTimeField, Expr, Interval, Spanned, Value};

use crate::problem::{Fault, Place};

/// An interval's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    Months(i32),
    Millis(i64),
}

/// The length that an interval literal says.
pub(crate) fn length(interval: &Interval) -> Result<Length, Fault> {
    let place = Place::of(interval.value.span());
    let bad = |hint: &str| Fault::new(place, format!("{interval} is not an interval")).hint(hint.to_owned());
    let example =
        "write for example INTERVAL '10' SECOND, INTERVAL '1:30' MINUTE TO SECOND or INTERVAL '3' MONTH";
    let (text, negative) = match interval.value.as_ref() {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => (text.trim(), false),
            _ => return Err(bad("the length is in quotes: INTERVAL '10' SECOND")),
        },
        _ => return Err(bad("the length is a literal in quotes: INTERVAL '10' SECOND")),
    };
    let (text, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, !negative),
        None => (text.strip_prefix('+').unwrap_or(text), negative),
    };
    let first = interval.leading_field.as_ref().and_then(rank).ok_or_else(|| bad(example))?;
    let last = match &interval.last_field {
        Some(field) => rank(field).filter(|last| *last > first).ok_or_else(|| bad(example))?,
        None => first,
    };
    let parts = split(text, first, last).ok_or_else(|| bad(example))?;
    let length = sum(&parts, first).ok_or_else(|| bad(example))?;
    Ok(match length {
        Length::Months(n) if negative => Length::Months(-n),
        Length::Millis(n) if negative => Length::Millis(-n),
        other => other,
    })
}

/// Place of a field from coarse to fine; years and months are another kind than the rest.
fn rank(field: &DateTimeField) -> Option<usize> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => 0,
        DateTimeField::Month | DateTimeField::Months => 1,
        DateTimeField::Day | DateTimeField::Days => 2,
        DateTimeField::Hour | DateTimeField::Hours => 3,
        DateTimeField::Minute | DateTimeField::Minutes => 4,
        DateTimeField::Second | DateTimeField::Seconds => 5,
        _ => return None,
    })
}

/// The text of each field from `first` to `last`, which are separated by `-`, a blank and colons.
fn split(text: &str, first: usize, last: usize) -> Option<Vec<&str>> {
    if (first < 2) != (last < 2) {
        return None;
    }
    let mut rest = text;
    let mut parts = Vec::new();
    for field in first..last {
        let (part, tail) = rest.split_once(match field {
            0 => '-',
            2 => ' ',
            _ => ':',
        })?;
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    Some(parts)
}

fn sum(parts: &[&str], first: usize) -> Option<Length> {
    let whole = |text: &str| -> Option<i64> {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    if first < 2 {
        let mut months: i64 = 0;
        for (i, part) in parts.iter().enumerate() {
            let factor = if first + i == 0 { 12 } else { 1 };
            months = months.checked_add(whole(part)?.checked_mul(factor)?)?;
        }
        return i32::try_from(months).ok().map(Length::Months);
    }
    let mut millis: i64 = 0;
    for (i, part) in parts.iter().enumerate() {
        let part = match first + i {
            2 => whole(part)?.checked_mul(86_400_000)?,
            3 => whole(part)?.checked_mul(3_600_000)?,
            4 => whole(part)?.checked_mul(60_000)?,
            _ => seconds(part)?,
        };
        millis = millis.checked_add(part)?;
    }
    Some(Length::Millis(millis))
}

/// Seconds with at most three digits after the point.
fn seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(millis)
}
