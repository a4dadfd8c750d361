//! Operators, and what is made of them: CASE, COALESCE, IN, BETWEEN.

use std::sync::Arc;

use arrow_arith::boolean;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StructArray};
use arrow_schema::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::InList;
use datafusion_expr::{BinaryExpr, Case, Expr, Operator};

use super::{Takes, check, decimal, strict};
use crate::call::{Arg, Call, Eval, Function, Param, Typing, of_udf};
use crate::types::{
    INTERVAL_MONTHS, INTERVAL_SECONDS, STRING, adjusted_decimal, as_decimal, common, is_numeric, sql_name,
};

pub(super) const ALL: &[Function] = &[
    Function { name: "literal", arity: (0, 0), typing: literal_type, native: Some(literal), eval: None },
    Function { name: "field", arity: (1, 1), typing: field_type, native: None, eval: Some(field) },
    Function { name: "AND", arity: (2, 2), typing: logical, native: Some(and_or), eval: Some(and_or_eval) },
    Function { name: "OR", arity: (2, 2), typing: logical, native: Some(and_or), eval: Some(and_or_eval) },
    Function { name: "NOT", arity: (1, 1), typing: logical, native: Some(test), eval: None },
    Function { name: "IS TRUE", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS NOT TRUE", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS FALSE", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS NOT FALSE", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS UNKNOWN", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS NOT UNKNOWN", arity: (1, 1), typing: is_boolean, native: Some(test), eval: None },
    Function { name: "IS NULL", arity: (1, 1), typing: is_null, native: Some(test), eval: None },
    Function { name: "IS NOT NULL", arity: (1, 1), typing: is_null, native: Some(test), eval: None },
    Function { name: "=", arity: (2, 2), typing: equality, native: Some(binary), eval: None },
    Function { name: "<>", arity: (2, 2), typing: equality, native: Some(binary), eval: None },
    Function { name: "<", arity: (2, 2), typing: order, native: Some(binary), eval: None },
    Function { name: "<=", arity: (2, 2), typing: order, native: Some(binary), eval: None },
    Function { name: ">", arity: (2, 2), typing: order, native: Some(binary), eval: None },
    Function { name: ">=", arity: (2, 2), typing: order, native: Some(binary), eval: None },
    Function { name: "IS DISTINCT FROM", arity: (2, 2), typing: distinct, native: Some(binary), eval: None },
    Function {
        name: "IS NOT DISTINCT FROM",
        arity: (2, 2),
        typing: distinct,
        native: Some(binary),
        eval: None,
    },
    Function { name: "BETWEEN", arity: (3, 3), typing: order, native: Some(between), eval: None },
    Function { name: "IN", arity: (2, usize::MAX), typing: equality, native: Some(in_list), eval: None },
    Function { name: "CASE", arity: (3, usize::MAX), typing: case_type, native: Some(case), eval: None },
    Function {
        name: "COALESCE",
        arity: (1, usize::MAX),
        typing: coalesce_type,
        native: Some(coalesce),
        eval: None,
    },
    Function { name: "NULLIF", arity: (2, 2), typing: nullif_type, native: Some(nullif), eval: None },
    Function {
        name: "+",
        arity: (2, 2),
        typing: plus_minus,
        native: Some(arithmetic),
        eval: Some(plus_minus_eval),
    },
    Function {
        name: "-",
        arity: (2, 2),
        typing: plus_minus,
        native: Some(arithmetic),
        eval: Some(plus_minus_eval),
    },
    Function {
        name: "*",
        arity: (2, 2),
        typing: times,
        native: Some(arithmetic),
        eval: Some(decimal::binary),
    },
    Function {
        name: "/",
        arity: (2, 2),
        typing: divide,
        native: Some(arithmetic),
        eval: Some(decimal::binary),
    },
    Function {
        name: "MOD",
        arity: (2, 2),
        typing: modulo,
        native: Some(arithmetic),
        eval: Some(decimal::binary),
    },
];

fn literal_type(call: &Call, _: &[Arg]) -> Result<Typing, String> {
    match &call.param {
        Param::Literal(value) => {
            Ok(Typing { args: vec![], result: value.data_type(), nullable: value.is_null() })
        }
        _ => Err("a literal without a value".into()),
    }
}

fn literal(call: &Call, _: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    Ok(match &call.param {
        Param::Literal(value) => Some(Expr::Literal(value.clone(), None)),
        _ => None,
    })
}

fn field_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let Param::Text(name) = &call.param else { return Err("a field without a name".into()) };
    let DataType::Struct(fields) = &args[0].data_type else {
        return Err(format!("{} has no field `{name}`: it is not a ROW", sql_name(&args[0].data_type)));
    };
    let Some((_, field)) = fields.find(name) else {
        let names: Vec<_> = fields.iter().map(|f| format!("`{}`", f.name())).collect();
        return Err(format!("the ROW has no field `{name}`: its fields are {}", names.join(", ")));
    };
    let nullable = args[0].nullable || field.is_nullable();
    Ok(Typing { args: vec![args[0].data_type.clone()], result: field.data_type().clone(), nullable })
}

