//! Numbers.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float64Array};
use arrow_buffer::i256;
use arrow_schema::DataType;

use super::decimal::{rescaled, within};
use super::{Takes, check, strict};
use crate::call::{Arg, Call, Eval, Function, Param, Typing};
use crate::types::{as_decimal, common, sql_name};

macro_rules! unary {
    ($name:literal, $f:expr) => {
        Function { name: $name, arity: (1, 1), typing: doubles, native: None, eval: Some(|e| map(e, $f)) }
    };
}

pub(super) const ALL: &[Function] = &[
    Function { name: "ABS", arity: (1, 1), typing: same, native: None, eval: Some(abs) },
    Function { name: "negate", arity: (1, 1), typing: same, native: None, eval: Some(negate) },
    Function { name: "SIGN", arity: (1, 1), typing: same, native: None, eval: Some(sign) },
    Function { name: "FLOOR", arity: (1, 1), typing: no_scale, native: None, eval: Some(floor) },
    Function { name: "CEIL", arity: (1, 1), typing: no_scale, native: None, eval: Some(floor) },
    Function { name: "ROUND", arity: (1, 2), typing: round_type, native: None, eval: Some(round) },
    Function { name: "TRUNCATE", arity: (1, 2), typing: round_type, native: None, eval: Some(round) },
    Function {
        name: "POWER",
        arity: (2, 2),
        typing: doubles,
        native: None,
        eval: Some(|e| zip(e, f64::powf)),
    },
    Function {
        name: "ATAN2",
        arity: (2, 2),
        typing: doubles,
        native: None,
        eval: Some(|e| zip(e, f64::atan2)),
    },
    Function {
        name: "PI",
        arity: (0, 0),
        typing: doubles,
        native: None,
        eval: Some(|e| fixed(e, std::f64::consts::PI)),
    },
    Function {
        name: "E",
        arity: (0, 0),
        typing: doubles,
        native: None,
        eval: Some(|e| fixed(e, std::f64::consts::E)),
    },
    Function {
        name: "GREATEST",
        arity: (1, usize::MAX),
        typing: all_same,
        native: None,
        eval: Some(extreme),
    },
    Function { name: "LEAST", arity: (1, usize::MAX), typing: all_same, native: None, eval: Some(extreme) },
    unary!("SQRT", f64::sqrt),
    unary!("EXP", f64::exp),
    unary!("LN", f64::ln),
    unary!("LOG10", f64::log10),
    unary!("LOG2", f64::log2),
    unary!("SIN", f64::sin),
    unary!("COS", f64::cos),
    unary!("TAN", f64::tan),
    unary!("ASIN", f64::asin),
    unary!("ACOS", f64::acos),
    unary!("ATAN", f64::atan),
    unary!("SINH", f64::sinh),
    unary!("COSH", f64::cosh),
    unary!("TANH", f64::tanh),
    unary!("DEGREES", f64::to_degrees),
    unary!("RADIANS", f64::to_radians),
];

fn doubles(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    if args.is_empty() {
        return strict(args, vec![], DataType::Float64);
    }
    check(call, args, &[Takes::Number])?;
    strict(args, vec![DataType::Float64; args.len()], DataType::Float64)
}

fn same(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let wanted = check(call, args, &[Takes::Number])?;
    let result = wanted[0].clone();
    strict(args, wanted, result)
}

fn no_scale(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let typing = same(call, args)?;
    let result = match typing.result {
        DataType::Decimal128(p, _) => DataType::Decimal128(p, 0),
        other => other,
    };
    Ok(Typing { result, ..typing })
}

fn digits(call: &Call) -> Result<i32, String> {
    match &call.param {
        Param::Text(text) => text.parse().map_err(|_| format!("{text} is not a number of digits")),
        _ => Ok(0),
    }
}

fn round_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let typing = same(call, args)?;
    let n = digits(call)?;
    let result = match typing.result {
        DataType::Decimal128(p, s) => {
            let (p, s) = (i32::from(p), i32::from(s));
            let (p, s) = if n >= s {
                (p, s)
            } else if n < 0 {
                ((1 + p - s).min(38), 0)
            } else {
                ((1 + p - s + n).min(38), n)
            };
            DataType::Decimal128(p as u8, s as i8)
        }
        other => other,
    };
    Ok(Typing { result, nullable: true, ..typing })
}

