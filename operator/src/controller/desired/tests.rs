use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use serde_json::{Value, json};

use super::*;
use crate::controller::validate::{Defaults, References, validate};

fn wanted(fields: Value) -> Wanted {
    let mut manifest = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {"name": "hot-items", "namespace": "jobs", "uid": "0b4f3c1e-0000-4000-8000-000000000000"},
        "spec": {"sql": "INSERT", "checkpoint": {"storage": "s3://bucket/jobs"}},
    });
    for (key, value) in fields.as_object().expect("fields") {
        manifest["spec"][key] = value.clone();
    }
    let defaults = Defaults {
        image: "weir:1".to_owned(),
        worker_resources: ResourceRequirements::default(),
        coordinator_resources: ResourceRequirements::default(),
        root_secret: "weir-operator-root".to_owned(),
    };
    let job = serde_json::from_value(manifest).expect("a manifest of the test");
    validate(&job, &References::default(), &defaults).expect("no problems")
}

/// A job that uses all that can be chosen of pods.
fn everything() -> Wanted {
    wanted(json!({
        "parallelism": 5,
        "worker": {
            "taskSlots": 2, "standby": 1, "image": "registry/weir:2", "imagePullPolicy": "Always",
            "imagePullSecrets": [{"name": "pull"}],
            "labels": {"team": "a", "app.kubernetes.io/name": "mine", "app.kubernetes.io/component": "mine"},
            "annotations": {"note": "x"}, "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}],
            "env": [
                {"name": "PLAIN", "value": "1"},
                {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "MAP", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
            ],
            "volumes": [
                {"mountPath": "/data/a", "secret": {"name": "s"}},
                {"mountPath": "/data/b", "configMap": {"name": "m"}},
                {"mountPath": "/data/c", "emptyDir": "1Gi"},
            ],
        },
        "checkpoint": {"storage": "s3://bucket/jobs", "storageSecretRef": {"name": "s3"}, "endpoint": "http://s3:7070"},
    }))
}

fn pods(wanted: &Wanted) -> Vec<Pod> {
    vec![
        coordinator(wanted, 0, None),
        worker(wanted, 3, 1),
        state_eraser(wanted),
        savepoint_eraser(wanted, "hot-items-0b4f3c1e-e-1".to_owned(), "s3://bucket/jobs/x/savepoints/y"),
    ]
}

#[test]
fn every_pod_passes_the_restricted_standard_and_has_no_token() {
    for wanted in [wanted(json!({})), everything()] {
        for pod in pods(&wanted) {
            let pod = serde_json::to_value(&pod).expect("plain data");
            let spec = &pod["spec"];
            assert_eq!(spec["automountServiceAccountToken"], json!(false));
            assert_eq!(spec["securityContext"]["runAsNonRoot"], json!(true));
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault"));
            for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
                assert!(spec[field].is_null(), "{field}");
            }
            for volume in spec["volumes"].as_array().expect("volumes") {
                let kinds: Vec<&String> =
                    volume.as_object().expect("fields").keys().filter(|k| *k != "name").collect();
                assert!(
                    kinds.iter().all(|k| ["secret", "configMap", "emptyDir"].contains(&k.as_str())),
                    "{kinds:?}"
                );
            }
            let container = &spec["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], json!(false));
            assert_eq!(security["readOnlyRootFilesystem"], json!(true));
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
            assert!(container["command"].is_null(), "the image says what weir is");
        }
    }
}

#[test]
fn what_a_person_chooses_is_there_and_ours_wins() {
    let wanted = everything();
    let pod = serde_json::to_value(worker(&wanted, 3, 1)).expect("plain data");
    let labels = &pod["metadata"]["labels"];
    for (key, value) in [
        ("team", "a"),
        ("app.kubernetes.io/name", "weir"),
        ("app.kubernetes.io/instance", "hot-items"),
        ("app.kubernetes.io/component", "worker"),
        ("app.kubernetes.io/managed-by", "weir-operator"),
        ("weir.dev/job-uid", "0b4f3c1e-0000-4000-8000-000000000000"),
        ("weir.dev/worker", "3"),
    ] {
        assert_eq!(labels[key], json!(value), "{key}");
    }
    assert_eq!(pod["metadata"]["name"], json!("hot-items-0b4f3c1e-w3-1"));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], json!("0b4f3c1e-0000-4000-8000-000000000000"));
    let container = &pod["spec"]["containers"][0];
    let env: Vec<&str> =
        container["env"].as_array().expect("env").iter().filter_map(|e| e["name"].as_str()).collect();
    let s3 = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    assert_eq!(env, [&s3[..], &["PLAIN", "SECRET", "MAP", "WEIR_ADVERTISE"][..]].concat());
    let args = container["args"].to_string();
    for arg in [
        "--slots=2",
        "--coordinator=hot-items-0b4f3c1e.jobs.svc:7070",
        "--uid=0b4f3c1e-",
        "--tls-ca=/etc/weir/tls/ca.pem",
    ] {
        assert!(args.contains(arg), "{arg} in {args}");
    }
    assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "fast"}));
    let tolerations = pod["spec"]["tolerations"].as_array().expect("tolerations");
    assert_eq!(tolerations.len(), 2, "the one of the user, and one of ours that it does not replace");
}