/// `row.name`.
pub(crate) fn field_of(row: Expr, name: &str) -> Expr {
    let Some(function) = super::find("field") else { return row };
    let place = crate::problem::Place { line: 0, column: 0, length: 0 };
    let call = Call::new(function, Param::Text(name.to_owned()), place, 0);
    let udf = Arc::new(datafusion_expr::ScalarUDF::new_from_impl(call));
    Expr::ScalarFunction(datafusion_expr::expr::ScalarFunction::new_udf(udf, vec![row]))
}

fn field(eval: &Eval) -> Result<ArrayRef, String> {
    let Param::Text(name) = &eval.call.param else { return Err("a field without a name".into()) };
    let rows = eval.array(0)?;
    let rows: &StructArray = rows.as_struct_opt().ok_or("not a ROW")?;
    let column = rows.column_by_name(name).ok_or_else(|| format!("no field {name}"))?;
    // The field of a ROW that is NULL is NULL.
    match rows.nulls() {
        Some(nulls) => {
            let nulls = arrow_buffer::NullBuffer::union(Some(nulls), column.nulls());
            let data = column.to_data().into_builder().nulls(nulls).build().map_err(|e| e.to_string())?;
            Ok(arrow_array::make_array(data))
        }
        None => Ok(column.clone()),
    }
}

fn logical(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let wanted = check(call, args, &[Takes::Boolean])?;
    strict(args, wanted, DataType::Boolean)
}

fn is_boolean(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let args = check(call, args, &[Takes::Boolean])?;
    Ok(Typing { args, result: DataType::Boolean, nullable: false })
}

fn is_null(_: &Call, args: &[Arg]) -> Result<Typing, String> {
    Ok(Typing { args: vec![args[0].data_type.clone()], result: DataType::Boolean, nullable: false })
}

/// Flink decides AND and OR row by row, from left to right: what the left side settles is not
/// computed on the right, where it might fail. Where that matters the call stays one, which
/// [`crate::expression`] evaluates that way.
fn and_or(call: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    if can_fail(&args[1]) {
        return Ok(None);
    }
    let op = if call.function.name == "AND" { Operator::And } else { Operator::Or };
    Ok(Some(pair(&args[0], op, &args[1])))
}

/// For constants, which are computed while planning.
fn and_or_eval(eval: &Eval) -> Result<ArrayRef, String> {
    let (left, right) = (eval.array(0)?, eval.array(1)?);
    let (left, right) = (left.as_boolean(), right.as_boolean());
    let combine = if eval.call.function.name == "AND" { boolean::and_kleene } else { boolean::or_kleene };
    Ok(Arc::new(combine(left, right).map_err(|e| e.to_string())?))
}

/// Whether an expression can fail on data.
pub(crate) fn can_fail(e: &Expr) -> bool {
    use datafusion_common::tree_node::TreeNode;
    e.exists(|e| {
        Ok(match e {
            Expr::BinaryExpr(b) => matches!(b.op, Operator::Divide | Operator::Modulo),
            Expr::ScalarFunction(f) => {
                of_udf(&f.func).is_some_and(|c| ["CAST", "/", "MOD"].contains(&c.function.name))
            }
            _ => false,
        })
    })
    .unwrap_or(true)
}

fn test(call: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    let x = Box::new(args[0].clone());
    Ok(Some(match call.function.name {
        "NOT" => Expr::Not(x),
        "IS TRUE" => Expr::IsTrue(x),
        "IS NOT TRUE" => Expr::IsNotTrue(x),
        "IS FALSE" => Expr::IsFalse(x),
        "IS NOT FALSE" => Expr::IsNotFalse(x),
        "IS UNKNOWN" | "IS NULL" => Expr::IsNull(x),
        _ => Expr::IsNotNull(x),
    }))
}