fn all_same(_: &Call, args: &[Arg]) -> Result<Typing, String> {
    let t = args[1..].iter().try_fold(args[0].data_type.clone(), |a, b| {
        common(&a, &b.data_type)
            .ok_or_else(|| format!("{} and {} have no common type", sql_name(&a), sql_name(&b.data_type)))
    })?;
    if matches!(t, DataType::Struct(_) | DataType::List(_) | DataType::Null) {
        return Err(format!("values of type {} have no order", sql_name(&t)));
    }
    strict(args, vec![t.clone(); args.len()], t)
}

fn map(eval: &Eval, f: fn(f64) -> f64) -> Result<ArrayRef, String> {
    Ok(Arc::new(eval.array(0)?.as_primitive::<Float64Type>().unary::<_, Float64Type>(f)))
}

fn zip(eval: &Eval, f: fn(f64, f64) -> f64) -> Result<ArrayRef, String> {
    let (a, b) = (eval.array(0)?, eval.array(1)?);
    let pairs = a.as_primitive::<Float64Type>().iter().zip(b.as_primitive::<Float64Type>());
    Ok(Arc::new(pairs.map(|(a, b)| Some(f(a?, b?))).collect::<Float64Array>()))
}

fn fixed(eval: &Eval, value: f64) -> Result<ArrayRef, String> {
    Ok(Arc::new(Float64Array::from(vec![value; eval.rows])))
}

macro_rules! by_type {
    ($array:expr, $whole:expr, $float:expr, $double:expr, $decimal:expr) => {{
        let array = $array;
        match array.data_type() {
            DataType::Int8 => Ok(Arc::new(
                array.as_primitive::<Int8Type>().unary::<_, Int8Type>(|v| $whole(i64::from(v)) as i8),
            ) as ArrayRef),
            DataType::Int16 => Ok(Arc::new(
                array.as_primitive::<Int16Type>().unary::<_, Int16Type>(|v| $whole(i64::from(v)) as i16),
            )),
            DataType::Int32 => Ok(Arc::new(
                array.as_primitive::<Int32Type>().unary::<_, Int32Type>(|v| $whole(i64::from(v)) as i32),
            )),
            DataType::Int64 => Ok(Arc::new(array.as_primitive::<Int64Type>().unary::<_, Int64Type>($whole))),
            DataType::Float32 => {
                Ok(Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>($float)))
            }
            DataType::Float64 => {
                Ok(Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>($double)))
            }
            DataType::Decimal128(p, s) => {
                let out = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>($decimal);
                out.with_precision_and_scale(*p, *s)
                    .map(|a| Arc::new(a) as ArrayRef)
                    .map_err(|e| e.to_string())
            }
            other => Err(format!("{} is not a number", sql_name(other))),
        }
    }};
}

fn abs(eval: &Eval) -> Result<ArrayRef, String> {
    by_type!(eval.array(0)?, |v: i64| v.wrapping_abs(), f32::abs, f64::abs, i128::wrapping_abs)
}

fn negate(eval: &Eval) -> Result<ArrayRef, String> {
    by_type!(eval.array(0)?, |v: i64| v.wrapping_neg(), |v: f32| -v, |v: f64| -v, i128::wrapping_neg)
}

fn sign(eval: &Eval) -> Result<ArrayRef, String> {
    let array = eval.array(0)?;
    let one = match array.data_type() {
        DataType::Decimal128(_, s) => 10_i128.pow(u32::from(s.unsigned_abs())),
        _ => 1,
    };
    let float = |v: f64| if v == 0.0 || v.is_nan() { v } else { v.signum() };
    by_type!(array, |v: i64| v.signum(), |v: f32| float(f64::from(v)) as f32, float, |v: i128| v.signum()
        * one)
}

