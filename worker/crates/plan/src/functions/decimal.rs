//! Arithmetic of DECIMAL as Flink does it: exact, rounded half up to the result's scale, and NULL
//! where the result's precision is not enough.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, Decimal128Array};
use arrow_buffer::i256;
use arrow_schema::DataType;

use crate::call::Eval;

/// `+ - * / MOD` of two decimals.
pub(super) fn binary(eval: &Eval) -> Result<ArrayRef, String> {
    let (a, b) = (eval.array(0)?, eval.array(1)?);
    let (a, b) = (a.as_primitive_opt::<Decimal128Type>(), b.as_primitive_opt::<Decimal128Type>());
    let (Some(a), Some(b), DataType::Decimal128(precision, scale)) = (a, b, eval.result) else {
        return Err(format!("{} is not over decimals", eval.call.function.name));
    };
    let (sa, sb, scale) = (i32::from(a.scale()), i32::from(b.scale()), i32::from(*scale));
    let name = eval.call.function.name;
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
            _ => return Ok(quotient(x, y, scale - sa + sb).and_then(|v| within(v, *precision))),
        };
        Ok(exact.and_then(|(v, from)| rescaled(v, from, scale)).and_then(|v| within(v, *precision)))
    };
    let out: Decimal128Array = a
        .iter()
        .zip(b)
        .map(|pair| match pair {
            (Some(x), Some(y)) => one(x, y),
            _ => Ok(None),
        })
        .collect::<Result<_, String>>()?;
    Ok(Arc::new(out.with_precision_and_scale(*precision, scale as i8).map_err(|e| e.to_string())?))
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
    (v.unsigned_abs() < 10_u128.pow(u32::from(precision.min(38)))).then_some(v)
}
