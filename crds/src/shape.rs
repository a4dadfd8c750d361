//! The shape of a manifest: is every field known, of the right type and within its range?
//!
//! One schema says it: the one that is made of the types of this crate and given to the API server.
//! What the API server would drop in silence (unknown fields) is a problem here. All problems are
//! collected; what is wrong is left out of the value that comes back, so that the rest can be
//! checked for its meaning in the same go.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::problem::{did_you_mean, list};
use crate::{Place, Problem, StreamJob, limits};

/// The `apiVersion` of a manifest.
pub const API_VERSION: &str = "weir.dev/v1alpha1";

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(StreamJob::crd()).unwrap_or_default();
    let mut root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    // The API server knows these by itself; here they need a schema too.
    root["properties"]["apiVersion"] = json!({"type": "string", "enum": [API_VERSION]});
    root["properties"]["kind"] = json!({"type": "string", "enum": ["StreamJob"]});
    root["properties"]["metadata"] = metadata_schema();
    // Written by the operator; whatever a manifest holds of it has no effect.
    root["properties"]["status"] = json!({"x-any": true});
    root["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    root
});

fn metadata_schema() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let any = json!({"x-any": true});
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "namespace": {"type": "string", "minLength": 1},
            "uid": {"type": "string", "minLength": 1},
            "labels": texts, "annotations": texts,
            "generation": any, "resourceVersion": any, "creationTimestamp": any, "finalizers": any,
            "ownerReferences": any, "managedFields": any, "selfLink": any, "deletionTimestamp": any,
            "deletionGracePeriodSeconds": any,
        },
    })
}

/// The schema of a manifest as OpenAPI v3, with every description, range and pattern.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// What is right of a manifest, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The manifest without what is wrong; `None` if too little is left to look at.
    pub job: Option<StreamJob>,
    /// Everything that is wrong with its shape.
    pub problems: Vec<Problem>,
    /// The paths that were left out.
    pub left_out: BTreeSet<String>,
}

/// Checks the shape of a manifest that was read as JSON.
pub fn check_shape(manifest: &Value) -> Shape {
    let mut walk = Walk::default();
    let kept = walk.value("", manifest, &SCHEMA).map(|mut kept| {
        if let Some(fields) = kept.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = kept["metadata"].as_object_mut() {
            metadata
                .retain(|k, _| ["name", "namespace", "uid", "labels", "annotations"].contains(&k.as_str()));
        }
        kept
    });
    let job = kept.and_then(|kept| match serde_json::from_value(kept) {
        Ok(job) => Some(job),
        Err(error) => {
            // The schema let through what the types refuse; what kind of thing it is stands in the error.
            if walk.problems.is_empty() {
                walk.problems.push(Problem::field("spec", error.to_string()));
            }
            None
        }
    });
    Shape { job, problems: walk.problems, left_out: walk.left_out }
}

/// The path of a field of an object, as problems name it: `spec.sql`, `spec.worker.labels["a.b"]`.
pub fn field_path(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (parent.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{parent}.{key}"),
        _ => format!("{parent}[{key:?}]"),
    }
}

#[derive(Default)]
struct Walk {
    problems: Vec<Problem>,
    left_out: BTreeSet<String>,
}

impl Walk {
    fn wrong(&mut self, path: &str, message: impl Into<String>) -> Option<Value> {
        self.problems.push(Problem::field(path, message));
        self.left_out.insert(path.to_owned());
        None
    }

    /// The value without what is wrong in it; `None` if it is wrong as a whole.
    fn value(&mut self, path: &str, value: &Value, schema: &Value) -> Option<Value> {
        if schema["x-any"] == true {
            return Some(value.clone());
        }
        if value.is_null() {
            return self.wrong(path, "has no value: give it one or remove the line");
        }
        if schema["x-kubernetes-int-or-string"] == true {
            let taken = value.is_string() || value.is_number();
            return if taken { Some(value.clone()) } else { self.mistyped(path, value, "text or a number") };
        }
        match schema["type"].as_str() {
            Some("object") => self.object(path, value, schema),
            Some("array") => self.array(path, value, schema),
            Some("string") => self.text(path, value, schema),
            Some("integer") => self.number(path, value, schema, true),
            Some("number") => self.number(path, value, schema, false),
            Some("boolean") if !value.is_boolean() => self.mistyped(path, value, "true or false"),
            _ => Some(value.clone()),
        }
    }

    fn mistyped(&mut self, path: &str, value: &Value, allowed: &str) -> Option<Value> {
        self.wrong(path, format!("must be {allowed}, not {}", describe(value)))
    }

