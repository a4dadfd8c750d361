//! CAST and TRY_CAST by Flink's rules: whole numbers wrap like Java's, text that is no number fails,
//! a DECIMAL that does not fit is NULL. The session's time zone is UTC.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, StringViewArray, new_null_array,
};
use arrow_buffer::i256;
use arrow_schema::{DataType, TimeUnit};

use super::calendar::{Civil, read_date, read_time, read_timestamp};
use super::decimal::{rescaled, widened, within};
use crate::call::{Arg, Call, Eval, Function, Param, Typing};
use crate::types::{Declared, STRING, is_approximate, is_integer, is_numeric, sql_name};

pub(super) const ALL: &[Function] = &[
    Function { name: "CAST", arity: (1, 1), typing: cast_type, native: None, eval: Some(cast) },
    Function { name: "TRY_CAST", arity: (1, 1), typing: cast_type, native: None, eval: Some(cast) },
];

fn cast_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let Param::Type(to) = &call.param else { return Err("a cast without a type".into()) };
    let from = &args[0].data_type;
    if !castable(from, &to.data_type) {
        let hint = match (from, &to.data_type) {
            (DataType::Timestamp(..), t) if is_numeric(t) => ": use EXTRACT or TIMESTAMPDIFF",
            (t, DataType::Timestamp(..)) if is_numeric(t) => ": use TO_TIMESTAMP_LTZ",
            _ => "",
        };
        return Err(format!("{} cannot be cast to {}{hint}", sql_name(from), sql_name(&to.data_type)));
    }
    let may_be_null = call.function.name == "TRY_CAST" || matches!(to.data_type, DataType::Decimal128(..));
    let nullable = args[0].nullable || (may_be_null && from != &to.data_type);
    Ok(Typing { args: vec![from.clone()], result: to.data_type.clone(), nullable })
}

/// Whether there is a cast at all.
pub(crate) fn castable(from: &DataType, to: &DataType) -> bool {
    let time = |t: &DataType| matches!(t, DataType::Date32 | DataType::Time32(_) | DataType::Timestamp(..));
    match (from, to) {
        _ if from == to => true,
        (DataType::Null, _) => true,
        (DataType::Struct(_) | DataType::List(_) | DataType::Duration(_) | DataType::Interval(_), _) => false,
        (_, DataType::Struct(_) | DataType::List(_) | DataType::Duration(_) | DataType::Interval(_)) => false,
        (_, t) if *t == STRING => true,
        (t, DataType::Binary) | (DataType::Binary, t) => *t == STRING,
        (t, _) if *t == STRING => true,
        (DataType::Boolean, t) | (t, DataType::Boolean) => is_numeric(t),
        (DataType::Date32, DataType::Time32(_)) | (DataType::Time32(_), _) => {
            matches!(to, DataType::Time32(_))
        }
        (a, b) => (is_numeric(a) && is_numeric(b)) || (time(a) && time(b)),
    }
}

/// The types that a sink's column takes without a CAST: those that hold every value.
pub(crate) fn implicit(from: &DataType, to: &DataType) -> bool {
    use crate::types::as_decimal;
    match (from, to) {
        _ if from == to => true,
        (DataType::Null, _) => true,
        (a, b) if is_integer(a) && is_integer(b) => as_decimal(a) <= as_decimal(b),
        (a, DataType::Decimal128(..)) => as_decimal(a).is_some(),
        (DataType::Float32, DataType::Float64) => true,
        (a, b) if is_approximate(b) => as_decimal(a).is_some(),
        (DataType::Timestamp(_, a), DataType::Timestamp(_, b)) => a == b,
        (DataType::Time32(_), DataType::Time32(_)) => true,
        _ => false,
    }
}

fn cast(eval: &Eval) -> Result<ArrayRef, String> {
    let Param::Type(to) = &eval.call.param else { return Err("a cast without a type".into()) };
    let array = eval.array(0)?;
    let safe = eval.call.function.name == "TRY_CAST";
    convert(&array, to, safe)
}

/// Casts a column; with `safe`, values that cannot be cast are NULL.
pub(crate) fn convert(array: &ArrayRef, to: &Declared, safe: bool) -> Result<ArrayRef, String> {
    let from = array.data_type();
    let target = &to.data_type;
    if *from == DataType::Null {
        return Ok(new_null_array(target, array.len()));
    }
    if *target == STRING {
        return Ok(Arc::new(to_text(array, to.length, safe)?));
    }
    if from == target {
        return Ok(array.clone());
    }
    if *from == STRING {
        return from_text(array.as_string_view(), target, safe);
    }
    match (from, target) {
        (DataType::Boolean, _) => {
            let ones = arrow_cast::cast(array, &DataType::Int32).map_err(|e| e.to_string())?;
            convert(&ones, to, safe)
        }
        (_, DataType::Boolean) => {
            let zero = numbers(array)?;
            Ok(Arc::new(zero.map(|v| v.map(|n| !n.is_zero())).collect::<BooleanArray>()))
        }
        _ if is_numeric(from) => number_to(array, target),
        _ => time_to(array, target),
    }
}

