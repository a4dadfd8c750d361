//! What a spec comes to: defaults, identity, memory.

use std::time::Duration;

use serde_json::{Value, json};
use weir_crds::{Given, StreamJob, to_config};
use weir_protocol::{CheckpointMode, JobConfig, LivenessConfig, OnUnreadable, RestartStrategy, StateBackend};

fn config(metadata: Value, spec: Value, given: &Given) -> JobConfig {
    let manifest = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": metadata, "spec": spec,
    });
    let job: StreamJob = serde_json::from_value(manifest).expect("a manifest of the test");
    to_config(&job, given).expect("no problems")
}

fn local() -> Given {
    Given { storage: Some("file:///tmp/.weir".to_owned()), ..Given::default() }
}

#[test]
fn the_least_manifest_has_the_documented_defaults() {
    let c = config(json!({"name": "j"}), json!({"sql": "SELECT 1"}), &local());
    assert_eq!((c.uid.as_str(), c.name.as_str(), c.sql.as_str()), ("j", "j", "SELECT 1"));
    assert_eq!((c.parallelism, c.max_parallelism, c.task_slots), (1, 128, 1));
    assert_eq!(
        (c.state.backend, c.state.ttl, c.state.memory_limit),
        (StateBackend::Memory, Duration::ZERO, 1 << 30)
    );
    assert_eq!(c.state.deltas_per_base, 10);
    assert_eq!(c.checkpoint.storage.url, "file:///tmp/.weir");
    assert_eq!(c.checkpoint.mode, CheckpointMode::ExactlyOnce);
    assert_eq!(c.checkpoint.interval, Duration::from_secs(10));
    assert_eq!(c.checkpoint.timeout, Duration::from_secs(600));
    assert_eq!(c.checkpoint.min_pause, Duration::ZERO);
    assert_eq!((c.checkpoint.tolerable_failures, c.checkpoint.retain), (3, 3));
    assert_eq!(c.checkpoint.expiration, Duration::from_secs(7 * 86_400));
    assert_eq!(c.checkpoint.max_uncheckpointed_bytes, 256 << 20);
    assert_eq!(c.on_unreadable, OnUnreadable::Stop);
    assert_eq!(c.liveness, LivenessConfig::default());
    let RestartStrategy::ExponentialDelay { initial_delay, max_delay, reset_after, .. } = c.restart else {
        panic!("{:?}", c.restart)
    };
    assert_eq!(
        (initial_delay, max_delay, reset_after),
        (Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3600))
    );
}

#[test]
fn a_job_keeps_its_identity_and_no_two_share_one() {
    let uid = |metadata| config(metadata, json!({"sql": "SELECT 1"}), &local()).uid.to_string();
    assert_eq!(uid(json!({"name": "hot"})), "hot");
    assert_eq!(uid(json!({"name": "hot", "namespace": "default"})), "hot");
    let kubernetes = "7c1b2f4e-0d3a-4b57-9f0e-1a2b3c4d5e6f";
    assert_eq!(uid(json!({"name": "hot", "namespace": "x", "uid": kubernetes})), kubernetes);
    let (a, b) =
        (uid(json!({"name": "c", "namespace": "a-b"})), uid(json!({"name": "b-c", "namespace": "a"})));
    assert!(a != b && a.starts_with("c-") && b.starts_with("b-c-"), "{a} {b}");
    // Golden: a change of it would begin every such job anew.
    assert_eq!(uid(json!({"name": "hot", "namespace": "team"})), "hot-4f371fff");
}

#[test]
fn the_memory_limit_follows_the_pod_then_the_container() {
    let memory = |spec: Value, container| {
        let mut spec = spec;
        spec["sql"] = json!("SELECT 1");
        let c = config(json!({"name": "j"}), spec, &Given { container_memory: container, ..local() });
        (c.state.memory_limit, c.checkpoint.max_uncheckpointed_bytes)
    };
    let pod = json!({"worker": {"resources": {"limits": {"memory": "4Gi"}}}});
    assert_eq!(memory(pod.clone(), Some(1 << 40)), (2 << 30, 256 << 20));
    assert_eq!(memory(json!({}), Some(512 << 20)), (256 << 20, 128 << 20));
    assert_eq!(memory(json!({}), Some(1)), (16 << 20, 8 << 20));
    let mut said = pod;
    said["state"] = json!({"memoryLimit": "3Gi"});
    assert_eq!(memory(said, None), (3 << 30, 256 << 20));
}

#[test]
fn an_endpoint_of_ones_own_means_the_bucket_in_the_path() {
    let spec = json!({"sql": "x", "checkpoint": {"storage": "s3://bucket/a/", "endpoint": "http://h:9/"}});
    let storage = config(json!({"name": "j"}), spec, &Given::default()).checkpoint.storage;
    assert_eq!(storage.url, "s3://bucket/a");
    assert_eq!((storage.endpoint.as_deref(), storage.path_style), (Some("http://h:9"), true));
}

#[test]
fn a_peer_is_not_lost_between_two_heartbeats() {
    let spec = |interval: &str, timeout: &str| {
        let recovery = json!({"heartbeatInterval": interval, "heartbeatTimeout": timeout});
        json!({"sql": "SELECT 1", "recovery": recovery})
    };
    let c = config(json!({"name": "j"}), spec("100ms", "200ms"), &local());
    assert_eq!(c.liveness.heartbeat_timeout, Duration::from_millis(200));
    let mut job = StreamJob::new("j", serde_json::from_value(spec("1s", "1500ms")).expect("a spec"));
    job.metadata.name = Some("j".to_owned());
    let problems = to_config(&job, &local()).expect_err("too short");
    assert_eq!(problems[0].place.to_string(), "spec.recovery.heartbeatTimeout");
    assert!(problems[0].message.contains("twice recovery.heartbeatInterval (1s)"), "{problems:?}");
}

#[test]
fn a_configuration_reads_back_what_it_writes() {
    let c = config(json!({"name": "j"}), json!({"sql": "SELECT 1"}), &local());
    let text = serde_json::to_string(&c).expect("plain data");
    assert_eq!(serde_json::from_str::<JobConfig>(&text).expect("the same"), c);
}