#[test]
fn numbers_of_pods_follow_the_spec() {
    for (fields, workers, stay) in [
        (json!({}), 1, 1),
        (json!({"parallelism": 4}), 4, 4),
        (json!({"parallelism": 5, "worker": {"taskSlots": 2}}), 3, 3),
        (json!({"parallelism": 5, "worker": {"taskSlots": 2, "standby": 2}}), 5, 5),
    ] {
        let wanted = wanted(fields.clone());
        assert_eq!(wanted.workers(), workers, "{fields}");
        let budget =
            serde_json::to_value(disruption_budget::disruption_budget(&wanted, false)).expect("plain data");
        assert_eq!(budget["spec"]["minAvailable"], json!(stay), "all but one: {fields}");
        let resting =
            serde_json::to_value(disruption_budget::disruption_budget(&wanted, true)).expect("plain data");
        assert_eq!(resting["spec"]["minAvailable"], json!(0), "what is left holds up no node");
    }
}

#[test]
fn the_manifest_in_the_cluster_says_the_same_when_it_is_read_again() {
    let wanted = everything();
    let map = config_map(&wanted, true);
    let text = &map.data.expect("data")[JOB_FILE];
    let job = serde_json::from_str(text).expect("a manifest");
    let defaults = Defaults {
        image: "another:1".to_owned(),
        worker_resources: ResourceRequirements::default(),
        coordinator_resources: ResourceRequirements::default(),
        root_secret: String::new(),
    };
    let again = validate(&job, &References::default(), &defaults).expect("no problems");
    assert_eq!(
        (again.version, again.settings, again.config),
        (wanted.version, wanted.settings, wanted.config)
    );
}

#[test]
fn an_account_of_the_users_is_not_made_and_reaches_its_credentials() {
    let wanted = wanted(json!({"worker": {"serviceAccountName": "s3-access"}}));
    let made = objects(&wanted, &Authority::new([1; 32]), 1, true, false);
    assert!(made.iter().all(|o| o.kind() != "ServiceAccount"));
    let pod = serde_json::to_value(coordinator(&wanted, 0, Some(7))).expect("plain data");
    assert_eq!(pod["spec"]["serviceAccountName"], json!("s3-access"));
    assert!(pod["spec"]["containers"][0]["args"].to_string().contains("--fresh-after=7"));
    let policy = made.iter().find_map(|o| match o {
        Object::NetworkPolicy(policy) => serde_json::to_value(policy).ok(),
        _ => None,
    });
    assert_eq!(policy.expect("a policy")["spec"]["egress"], json!([{}]));
}

/// All objects of a job, as a reviewer of a change sees them.
#[test]
fn the_committed_objects_are_what_is_made() {
    let wanted = everything();
    let mut text = "# Generated; to make it anew: WEIR_UPDATE=1 cargo test -p weir-operator\n".to_owned();
    let objects = objects(&wanted, &Authority::new([1; 32]), 1, true, false);
    let mut values: Vec<Value> = objects
        .iter()
        .map(|object| match object {
            Object::Service(o) => serde_json::to_value(o),
            Object::ConfigMap(o) => serde_json::to_value(o),
            Object::Secret(o) => serde_json::to_value(o),
            Object::ServiceAccount(o) => serde_json::to_value(o),
            Object::PodDisruptionBudget(o) => serde_json::to_value(o),
            Object::NetworkPolicy(o) => serde_json::to_value(o),
        })
        .chain(pods(&wanted).iter().map(serde_json::to_value))
        .collect::<Result<_, _>>()
        .expect("plain data");
    for value in &mut values {
        if value["kind"] == "Secret" {
            value["data"] = json!("left out");
        }
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(value).expect("plain data"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("objects.yaml");
    if std::env::var_os("WEIR_UPDATE").is_some() {
        std::fs::write(&path, &text).expect("the folder of the crate is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "operator/objects.yaml is not what is made; make it anew with WEIR_UPDATE=1");
}
