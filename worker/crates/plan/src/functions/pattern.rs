//! Regular expressions. Flink's are Java's; the classes of Java (ASCII) are kept, and what the engine
//! here does not know (look-around, back-references) is refused when the job is planned.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_schema::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::Expr;
use regex::Regex;

use super::{Takes, check, loose};
use crate::call::{Arg, Call, Eval, Function, Typing};
use crate::types::STRING;

use Takes::{Text, Whole};

pub(super) const ALL: &[Function] = &[
    Function {
        name: "REGEXP_EXTRACT",
        arity: (2, 3),
        typing: |c, a| loose(check(c, a, &[Text, Text, Whole])?, STRING),
        native: Some(checked),
        eval: Some(extract),
    },
    Function {
        name: "REGEXP_REPLACE",
        arity: (3, 3),
        typing: |c, a| loose(check(c, a, &[Text])?, STRING),
        native: Some(checked),
        eval: Some(replace),
    },
    Function { name: "REGEXP", arity: (2, 2), typing: boolean, native: Some(checked), eval: Some(is_match) },
];

fn boolean(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    loose(check(call, args, &[Text])?, DataType::Boolean)
}

/// Checks a literal pattern; the function itself is ours.
fn checked(_: &Call, args: &[Expr], _: &Typing) -> Result<Option<Expr>, String> {
    if let Some(Expr::Literal(ScalarValue::Utf8View(Some(pattern)), _)) = args.get(1) {
        compile(pattern)?;
    }
    Ok(None)
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translated(pattern)).map_err(|e| {
        let last = e.to_string().lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
        format!("the regular expression {pattern:?} is not supported: {last}")
    })
}

/// Java's `\d`, `\w`, `\s` and `\b` are ASCII.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[a-zA-Z0-9_]"),
            Some('W') => out.push_str("[^a-zA-Z0-9_]"),
            Some('s') => out.push_str("[ \\t\\n\\x0B\\f\\r]"),
            Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
            Some('b') => out.push_str("(?-u:\\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

const CACHED: usize = 64;

thread_local! {
    static CACHE: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

/// The compiled pattern; the last ones are kept, as patterns are most often constant.
fn regex(pattern: &str) -> Result<Regex, String> {
    CACHE.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(pattern) {
            return Ok(regex.clone());
        }
        if cache.len() >= CACHED {
            cache.clear();
        }
        let regex = compile(pattern)?;
        cache.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}

/// Rows of text and pattern, and what `f` makes of them.
fn rows<T>(
    eval: &Eval,
    mut f: impl FnMut(usize, &str, &Regex) -> Option<T>,
) -> Result<Vec<Option<T>>, String> {
    let (texts, patterns) = (eval.array(0)?, eval.array(1)?);
    let (texts, patterns) = (texts.as_string_view(), patterns.as_string_view());
    let constant = eval.constant(1).map(regex).transpose()?;
    let mut out = Vec::with_capacity(eval.rows);
    for r in 0..eval.rows {
        out.push(match (&constant, texts.is_valid(r) && patterns.is_valid(r)) {
            (_, false) => None,
            (Some(regex), true) => f(r, texts.value(r), regex),
            (None, true) => f(r, texts.value(r), &regex(patterns.value(r))?),
        });
    }
    Ok(out)
}

/// The group of the first match; NULL without one.
fn extract(eval: &Eval) -> Result<ArrayRef, String> {
    let groups = if eval.args.len() > 2 { Some(eval.array(2)?) } else { None };
    let out = rows(eval, |r, text, regex| {
        let group = match &groups {
            Some(g) if g.is_null(r) => return None,
            Some(g) => usize::try_from(g.as_primitive::<Int32Type>().value(r)).ok()?,
            None => 0,
        };
        regex.captures(text)?.get(group).map(|m| m.as_str().to_owned())
    })?;
    Ok(Arc::new(out.into_iter().collect::<StringViewArray>()))
}

fn replace(eval: &Eval) -> Result<ArrayRef, String> {
    let by = eval.array(2)?;
    let by = by.as_string_view();
    let out = rows(eval, |r, text, regex| {
        by.is_valid(r).then(|| regex.replace_all(text, replacement(by.value(r))).into_owned())
    })?;
    Ok(Arc::new(out.into_iter().collect::<StringViewArray>()))
}

/// Java's replacement: `$1` is a group of one digit here, `\` takes the next character as it is.
fn replacement(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('$', Some(d)) if d.is_ascii_digit() => {
                out.push_str(&format!("${{{d}}}"));
                chars.next();
            }
            ('\\', Some(&next)) => {
                if next == '$' {
                    out.push('$');
                }
                out.push(next);
                chars.next();
            }
            ('$', _) => out.push_str("$$"),
            (c, _) => out.push(c),
        }
    }
    out
}

fn is_match(eval: &Eval) -> Result<ArrayRef, String> {
    Ok(Arc::new(
        rows(eval, |_, text, regex| Some(regex.is_match(text)))?.into_iter().collect::<BooleanArray>(),
    ))
}
