//! Text. Positions and lengths count characters (code points), as in Flink.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, StringViewArray};
use arrow_schema::DataType;

use super::{Takes, check, loose, strict};
use crate::call::{Arg, Call, Eval, Function, Param, Typing};
use crate::types::STRING;

use Takes::{Text, Whole};

macro_rules! text {
    ($name:literal, $f:expr) => {
        Function {
            name: $name,
            arity: (1, 1),
            typing: |c, a| typed(c, a, &[Text], STRING),
            native: None,
            eval: Some(|e| texts(e, |_, s| Some($f(s[0])), 1)),
        }
    };
}

pub(super) const ALL: &[Function] = &[
    text!("UPPER", |s: &str| s.to_uppercase()),
    text!("LOWER", |s: &str| s.to_lowercase()),
    text!("REVERSE", |s: &str| s.chars().rev().collect::<String>()),
    text!("INITCAP", initcap),
    Function {
        name: "CHAR_LENGTH",
        arity: (1, 1),
        typing: |c, a| typed(c, a, &[Text], DataType::Int32),
        native: None,
        eval: Some(char_length),
    },
    Function {
        name: "TRIM",
        arity: (1, 2),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(trim),
    },
    Function {
        name: "LTRIM",
        arity: (1, 2),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(trim),
    },
    Function {
        name: "RTRIM",
        arity: (1, 2),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(trim),
    },
    Function {
        name: "REPLACE",
        arity: (3, 3),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(|e| texts(e, |_, s| Some(s[0].replace(s[1], s[2])), 3)),
    },
    Function {
        name: "||",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(concat),
    },
    Function {
        name: "CONCAT",
        arity: (1, usize::MAX),
        typing: |c, a| typed(c, a, &[Text], STRING),
        native: None,
        eval: Some(concat),
    },
    Function {
        name: "CONCAT_WS",
        arity: (2, usize::MAX),
        typing: concat_ws_type,
        native: None,
        eval: Some(concat_ws),
    },
    Function {
        name: "SUBSTRING",
        arity: (2, 3),
        typing: |c, a| maybe(c, a, &[Text, Whole], STRING),
        native: None,
        eval: Some(substring),
    },
    Function {
        name: "LEFT",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text, Whole], STRING),
        native: None,
        eval: Some(side),
    },
    Function {
        name: "RIGHT",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text, Whole], STRING),
        native: None,
        eval: Some(side),
    },
    Function {
        name: "REPEAT",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text, Whole], STRING),
        native: None,
        eval: Some(repeat),
    },
    Function {
        name: "LPAD",
        arity: (3, 3),
        typing: |c, a| maybe(c, a, &[Text, Whole, Text], STRING),
        native: None,
        eval: Some(pad),
    },
    Function {
        name: "RPAD",
        arity: (3, 3),
        typing: |c, a| maybe(c, a, &[Text, Whole, Text], STRING),
        native: None,
        eval: Some(pad),
    },
    Function {
        name: "POSITION",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text], DataType::Int32),
        native: None,
        eval: Some(position),
    },
    Function {
        name: "LOCATE",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text], DataType::Int32),
        native: None,
        eval: Some(position),
    },
    Function {
        name: "INSTR",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text], DataType::Int32),
        native: None,
        eval: Some(position),
    },
    Function {
        name: "SPLIT_INDEX",
        arity: (3, 3),
        typing: |c, a| maybe(c, a, &[Text, Text, Whole], STRING),
        native: None,
        eval: Some(split_index),
    },
    Function {
        name: "LIKE",
        arity: (2, 2),
        typing: |c, a| typed(c, a, &[Text], DataType::Boolean),
        native: None,
        eval: Some(like),
    },
];

fn typed(call: &Call, args: &[Arg], takes: &[Takes], result: DataType) -> Result<Typing, String> {
    strict(args, check(call, args, takes)?, result)
}

fn maybe(call: &Call, args: &[Arg], takes: &[Takes], result: DataType) -> Result<Typing, String> {
    loose(check(call, args, takes)?, result)
}

fn concat_ws_type(call: &Call, args: &[Arg]) -> Result<Typing, String> {
    let wanted = check(call, args, &[Text])?;
    Ok(Typing { args: wanted, result: STRING, nullable: args[0].nullable })
}