/// A number of any type.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Approximate(f64),
    /// Unscaled value and scale.
    Exact(i128, i32),
}

impl Number {
    fn is_zero(self) -> bool {
        match self {
            Self::Whole(n) => n == 0,
            Self::Approximate(d) => d == 0.0,
            Self::Exact(v, _) => v == 0,
        }
    }

    /// Java's narrowing to BIGINT: cut off; what is out of range ends at its nearest value if it was
    /// approximate, and wraps if it was exact.
    fn whole(self) -> i64 {
        match self {
            Self::Whole(n) => n,
            Self::Approximate(d) => d as i64,
            Self::Exact(v, scale) => (v / 10_i128.pow(scale.unsigned_abs())) as i64,
        }
    }

    /// Java's narrowing to INT, from which the smaller ones wrap.
    fn int(self) -> i32 {
        match self {
            Self::Approximate(d) => d as i32,
            other => other.whole() as i32,
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Approximate(d) => d,
            // Read as text: the nearest double, which a division would not always give.
            Self::Exact(v, scale) => format!("{v}e-{scale}").parse().unwrap_or(f64::NAN),
        }
    }

    fn decimal(self, precision: u8, scale: i32) -> Option<i128> {
        let (v, from) = match self {
            Self::Whole(n) => (i128::from(n), 0),
            Self::Exact(v, from) => (v, from),
            Self::Approximate(d) => return text_to_decimal(&format!("{d:e}"), precision, scale)?,
        };
        within(rescaled(i256::from_i128(v), from, scale)?, precision)
    }
}

fn numbers(array: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<Number>> + '_>, String> {
    macro_rules! whole {
        ($t:ty) => {
            Box::new(array.as_primitive::<$t>().iter().map(|v| v.map(|v| Number::Whole(i64::from(v)))))
        };
    }
    Ok(match array.data_type() {
        DataType::Int8 => whole!(Int8Type),
        DataType::Int16 => whole!(Int16Type),
        DataType::Int32 => whole!(Int32Type),
        DataType::Int64 => whole!(Int64Type),
        DataType::Float32 => Box::new(
            array.as_primitive::<Float32Type>().iter().map(|v| v.map(|v| Number::Approximate(f64::from(v)))),
        ),
        DataType::Float64 => {
            Box::new(array.as_primitive::<Float64Type>().iter().map(|v| v.map(Number::Approximate)))
        }
        DataType::Decimal128(_, scale) => {
            let scale = i32::from(*scale);
            Box::new(
                array
                    .as_primitive::<Decimal128Type>()
                    .iter()
                    .map(move |v| v.map(|v| Number::Exact(v, scale))),
            )
        }
        other => return Err(format!("{} is not a number", sql_name(other))),
    })
}

fn number_to(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    if let DataType::Decimal128(precision, scale) = to
        && let Some(wide) = widened(array, *precision, *scale)
    {
        return Ok(Arc::new(wide.with_precision_and_scale(*precision, *scale).map_err(|e| e.to_string())?));
    }
    let numbers = numbers(array)?;
    macro_rules! collect {
        ($t:ty, $f:expr) => {
            Arc::new(numbers.map(|v| v.map($f)).collect::<arrow_array::PrimitiveArray<$t>>())
        };
    }
    Ok(match to {
        DataType::Int8 => collect!(Int8Type, |n: Number| n.int() as i8),
        DataType::Int16 => collect!(Int16Type, |n: Number| n.int() as i16),
        DataType::Int32 => collect!(Int32Type, |n: Number| n.int()),
        DataType::Int64 => collect!(Int64Type, |n: Number| n.whole()),
        DataType::Float32 => collect!(Float32Type, |n: Number| n.double() as f32),
        DataType::Float64 => collect!(Float64Type, |n: Number| n.double()),
        DataType::Decimal128(precision, scale) => {
            let values = numbers.map(|v| v.and_then(|n| n.decimal(*precision, i32::from(*scale))));
            let array: Decimal128Array = values.collect();
            Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(|e| e.to_string())?)
        }
        other => return Err(format!("a number cannot be cast to {}", sql_name(other))),
    })
}

/// Units of a time type per second; a DATE counts as seconds.
pub(super) fn per_second(t: &DataType) -> i64 {
    match t {
        DataType::Time32(TimeUnit::Millisecond) | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
        _ => 1,
    }
}