/// What both sides of a comparison are cast to.
fn compared(a: &DataType, b: &DataType) -> Result<DataType, String> {
    let is_time =
        |t: &DataType| matches!(t, DataType::Date32 | DataType::Time32(_) | DataType::Timestamp(..));
    let time = |t: &DataType, s: &DataType| is_time(t) && *s == STRING;
    // Flink reads a string that is compared with a time as one.
    if time(a, b) {
        return Ok(a.clone());
    }
    if time(b, a) {
        return Ok(b.clone());
    }
    common(a, b)
        .ok_or_else(|| format!("{} and {} cannot be compared: CAST one of them", sql_name(a), sql_name(b)))
}

fn all_compared(args: &[Arg]) -> Result<DataType, String> {
    args[1..].iter().try_fold(args[0].data_type.clone(), |t, arg| compared(&t, &arg.data_type))
}

fn equality(_: &Call, args: &[Arg]) -> Result<Typing, String> {
    let t = all_compared(args)?;
    if matches!(t, DataType::Struct(_) | DataType::List(_)) {
        return Err(format!("values of type {} cannot be compared", sql_name(&t)));
    }
    strict(args, vec![t; args.len()], DataType::Boolean)
}

fn order(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    equality(call, args)
}

fn distinct(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    Ok(Typing { nullable: false, ..equality(call, args)? })
}

fn binary(call: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    let op = match call.function.name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "IS DISTINCT FROM" => Operator::IsDistinctFrom,
        _ => Operator::IsNotDistinctFrom,
    };
    Ok(Some(pair(&args[0], op, &args[1])))
}

fn pair(left: &Expr, op: Operator, right: &Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left.clone()), op, Box::new(right.clone())))
}

fn between(_: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    Ok(Some(pair(&args[0], Operator::GtEq, &args[1]).and(pair(&args[0], Operator::LtEq, &args[2]))))
}

fn in_list(_: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    Ok(Some(Expr::InList(InList::new(Box::new(args[0].clone()), args[1..].to_vec(), false))))
}

fn all_common<'a>(mut types: impl Iterator<Item = &'a DataType>) -> Result<DataType, String> {
    let first = types.next().cloned().unwrap_or(DataType::Null);
    types.try_fold(first, |a, b| {
        common(&a, b).ok_or_else(|| {
            format!(
                "the results are of types {} and {}, which have no common type",
                sql_name(&a),
                sql_name(b)
            )
        })
    })
}

fn is_result(i: usize, len: usize) -> bool {
    i % 2 == 1 || i + 1 == len
}

fn case_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let results = args.iter().enumerate().filter(|(i, _)| is_result(*i, args.len())).map(|(_, a)| a);
    let result = all_common(results.clone().map(|a| &a.data_type))?;
    let nullable = results.clone().any(|a| a.nullable);
    let mut wanted = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        if is_result(i, args.len()) {
            wanted.push(result.clone());
        } else {
            check(call, std::slice::from_ref(arg), &[Takes::Boolean]).map_err(|_| {
                format!("a condition of CASE must be BOOLEAN, not {}", sql_name(&arg.data_type))
            })?;
            wanted.push(DataType::Boolean);
        }
    }
    Ok(Typing { args: wanted, result, nullable })
}

fn case(_: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    let (last, pairs) = args.split_last().ok_or("CASE without branches")?;
    let pairs = pairs.chunks(2).map(|p| (Box::new(p[0].clone()), Box::new(p[1].clone()))).collect();
    Ok(Some(Expr::Case(Case::new(None, pairs, Some(Box::new(last.clone()))))))
}

fn coalesce_type(_: &Call, args: &[Arg]) -> Result<Typing, String> {
    let result = all_common(args.iter().map(|a| &a.data_type))?;
    Ok(Typing { args: vec![result.clone(); args.len()], result, nullable: args.iter().all(|a| a.nullable) })
}

fn coalesce(_: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    let (last, rest) = args.split_last().ok_or("COALESCE without arguments")?;
    if rest.is_empty() {
        return Ok(Some(last.clone()));
    }
    let present = |e: &Expr| (Box::new(Expr::IsNotNull(Box::new(e.clone()))), Box::new(e.clone()));
    Ok(Some(Expr::Case(Case::new(None, rest.iter().map(present).collect(), Some(Box::new(last.clone()))))))
}