fn floor(eval: &Eval) -> Result<ArrayRef, String> {
    let array = eval.array(0)?;
    let up = eval.call.function.name == "CEIL";
    match (array.data_type(), eval.result) {
        (DataType::Float32, _) => {
            Ok(Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(if up {
                f32::ceil
            } else {
                f32::floor
            })))
        }
        (DataType::Float64, _) => {
            Ok(Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(if up {
                f64::ceil
            } else {
                f64::floor
            })))
        }
        (DataType::Decimal128(_, s), DataType::Decimal128(p, _)) => {
            let unit = 10_i128.pow(u32::from(s.unsigned_abs()));
            let whole = |v: i128| v.div_euclid(unit) + i128::from(up && v.rem_euclid(unit) != 0);
            let out = array.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(whole);
            Ok(Arc::new(out.with_precision_and_scale(*p, 0).map_err(|e| e.to_string())?))
        }
        _ => Ok(array),
    }
}

/// ROUND (half up) and TRUNCATE, at `n` digits after the point.
fn round(eval: &Eval) -> Result<ArrayRef, String> {
    let array = eval.array(0)?;
    let n = digits(eval.call)?;
    let cut = eval.call.function.name == "TRUNCATE";
    let exact = |v: i128, scale: i32, to: i32| -> Option<i128> {
        let v = i256::from_i128(v);
        let v = if cut && n < scale { cut_off(v, scale, n)? } else { rescaled(v, scale, n.min(scale))? };
        rescaled(v, n.min(scale), to)?.to_i128()
    };
    match (array.data_type(), eval.result) {
        (DataType::Decimal128(_, s), DataType::Decimal128(p, to)) => {
            let values = array.as_primitive::<Decimal128Type>().iter();
            let one =
                |v| exact(v, i32::from(*s), i32::from(*to)).and_then(|v| within(i256::from_i128(v), *p));
            let out: Decimal128Array = values.map(|v| v.and_then(one)).collect();
            Ok(Arc::new(out.with_precision_and_scale(*p, *to).map_err(|e| e.to_string())?))
        }
        (DataType::Float32 | DataType::Float64, _) => {
            let one = |d: f64| round_double(d, n, cut);
            by_type!(array, |v: i64| v, |v: f32| one(f64::from(v)) as f32, one, |v: i128| v)
        }
        (t, _) if n < 0 && as_decimal(t).is_some() => {
            let whole = |v: i64| exact(i128::from(v), 0, 0).unwrap_or(0) as i64;
            by_type!(array, whole, |v: f32| v, |v: f64| v, |v: i128| v)
        }
        _ => Ok(array),
    }
}

fn cut_off(v: i256, scale: i32, n: i32) -> Option<i256> {
    (0..scale - n).try_fold(v, |v, _| v.checked_div(i256::from_i128(10)))
}

/// On the decimal digits that stand for the double, as Java's BigDecimal.valueOf does.
fn round_double(d: f64, n: i32, cut: bool) -> f64 {
    let text = format!("{d:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return d };
    let (Ok(exponent), true) = (exponent.parse::<i32>(), d.is_finite()) else { return d };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let scale = fraction.len() as i32 - exponent;
    let Some(v) = i256::from_string(&format!("{whole}{fraction}")) else { return d };
    if n >= scale {
        return d;
    }
    // A double has 17 digits at most: further off there is nothing but zero.
    if scale - n > 40 {
        return 0.0;
    }
    let rounded = if cut { cut_off(v, scale, n) } else { rescaled(v, scale, n) };
    rounded.and_then(|v| format!("{v}e{}", -n).parse().ok()).unwrap_or(d)
}

fn extreme(eval: &Eval) -> Result<ArrayRef, String> {
    let mut best = eval.array(0)?;
    for i in 1..eval.args.len() {
        let next = eval.array(i)?;
        let better = match eval.call.function.name {
            "GREATEST" => arrow_ord::cmp::gt(&next, &best),
            _ => arrow_ord::cmp::lt(&next, &best),
        };
        // Where either is NULL the comparison is NULL, and so is the result.
        let better = better.map_err(|e| e.to_string())?;
        let unknown = better.nulls().map(|n| arrow_array::BooleanArray::new(!n.inner(), None));
        best = arrow_select::zip::zip(&better, &next, &best).map_err(|e| e.to_string())?;
        if let Some(unknown) = unknown {
            best = arrow_select::nullif::nullif(&best, &unknown).map_err(|e| e.to_string())?;
        }
    }
    Ok(best)
}
