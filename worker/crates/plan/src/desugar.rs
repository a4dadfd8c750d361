//! Queries before names are resolved: every operator, literal, cast and function becomes a
//! [`Call`] at its place, window table functions become tables, and what is not supported is
//! refused where it stands. What is left for DataFusion is to find out which column a name means.

use std::mem;
use std::sync::Arc;

use datafusion_common::ScalarValue;
use datafusion_expr::{AggregateUDF, ScalarUDF};
use datafusion_sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, Expr, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, Spanned, TrimWhereField, UnaryOperator,
    Value,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, Tokenizer};
use weir_dataflow::transforms::aggregate_call::AggregateFunction;

use crate::call::{AggregateAt, Call, Function, Param};
use crate::dialect::Flink;
use crate::functions;
use crate::interval::{self, Length};
use crate::problem::{Fault, Place, nearest};
use crate::types::parse_type;
use crate::window_tvf::Tvf;

/// What the names that a rewritten query contains stand for.
#[derive(Default)]
pub(crate) struct Desugar {
    pub(crate) scalars: Vec<Arc<ScalarUDF>>,
    pub(crate) aggregates: Vec<Arc<AggregateUDF>>,
    pub(crate) windows: Vec<Tvf>,
    /// All names of the form `a.b`, with their places.
    pub(crate) paths: Vec<(Vec<String>, Place)>,
    pub(crate) faults: Vec<Fault>,
    /// Whether aggregates may stand here.
    pub(crate) aggregates_allowed: bool,
}

/// The number after the `#` of a call's name.
pub(crate) fn number_of(name: &str) -> Option<usize> {
    name.rsplit_once('#').and_then(|(_, n)| n.parse().ok())
}

impl Desugar {
    pub(crate) fn fault(&mut self, place: impl Into<Place>, message: impl Into<String>) {
        self.faults.push(Fault::new(place, message));
    }

    pub(crate) fn refuse(&mut self, place: impl Into<Place>, what: &str) {
        self.faults.push(Fault::new(place, format!("{what} is not supported yet")));
    }

    /// Rewrites an expression.
    pub(crate) fn expr(&mut self, e: &mut Expr) {
        let place = Place::of(e.span());
        let taken = mem::replace(e, Expr::Tuple(Vec::new()));
        *e = self.rewritten(taken, place);
    }

    fn rewritten(&mut self, e: Expr, place: Place) -> Expr {
        match e {
            Expr::Identifier(_) => e,
            Expr::CompoundIdentifier(ref parts) => {
                self.paths.push((parts.iter().map(|p| p.value.clone()).collect(), place));
                e
            }
            Expr::Nested(inner) => {
                let mut inner = *inner;
                self.expr(&mut inner);
                inner
            }
            Expr::Value(value) => self.literal(value, place),
            Expr::TypedString(typed) => self.typed_string(typed, place),
            Expr::Interval(interval) => match interval::length(&interval) {
                Ok(length) => self.constant(interval_value(length), place),
                Err(fault) => self.lost(fault),
            },
            Expr::BinaryOp { left, op, right } => self.binary(*left, &op, *right, place),
            Expr::UnaryOp { op, expr } => self.unary(op, *expr, place),
            Expr::Case { case_token, operand, conditions, else_result, .. } => {
                let place = Place::of(case_token.0.span);
                self.case(operand, conditions, else_result, place)
            }
            Expr::Cast { kind, expr, data_type, format, .. } => {
                self.cast(kind, *expr, &data_type, format.is_some(), place)
            }
            Expr::Function(function) => self.function(function),
            other => self.special(other, place),
        }
    }

