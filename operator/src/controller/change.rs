//! What a change of the spec needs: nothing, something while the job runs, or new pods. One table says it, and
//! both digests of a version are made by it.

use serde_json::Value;
use weir_crds::{ChangeClass, StreamJobSpec};

use ChangeClass::{Ignore, InPlace};

/// Fields that can change while the job runs, longest first where one is below another; with how. All others need
/// new pods.
const FIELDS: &[(&str, ChangeClass, &str)] = &[
    ("parallelism", InPlace, "the running coordinator changes it through a checkpoint; workers come or go"),
    ("suspended", InPlace, "a last checkpoint, then the pods go; or they come back"),
    ("worker.standby", InPlace, "spare workers come or go"),
    ("checkpoint.interval", InPlace, COORDINATOR),
    ("checkpoint.timeout", InPlace, COORDINATOR),
    ("checkpoint.minPause", InPlace, COORDINATOR),
    ("checkpoint.tolerableFailures", InPlace, COORDINATOR),
    ("checkpoint.retain", InPlace, COORDINATOR),
    ("checkpoint.expiration", InPlace, COORDINATOR),
    ("checkpoint.maxUncheckpointedBytes", InPlace, COORDINATOR),
    ("restart", InPlace, COORDINATOR),
    ("recovery", InPlace, COORDINATOR),
    ("coordinator", InPlace, COORDINATOR),
    ("upgrade", Ignore, "it counts for the next upgrade"),
    ("deletion", Ignore, "it counts when the job is deleted"),
    ("restoreFrom", Ignore, "it counted when the job first started, and does not again"),
];
const COORDINATOR: &str = "another coordinator takes over; rows do not stop";
const OTHERS: &str = "a last checkpoint, then new pods go on from it";

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its path below `spec`.
    pub path: String,
    /// What it needs.
    pub class: ChangeClass,
    /// How that goes.
    pub how: &'static str,
}

/// The fields that differ between two specs, whose defaults are filled in.
pub fn changes(old: &StreamJobSpec, new: &StreamJobSpec) -> Vec<Changed> {
    let mut found = Vec::new();
    differing("", &to_value(old), &to_value(new), &mut found);
    found.into_iter().map(classed).collect()
}

/// What all changes together need.
pub fn strongest(changes: &[Changed]) -> ChangeClass {
    changes.iter().map(|c| c.class).max().unwrap_or_default()
}

/// The digest of all that needs new pods, with what is not in the spec but goes into pods.
pub(super) fn version(spec: &StreamJobSpec, restart: Option<&str>) -> String {
    let mut value = to_value(spec);
    for (path, ..) in FIELDS {
        remove(&mut value, path);
    }
    digest(&Value::from(vec![value, Value::from(restart)]))
}

/// The digest of what only the coordinator reads, at its start.
pub(super) fn settings(spec: &StreamJobSpec) -> String {
    let value = to_value(spec);
    let read: Vec<Value> = FIELDS
        .iter()
        .filter(|(_, _, how)| *how == COORDINATOR)
        .map(|(path, ..)| at(&value, path).cloned().unwrap_or_default())
        .collect();
    digest(&Value::from(read))
}

fn classed(path: String) -> Changed {
    let is_below = |field: &str| path.strip_prefix(field).is_some_and(|r| r.is_empty() || r.starts_with('.'));
    let known = FIELDS.iter().find(|(field, ..)| is_below(field));
    let (class, how) = known.map_or((ChangeClass::Restart, OTHERS), |(_, class, how)| (*class, *how));
    Changed { path, class, how }
}

fn to_value(spec: &StreamJobSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |at, name| at.get(name))
}

/// Removes a field, and what is empty without it.
fn remove(value: &mut Value, path: &str) {
    let Some(fields) = value.as_object_mut() else { return };
    match path.split_once('.') {
        None => drop(fields.remove(path)),
        Some((first, rest)) => {
            if let Some(inner) = fields.get_mut(first) {
                remove(inner, rest);
                if inner.as_object().is_some_and(serde_json::Map::is_empty) {
                    fields.remove(first);
                }
            }
        }
    }
}

