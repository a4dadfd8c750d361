//! Manifests that are wrong or meant to harm: each is refused as a whole, by the rules of the definition or by a
//! condition; none brings the operator down, none touches what runs.

use kube::core::cel::validate_cel;
use proptest::prelude::*;
use serde_json::{Value, json};
use weir_crds::{ConditionType, StreamJob, check_shape};
use weir_operator::controller::validate::{References, validate};

use crate::drive::{JOB, Run, defaults, merge, spec_with};

/// Values that do not belong where they are put.
fn nasty() -> Vec<Value> {
    let mut values: Vec<Value> = [
        "",
        " ",
        "\u{0}",
        "\n",
        "../../etc",
        "/etc/weir/tls",
        "a/../b",
        "s3://",
        "s3://b/../c",
        "s3://AK:canary@b/x",
        "file:///etc",
        "memory://x",
        "http://169.254.169.254/",
        "kube-system/default",
        "💥",
        "ünïcödé",
        "\u{202e}txt",
        "-1",
        "0",
        "1e309",
        "NaN",
        "10",
        "ten seconds",
        "99999999999999999999d",
        "{{ x }}",
        "$(HOME)",
        "--fresh",
        "weir-operator-root",
        "hot-items-00000001-weir-tls",
        "a b",
        "UPPER",
        "-dash",
        "dash-",
    ]
    .map(Value::from)
    .into();
    values.push(Value::from("x".repeat(300_000)));
    values.extend([
        json!(null),
        json!(-1),
        json!(0),
        json!(i64::MAX),
        json!(1.5),
        json!(true),
        json!([]),
        json!({}),
    ]);
    values
}

/// Fields that are attacked: none of the values above is good in any of them.
const FIELDS: &[&str] = &[
    "parallelism",
    "maxParallelism",
    "worker.taskSlots",
    "worker.standby",
    "worker.serviceAccountName",
    "worker.imagePullSecrets",
    "worker.labels",
    "worker.nodeSelector",
    "worker.env",
    "worker.volumes",
    "worker.resources",
    "state.ttl",
    "state.memoryLimit",
    "checkpoint.storage",
    "checkpoint.storageSecretRef",
    "checkpoint.endpoint",
    "checkpoint.interval",
    "checkpoint.timeout",
    "checkpoint.mode",
    "restart.strategy",
    "recovery.heartbeatTimeout",
    "upgrade.mode",
    "upgrade.stableWithin",
    "restoreFrom",
    "deletion.deadline",
    "sqlFrom",
];

fn put(fields: &mut Value, path: &str, value: Value) {
    let mut nested = value;
    for name in path.rsplit('.') {
        nested = json!({ name: nested });
    }
    merge(fields, nested);
}

/// Manifests by hand, each an attack of its own.
fn attacks() -> Vec<Value> {
    let env = |name: &str| json!({"worker": {"env": [{"name": name, "value": "x"}]}});
    let mount = |path: &str| json!({"worker": {"volumes": [{"mountPath": path, "emptyDir": "1Gi"}]}});
    let secret = |name: &str| json!({"worker": {"volumes": [{"mountPath": "/x", "secret": {"name": name}}]}});
    let label = |key: &str, value: &str| json!({"worker": {"labels": {key: value}}});
    vec![
        env("WEIR_UID"),
        env("WEIR_COORDINATOR"),
        env("WEIR_TLS_CA"),
        env("1A"),
        env("A=B"),
        env(""),
        env("A B"),
        mount("/etc/weir"),
        mount("/etc/weir/tls"),
        mount("/etc"),
        mount("/"),
        mount("/tmp"),
        mount("/tmp/x"),
        mount("/var/cache/weir"),
        mount("/a/../b"),
        mount("a"),
        mount("/a:b"),
        secret("weir-operator-root"),
        secret("other-0123abcd-weir-tls"),
        secret("../x"),
        secret("A"),
        secret(""),
        secret("kube-system/token"),
        label("weir.dev/job-uid", "x"),
        label("a.weir.dev/x", "x"),
        label("team", "a b"),
        label("team", "../x"),
        label("", "x"),
        label("a/b/c", "x"),
        label("-a", "x"),
        label("team", &"x".repeat(64)),
        json!({"worker": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "weir-operator-root", "key": "key"}}}]}}),
        json!({"worker": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k", "namespace": "kube-system"}}}]}}),
        json!({"worker": {"imagePullSecrets": [{"name": "weir-operator-root"}]}}),
        json!({"checkpoint": {"storageSecretRef": {"name": "weir-operator-root"}}}),
        json!({"checkpoint": {"storageSecretRef": {"name": "a", "namespace": "kube-system"}}}),
        json!({"worker": {"image": "weir:latest"}}),
        json!({"worker": {"hostNetwork": true}}),
        json!({"worker": {"securityContext": {"privileged": true}}}),
        json!({"worker": {"volumes": [{"mountPath": "/x", "hostPath": {"path": "/"}}]}}),
        json!({"worker": {"resources": {"limits": {"memory": "lots"}}}}),
        json!({"worker": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}}),
        json!({"worker": {"resources": {"limits": {"gold": "1"}}}}),
        json!({"worker": {"resources": {"claims": [{"name": "gpu"}]}}}),
        json!({"restoreFrom": {"savepoint": "a", "location": "s3://bucket/x"}}),
        json!({"restoreFrom": {"location": "file:///etc/passwd"}}),
        json!({"restoreFrom": {"savepoint": "../x"}}),
        json!({"restart": {"strategy": "None", "attempts": 3}}),
        json!({"checkpoint": {"minPause": "1h", "interval": "1s"}}),
        json!({"recovery": {"heartbeatInterval": "1m", "heartbeatTimeout": "20ms"}}),
        json!({"parallelism": 129}),
        json!({"parallelism": 9, "maxParallelism": 8}),
    ]
}