    /// Syntax that stands for a function.
    fn special(&mut self, e: Expr, place: Place) -> Expr {
        match e {
            Expr::IsNull(x) => self.call("IS NULL", vec![*x], place),
            Expr::IsNotNull(x) => self.call("IS NOT NULL", vec![*x], place),
            Expr::IsTrue(x) => self.call("IS TRUE", vec![*x], place),
            Expr::IsNotTrue(x) => self.call("IS NOT TRUE", vec![*x], place),
            Expr::IsFalse(x) => self.call("IS FALSE", vec![*x], place),
            Expr::IsNotFalse(x) => self.call("IS NOT FALSE", vec![*x], place),
            Expr::IsUnknown(x) => self.call("IS UNKNOWN", vec![*x], place),
            Expr::IsNotUnknown(x) => self.call("IS NOT UNKNOWN", vec![*x], place),
            Expr::IsDistinctFrom(a, b) => self.call("IS DISTINCT FROM", vec![*a, *b], place),
            Expr::IsNotDistinctFrom(a, b) => self.call("IS NOT DISTINCT FROM", vec![*a, *b], place),
            Expr::InList { expr, list, negated } => {
                let args = std::iter::once(*expr).chain(list).collect();
                let call = self.call("IN", args, place);
                self.negated(call, negated, place)
            }
            Expr::Between { expr, negated, low, high } => {
                let call = self.call("BETWEEN", vec![*expr, *low, *high], place);
                self.negated(call, negated, place)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                let escape = match escape_char.map(|c| c.value.into_string()) {
                    None => Param::None,
                    Some(Some(text)) if text.chars().count() == 1 => Param::Text(text),
                    Some(_) => return self.lost(Fault::new(place, "ESCAPE takes one character")),
                };
                let call = self.call_with("LIKE", vec![*expr, *pattern], escape, place);
                self.negated(call, negated, place)
            }
            Expr::Extract { field, expr, .. } => {
                let name = field.to_string().to_uppercase();
                self.call_with("EXTRACT", vec![*expr], Param::Text(name), place)
            }
            Expr::Ceil { expr, field } => self.round_to("CEIL", *expr, field, place),
            Expr::Floor { expr, field } => self.round_to("FLOOR", *expr, field, place),
            Expr::Position { expr, r#in } => self.call("POSITION", vec![*expr, *r#in], place),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                let args =
                    [Some(expr), substring_from, substring_for].into_iter().flatten().map(|a| *a).collect();
                self.call("SUBSTRING", args, place)
            }
            Expr::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "LTRIM",
                    Some(TrimWhereField::Trailing) => "RTRIM",
                    Some(TrimWhereField::Both) | None => "TRIM",
                };
                let args = std::iter::once(*expr).chain(trim_what.map(|w| *w)).collect();
                self.call(name, args, place)
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.access(*root, access_chain, place),
            other => {
                let what = unsupported(&other);
                self.lost(Fault::new(place, format!("{what} is not supported yet")))
            }
        }
    }

    fn access(&mut self, root: Expr, chain: Vec<ast::AccessExpr>, place: Place) -> Expr {
        let mut e = root;
        for step in chain {
            e = match step {
                ast::AccessExpr::Dot(Expr::Identifier(field)) => {
                    self.call_with("field", vec![e], Param::Text(field.value), place)
                }
                _ => return self.lost(Fault::new(place, "access to elements with [] is not supported yet")),
            };
        }
        e
    }

    fn literal(&mut self, value: ast::ValueWithSpan, place: Place) -> Expr {
        let value = match value.value {
            Value::Number(text, _) => number(&text),
            Value::SingleQuotedString(text) => Ok(ScalarValue::Utf8View(Some(text))),
            Value::Boolean(b) => Ok(ScalarValue::Boolean(Some(b))),
            Value::Null => Ok(ScalarValue::Null),
            Value::HexStringLiteral(text) => hex(&text),
            other => Err(format!("the literal {other} is not supported")),
        };
        match value {
            Ok(value) => self.constant(value, place),
            Err(message) => self.lost(Fault::new(place, message)),
        }
    }

    /// `DATE '…'`, `TIMESTAMP '…'`, `TIME '…'`.
    fn typed_string(&mut self, typed: ast::TypedString, place: Place) -> Expr {
        let text = typed.value.value.clone().into_string().unwrap_or_default();
        match functions::datetime_literal(&typed.data_type.to_string(), &text) {
            Some(Ok(value)) => self.constant(value, place),
            Some(Err(message)) => self.lost(Fault::new(typed.value.span, message)),
            None => self.lost(Fault::new(place, format!("{} literals are not supported", typed.data_type))),
        }
    }

    fn binary(&mut self, left: Expr, op: &BinaryOperator, right: Expr, place: Place) -> Expr {
        let name = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::Modulo => "MOD",
            BinaryOperator::StringConcat => "||",
            BinaryOperator::Eq => "=",
            BinaryOperator::NotEq => "<>",
            BinaryOperator::Lt => "<",
            BinaryOperator::LtEq => "<=",
            BinaryOperator::Gt => ">",
            BinaryOperator::GtEq => ">=",
            BinaryOperator::And => "AND",
            BinaryOperator::Or => "OR",
            _ => return self.lost(Fault::new(place, format!("the operator {op} is not supported"))),
        };
        self.call(name, vec![left, right], place)
    }

    fn unary(&mut self, op: UnaryOperator, expr: Expr, place: Place) -> Expr {
        match (op, expr) {
            (UnaryOperator::Not, e) => self.call("NOT", vec![e], place),
            (UnaryOperator::Plus, mut e) => {
                self.expr(&mut e);
                e
            }
            // The smallest BIGINT is one literal: its digits alone are too large.
            (UnaryOperator::Minus, Expr::Value(v)) if matches!(v.value, Value::Number(..)) => {
                let text = format!("-{}", v.value);
                match number(&text) {
                    Ok(value) => self.constant(value, place),
                    Err(message) => self.lost(Fault::new(place, message)),
                }
            }
            (UnaryOperator::Minus, e) => self.call("negate", vec![e], place),
            (op, _) => self.lost(Fault::new(place, format!("the operator {op} is not supported"))),
        }
    }

    fn case(
        &mut self,
        operand: Option<Box<Expr>>,
        conditions: Vec<ast::CaseWhen>,
        else_result: Option<Box<Expr>>,
        place: Place,
    ) -> Expr {
        let mut args = Vec::new();
        for ast::CaseWhen { condition, result } in conditions {
            args.push(match &operand {
                Some(operand) => Expr::BinaryOp {
                    left: operand.clone(),
                    op: BinaryOperator::Eq,
                    right: Box::new(condition),
                },
                None => condition,
            });
            args.push(result);
        }
        args.push(else_result.map_or_else(|| Expr::Value(Value::Null.with_empty_span()), |e| *e));
        self.call("CASE", args, place)
    }

    fn cast(&mut self, kind: CastKind, expr: Expr, to: &ast::DataType, format: bool, place: Place) -> Expr {
        let name = match kind {
            CastKind::Cast => "CAST",
            CastKind::TryCast => "TRY_CAST",
            _ => return self.lost(Fault::new(place, "write a cast as CAST(x AS type)")),
        };
        if format {
            return self.lost(Fault::new(place, "CAST … FORMAT is not supported"));
        }
        match declared(to) {
            Ok(declared) => self.call_with(name, vec![expr], Param::Type(declared), place),
            Err(fault) => self.lost(Fault { place, ..fault }),
        }
    }

    /// `FLOOR(ts TO HOUR)`, `FLOOR(x)`.
    fn round_to(&mut self, name: &'static str, expr: Expr, field: CeilFloorKind, place: Place) -> Expr {
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => self.call(name, vec![expr], place),
            CeilFloorKind::DateTimeField(unit) if name == "FLOOR" => {
                self.call_with("FLOOR TO", vec![expr], Param::Text(unit.to_string().to_uppercase()), place)
            }
            _ => self.lost(Fault::new(place, format!("this form of {name} is not supported yet"))),
        }
    }

    fn function(&mut self, function: ast::Function) -> Expr {
        let place = Place::of(function.name.span());
        let full = function.name.to_string();
        let name = full.to_uppercase();
        if let Some(over) = &function.over {
            let _ = over;
            return self.lost(Fault::new(place, format!("{name} … OVER is not supported yet")));
        }
        if function.null_treatment.is_some() || !function.within_group.is_empty() {
            return self.lost(Fault::new(place, format!("this form of {name} is not supported yet")));
        }
        let (distinct, args) = match function.args {
            FunctionArguments::None => (false, Vec::new()),
            FunctionArguments::Subquery(_) => {
                return self.lost(Fault::new(place, "a query as an argument is not supported yet"));
            }
            FunctionArguments::List(list) if list.clauses.is_empty() => {
                (matches!(list.duplicate_treatment, Some(ast::DuplicateTreatment::Distinct)), list.args)
            }
            FunctionArguments::List(_) => {
                return self.lost(Fault::new(place, format!("this form of {name} is not supported yet")));
            }
        };
        if let Some(aggregate) = aggregate(&name) {
            return self.aggregate(aggregate, distinct, args, function.filter, place);
        }
        if distinct || function.filter.is_some() {
            return self.lost(Fault::new(
                place,
                format!("{name} is not an aggregate: DISTINCT and FILTER do not apply"),
            ));
        }
        let mut plain = Vec::new();
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => plain.push(e),
                _ => {
                    return self
                        .lost(Fault::new(place, format!("{name} does not take named arguments or *")));
                }
            }
        }
        self.named(&name, &full, plain, place)
    }

    fn named(&mut self, name: &str, full: &str, mut args: Vec<Expr>, place: Place) -> Expr {
        match name {
            "IF" if args.len() == 3 => return self.call("CASE", args, place),
            // The unit is a bare word there.
            "TIMESTAMPDIFF" | "TIMESTAMPADD" if args.len() == 3 => {
                let unit = args.remove(0);
                return self.call_with(
                    canonical(name),
                    args,
                    Param::Text(unit.to_string().to_uppercase()),
                    place,
                );
            }
            // The result's scale depends on the literal.
            "ROUND" | "TRUNCATE" if args.len() == 2 => {
                let Some(digits) = small_integer(&args[1]) else {
                    return self.lost(Fault::new(
                        place,
                        format!("the number of digits of {name} must be a literal from -38 to 38"),
                    ));
                };
                args.pop();
                return self.call_with(canonical(name), args, Param::Text(digits.to_string()), place);
            }
            "ROUND" | "TRUNCATE" if args.len() == 1 => {
                return self.call_with(canonical(name), args, Param::Text("0".into()), place);
            }
            // Patterns are read once, when the job is planned.
            "DATE_FORMAT" if args.len() == 2 => {
                let Some(text) = string_literal(&args[1]) else {
                    return self.lost(Fault::new(place, "the pattern of DATE_FORMAT must be a literal"));
                };
                args.pop();
                return self.call_with("DATE_FORMAT", args, Param::Text(text), place);
            }
            "TO_TIMESTAMP" | "TO_DATE" | "UNIX_TIMESTAMP" | "FROM_UNIXTIME" if args.len() == 2 => {
                return self.lost(Fault::new(place, format!("{name} with a pattern is not supported yet")));
            }
            _ => {}
        }
        if let Some(f) = functions::find(name) {
            return match arity_fault(f, args.len(), place) {
                Some(fault) => self.lost(fault),
                None => self.make(f, args, Param::None, place),
            };
        }
        let fault = if let Some(why) = functions::refused(name) {
            Fault::new(place, format!("{name} {why}"))
        } else {
            let fault = Fault::new(place, format!("unknown function {full}"));
            match nearest(name, functions::names().chain(AGGREGATES.iter().map(|(n, _)| *n))) {
                Some(near) => fault.hint(format!("did you mean {near}?")),
                None => fault,
            }
        };
        self.lost(fault)
    }

    fn aggregate(
        &mut self,
        function: AggregateFunction,
        distinct: bool,
        args: Vec<FunctionArg>,
        filter: Option<Box<Expr>>,
        place: Place,
    ) -> Expr {
        if distinct {
            return self.lost(Fault::new(place, format!("{function}(DISTINCT …) is not supported yet")));
        }
        if !self.aggregates_allowed {
            return self.lost(Fault::new(place, format!("the aggregate {function} cannot stand here")));
        }
        let star = matches!(args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
        let mut input = match args.into_iter().next() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Wildcard)) if function == AggregateFunction::Count => {
                Expr::Value(Value::Number("1".into(), false).with_empty_span())
            }
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(e))) => e,
            _ => return self.lost(Fault::new(place, format!("{function} takes 1 argument"))),
        };
        self.aggregates_allowed = false;
        self.expr(&mut input);
        let filter = filter.map(|mut f| {
            self.expr(&mut f);
            f
        });
        self.aggregates_allowed = true;
        let number = self.aggregates.len();
        let at = AggregateAt::new(function, star, place, number);
        let udaf = Arc::new(AggregateUDF::new_from_impl(at));
        let mut call = call_of(udaf.name(), vec![input]);
        self.aggregates.push(udaf);
        if let Expr::Function(f) = &mut call {
            f.filter = filter;
        }
        call
    }

    /// A call of a function that exists, with arguments that are not rewritten yet.
    pub(crate) fn call(&mut self, name: &'static str, args: Vec<Expr>, place: Place) -> Expr {
        match functions::find(name) {
            Some(f) => match arity_fault(f, args.len(), place) {
                Some(fault) => self.lost(fault),
                None => self.make(f, args, Param::None, place),
            },
            None => self.lost(Fault::new(place, format!("{name} is not supported"))),
        }
    }

    fn call_with(&mut self, name: &'static str, args: Vec<Expr>, param: Param, place: Place) -> Expr {
        match functions::find(name) {
            Some(f) => self.make(f, args, param, place),
            None => self.lost(Fault::new(place, format!("{name} is not supported"))),
        }
    }

    fn make(&mut self, f: &'static Function, mut args: Vec<Expr>, param: Param, place: Place) -> Expr {
        for arg in &mut args {
            self.expr(arg);
        }
        let number = self.scalars.len();
        let udf = Arc::new(ScalarUDF::new_from_impl(Call::new(f, param, place, number)));
        let call = call_of(udf.name(), args);
        self.scalars.push(udf);
        call
    }

    fn constant(&mut self, value: ScalarValue, place: Place) -> Expr {
        self.call_with("literal", Vec::new(), Param::Literal(value), place)
    }

    fn negated(&mut self, call: Expr, negated: bool, place: Place) -> Expr {
        if !negated {
            return call;
        }
        let number = self.scalars.len();
        let Some(not) = functions::find("NOT") else { return call };
        let udf = Arc::new(ScalarUDF::new_from_impl(Call::new(not, Param::None, place, number)));
        let call = call_of(udf.name(), vec![call]);
        self.scalars.push(udf);
        call
    }

    /// Notes a fault; the statement is given up after its other faults are found.
    fn lost(&mut self, fault: Fault) -> Expr {
        self.faults.push(fault);
        Expr::Value(Value::Null.with_empty_span())
    }
}