/// Rows in which all of the first `n` arguments, which are texts, are there.
fn rows<T>(
    eval: &Eval,
    n: usize,
    mut f: impl FnMut(usize, &[&str]) -> Option<T>,
) -> Result<Vec<Option<T>>, String> {
    let columns = (0..n).map(|i| eval.array(i)).collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<&StringViewArray> = columns.iter().map(|c| c.as_string_view()).collect();
    let mut values = Vec::with_capacity(n);
    let mut row = |r: usize| {
        values.clear();
        for column in &columns {
            if column.is_null(r) {
                return None;
            }
            values.push(column.value(r));
        }
        f(r, &values)
    };
    Ok((0..eval.rows).map(&mut row).collect())
}

fn texts(eval: &Eval, f: impl FnMut(usize, &[&str]) -> Option<String>, n: usize) -> Result<ArrayRef, String> {
    Ok(Arc::new(rows(eval, n, f)?.into_iter().collect::<StringViewArray>()))
}

/// A text and a whole number per row.
fn with_number(eval: &Eval, i: usize, f: impl Fn(&str, i32) -> Option<String>) -> Result<ArrayRef, String> {
    let numbers = eval.array(i)?;
    let numbers = numbers.as_primitive::<Int32Type>();
    texts(eval, |r, s| numbers.is_valid(r).then(|| f(s[0], numbers.value(r))).flatten(), 1)
}

fn initcap(s: &str) -> String {
    let mut start = true;
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if start {
            out.extend(c.to_uppercase())
        } else {
            out.extend(c.to_lowercase())
        }
        start = !c.is_alphanumeric();
    }
    out
}

fn char_length(eval: &Eval) -> Result<ArrayRef, String> {
    let lengths = rows(eval, 1, |_, s| i32::try_from(s[0].chars().count()).ok())?;
    Ok(Arc::new(Int32Array::from(lengths)))
}

fn trim(eval: &Eval) -> Result<ArrayRef, String> {
    let name = eval.call.function.name;
    let one = |_: usize, s: &[&str]| {
        let set: Vec<char> = s.get(1).map_or_else(|| vec![' '], |t| t.chars().collect());
        Some(
            match name {
                "LTRIM" => s[0].trim_start_matches(&set[..]),
                "RTRIM" => s[0].trim_end_matches(&set[..]),
                _ => s[0].trim_matches(&set[..]),
            }
            .to_owned(),
        )
    };
    texts(eval, one, eval.args.len())
}

fn concat(eval: &Eval) -> Result<ArrayRef, String> {
    texts(eval, |_, s| Some(s.concat()), eval.args.len())
}

/// NULLs among the parts are passed over.
fn concat_ws(eval: &Eval) -> Result<ArrayRef, String> {
    let columns = (1..eval.args.len()).map(|i| eval.array(i)).collect::<Result<Vec<_>, _>>()?;
    let one = |r: usize, s: &[&str]| {
        let parts: Vec<&str> =
            columns.iter().filter(|c| c.is_valid(r)).map(|c| c.as_string_view().value(r)).collect();
        Some(parts.join(s[0]))
    };
    texts(eval, one, 1)
}

/// Positions start at 1, count from the end if negative, and 0 is the first too.
fn substring(eval: &Eval) -> Result<ArrayRef, String> {
    let from = eval.array(1)?;
    let length = if eval.args.len() > 2 { Some(eval.array(2)?) } else { None };
    let from = from.as_primitive::<Int32Type>();
    let one = |r: usize, s: &[&str]| {
        let length = match &length {
            Some(l) if l.is_null(r) => return None,
            Some(l) => i64::from(l.as_primitive::<Int32Type>().value(r)),
            None => i64::MAX,
        };
        if from.is_null(r) || length < 0 {
            return None;
        }
        let position = i64::from(from.value(r));
        let start = match position {
            1.. => position - 1,
            0 => 0,
            _ => s[0].chars().count() as i64 + position,
        };
        if start < 0 {
            return Some(String::new());
        }
        Some(s[0].chars().skip(start as usize).take(usize::try_from(length).unwrap_or(usize::MAX)).collect())
    };
    texts(eval, one, 1)
}

fn side(eval: &Eval) -> Result<ArrayRef, String> {
    let left = eval.call.function.name == "LEFT";
    with_number(eval, 1, |s, n| {
        let n = usize::try_from(n).unwrap_or(0);
        let skipped = if left { 0 } else { s.chars().count().saturating_sub(n) };
        Some(s.chars().skip(skipped).take(n).collect())
    })
}

/// The longest text that a function makes: more is a mistake that would exhaust the memory.
const LONGEST: usize = 16 * 1024 * 1024;

