//! `path=value` over a manifest: one value of it, typed by the schema.

use serde_json::{Map, Value};

use crate::shape::{field_path, schema};

/// A value that takes the place of another in a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The path as problems name it.
    pub path: String,
    steps: Vec<Step>,
    value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// Reads `path=value`. The path may leave out `spec.` in front; `[0]` is an entry of a list and
/// `["a.b"]` a name with dots. The value is read as what the schema has at that path; whether the
/// path is known and the value allowed is the concern of [`check_shape`](crate::check_shape).
///
/// # Errors
/// A sentence that says how to write it.
///
/// ```
/// let set = weir_crds::read_override("checkpoint.retain=5")?;
/// assert_eq!(set.path, "spec.checkpoint.retain");
/// let mut manifest = serde_json::json!({"spec": {}});
/// set.apply(&mut manifest);
/// assert_eq!(manifest["spec"]["checkpoint"]["retain"], 5);
/// # Ok::<(), String>(())
/// ```
pub fn read_override(text: &str) -> Result<Override, String> {
    let (path, value) = split(text)
        .ok_or_else(|| format!("{text:?} is not path=value: write for example checkpoint.interval=1s"))?;
    let mut steps = parse_path(path)
        .ok_or_else(|| format!("{path:?} is not a path: write for example checkpoint.interval or worker.env[0].value"))?;
    let root = &schema()["properties"];
    if let Some(Step::Name(first)) = steps.first()
        && root.get(first).is_none()
        && root["spec"]["properties"].get(first).is_some()
    {
        steps.insert(0, Step::Name("spec".to_owned()));
    }
    let path = steps.iter().fold(String::new(), |path, step| match step {
        Step::Name(name) => field_path(&path, name),
        Step::Index(i) => format!("{path}[{i}]"),
    });
    let value = typed(value, schema_at(&steps));
    Ok(Override { path, steps, value })
}

impl Override {
    /// Puts the value into a manifest, making what is missing on the way. An index past the end of a
    /// list adds an entry.
    pub fn apply(&self, manifest: &mut Value) {
        let mut at = manifest;
        for step in &self.steps {
            at = match step {
                Step::Name(name) => {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    &mut at[name]
                }
                Step::Index(index) => {
                    if !at.is_array() {
                        *at = Value::Array(Vec::new());
                    }
                    let Some(items) = at.as_array_mut() else { return };
                    let index = (*index).min(items.len());
                    if index == items.len() {
                        items.push(Value::Null);
                    }
                    &mut items[index]
                }
            };
        }
        *at = self.value.clone();
    }
}

/// The part before and after the first '=' outside of brackets.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_i32;
    for (i, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            '=' if depth == 0 => return Some((text[..i].trim(), &text[i + 1..])),
            _ => {}
        }
    }
    None
}

fn parse_path(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (key, after) = inner.split_once(']')?;
            let quoted = key.strip_prefix('"').and_then(|k| k.strip_suffix('"'));
            steps.push(match (quoted, key.parse()) {
                (None, Ok(index)) => Step::Index(index),
                _ => Step::Name(quoted.unwrap_or(key).to_owned()),
            });
            rest = after.strip_prefix('.').unwrap_or(after);
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Name(rest[..end].to_owned()));
            rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
        }
    }
    (!steps.is_empty() && !path.ends_with('.')).then_some(steps)
}

fn schema_at(steps: &[Step]) -> &'static Value {
    steps.iter().fold(schema(), |at, step| match step {
        Step::Name(name) => at["properties"].get(name).unwrap_or(&at["additionalProperties"]),
        Step::Index(_) => &at["items"],
    })
}

/// A text as what the schema has; text if it is not that, for the check of the shape to say so.
fn typed(text: &str, schema: &Value) -> Value {
    let read = match schema["type"].as_str() {
        Some("string") => None,
        Some("integer") => text.parse::<i64>().ok().map(Value::from),
        Some("number") => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from),
        _ => serde_json::from_str(text).ok(),
    };
    read.unwrap_or_else(|| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_read_as_what_the_schema_has_there() {
        for (text, path, value) in [
            ("parallelism=4", "spec.parallelism", json!(4)),
            ("spec.parallelism=four", "spec.parallelism", json!("four")),
            ("checkpoint.interval=1s", "spec.checkpoint.interval", json!("1s")),
            ("suspended=true", "spec.suspended", json!(true)),
            ("restart.jitter=0.5", "spec.restart.jitter", json!(0.5)),
            ("worker.labels[\"a.b/c\"]=1", "spec.worker.labels[\"a.b/c\"]", json!("1")),
            ("worker.env[0].value=a=b", "spec.worker.env[0].value", json!("a=b")),
            ("metadata.name=x", "metadata.name", json!("x")),
            ("nonsense=x", "nonsense", json!("x")),
        ] {
            let set = read_override(text).expect(text);
            assert_eq!((set.path.as_str(), &set.value), (path, &value), "{text}");
        }
        for text in ["", "parallelism", "=4", "a..b=1", "a.=1", "a[0=1"] {
            assert!(read_override(text).is_err(), "{text}");
        }
    }
}
