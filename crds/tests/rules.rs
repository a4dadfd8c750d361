//! What the API server checks by itself and what `to_config` checks are the same rules: neither takes
//! what the other refuses.

use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};
use weir_crds::{Given, Savepoint, StreamJob, check_shape, schema, to_config};

fn job(spec: Value) -> StreamJob {
    let mut job = StreamJob::new("j", serde_json::from_value(spec).expect("a spec of the test"));
    job.metadata.name = Some("j".to_owned());
    job
}

fn with(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("sql").is_none() && spec.get("sqlFrom").is_none() {
        spec["sql"] = json!("SELECT 1");
    }
    if spec["checkpoint"].get("storage").is_none() {
        spec["checkpoint"]["storage"] = json!("s3://bucket");
    }
    spec
}

#[test]
fn rules_between_fields_are_the_same_in_the_cluster_and_here() {
    let key = json!({"configMapKeyRef": {"name": "a", "key": "b"}});
    for (spec, good) in [
        (json!({}), true),
        (json!({"sql": "a", "sqlFrom": key}), false),
        (json!({"parallelism": 128}), true),
        (json!({"parallelism": 129}), false),
        (json!({"parallelism": 200, "maxParallelism": 256}), true),
        (json!({"parallelism": 9, "maxParallelism": 8}), false),
        (json!({"checkpoint": {"storage": "s3://bucket", "endpoint": "http://h"}}), true),
        (json!({"checkpoint": {"storage": "file:///x", "endpoint": "http://h"}}), false),
        (json!({"restart": {"strategy": "FixedDelay", "attempts": 3, "delay": "1s"}}), true),
        (json!({"restart": {"attempts": 3}}), false),
        (json!({"restart": {"delay": "1s"}}), false),
        (json!({"restart": {"strategy": "None", "jitter": 0.1}}), false),
        (json!({"restart": {"strategy": "FailureRate", "interval": "1m"}}), true),
        (json!({"restart": {"interval": "1m"}}), false),
        (json!({"restoreFrom": {}}), false),
        (json!({"restoreFrom": {"savepoint": "a"}}), true),
        (json!({"restoreFrom": {"savepoint": "a", "location": "s3://bucket"}}), false),
        (json!({"worker": {"env": [{"name": "A", "value": "a"}]}}), true),
        (json!({"worker": {"env": [{"name": "A"}]}}), false),
        (json!({"worker": {"env": [{"name": "A", "valueFrom": {}}]}}), false),
        (json!({"worker": {"volumes": [{"mountPath": "/a", "emptyDir": "1Gi"}]}}), true),
        (json!({"worker": {"volumes": [{"mountPath": "/a"}]}}), false),
        (json!({"worker": {"labels": {"team": "a", "example.com/x": "b"}}}), true),
        (json!({"worker": {"env": [{"name": "WEIR_UID", "value": "a"}]}}), false),
    ] {
        let job = job(with(spec.clone()));
        let given = Given { storage: Some("s3://bucket".to_owned()), ..Given::default() };
        assert_eq!(validate_cel(&job).is_ok(), good, "in the cluster: {spec} {:?}", validate_cel(&job));
        assert_eq!(to_config(&job, &given).is_ok(), good, "here: {spec} {:?}", to_config(&job, &given));
    }
}

#[test]
fn what_only_the_cluster_needs() {
    for (spec, good) in [
        (json!({"sql": "a"}), false),
        (json!({"sql": "a", "checkpoint": {"interval": "1s"}}), false),
        (json!({"sql": "a", "checkpoint": {"storage": "file:///tmp/x"}}), false),
        (json!({"sql": "a", "checkpoint": {"storage": "memory://x"}}), false),
        (json!({"sql": "a", "checkpoint": {"storage": "s3://bucket"}}), true),
        (json!({"sql": "a", "checkpoint": {"storage": "s3://bucket"}, "worker": {"image": "x:1"}}), true),
        (
            json!({"sql": "a", "checkpoint": {"storage": "s3://bucket"}, "worker": {"image": "x:latest"}}),
            false,
        ),
    ] {
        let result = validate_cel(&job(spec.clone()));
        assert_eq!(result.is_ok(), good, "{spec}: {result:?}");
    }
}