fn manifest(fields: &Value) -> Value {
    let mut spec = json!({"sql": "INSERT", "checkpoint": {"storage": "s3://bucket/jobs"}, "parallelism": 2});
    merge(&mut spec, fields.clone());
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "spec": spec,
        "metadata": {"name": JOB, "namespace": "ns", "uid": "00000001-0000-4000-8000-000000000000"}})
}

/// Whether the API server or the operator refuses it.
fn is_refused(manifest: &Value) -> bool {
    let shape = check_shape(manifest);
    let Some(job) = shape.job.filter(|_| shape.problems.is_empty()) else { return true };
    validate_cel(&job).is_err() || validate(&job, &References::default(), &defaults()).is_err()
}

/// The operator is given it as it is, as by an API server that checks nothing but types.
fn is_survived(fields: &Value) {
    let Ok(job) = serde_json::from_value::<StreamJob>(manifest(fields)) else { return };
    let mut run = Run::new();
    run.change(|world| world.apply_job(JOB, spec_with(json!({}))));
    run.settle();
    let before = run.picture();
    run.change(|world| world.apply_job(JOB, job.spec.clone()));
    for _ in 0..10 {
        run.round();
    }
    let after = run.picture();
    assert_eq!(
        (after.pods, after.objects),
        (before.pods, before.objects),
        "what runs is touched by {fields}"
    );
    let degraded = run.condition(ConditionType::Degraded);
    assert!(degraded.starts_with("True"), "{fields}: {degraded}");
    assert!(!degraded.contains("canary"), "{degraded}");
}

#[test]
fn attacks_are_refused_and_touch_nothing() {
    for attack in attacks() {
        assert!(is_refused(&manifest(&attack)), "{attack}");
        is_survived_if_typed(&attack);
    }
}

/// Unknown fields are dropped by the API server: what is left of such an attack may be a good spec.
fn is_survived_if_typed(fields: &Value) {
    let shape = check_shape(&manifest(fields));
    if shape.left_out.is_empty() && shape.problems.is_empty() {
        is_survived(fields);
    }
}

/// The few that are good somewhere after all.
fn is_good(field: &str, value: &Value) -> bool {
    match (field, value) {
        ("worker.labels" | "worker.nodeSelector" | "worker.resources", Value::Object(_))
        | ("worker.env" | "worker.volumes" | "worker.imagePullSecrets", Value::Array(_)) => true,
        ("worker.standby", value) => *value == json!(0),
        // An account is a name like any other; what it may do is not for this operator to say.
        ("worker.serviceAccountName", Value::String(name)) => {
            let names = [
                "0",
                "10",
                "1e309",
                "99999999999999999999d",
                "weir-operator-root",
                "hot-items-00000001-weir-tls",
            ];
            names.contains(&name.as_str())
        }
        // The policy of the network is what keeps pods from it.
        ("checkpoint.endpoint", Value::String(url)) => url == "http://169.254.169.254/",
        _ => false,
    }
}

#[test]
fn every_field_refuses_what_does_not_belong_there() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for field in FIELDS {
        for value in nasty() {
            let mut fields = json!({});
            put(&mut fields, field, value.clone());
            if is_refused(&manifest(&fields)) == is_good(field, &value) {
                wrong.push(fields.to_string().chars().take(200).collect::<String>());
            }
            cases += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cases >= 500, "{cases}");
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(nasty()),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z./]{0,12}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_brings_the_operator_down(
        attacked in prop::collection::vec((prop::sample::select(FIELDS.to_vec()), json_value()), 1..4)
    ) {
        let mut fields = json!({});
        for (field, value) in attacked {
            put(&mut fields, field, value);
        }
        let manifest = manifest(&fields);
        let refused = is_refused(&manifest);
        if let Ok(job) = serde_json::from_value::<StreamJob>(manifest) {
            let mut run = Run::new();
            run.change(|world| world.apply_job(JOB, job.spec));
            for _ in 0..4 {
                run.round();
            }
            let picture = run.picture();
            // All of it, or nothing: none is accepted half.
            let typed_and_refused = refused && validate(
                &run.job().expect("a job"), &References::default(), &defaults()).is_err();
            if typed_and_refused {
                prop_assert!(picture.pods.is_empty() && picture.objects.is_empty());
                prop_assert!(run.condition(ConditionType::Ready).starts_with("False"));
            }
        }
    }
}

#[test]
fn a_savepoint_of_another_namespace_can_not_be_named() {
    // There is no field for it; a name with a slash is no name.
    let fields = json!({"restoreFrom": {"savepoint": "other/before"}});
    assert!(is_refused(&manifest(&fields)));
}