fn nullif_type(_: &Call, args: &[Arg]) -> Result<Typing, String> {
    let t = compared(&args[0].data_type, &args[1].data_type)?;
    if t != args[0].data_type {
        return Err(format!(
            "NULLIF compares {} with {}: CAST the second",
            sql_name(&args[0].data_type),
            sql_name(&args[1].data_type)
        ));
    }
    Ok(Typing { args: vec![t.clone(); 2], result: t, nullable: true })
}

fn nullif(_: &Call, args: &[Expr], typing: &Typing) -> Result<Option<Expr>, String> {
    let null = ScalarValue::try_from(&typing.result).map_err(|e| e.strip_backtrace())?;
    let same = pair(&args[0], Operator::Eq, &args[1]);
    let when = vec![(Box::new(same), Box::new(Expr::Literal(null, None)))];
    Ok(Some(Expr::Case(Case::new(None, when, Some(Box::new(args[0].clone()))))))
}

fn no_arithmetic(call: &Call, a: &DataType, b: &DataType) -> String {
    let name = call.function.name;
    match (a, b) {
        (DataType::Timestamp(..), DataType::Timestamp(..)) => {
            format!("{} {name} {} is not possible: use TIMESTAMPDIFF", sql_name(a), sql_name(b))
        }
        _ => format!("{} {name} {} is not possible", sql_name(a), sql_name(b)),
    }
}

/// NULL takes the other side's type.
fn both(args: &[Arg]) -> (DataType, DataType) {
    match (&args[0].data_type, &args[1].data_type) {
        (DataType::Null, DataType::Null) => (DataType::Int32, DataType::Int32),
        (DataType::Null, t) | (t, DataType::Null) => (t.clone(), t.clone()),
        (a, b) => (a.clone(), b.clone()),
    }
}

fn arithmetic_type(
    call: &Call,
    args: &[Arg],
    decimal: fn((i32, i32), (i32, i32)) -> DataType,
) -> Result<Typing, String> {
    let (a, b) = both(args);
    if !is_numeric(&a) || !is_numeric(&b) {
        return Err(no_arithmetic(call, &a, &b));
    }
    let any = |f: fn(&DataType) -> bool| f(&a) || f(&b);
    if any(|t| matches!(t, DataType::Decimal128(..)))
        && let (Some(p), Some(q)) = (as_decimal(&a), as_decimal(&b))
    {
        let exact = |(p, s): (i32, i32)| DataType::Decimal128(p as u8, s as i8);
        return Ok(Typing { args: vec![exact(p), exact(q)], result: decimal(p, q), nullable: true });
    }
    let t = common(&a, &b).ok_or_else(|| no_arithmetic(call, &a, &b))?;
    strict(args, vec![t.clone(); 2], t)
}

