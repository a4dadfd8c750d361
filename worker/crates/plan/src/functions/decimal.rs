//! Arithmetic of DECIMAL as Flink does it: exact, rounded half up to the result's scale, and NULL
//! where the result's precision is not enough.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array};
use arrow_buffer::{NullBuffer, i256};
use arrow_schema::{DECIMAL128_MAX_PRECISION, DataType};

use crate::call::Eval;
use crate::types::as_decimal;

/// `+ - * / MOD` of two decimals.
pub(super) fn binary(eval: &Eval) -> Result<ArrayRef, String> {
    let (a, b) = (eval.array(0)?, eval.array(1)?);
    let (a, b) = (a.as_primitive_opt::<Decimal128Type>(), b.as_primitive_opt::<Decimal128Type>());
    let (Some(a), Some(b), DataType::Decimal128(precision, scale)) = (a, b, eval.result) else {
        return Err(format!("{} is not over decimals", eval.call.function.name));
    };
    let name = eval.call.function.name;
    let out = match roomy(name, a, b, *precision, *scale) {
        Some(out) => out,
        None => checked(name, a, b, *precision, *scale)?,
    };
    Ok(Arc::new(out.with_precision_and_scale(*precision, *scale).map_err(|e| e.to_string())?))
}

/// The result of any two types.
fn checked(
    name: &str,
    a: &Decimal128Array,
    b: &Decimal128Array,
    precision: u8,
    scale: i8,
) -> Result<Decimal128Array, String> {
    let (sa, sb, scale) = (i32::from(a.scale()), i32::from(b.scale()), i32::from(scale));
    let one = |x: i128, y: i128| -> Result<Option<i128>, String> {
        let (x, y) = (i256::from_i128(x), i256::from_i128(y));
        let common = sa.max(sb);
        let (wx, wy) = (scaled(x, common - sa), scaled(y, common - sb));
        let exact = match name {
            "+" => wx.zip(wy).and_then(|(x, y)| x.checked_add(y)).map(|v| (v, common)),
            "-" => wx.zip(wy).and_then(|(x, y)| x.checked_sub(y)).map(|v| (v, common)),
            "*" => x.checked_mul(y).map(|v| (v, sa + sb)),
            _ if y == i256::ZERO => return Err("division by zero".into()),
            "MOD" => wx.zip(wy).and_then(|(x, y)| x.checked_rem(y)).map(|v| (v, common)),
            _ => return Ok(quotient(x, y, scale - sa + sb).and_then(|v| within(v, precision))),
        };
        Ok(exact.and_then(|(v, from)| rescaled(v, from, scale)).and_then(|v| within(v, precision)))
    };
    let pair = |pair| match pair {
        (Some(x), Some(y)) => one(x, y),
        _ => Ok(None),
    };
    a.iter().zip(b).map(pair).collect()
}

/// The result where the types say that no value needs to be rounded or can be too large: in plain 128 bits.
fn roomy(
    name: &str,
    a: &Decimal128Array,
    b: &Decimal128Array,
    precision: u8,
    scale: i8,
) -> Option<Decimal128Array> {
    let common = a.scale().max(b.scale());
    let whole = |d: &Decimal128Array| i32::from(d.precision()) - i32::from(d.scale());
    let digits = match name {
        "*" => i32::from(a.precision()) + i32::from(b.precision()),
        "+" | "-" => whole(a).max(whole(b)) + 1 + i32::from(common),
        _ => return None,
    };
    let exact = if name == "*" { a.scale() + b.scale() } else { common };
    if exact != scale || digits > i32::from(precision.min(DECIMAL128_MAX_PRECISION)) {
        return None;
    }
    // What lies under a NULL is any number.
    Some(match name {
        "*" => zipped(a, b, |x, y| x.wrapping_mul(y)),
        _ => {
            let power = |d: &Decimal128Array| 10_i128.pow(u32::from((common - d.scale()).unsigned_abs()));
            let (pa, pb) = (power(a), power(b));
            let pb = if name == "-" { -pb } else { pb };
            zipped(a, b, |x, y| x.wrapping_mul(pa).wrapping_add(y.wrapping_mul(pb)))
        }
    })
}

fn zipped(a: &Decimal128Array, b: &Decimal128Array, f: impl Fn(i128, i128) -> i128) -> Decimal128Array {
    let values: Vec<i128> = a.values().iter().zip(b.values()).map(|(x, y)| f(*x, *y)).collect();
    Decimal128Array::new(values.into(), NullBuffer::union(a.nulls(), b.nulls()))
}

