//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))` and its like, read from the syntax tree.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectNamePart, Spanned,
};
use weir_dataflow::window::{Hop, Tumble, Window};

use crate::dialect::TABLE_ARGUMENT;
use crate::interval::{self, Length};
use crate::problem::{Fault, Place};

/// A window table function over a table.
#[derive(Debug, Clone)]
pub(crate) struct Tvf {
    pub(crate) table: Ident,
    pub(crate) time: Ident,
    pub(crate) window: Window,
    pub(crate) place: Place,
}

/// The names of the columns that a window table function adds.
pub(crate) const COLUMNS: [&str; 3] = ["window_start", "window_end", "window_time"];

/// The name of the table that stands for window table function `number`.
pub(crate) fn table_name(number: usize) -> String {
    format!("window#{number}")
}

/// The number of a name that [`table_name`] made.
pub(crate) fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("window#")?.parse().ok()
}

/// Reads the function within `TABLE(…)`.
pub(crate) fn read(e: &Expr) -> Result<Tvf, Fault> {
    let place = Place::of(e.span());
    let Expr::Function(function) = e else {
        return Err(Fault::new(place, "TABLE(…) takes a window table function").hint(FORMS));
    };
    let name = function.name.to_string().to_uppercase();
    let place = Place::of(function.name.span());
    let parameters: &[&str] = match name.as_str() {
        "TUMBLE" => &["DATA", "TIMECOL", "SIZE", "OFFSET"],
        "HOP" => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
        "CUMULATE" | "SESSION" => {
            return Err(Fault::new(place, format!("the window table function {name} is not supported yet"))
                .hint("TUMBLE and HOP are"));
        }
        _ => return Err(Fault::new(place, format!("unknown table function {name}")).hint(FORMS)),
    };
    let args = arguments(function, &name, parameters, place)?;
    let table = table(args[0].ok_or_else(|| missing(&name, "the table", place))?, place)?;
    let time = descriptor(args[1].ok_or_else(|| missing(&name, "DESCRIPTOR(<column>)", place))?, place)?;
    let millis =
        |i: usize| -> Result<Option<i64>, Fault> { args.get(i).copied().flatten().map(millis).transpose() };
    let needed = |i: usize, what: &str| millis(i)?.ok_or_else(|| missing(&name, what, place));
    let window = if name == "TUMBLE" {
        Tumble::new(needed(2, "the size")?, millis(3)?.unwrap_or(0)).map(Window::Tumble)
    } else {
        Hop::new(needed(3, "the size")?, needed(2, "the slide")?, millis(4)?.unwrap_or(0)).map(Window::Hop)
    };
    let window = window.map_err(|message| Fault::new(place, message))?;
    Ok(Tvf { table, time, window, place })
}

const FORMS: &str = "write TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)) or TABLE(HOP(TABLE t, DESCRIPTOR(ts), <slide>, <size>))";

fn missing(name: &str, what: &str, place: Place) -> Fault {
    Fault::new(place, format!("{name} misses {what}")).hint(FORMS)
}

/// The arguments in the order of `parameters`, whether named or not.
fn arguments<'a>(
    function: &'a Function,
    name: &str,
    parameters: &[&str],
    place: Place,
) -> Result<Vec<Option<&'a Expr>>, Fault> {
    let FunctionArguments::List(list) = &function.args else {
        return Err(missing(name, "its arguments", place));
    };
    let mut args = vec![None; parameters.len()];
    for (i, arg) in list.args.iter().enumerate() {
        let (position, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => (Some(i), e),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => {
                let wanted = name.value.to_uppercase();
                (parameters.iter().position(|p| *p == wanted), e)
            }
            _ => return Err(Fault::new(place, format!("{name} does not take {arg}")).hint(FORMS)),
        };
        let Some(slot) = position.and_then(|p| args.get_mut(p)) else {
            return Err(Fault::new(arg.span(), format!("{name} does not take {arg}"))
                .hint(format!("its arguments are {}", parameters.join(", "))));
        };
        *slot = Some(value);
    }
    Ok(args)
}

fn table(e: &Expr, place: Place) -> Result<Ident, Fault> {
    let parts: Vec<&Ident> = match e {
        Expr::Function(f) => f
            .name
            .0
            .iter()
            .filter_map(|p| match p {
                ObjectNamePart::Identifier(i) => Some(i),
                ObjectNamePart::Function(_) => None,
            })
            .collect(),
        Expr::Subquery(_) => {
            return Err(
                Fault::new(place, "a window over a query is not supported yet").hint("make it a view")
            );
        }
        _ => Vec::new(),
    };
    match parts.as_slice() {
        [marker, table] if marker.value == TABLE_ARGUMENT => Ok((*table).clone()),
        [marker, .., last] if marker.value == TABLE_ARGUMENT => {
            Err(Fault::new(last.span, "catalogs and databases are not supported")
                .hint("use the table's name alone"))
        }
        _ => Err(Fault::new(Place::of(e.span()), "the first argument is a table").hint("write TABLE <name>")),
    }
}

fn descriptor(e: &Expr, place: Place) -> Result<Ident, Fault> {
    let bad = || Fault::new(place, "the time column is given as DESCRIPTOR(<column>)").hint(FORMS);
    let Expr::Function(f) = e else { return Err(bad()) };
    let FunctionArguments::List(list) = &f.args else { return Err(bad()) };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(column)))]
            if f.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") =>
        {
            Ok(column.clone())
        }
        _ => Err(bad()),
    }
}

fn millis(e: &Expr) -> Result<i64, Fault> {
    let place = Place::of(e.span());
    match e {
        Expr::Interval(i) => match interval::length(i)? {
            Length::Millis(n) => Ok(n),
            Length::Months(_) => {
                Err(Fault::new(place, "a window's size cannot be in months or years").hint("use DAY"))
            }
        },
        Expr::UnaryOp { op: datafusion_sql::sqlparser::ast::UnaryOperator::Minus, expr } => {
            millis(expr).map(|n| -n)
        }
        _ => {
            Err(Fault::new(place, "a window's size is a literal")
                .hint("write for example INTERVAL '10' SECOND"))
        }
    }
}
