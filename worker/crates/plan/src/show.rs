//! Expressions as text: for people, in failures, and as the stable description of what a stateful
//! transform computes. It depends on what is computed only, not on aliases, blanks or places.

use datafusion_common::ScalarValue;
use datafusion_expr::{Case, Expr, Operator};

use crate::call::{Call, Param, of_udf};
use crate::rel::position;
use crate::types::sql_name;

/// The text of an expression over columns that are described by `columns`.
pub(crate) fn show(e: &Expr, columns: &[String]) -> String {
    let sub = |e: &Expr| show(e, columns);
    match e {
        Expr::Column(c) => {
            position(e).and_then(|i| columns.get(i)).cloned().unwrap_or_else(|| c.name.clone())
        }
        Expr::Literal(value, _) => literal(value),
        Expr::BinaryExpr(b) => {
            let op = match b.op {
                Operator::NotEq => "<>".to_owned(),
                Operator::Modulo => "%".to_owned(),
                other => other.to_string(),
            };
            format!("{} {op} {}", operand(&b.left, columns), operand(&b.right, columns))
        }
        Expr::Not(x) => format!("NOT {}", operand(x, columns)),
        Expr::IsNull(x) => format!("{} IS NULL", operand(x, columns)),
        Expr::IsNotNull(x) => format!("{} IS NOT NULL", operand(x, columns)),
        Expr::IsTrue(x) => format!("{} IS TRUE", operand(x, columns)),
        Expr::IsNotTrue(x) => format!("{} IS NOT TRUE", operand(x, columns)),
        Expr::IsFalse(x) => format!("{} IS FALSE", operand(x, columns)),
        Expr::IsNotFalse(x) => format!("{} IS NOT FALSE", operand(x, columns)),
        Expr::InList(list) => {
            let items: Vec<_> = list.list.iter().map(sub).collect();
            let not = if list.negated { "NOT " } else { "" };
            format!("{} {not}IN ({})", operand(&list.expr, columns), items.join(", "))
        }
        Expr::Case(case) => show_case(case, columns),
        Expr::ScalarFunction(f) => match of_udf(&f.func) {
            Some(call) => show_call(call, &f.args.iter().map(sub).collect::<Vec<_>>()),
            None => f.func.name().to_owned(),
        },
        other => other.to_string(),
    }
}

/// The text of a conjunction.
pub(crate) fn show_all(filters: &[Expr], columns: &[String]) -> String {
    let part = |e: &Expr| match e {
        Expr::BinaryExpr(b) if b.op == Operator::Or => format!("({})", show(e, columns)),
        _ => show(e, columns),
    };
    filters.iter().map(part).collect::<Vec<_>>().join(" AND ")
}

/// In brackets, unless it cannot be misread.
fn operand(e: &Expr, columns: &[String]) -> String {
    match e {
        Expr::BinaryExpr(_) | Expr::InList(_) | Expr::Not(_) | Expr::IsNull(_) | Expr::IsNotNull(_) => {
            format!("({})", show(e, columns))
        }
        _ => show(e, columns),
    }
}

fn show_case(case: &Case, columns: &[String]) -> String {
    let mut out = String::from("CASE");
    for (when, then) in &case.when_then_expr {
        out.push_str(&format!(" WHEN {} THEN {}", show(when, columns), show(then, columns)));
    }
    if let Some(other) = &case.else_expr {
        out.push_str(&format!(" ELSE {}", show(other, columns)));
    }
    out + " END"
}

fn show_call(call: &Call, args: &[String]) -> String {
    let name = call.function.name;
    match (&call.param, name) {
        (Param::Text(field), "field") => format!("{}.{field}", args.join("")),
        (Param::Type(to), _) => {
            let length = match to.length {
                Some((n, true)) => format!("CHAR({n})"),
                Some((n, false)) => format!("VARCHAR({n})"),
                None => sql_name(&to.data_type),
            };
            format!("{name}({} AS {length})", args.join(""))
        }
        (Param::Text(unit), "EXTRACT") => format!("EXTRACT({unit} FROM {})", args.join("")),
        (Param::Text(unit), "FLOOR TO") => format!("FLOOR({} TO {unit})", args.join("")),
        (Param::Text(unit), "TIMESTAMPDIFF" | "TIMESTAMPADD") => {
            format!("{name}({unit}, {})", args.join(", "))
        }
        (Param::Text(digits), "ROUND" | "TRUNCATE") => format!("{name}({}, {digits})", args.join(", ")),
        (Param::Text(text), "LIKE") => format!("{} LIKE {} ESCAPE '{text}'", args[0], args[1]),
        (Param::Text(text), _) => format!("{name}({}, '{text}')", args.join(", ")),
        (_, "negate") => format!("-{}", args.join("")),
        (_, "AND" | "OR" | "LIKE" | "||" | "+" | "-" | "*" | "/") if args.len() == 2 => {
            format!("({} {name} {})", args[0], args[1])
        }
        _ => format!("{name}({})", args.join(", ")),
    }
}

fn literal(value: &ScalarValue) -> String {
    match value {
        ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text)) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        ScalarValue::Boolean(Some(b)) => {
            if *b {
                "TRUE".into()
            } else {
                "FALSE".into()
            }
        }
        ScalarValue::DurationMillisecond(Some(ms)) => match ms % 1_000 {
            0 => format!("INTERVAL '{}' SECOND", ms / 1_000),
            _ => format!("INTERVAL '{}.{:03}' SECOND", ms / 1_000, (ms % 1_000).abs()),
        },
        ScalarValue::IntervalYearMonth(Some(months)) => format!("INTERVAL '{months}' MONTH"),
        ScalarValue::Decimal128(Some(v), _, scale) => {
            let scale = usize::try_from(*scale).unwrap_or(0);
            let digits = format!("{:0>width$}", v.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if *v < 0 { "-" } else { "" };
            if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
        }
        v if v.is_null() => "NULL".into(),
        v => v.to_string(),
    }
}