/// Whole numbers or decimals as decimals of a type that has room for each of them; `None` if it has not.
pub(super) fn widened(array: &ArrayRef, precision: u8, scale: i8) -> Option<Decimal128Array> {
    let (from, from_scale) = as_decimal(array.data_type())?;
    let scale = i32::from(scale);
    if from_scale > scale || from - from_scale > i32::from(precision.min(DECIMAL128_MAX_PRECISION)) - scale {
        return None;
    }
    let power = 10_i128.pow((scale - from_scale).unsigned_abs());
    macro_rules! times {
        ($t:ty) => {{
            let from = array.as_primitive::<$t>();
            let values: Vec<i128> =
                from.values().iter().map(|v| i128::from(*v).wrapping_mul(power)).collect();
            Decimal128Array::new(values.into(), from.nulls().cloned())
        }};
    }
    Some(match array.data_type() {
        DataType::Int8 => times!(Int8Type),
        DataType::Int16 => times!(Int16Type),
        DataType::Int32 => times!(Int32Type),
        DataType::Int64 => times!(Int64Type),
        DataType::Decimal128(..) => times!(Decimal128Type),
        _ => return None,
    })
}

/// `v * 10^by`; `by` is not negative.
fn scaled(v: i256, by: i32) -> Option<i256> {
    (0..by).try_fold(v, |v, _| v.checked_mul(i256::from_i128(10)))
}

/// `v` with another scale, rounded half up (away from zero).
pub(super) fn rescaled(v: i256, from: i32, to: i32) -> Option<i256> {
    if to >= from { scaled(v, to - from) } else { divided(v, scaled(i256::ONE, from - to)?) }
}

/// `x * 10^by / y`, rounded half up.
fn quotient(x: i256, y: i256, by: i32) -> Option<i256> {
    if by >= 0 { divided(scaled(x, by)?, y) } else { divided(x, y.checked_mul(scaled(i256::ONE, -by)?)?) }
}

fn divided(x: i256, y: i256) -> Option<i256> {
    let (q, r) = (x.checked_div(y)?, x.checked_rem(y)?);
    let twice = r.checked_mul(i256::from_i128(2))?.wrapping_abs();
    if twice < y.wrapping_abs() {
        return Some(q);
    }
    let away = if (x < i256::ZERO) == (y < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    q.checked_add(away)
}

/// The value, if it has no more digits than the precision.
pub(super) fn within(v: i256, precision: u8) -> Option<i128> {
    let v = v.to_i128()?;
    (v.unsigned_abs() < 10_u128.pow(u32::from(precision.min(DECIMAL128_MAX_PRECISION)))).then_some(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least and greatest numbers of a type, some between, and NULL.
    fn numbers(precision: u8, scale: i8) -> Vec<Option<i128>> {
        let most = 10_i128.pow(u32::from(precision)) - 1;
        let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
        vec![Some(-most), Some(most), Some(0), Some(unit.min(most)), Some(-most / 3), None]
    }

    fn array(values: Vec<Option<i128>>, precision: u8, scale: i8) -> Decimal128Array {
        Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap()
    }

    #[test]
    fn where_types_leave_room_plain_arithmetic_gives_what_the_checked_one_gives() {
        let types = [(1, 0), (3, 3), (10, 0), (19, 0), (19, 4), (24, 10), (38, 0)];
        let mut plain = 0;
        for (pa, sa) in types {
            for (pb, sb) in types {
                let all = |v: Vec<Option<i128>>| std::iter::repeat_n(v, 6);
                let a = array(all(numbers(pa, sa)).flatten().collect(), pa, sa);
                let b = numbers(pb, sb).into_iter().flat_map(|v| std::iter::repeat_n(v, 6)).collect();
                let b = array(b, pb, sb);
                for (name, precision, scale) in [
                    ("*", 38, sa + sb),
                    ("*", 22, sa + sb),
                    ("+", 38, sa.max(sb)),
                    ("-", 20, sa.max(sb)),
                    ("-", 38, 0),
                ] {
                    let Some(roomy) = roomy(name, &a, &b, precision, scale) else { continue };
                    plain += 1;
                    let checked = checked(name, &a, &b, precision, scale).unwrap();
                    assert!(
                        roomy.iter().eq(checked.iter()),
                        "({pa}, {sa}) {name} ({pb}, {sb}): {roomy:?} {checked:?}"
                    );
                }
            }
        }
        assert!(plain > 60, "{plain}");
    }
}