/// The paths of what differs: single fields, where both sides have an object.
fn differing(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else {
        if old != new {
            found.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let empty = Value::Object(serde_json::Map::new());
        // A group of fields that one side leaves out is one without fields.
        let side = |fields: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
            let missing = || other.get(name).filter(|v| v.is_object()).map(|_| empty.clone());
            fields.get(name).cloned().or_else(missing).unwrap_or_default()
        };
        differing(&path, &side(a, b), &side(b, a), found);
    }
}

/// Ten characters that differ when the value does, whatever the order of its fields.
pub(crate) fn digest(value: &Value) -> String {
    let mut hasher = blake3::Hasher::new();
    feed(value, &mut hasher);
    hasher.finalize().to_hex()[..10].to_owned()
}

fn feed(value: &Value, hasher: &mut blake3::Hasher) {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            hasher.update(b"{");
            for name in names {
                feed(&Value::from(name.as_str()), hasher);
                feed(&fields[name], hasher);
            }
            hasher.update(b"}");
        }
        Value::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| feed(item, hasher));
            hasher.update(b"]");
        }
        Value::String(text) => {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        plain => {
            hasher.update(plain.to_string().as_bytes()).update(b",");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(value: Value) -> StreamJobSpec {
        serde_json::from_value(value).expect("a spec of the test")
    }

    #[test]
    fn each_field_has_its_class_and_the_digests_follow_it() {
        let base = json!({"sql": "a", "checkpoint": {"storage": "s3://bucket"}, "worker": {"image": "i:1"}});
        let old = spec(base.clone());
        for (path, value, class) in [
            ("parallelism", json!(4), InPlace),
            ("suspended", json!(true), InPlace),
            ("worker.standby", json!(1), InPlace),
            ("checkpoint.interval", json!("1s"), InPlace),
            ("restart.strategy", json!("None"), InPlace),
            ("recovery.heartbeatTimeout", json!("9s"), InPlace),
            ("coordinator.resources", json!({"limits": {"memory": "1Gi"}}), InPlace),
            ("upgrade.mode", json!("Stateless"), Ignore),
            ("deletion.deadline", json!("1m"), Ignore),
            ("restoreFrom.savepoint", json!("x"), Ignore),
            ("sql", json!("b"), ChangeClass::Restart),
            ("worker.taskSlots", json!(2), ChangeClass::Restart),
            ("worker.image", json!("i:2"), ChangeClass::Restart),
            ("worker.labels", json!({"a": "b"}), ChangeClass::Restart),
            ("state.ttl", json!("1h"), ChangeClass::Restart),
            ("checkpoint.mode", json!("AtLeastOnce"), ChangeClass::Restart),
            ("checkpoint.endpoint", json!("http://h"), ChangeClass::Restart),
        ] {
            let mut changed = base.clone();
            let (parent, name) = path.rsplit_once('.').map_or(("", path), |(p, n)| (p, n));
            let place = parent.split('.').filter(|p| !p.is_empty()).fold(&mut changed, |at, p| &mut at[p]);
            place[name] = value;
            let new = spec(changed);
            let found = changes(&old, &new);
            assert_eq!(strongest(&found), class, "{path}: {found:?}");
            assert!(found.iter().all(|c| c.path.starts_with(path)), "{path}: {found:?}");
            assert_eq!(version(&old, None) != version(&new, None), class == ChangeClass::Restart, "{path}");
            let by_coordinator = found.iter().any(|c| c.how == COORDINATOR);
            assert_eq!(settings(&old) != settings(&new), by_coordinator, "{path}");
        }
        assert!(changes(&old, &old).is_empty());
        assert_ne!(version(&old, None), version(&old, Some("again")), "an annotation restarts");
    }
}