fn repeat(eval: &Eval) -> Result<ArrayRef, String> {
    let numbers = eval.array(1)?;
    let numbers = numbers.as_primitive::<Int32Type>();
    let mut too_long = false;
    let out = texts(
        eval,
        |r, s| {
            if numbers.is_null(r) {
                return None;
            }
            let n = usize::try_from(numbers.value(r)).unwrap_or(0);
            if s[0].len().saturating_mul(n) > LONGEST {
                too_long = true;
                return None;
            }
            Some(s[0].repeat(n))
        },
        1,
    )?;
    if too_long { Err("REPEAT would make a text of more than 16 MiB".into()) } else { Ok(out) }
}

fn pad(eval: &Eval) -> Result<ArrayRef, String> {
    let left = eval.call.function.name == "LPAD";
    let (lengths, fills) = (eval.array(1)?, eval.array(2)?);
    let (lengths, fills) = (lengths.as_primitive::<Int32Type>(), fills.as_string_view());
    let mut too_long = false;
    let out = texts(
        eval,
        |r, s| {
            if lengths.is_null(r) || fills.is_null(r) || fills.value(r).is_empty() {
                return None;
            }
            let wanted = usize::try_from(lengths.value(r)).ok()?;
            if wanted > LONGEST {
                too_long = true;
                return None;
            }
            let have = s[0].chars().count();
            let fill: String = fills.value(r).chars().cycle().take(wanted.saturating_sub(have)).collect();
            let text: String = s[0].chars().take(wanted).collect();
            Some(if left { fill + &text } else { text + &fill })
        },
        1,
    )?;
    if too_long { Err("the text would be longer than 16 MiB".into()) } else { Ok(out) }
}

/// POSITION(x IN s), LOCATE(x, s), INSTR(s, x): from 1, or 0.
fn position(eval: &Eval) -> Result<ArrayRef, String> {
    let swapped = eval.call.function.name == "INSTR";
    let one = |_: usize, s: &[&str]| {
        let (needle, text) = if swapped { (s[1], s[0]) } else { (s[0], s[1]) };
        let found = text.find(needle).map_or(0, |at| text[..at].chars().count() + 1);
        i32::try_from(found).ok()
    };
    Ok(Arc::new(Int32Array::from(rows(eval, 2, one)?)))
}

fn split_index(eval: &Eval) -> Result<ArrayRef, String> {
    let numbers = eval.array(2)?;
    let numbers = numbers.as_primitive::<Int32Type>();
    let one = |r: usize, s: &[&str]| {
        if numbers.is_null(r) || s[0].is_empty() || s[1].is_empty() {
            return None;
        }
        let n = usize::try_from(numbers.value(r)).ok()?;
        s[0].split(s[1]).nth(n).map(str::to_owned)
    };
    texts(eval, one, 2)
}

/// A step of a LIKE pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Is(char),
    One,
    Any,
}

fn steps(pattern: &str, escape: Option<char>) -> Result<Vec<Step>, String> {
    let mut out = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            c if Some(c) == escape => match chars.next() {
                Some(next) if next == '%' || next == '_' || Some(next) == escape => Step::Is(next),
                _ => return Err(format!("the LIKE pattern {pattern:?} escapes what needs no escape")),
            },
            '%' => Step::Any,
            '_' => Step::One,
            c => Step::Is(c),
        });
    }
    Ok(out)
}

/// Goes back to the last `%` only, so that the time is bounded by length times length.
fn matches(text: &str, steps: &[Step]) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut retry: Option<(usize, std::str::Chars)> = None;
    loop {
        match steps.get(at) {
            Some(Step::Any) => {
                retry = Some((at + 1, rest.clone()));
                at += 1;
                continue;
            }
            Some(step) => {
                let mut next = rest.clone();
                if let Some(c) = next.next()
                    && (*step == Step::One || *step == Step::Is(c))
                {
                    rest = next;
                    at += 1;
                    continue;
                }
            }
            None if rest.as_str().is_empty() => return true,
            None => {}
        }
        let Some((after, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        at = *after;
        rest = from.clone();
    }
}

fn like(eval: &Eval) -> Result<ArrayRef, String> {
    let escape = match &eval.call.param {
        Param::Text(text) => text.chars().next(),
        _ => None,
    };
    let constant = eval.constant(1).map(|p| steps(p, escape)).transpose()?;
    let mut bad = None;
    let one = |_: usize, s: &[&str]| match &constant {
        Some(steps) => Some(matches(s[0], steps)),
        None => match steps(s[1], escape) {
            Ok(steps) => Some(matches(s[0], &steps)),
            Err(e) => {
                bad = Some(e);
                None
            }
        },
    };
    let out = rows(eval, 2, one)?.into_iter().collect::<BooleanArray>();
    bad.map_or(Ok(Arc::new(out) as ArrayRef), Err)
}