    fn object(&mut self, path: &str, value: &Value, schema: &Value) -> Option<Value> {
        let Some(fields) = value.as_object() else {
            return self.mistyped(path, value, "a mapping (fields with names)");
        };
        let mut kept = Map::new();
        let known = schema["properties"].as_object();
        for (key, item) in fields {
            let at = field_path(path, key);
            let inner = match known.and_then(|k| k.get(key)) {
                Some(inner) => inner,
                None if schema["additionalProperties"].is_object() => &schema["additionalProperties"],
                None if known.is_none() => continue,
                None => {
                    self.unknown(&at, path, key, known);
                    continue;
                }
            };
            if let Some(good) = self.value(&at, item, inner) {
                kept.insert(key.clone(), good);
            }
        }
        let mut whole = true;
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let what = known.and_then(|k| k[name]["description"].as_str()).map(first_sentence);
                let what = what.map(|w| format!(": {w}")).unwrap_or_default();
                self.wrong(&field_path(path, name), format!("is missing{what}"));
            }
            whole &= kept.contains_key(name);
        }
        if !whole {
            self.left_out.insert(path.to_owned());
        }
        whole.then_some(Value::Object(kept))
    }

    fn unknown(&mut self, at: &str, parent: &str, key: &str, known: Option<&Map<String, Value>>) {
        let known = || known.into_iter().flat_map(Map::keys).map(String::as_str);
        let of = if parent.is_empty() { "a StreamJob".to_owned() } else { parent.to_owned() };
        let hint = match did_you_mean(key, known()) {
            hint if hint.is_empty() => format!("; known are {}", list(known(), "and")),
            hint => hint,
        };
        let message = format!("{of} has no field {key:?}{hint}");
        self.problems.push(Problem::new(Place::Name(at.to_owned()), message));
        self.left_out.insert(at.to_owned());
    }

    fn array(&mut self, path: &str, value: &Value, schema: &Value) -> Option<Value> {
        let Some(items) = value.as_array() else {
            return self.mistyped(path, value, "a list");
        };
        let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
        if items.len() as u64 > most {
            return self.wrong(path, format!("has {} entries: at most {most}", items.len()));
        }
        let kept = items
            .iter()
            .enumerate()
            .filter_map(|(i, item)| self.value(&format!("{path}[{i}]"), item, &schema["items"]))
            .collect();
        Some(Value::Array(kept))
    }

    fn text(&mut self, path: &str, value: &Value, schema: &Value) -> Option<Value> {
        let Some(text) = value.as_str() else {
            let example = match schema["pattern"].as_str() {
                Some(limits::DURATION) => "a duration such as 10s",
                Some(limits::SIZE) => "a size such as 64Mi",
                _ if schema["enum"].is_array() => return self.not_in(path, &describe(value), schema),
                _ => "text (in quotes, if it looks like something else)",
            };
            return self.mistyped(path, value, example);
        };
        if let Some(allowed) = schema["enum"].as_array() {
            return if allowed.contains(value) {
                Some(value.clone())
            } else {
                self.not_in(path, &format!("{text:?}"), schema)
            };
        }
        let length = text.chars().count() as u64;
        if text.trim().is_empty() && schema["minLength"].as_u64().is_some_and(|n| n > 0) {
            return self.wrong(path, "is empty");
        }
        match schema["maxLength"].as_u64() {
            Some(most) if length > most => {
                self.wrong(path, format!("is too long: {length} characters, at most {most}"))
            }
            _ => Some(value.clone()),
        }
    }

    fn not_in(&mut self, path: &str, got: &str, schema: &Value) -> Option<Value> {
        let allowed = || schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let hint = did_you_mean(got.trim_matches('"'), allowed());
        self.wrong(path, format!("{got} is not allowed: {}{hint}", list(allowed(), "or")))
    }

    fn number(&mut self, path: &str, value: &Value, schema: &Value, whole: bool) -> Option<Value> {
        let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        let range = match (low, high) {
            (Some(low), Some(high)) => format!(" from {low} to {high}"),
            (Some(low), None) => format!(" from {low}"),
            (None, Some(high)) => format!(" up to {high}"),
            (None, None) => String::new(),
        };
        let kind = if whole { "a whole number" } else { "a number" };
        let Some(number) = value.as_f64() else {
            let quoted = value.as_str().is_some_and(|t| t.parse::<f64>().is_ok());
            let hint = if quoted { ", without quotes" } else { "" };
            return self.mistyped(path, value, &format!("{kind}{range}{hint}"));
        };
        let typed = !whole || value.is_i64() || value.is_u64();
        if typed && low.is_none_or(|low| number >= low) && high.is_none_or(|high| number <= high) {
            return Some(value.clone());
        }
        self.mistyped(path, value, &format!("{kind}{range}"))
    }
}

/// A value in words, never longer than a line.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) if s.chars().count() > 60 => {
            format!("the text {:?}…", s.chars().take(60).collect::<String>())
        }
        Value::String(s) => format!("the text {s:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The first sentence of a description, without its stop.
fn first_sentence(text: &str) -> String {
    let end = text.find(". ").unwrap_or(text.len());
    let sentence = text[..end].trim_end_matches('.').replace('\n', " ");
    let mut chars = sentence.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