fn call_of(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Function(ast::Function {
        // Quoted, so that its letters are kept.
        name: ObjectName::from(vec![Ident::with_quote('`', name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

const AGGREGATES: &[(&str, AggregateFunction)] = &[
    ("COUNT", AggregateFunction::Count),
    ("SUM", AggregateFunction::Sum),
    ("MIN", AggregateFunction::Min),
    ("MAX", AggregateFunction::Max),
    ("AVG", AggregateFunction::Avg),
];

fn aggregate(name: &str) -> Option<AggregateFunction> {
    AGGREGATES.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

fn canonical(name: &str) -> &'static str {
    functions::find(name).map_or("", |f| f.name)
}

/// The refusal of too few or too many arguments.
fn arity_fault(f: &Function, given: usize, place: Place) -> Option<Fault> {
    let (low, high) = f.arity;
    if (low..=high).contains(&given) {
        return None;
    }
    let takes = match high {
        _ if low == high => plural(low),
        usize::MAX => format!("at least {}", plural(low)),
        _ => format!("{low} to {}", plural(high)),
    };
    Some(Fault::new(place, format!("{} takes {takes}, not {given}", f.name)))
}

fn plural(n: usize) -> String {
    if n == 1 { "1 argument".into() } else { format!("{n} arguments") }
}

fn interval_value(length: Length) -> ScalarValue {
    match length {
        Length::Months(n) => ScalarValue::IntervalYearMonth(Some(n)),
        Length::Millis(n) => ScalarValue::DurationMillisecond(Some(n)),
    }
}

/// A number's type as in Flink: INT, BIGINT or DECIMAL if they hold it, DOUBLE with an exponent.
fn number(text: &str) -> Result<ScalarValue, String> {
    if let Ok(n) = text.parse::<i32>() {
        return Ok(ScalarValue::Int32(Some(n)));
    }
    if let Ok(n) = text.parse::<i64>() {
        return Ok(ScalarValue::Int64(Some(n)));
    }
    let bad = || format!("the number {text} has more than 38 digits");
    if text.contains(['e', 'E']) {
        return text.parse().map(|d| ScalarValue::Float64(Some(d))).map_err(|_| bad());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let unscaled: i128 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
    let digits = unscaled.unsigned_abs().to_string().len().max(fraction.len().max(1));
    let (Ok(precision), Ok(scale)) = (u8::try_from(digits), i8::try_from(fraction.len())) else {
        return Err(bad());
    };
    if precision > 38 {
        return Err(bad());
    }
    Ok(ScalarValue::Decimal128(Some(unscaled), precision, scale))
}

fn hex(text: &str) -> Result<ScalarValue, String> {
    let bad = || format!("x'{text}' is not hexadecimal");
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let bytes =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16)).collect::<Result<_, _>>();
    bytes.map(|b| ScalarValue::Binary(Some(b))).map_err(|_| bad())
}

fn small_integer(e: &Expr) -> Option<i32> {
    let n: i32 = e.to_string().replace(' ', "").parse().ok()?;
    (-38..=38).contains(&n).then_some(n)
}

fn string_literal(e: &Expr) -> Option<String> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The parser of queries knows types of its own; ours reads what it writes.
fn declared(t: &ast::DataType) -> Result<crate::types::Declared, Fault> {
    let text = t.to_string();
    let tokens = Tokenizer::new(&Flink, &text)
        .tokenize_with_location()
        .map_err(|e| Fault::new(Place { line: 1, column: 1, length: 1 }, e.to_string()))?;
    let tokens =
        tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).collect();
    parse_type(&mut Parser::new(&Flink).with_tokens_with_locations(tokens))
}

/// What an expression that is refused is called.
fn unsupported(e: &Expr) -> &'static str {
    match e {
        Expr::InSubquery { .. } => "IN (SELECT …)",
        Expr::Exists { .. } => "EXISTS",
        Expr::Subquery(_) => "a query as a value",
        Expr::GroupingSets(_) => "GROUPING SETS",
        Expr::Cube(_) => "CUBE",
        Expr::Rollup(_) => "ROLLUP",
        Expr::Tuple(_) => "a row value",
        Expr::Array(_) => "ARRAY[…]",
        Expr::Map(_) => "MAP[…]",
        Expr::AtTimeZone { .. } => "AT TIME ZONE",
        Expr::SimilarTo { .. } => "SIMILAR TO",
        Expr::Overlay { .. } => "OVERLAY",
        Expr::Collate { .. } => "COLLATE",
        Expr::AnyOp { .. } => "ANY",
        Expr::AllOp { .. } => "ALL",
        Expr::Struct { .. } => "ROW(…)",
        _ => "this expression",
    }
}