/// Times of any type, taken apart.
pub(super) fn civils(array: &ArrayRef) -> Result<Vec<Option<Civil>>, String> {
    let t = array.data_type().clone();
    let wide = match &t {
        DataType::Date32 | DataType::Time32(_) => {
            arrow_cast::cast(array, &DataType::Int32).and_then(|a| arrow_cast::cast(&a, &DataType::Int64))
        }
        DataType::Timestamp(..) => arrow_cast::cast(array, &DataType::Int64),
        other => return Err(format!("{} is not a time", sql_name(other))),
    };
    let wide = wide.map_err(|e| e.to_string())?;
    let factor = if t == DataType::Date32 { 86_400 } else { 1 };
    let per_second = per_second(&t);
    Ok(wide
        .as_primitive::<Int64Type>()
        .iter()
        .map(|v| v.map(|v| Civil::of(v * factor, per_second)))
        .collect())
}

/// Times put together as a type; cut off to its unit.
pub(super) fn of_civils(
    civils: impl Iterator<Item = Result<Option<Civil>, String>>,
    to: &DataType,
) -> Result<ArrayRef, String> {
    let per_second = per_second(to);
    let one = |c: Civil| -> Result<i64, String> {
        let out_of_range = || format!("{} is out of range of {}", c.date_text(), sql_name(to));
        match to {
            DataType::Date32 => Ok(c.days()),
            DataType::Time32(_) => {
                let of_day = Civil { year: 1970, month: 1, day: 1, ..c };
                of_day.value(per_second).ok_or_else(out_of_range)
            }
            _ => c.value(per_second).ok_or_else(out_of_range),
        }
    };
    let values: arrow_array::Int64Array =
        civils.map(|c| c?.map(one).transpose()).collect::<Result<_, _>>()?;
    let values: ArrayRef = Arc::new(values);
    let narrow = match to {
        DataType::Date32 | DataType::Time32(_) => {
            arrow_cast::cast(&values, &DataType::Int32).and_then(|a| arrow_cast::cast(&a, to))
        }
        _ => arrow_cast::cast(&values, to),
    };
    narrow.map_err(|e| e.to_string())
}

fn time_to(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, String> {
    of_civils(civils(array)?.into_iter().map(Ok), to)
}

fn to_text(array: &ArrayRef, length: Option<(usize, bool)>, safe: bool) -> Result<StringViewArray, String> {
    let texts: Vec<Option<String>> = match array.data_type() {
        t if *t == STRING => array.as_string_view().iter().map(|v| v.map(str::to_owned)).collect(),
        DataType::Boolean => array
            .as_boolean()
            .iter()
            .map(|v| v.map(|b| if b { "TRUE".into() } else { "FALSE".into() }))
            .collect(),
        DataType::Binary => binary_texts(array.as_binary::<i32>(), safe)?,
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|v| v.map(|v| approximate(f64::from(v), &format!("{v:e}"))))
            .collect(),
        DataType::Date32 => civils(array)?.into_iter().map(|c| c.map(|c| c.date_text())).collect(),
        t @ (DataType::Time32(_) | DataType::Timestamp(..)) => {
            let digits = per_second(t).ilog10() as usize;
            let time_only = matches!(t, DataType::Time32(_));
            let text = |c: Civil| {
                if time_only {
                    c.time_text(digits)
                } else {
                    format!("{} {}", c.date_text(), c.time_text(digits))
                }
            };
            civils(array)?.into_iter().map(|c| c.map(text)).collect()
        }
        _ => numbers(array)?.map(|v| v.map(number_text)).collect(),
    };
    let texts = texts.into_iter().map(|t| t.map(|t| fitted(t, length)));
    Ok(texts.collect())
}

/// CHAR(n) pads and cuts off, VARCHAR(n) cuts off.
fn fitted(text: String, length: Option<(usize, bool)>) -> String {
    let Some((n, padded)) = length else { return text };
    let chars = text.chars().count();
    match chars.cmp(&n) {
        std::cmp::Ordering::Greater => text.chars().take(n).collect(),
        std::cmp::Ordering::Less if padded => text + &" ".repeat(n - chars),
        _ => text,
    }
}

fn binary_texts(array: &BinaryArray, safe: bool) -> Result<Vec<Option<String>>, String> {
    let one = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) if safe => Ok(None),
        Err(_) => Err("bytes that are not UTF-8 cannot be cast to STRING".to_owned()),
    };
    array.iter().map(|v| v.map_or(Ok(None), one)).collect()
}

