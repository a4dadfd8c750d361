//! The functions and operators of Flink SQL: one visible list. Each says its types by Flink's rules,
//! and is carried out by DataFusion's expression where that means the same, else by code of ours.

mod calendar;
pub(crate) mod cast;
mod decimal;
pub(crate) mod help;
mod math;
mod operators;
mod pattern;
mod strings;
#[cfg(test)]
mod tests;
mod time;

use arrow_schema::DataType;

pub(crate) use operators::{can_fail, field_of};
pub(crate) use time::datetime_literal;

use crate::call::{Arg, Call, Function, Typing};
use crate::types::{STRING, is_integer, is_numeric, sql_name};

const LISTS: &[&[Function]] = &[operators::ALL, cast::ALL, math::ALL, strings::ALL, pattern::ALL, time::ALL];

/// The function of this name (upper case; operators by their sign).
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    let name = match name {
        "CHARACTER_LENGTH" => "CHAR_LENGTH",
        "SUBSTR" => "SUBSTRING",
        "CEILING" => "CEIL",
        "POW" => "POWER",
        "IFNULL" => "COALESCE",
        "BTRIM" => "TRIM",
        "LOCALTIMESTAMP" => return None,
        other => other,
    };
    LISTS.iter().flat_map(|l| l.iter()).find(|f| f.name == name)
}

/// The names that can be written as a call.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let written = |name: &str| {
        name.len() > 1 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    LISTS.iter().flat_map(|l| l.iter()).map(|f| f.name).filter(move |n| written(n))
}

/// Why a function of Flink is not there.
pub(crate) fn refused(name: &str) -> Option<&'static str> {
    Some(match name {
        "PROCTIME"
        | "NOW"
        | "CURRENT_TIMESTAMP"
        | "CURRENT_DATE"
        | "CURRENT_TIME"
        | "LOCALTIME"
        | "LOCALTIMESTAMP"
        | "CURRENT_ROW_TIMESTAMP" => "is not supported yet: processing time is not",
        "RAND" | "RAND_INTEGER" | "UUID" => {
            "is not supported: a replay after a failure would give other values"
        }
        "ROW_NUMBER" | "RANK" | "DENSE_RANK" | "LAG" | "LEAD" | "FIRST_VALUE" | "LAST_VALUE" | "LISTAGG"
        | "COLLECT" | "STDDEV_POP" | "STDDEV_SAMP" | "VAR_POP" | "VAR_SAMP" | "ARRAY_AGG" => {
            "is not supported yet"
        }
        "TUMBLE" | "HOP" | "SESSION" | "CUMULATE" | "TUMBLE_START" | "TUMBLE_END" | "TUMBLE_ROWTIME"
        | "HOP_START" | "HOP_END" | "SESSION_START" | "SESSION_END" => {
            "is not supported yet: use FROM TABLE(TUMBLE(…)) with window_start and window_end"
        }
        "JSON_VALUE" | "JSON_QUERY" | "JSON_EXISTS" | "JSON_OBJECT" | "JSON_STRING" | "CARDINALITY"
        | "ELEMENT" => "is not supported yet",
        _ => return None,
    })
}

/// Arguments of these types, the result NULL if any argument is.
fn strict(args: &[Arg], wanted: Vec<DataType>, result: DataType) -> Result<Typing, String> {
    Ok(Typing { args: wanted, result, nullable: args.iter().any(|a| a.nullable) })
}

/// As [`strict`], and NULL is possible besides.
fn loose(wanted: Vec<DataType>, result: DataType) -> Result<Typing, String> {
    Ok(Typing { args: wanted, result, nullable: true })
}

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Text,
    Whole,
    Number,
    Boolean,
}

/// Checks each argument, and gives the types to cast them to.
fn check(call: &Call, args: &[Arg], takes: &[Takes]) -> Result<Vec<DataType>, String> {
    let wanted = |(i, arg): (usize, &Arg)| {
        let takes = takes[i.min(takes.len() - 1)];
        let t = &arg.data_type;
        let target = match takes {
            Takes::Text => STRING,
            Takes::Whole => DataType::Int32,
            Takes::Number if *t == DataType::Null => DataType::Int32,
            Takes::Number => t.clone(),
            Takes::Boolean => DataType::Boolean,
        };
        let fits = *t == DataType::Null
            || match takes {
                Takes::Text => *t == STRING,
                Takes::Whole => is_integer(t) && *t != DataType::Int64,
                Takes::Number => is_numeric(t),
                Takes::Boolean => *t == DataType::Boolean,
            };
        let name = match takes {
            Takes::Text => "a STRING",
            Takes::Whole => "an INT",
            Takes::Number => "a number",
            Takes::Boolean => "a BOOLEAN",
        };
        if fits {
            return Ok(target);
        }
        let which = if args.len() == 1 { "takes".to_owned() } else { format!("takes as argument {}", i + 1) };
        Err(format!("{} {which} {name}, not {}", call.function.name, sql_name(t)))
    };
    args.iter().enumerate().map(wanted).collect()
}