fn plus_minus(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let (a, b) = (&args[0].data_type, &args[1].data_type);
    let interval = |t: &DataType| *t == INTERVAL_SECONDS || *t == INTERVAL_MONTHS;
    match (a, b) {
        (DataType::Timestamp(..), i) if interval(i) => strict(args, vec![a.clone(), i.clone()], wide(a)),
        (i, DataType::Timestamp(..)) if interval(i) && call.function.name == "+" => {
            strict(args, vec![i.clone(), b.clone()], wide(b))
        }
        (i, j) if interval(i) && i == j => strict(args, vec![i.clone(), j.clone()], i.clone()),
        _ => arithmetic_type(call, args, |(p1, s1), (p2, s2)| {
            let scale = s1.max(s2);
            adjusted_decimal((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }),
    }
}

/// An interval has milliseconds, so what it is added to has them afterwards.
fn wide(t: &DataType) -> DataType {
    match t {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        other => other.clone(),
    }
}

fn times(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    arithmetic_type(call, args, |(p1, s1), (p2, s2)| adjusted_decimal(p1 + p2 + 1, s1 + s2))
}

fn divide(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    arithmetic_type(call, args, |(p1, s1), (p2, s2)| {
        let scale = (s1 + p2 + 1).max(6);
        adjusted_decimal(p1 - s1 + s2 + scale, scale)
    })
}

fn modulo(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let typing = arithmetic_type(call, args, |(p1, s1), (p2, s2)| {
        let scale = s1.max(s2);
        adjusted_decimal((p1 - s1).min(p2 - s2) + scale, scale)
    })?;
    if crate::types::is_approximate(&typing.result) {
        return Err(format!("MOD takes exact numbers, not {}", sql_name(&typing.result)));
    }
    Ok(typing)
}

fn arithmetic(call: &Call, args: &[Expr], typing: &Typing) -> Result<Option<Expr>, String> {
    if !(crate::types::is_integer(&typing.result) || crate::types::is_approximate(&typing.result)) {
        return Ok(None);
    }
    let op = match call.function.name {
        "+" => Operator::Plus,
        "-" => Operator::Minus,
        "*" => Operator::Multiply,
        "/" => Operator::Divide,
        _ => Operator::Modulo,
    };
    Ok(Some(pair(&args[0], op, &args[1])))
}

fn plus_minus_eval(eval: &Eval) -> Result<ArrayRef, String> {
    let (a, b) = (eval.args[0].data_type(), eval.args[1].data_type());
    match (&a, &b) {
        (DataType::Decimal128(..), _) => decimal::binary(eval),
        (DataType::Timestamp(..), _) => shift(eval, 0, 1),
        (_, DataType::Timestamp(..)) => shift(eval, 1, 0),
        _ => intervals(eval),
    }
}

fn sign(eval: &Eval) -> i64 {
    if eval.call.function.name == "-" { -1 } else { 1 }
}

fn overflow() -> String {
    "the time is out of range".into()
}

/// A timestamp plus or minus an interval.
fn shift(eval: &Eval, time: usize, interval: usize) -> Result<ArrayRef, String> {
    let DataType::Timestamp(unit, zone) = eval.result else { return Err("not a timestamp".into()) };
    let times = arrow_cast::cast(&eval.array(time)?, eval.result).map_err(|e| e.to_string())?;
    let interval = eval.array(interval)?;
    macro_rules! shifted {
        ($t:ty, $per_milli:expr) => {{
            let times: &PrimitiveArray<$t> = times.as_primitive();
            let out: PrimitiveArray<$t> = if *interval.data_type() == INTERVAL_SECONDS {
                let by = interval.as_primitive::<arrow_array::types::DurationMillisecondType>();
                let add = |t: i64, d: i64| t.checked_add(d.checked_mul(sign(eval) * $per_milli)?);
                try_zip(times, by, |t, d| add(t, d).ok_or_else(overflow))?
            } else {
                let by = interval.as_primitive::<arrow_array::types::IntervalYearMonthType>();
                let utc: arrow_array::timezone::Tz =
                    "+00:00".parse().map_err(|e: arrow_schema::ArrowError| e.to_string())?;
                try_zip(times, by, |t, m| {
                    let m = i32::try_from(i64::from(m) * sign(eval)).map_err(|_| overflow())?;
                    <$t>::add_year_months(t, m, utc).ok_or_else(overflow)
                })?
            };
            Ok(Arc::new(out.with_timezone_opt(zone.clone())))
        }};
    }
    match unit {
        TimeUnit::Second => shifted!(TimestampSecondType, 1),
        TimeUnit::Millisecond => shifted!(TimestampMillisecondType, 1),
        TimeUnit::Microsecond => shifted!(TimestampMicrosecondType, 1_000),
        TimeUnit::Nanosecond => shifted!(TimestampNanosecondType, 1_000_000),
    }
}

fn try_zip<A, B, F>(a: &PrimitiveArray<A>, b: &PrimitiveArray<B>, f: F) -> Result<PrimitiveArray<A>, String>
where
    A: arrow_array::types::ArrowPrimitiveType,
    B: arrow_array::types::ArrowPrimitiveType,
    F: Fn(A::Native, B::Native) -> Result<A::Native, String>,
{
    a.iter()
        .zip(b)
        .map(|pair| match pair {
            (Some(a), Some(b)) => f(a, b).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn intervals(eval: &Eval) -> Result<ArrayRef, String> {
    use arrow_array::types::{DurationMillisecondType, IntervalYearMonthType};
    let (a, b) = (eval.array(0)?, eval.array(1)?);
    if *eval.result == INTERVAL_SECONDS {
        let sum = |x: i64, y: i64| x.checked_add(y * sign(eval)).ok_or_else(overflow);
        let out = try_zip(
            a.as_primitive::<DurationMillisecondType>(),
            b.as_primitive::<DurationMillisecondType>(),
            sum,
        )?;
        return Ok(Arc::new(out));
    }
    let sum =
        |x: i32, y: i32| i32::try_from(i64::from(x) + i64::from(y) * sign(eval)).map_err(|_| overflow());
    let out =
        try_zip(a.as_primitive::<IntervalYearMonthType>(), b.as_primitive::<IntervalYearMonthType>(), sum)?;
    Ok(Arc::new(out))
}