fn number_text(n: Number) -> String {
    match n {
        Number::Whole(n) => n.to_string(),
        Number::Approximate(d) => approximate(d, &format!("{d:e}")),
        Number::Exact(v, scale) => {
            let scale = usize::try_from(scale).unwrap_or(0);
            if scale == 0 {
                return v.to_string();
            }
            let digits = format!("{:0>width$}", v.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{}{whole}.{fraction}", if v < 0 { "-" } else { "" })
        }
    }
}

/// As Java's `Double.toString` writes: plain between 10^-3 and 10^7, else with an exponent.
fn approximate(d: f64, shortest: &str) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if d == 0.0 {
        return format!("{sign}0.0");
    }
    if !(-3..7).contains(&exponent) {
        let rest = if digits.len() > 1 { &digits[1..] } else { "0" };
        return format!("{sign}{}.{rest}E{exponent}", &digits[..1]);
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let point = exponent as usize + 1;
    let digits = format!("{digits:0<point$}");
    let (whole, fraction) = digits.split_at(point);
    format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

fn from_text(texts: &StringViewArray, to: &DataType, safe: bool) -> Result<ArrayRef, String> {
    let refuse = |text: &str| format!("{text:?} is not a value of type {}", sql_name(to));
    macro_rules! collect {
        ($array:ty, $f:expr) => {{
            let one = |text: &str| match $f(text.trim()) {
                Some(v) => Ok(Some(v)),
                None if safe => Ok(None),
                None => Err(refuse(text)),
            };
            texts.iter().map(|v| v.map_or(Ok(None), one)).collect::<Result<$array, String>>()?
        }};
    }
    Ok(match to {
        DataType::Int8 => {
            Arc::new(collect!(arrow_array::Int8Array, |t| whole(t).and_then(|n| i8::try_from(n).ok())))
        }
        DataType::Int16 => {
            Arc::new(collect!(arrow_array::Int16Array, |t| whole(t).and_then(|n| i16::try_from(n).ok())))
        }
        DataType::Int32 => {
            Arc::new(collect!(arrow_array::Int32Array, |t| whole(t).and_then(|n| i32::try_from(n).ok())))
        }
        DataType::Int64 => Arc::new(collect!(arrow_array::Int64Array, whole)),
        DataType::Float32 => {
            Arc::new(collect!(arrow_array::Float32Array, |t: &str| float(t).and_then(|t| t.parse().ok())))
        }
        DataType::Float64 => {
            Arc::new(collect!(arrow_array::Float64Array, |t: &str| float(t).and_then(|t| t.parse().ok())))
        }
        DataType::Boolean => Arc::new(collect!(BooleanArray, boolean)),
        DataType::Binary => Arc::new(texts.iter().map(|v| v.map(str::as_bytes)).collect::<BinaryArray>()),
        DataType::Decimal128(precision, scale) => {
            let one = |text: &str| match text_to_decimal(text.trim(), *precision, i32::from(*scale)) {
                Some(v) => Ok(v),
                None if safe => Ok(None),
                None => Err(refuse(text)),
            };
            let array =
                texts.iter().map(|v| v.map_or(Ok(None), one)).collect::<Result<Decimal128Array, String>>()?;
            Arc::new(array.with_precision_and_scale(*precision, *scale).map_err(|e| e.to_string())?)
        }
        _ => {
            let read = |text: &str| match to {
                DataType::Time32(_) => read_time(text).map(|(hour, minute, second, nanos)| Civil {
                    year: 1970,
                    month: 1,
                    day: 1,
                    hour,
                    minute,
                    second,
                    nanos,
                }),
                DataType::Date32 => read_date(text).or_else(|| read_timestamp(text)),
                _ => read_timestamp(text),
            };
            let one = |text: &str| match read(text.trim()) {
                Some(c) => Ok(Some(c)),
                None if safe => Ok(None),
                None => Err(refuse(text)),
            };
            of_civils(texts.iter().map(|v| v.map_or(Ok(None), one)), to)?
        }
    })
}

/// A whole number; digits after a point are allowed and cut off.
fn whole(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    fraction.bytes().all(|b| b.is_ascii_digit()).then(|| whole.parse().ok()).flatten()
}

/// Text that Java reads as a floating point number.
fn float(text: &str) -> Option<&str> {
    let bare = text.trim_start_matches(['+', '-']);
    let named = matches!(bare, "NaN" | "Infinity");
    (named || bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')).then_some(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// `None`: not a number; `Some(None)`: it does not fit.
fn text_to_decimal(text: &str, precision: u8, scale: i32) -> Option<Option<i128>> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.trim_start_matches(['+', '-']);
    let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if digits.len() + 1 < whole.len()
        || !plain(digits)
        || !plain(fraction)
        || digits.len() + fraction.len() == 0
    {
        return None;
    }
    let from = i32::try_from(fraction.len()).ok()? - exponent;
    let Some(v) = i256::from_string(&format!("{whole}{fraction}")) else { return Some(None) };
    Some(rescaled(v, from, scale).and_then(|v| within(v, precision)))
}
