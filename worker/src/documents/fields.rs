//! Every field of a manifest in `docs/manifest.md`.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_crds::limits;

use super::markdown::blocks;
use super::{all, check_part, code, table};

/// A field that holds no further fields of ours.
struct Field {
    path: String,
    kind: String,
    default: String,
    meaning: String,
}

/// What Kubernetes itself defines: its own documents explain it.
const OF_KUBERNETES: [&str; 4] =
    ["worker.resources", "worker.tolerations", "worker.affinity", "coordinator.resources"];

fn spec() -> &'static Value {
    &weir_crds::schema()["properties"]["spec"]
}

/// The fields below `schema`, depth first in the order of their names.
fn collect(path: &str, schema: &Value, fields: &mut Vec<Field>) {
    let inner = if schema["items"].is_object() { &schema["items"] } else { schema };
    let at = if schema["items"].is_object() { format!("{path}[]") } else { path.to_owned() };
    match inner["properties"].as_object() {
        Some(properties) if !OF_KUBERNETES.contains(&path) => {
            for (name, field) in properties {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                collect(&path, field, fields);
            }
        }
        _ => fields.push(field(path, schema)),
    }
}

fn field(path: &str, schema: &Value) -> Field {
    let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let (meaning, default) = default_of(&text);
    Field { path: path.to_owned(), kind: kind(path, schema), default, meaning }
}

/// Takes `Default: …` out of a description.
fn default_of(text: &str) -> (String, String) {
    let Some((before, rest)) = text.split_once("Default: ") else { return (text.to_owned(), String::new()) };
    let (default, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
    (format!("{} {after}", before.trim()).trim().to_owned(), default.to_owned())
}

fn kind(path: &str, schema: &Value) -> String {
    if OF_KUBERNETES.contains(&path) {
        return "as in a pod".to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).map(code).collect();
        return words.join(", ");
    }
    match (schema["type"].as_str(), schema["pattern"].as_str()) {
        (Some("string"), Some(limits::DURATION)) => "duration",
        (Some("string"), Some(limits::SIZE)) => "size",
        (Some("string"), _) => "text",
        (Some("integer"), _) => "whole number",
        (Some("number"), _) => "number",
        (Some("boolean"), _) => "`true` or `false`",
        (Some("array"), _) => "list",
        (Some("object"), _) => "names with texts",
        _ => panic!("{path} is of a kind that the documents have no word for: {schema}"),
    }
    .to_owned()
}

#[test]
fn every_field_of_a_manifest_is_explained() {
    let mut text = String::new();
    let rows = |fields: Vec<Field>| {
        let rows = fields.into_iter().map(|f| [code(&f.path), f.kind, f.default, f.meaning]);
        table(["field", "type", "default", "meaning"], rows)
    };
    let properties = spec()["properties"].as_object().expect("a spec has fields");
    let is_group = |field: &Value| field["properties"].is_object();
    let mut plain = Vec::new();
    for (name, schema) in properties.iter().filter(|(_, f)| !is_group(f)) {
        collect(name, schema, &mut plain);
    }
    text += &format!("### spec\n\n{}\n", rows(plain));
    for (name, schema) in properties.iter().filter(|(_, f)| is_group(f)) {
        let mut fields = Vec::new();
        collect(name, schema, &mut fields);
        assert!(fields.iter().all(|f| !f.meaning.is_empty()), "{name} has a field without words");
        let about = schema["description"].as_str().unwrap_or_default();
        text += &format!("### spec.{name}\n\n{about}\n\n{}\n", rows(fields));
    }
    check_part("docs/manifest.md", "fields", &text);
}

/// The paths that a manifest holds, in the form of [`Field::path`].
fn paths(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(at.to_owned());
    for (name, item) in value.as_object().into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        paths(&path, item, found);
    }
    for item in value.as_array().into_iter().flatten() {
        paths(&format!("{at}[]"), item, found);
    }
}

#[test]
fn every_field_of_a_manifest_has_an_example() {
    let mut fields = Vec::new();
    collect("", spec(), &mut fields);
    let mut found = BTreeSet::new();
    let (_, text) = all().into_iter().find(|(path, _)| path == "docs/manifest.md").expect("it is there");
    for block in blocks(&text).iter().filter(|b| b.info == "yaml") {
        let manifests: Vec<Value> = serde_saphyr::from_multiple(&block.text).expect("an example is YAML");
        manifests.iter().for_each(|m| paths("", m, &mut found));
    }
    let missing: Vec<_> =
        fields.iter().map(|f| format!("spec.{}", f.path)).filter(|path| !found.contains(path)).collect();
    assert!(missing.is_empty(), "docs/manifest.md has no example of {missing:?}");
}