#[test]
fn a_savepoint_is_of_one_job_for_good() {
    let savepoint = |spec: Value| {
        let mut made = Savepoint::new("s", serde_json::from_value(spec).expect("a spec of the test"));
        made.metadata.name = Some("s".to_owned());
        made
    };
    let to = json!({"job": "a", "to": "s3://bucket"});
    for (old, new, good) in [
        (json!({"job": "a"}), json!({"job": "a", "deletionPolicy": "Delete"}), true),
        (json!({"job": "a"}), json!({"job": "b"}), false),
        (json!({"job": "a"}), to.clone(), false),
        (to.clone(), json!({"job": "a"}), false),
        (to.clone(), to, true),
    ] {
        let result = validate_cel_update(&savepoint(new.clone()), &savepoint(old.clone()));
        assert_eq!(result.is_ok(), good, "{old} to {new}: {result:?}");
    }
}

#[test]
fn what_state_is_laid_out_by_can_not_be_changed() {
    for (old, new, good) in [
        (json!({"maxParallelism": 64}), json!({"maxParallelism": 64, "parallelism": 2}), true),
        (json!({"maxParallelism": 64}), json!({"maxParallelism": 65}), false),
        (json!({"maxParallelism": 64}), json!({}), false),
        (json!({}), json!({"maxParallelism": 128}), true),
        (
            json!({"checkpoint": {"storage": "s3://bucket/a"}}),
            json!({"checkpoint": {"storage": "s3://bucket/a", "interval": "1s"}}),
            true,
        ),
        (
            json!({"checkpoint": {"storage": "s3://bucket/a"}}),
            json!({"checkpoint": {"storage": "s3://bucket/b"}}),
            false,
        ),
        (json!({"checkpoint": {"storage": "s3://bucket/a"}}), json!({}), false),
        (json!({"worker": {"standby": 1}}), json!({"worker": {"standby": 2}}), true),
    ] {
        let result = validate_cel_update(&job(with(new.clone())), &job(with(old.clone())));
        assert_eq!(result.is_ok(), good, "{old} to {new}: {result:?}");
    }
}

/// Every pattern of the schema with the path of its field.
fn patterns(path: &str, schema: &Value, found: &mut Vec<(String, regex::Regex)>) {
    if let Some(pattern) = schema["pattern"].as_str() {
        found.push((path.to_owned(), regex::Regex::new(pattern).expect("a pattern of ours")));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        patterns(&format!("{path}.{name}"), inner, found);
    }
}

#[test]
fn a_text_that_a_pattern_refuses_is_refused_here_too() {
    let texts = [
        "10s",
        "1m30s",
        "5 min",
        "10",
        "-1s",
        "1.5s",
        "64Mi",
        "64 mb",
        "64MB",
        "1.5Gi",
        "s3://bucket/a",
        "s3a://b",
        "/x",
        "file:///x",
        "file://x",
        "memory://x",
        "http://h:1",
        "h:1",
        "http://h/x",
        "eu-central-1",
        "EU",
        "a",
        "A",
        "../x",
        "",
    ];
    let mut found = Vec::new();
    patterns("", &schema()["properties"]["spec"], &mut found);
    assert!(found.len() > 15, "{}", found.len());
    for (path, pattern) in found {
        for text in texts.iter().filter(|t| !pattern.is_match(t)) {
            let mut manifest = json!({
                "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": "j"},
                "spec": {"sql": "SELECT 1", "restart": {"strategy": strategy_of(&path)}},
            });
            let path = format!("spec{path}");
            weir_crds::read_override(&format!("{path}={text}"))
                .expect("a path of the schema")
                .apply(&mut manifest);
            let shape = check_shape(&manifest);
            let given = Given { storage: Some("s3://bucket".to_owned()), ..Given::default() };
            let config = shape.job.map(|job| to_config(&job, &given));
            let refused = !shape.problems.is_empty() || config.is_some_and(|c| c.is_err());
            assert!(refused, "{path}: {text:?} is refused by the API server and taken here");
        }
    }
}

/// The strategy that a field of `restart` belongs to, so that the field itself is what is looked at.
fn strategy_of(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("delay") => "FixedDelay",
        Some("interval") => "FailureRate",
        _ => "ExponentialDelay",
    }
}

#[test]
fn the_schema_has_a_description_for_every_field() {
    fn walk(path: &str, schema: &Value, missing: &mut Vec<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if inner["description"].as_str().is_none_or(str::is_empty) {
                missing.push(path.clone());
            }
            walk(&path, inner, missing);
            walk(&path, &inner["items"], missing);
        }
    }
    let mut missing = Vec::new();
    walk("spec", &schema()["properties"]["spec"], &mut missing);
    // Kubernetes' own types describe themselves.
    missing.retain(|path| {
        !path.contains("affinity") && !path.contains("resources") && !path.contains("tolerations")
    });
    assert_eq!(missing, Vec::<String>::new());
}
