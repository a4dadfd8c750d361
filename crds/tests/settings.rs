//! `SET` keys of Flink: what each comes to, and what is said of those that come to nothing.

use serde_json::{Value, json};
use weir_crds::{Given, Place, Problem, Setting, StreamJob, to_config};
use weir_protocol::JobConfig;

/// The configuration of a job with this spec and these settings; setting `n` stands in line `n + 1`.
fn config(spec: Value, settings: &[(&str, &str)]) -> Result<JobConfig, Vec<Problem>> {
    let mut spec = spec;
    spec["sql"] = json!("SELECT 1");
    let job = StreamJob::new("j", serde_json::from_value(spec).expect("a spec of the test"));
    let settings = (1..).zip(settings).map(|(line, (key, value))| Setting {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line,
        column: 5,
    });
    let storage = Some("file:///tmp/weir".to_owned());
    to_config(&job, &Given { settings: settings.collect(), storage, ..Given::default() })
}

#[test]
fn a_key_says_the_same_as_the_field() {
    for (key, value, spec) in [
        ("execution.checkpointing.interval", "5 s", json!({"checkpoint": {"interval": "5s"}})),
        ("execution.checkpointing.interval", "5000", json!({"checkpoint": {"interval": "5s"}})),
        ("execution.checkpointing.mode", "AT_LEAST_ONCE", json!({"checkpoint": {"mode": "AtLeastOnce"}})),
        ("execution.checkpointing.timeout", "2 min", json!({"checkpoint": {"timeout": "2m"}})),
        ("execution.checkpointing.min-pause", "500 ms", json!({"checkpoint": {"minPause": "500ms"}})),
        (
            "execution.checkpointing.tolerable-failed-checkpoints",
            "7",
            json!({"checkpoint": {"tolerableFailures": 7}}),
        ),
        ("execution.checkpointing.dir", "s3://bucket/x", json!({"checkpoint": {"storage": "s3://bucket/x"}})),
        ("execution.checkpointing.storage", "filesystem", json!({})),
        ("state.checkpoints.dir", "file:///x", json!({"checkpoint": {"storage": "file:///x"}})),
        ("state.checkpoints.num-retained", "5", json!({"checkpoint": {"retain": 5}})),
        ("taskmanager.numberOfTaskSlots", "4", json!({"worker": {"taskSlots": 4}})),
        ("parallelism.default", "8", json!({"parallelism": 8})),
        ("pipeline.max-parallelism", "64", json!({"maxParallelism": 64})),
        ("state.backend.type", "hashmap", json!({"state": {"backend": "Memory"}})),
        ("table.exec.state.ttl", "36 h", json!({"state": {"ttl": "36h"}})),
        ("restart-strategy.type", "none", json!({"restart": {"strategy": "None"}})),
        ("restart-strategy.type", "failure-rate", json!({"restart": {"strategy": "FailureRate"}})),
        (
            "restart-strategy.exponential-delay.initial-backoff",
            "2 s",
            json!({"restart": {"initialDelay": "2s"}}),
        ),
        ("restart-strategy.exponential-delay.jitter-factor", "0.2", json!({"restart": {"jitter": 0.2}})),
        ("execution.runtime-mode", "STREAMING", json!({})),
        ("execution.checkpointing.max-concurrent-checkpoints", "1", json!({})),
        ("table.local-time-zone", "UTC", json!({})),
    ] {
        let set = config(json!({}), &[(key, value)]);
        assert!(set.is_ok(), "{key}: {set:?}");
        assert_eq!(set, config(spec, &[]), "{key}");
    }
}

#[test]
fn a_strategy_and_its_keys_may_all_be_set() {
    let set = config(
        json!({}),
        &[
            ("restart-strategy.fixed-delay.attempts", "5"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.delay", "10 s"),
        ],
    );
    assert_eq!(
        set,
        config(json!({"restart": {"strategy": "FixedDelay", "attempts": 5, "delay": "10s"}}), &[])
    );
}

#[test]
fn the_name_of_the_pipeline_is_for_people_and_does_not_move_the_state() {
    let config = config(json!({}), &[("pipeline.name", "Heiße Ware")]).expect("a name");
    assert_eq!((config.name.as_str(), config.uid.as_str()), ("Heiße Ware", "j"));
}

#[test]
fn the_same_said_twice_is_no_problem() {
    let spec = json!({"checkpoint": {"interval": "60s"}, "parallelism": 4});
    let settings = [("execution.checkpointing.interval", "1 min"), ("parallelism.default", "4")];
    assert_eq!(config(spec.clone(), &settings), config(spec, &[]));
}

/// Settings, spec, and the one problem: line of the setting, message, the other place.
type Refused<'a> = (&'a [(&'a str, &'a str)], Value, u32, &'a str, &'a str);

#[test]
fn what_is_refused_and_why() {
    let none = json!({});
    let cases: &[Refused<'_>] = &[
        (
            &[("execution.checkpointing.interval", "5s")],
            json!({"checkpoint": {"interval": "10s"}}),
            1,
            "SET 'execution.checkpointing.interval': '5s' differs from spec.checkpoint.interval: 10s: keep one of \
             the two",
            "spec.checkpoint.interval",
        ),
        (
            &[("parallelism.default", "1"), ("parallelism.default", "2")],
            none.clone(),
            2,
            "SET 'parallelism.default': '2' differs from '1', set in line 1 of the SQL: keep one of the two",
            "SQL line 1, column 5",
        ),
        (
            &[("state.checkpoints.dir", "file:///a"), ("execution.checkpointing.dir", "file:///b")],
            none.clone(),
            2,
            "SET 'execution.checkpointing.dir': 'file:///b' differs from 'file:///a', set in line 1 of the SQL: keep \
             one of the two",
            "SQL line 1, column 5",
        ),
        (
            &[("execution.checkpointing.intervall", "5s")],
            none.clone(),
            1,
            "SET 'execution.checkpointing.intervall': there is no such key; did you mean \
             'execution.checkpointing.interval'?",
            "",
        ),
        (
            &[("frobnicate", "5s")],
            none.clone(),
            1,
            "SET 'frobnicate': there is no such key; what a job can be told stands in its spec",
            "",
        ),
        (
            &[("table.exec.mini-batch.enabled", "true")],
            none.clone(),
            1,
            "SET 'table.exec.mini-batch.enabled': not needed: aggregates here work on whole batches and put the \
             changes of a key together without waiting; remove the line",
            "",
        ),
        (
            &[("state.backend.type", "rocksdb")],
            none.clone(),
            1,
            "SET 'state.backend.type': 'rocksdb' is not allowed: 'hashmap'",
            "",
        ),
        (
            &[("execution.checkpointing.mode", "exactly")],
            none.clone(),
            1,
            "SET 'execution.checkpointing.mode': 'exactly' is not allowed: 'EXACTLY_ONCE' or 'AT_LEAST_ONCE'",
            "",
        ),
        (
            &[("parallelism.default", "four")],
            none.clone(),
            1,
            "SET 'parallelism.default': 'four' is not a whole number that fits here",
            "",
        ),
        (
            &[("parallelism.default", "0")],
            none.clone(),
            1,
            "SET 'parallelism.default': must be a whole number from 1 to 1024, not 0",
            "",
        ),
        (
            &[("parallelism.default", "200")],
            none.clone(),
            1,
            "SET 'parallelism.default': must be at most maxParallelism (128), not 200",
            "",
        ),
        (
            &[("execution.checkpointing.interval", "soon")],
            none.clone(),
            1,
            "SET 'execution.checkpointing.interval': \"soon\" is not a duration: write whole numbers with ms, s, m, \
             h or d, such as 500ms, 10s or 1m30s",
            "",
        ),
        (
            &[("execution.checkpointing.storage", "jobmanager")],
            none.clone(),
            1,
            "SET 'execution.checkpointing.storage': checkpoints are never kept in a process: write 's3://…' or \
             'file:///…'",
            "",
        ),
        (
            &[("state.checkpoints.dir", "hdfs://nn/x")],
            none.clone(),
            1,
            "SET 'state.checkpoints.dir': the scheme hdfs:// is not known: use s3://bucket/prefix or file:///folder",
            "",
        ),
        (
            &[("restart-strategy.fixed-delay.attempts", "5")],
            none.clone(),
            1,
            "SET 'restart-strategy.fixed-delay.attempts': it belongs to restart strategy FixedDelay, but the job has \
             ExponentialDelay",
            "",
        ),
        (
            &[("execution.runtime-mode", "batch")],
            none.clone(),
            1,
            "SET 'execution.runtime-mode': 'batch' is refused: a job is always streaming; bounded input ends it; \
             write 'streaming' or remove the line",
            "",
        ),
        (
            &[("high-availability.type", "zookeeper")],
            none.clone(),
            1,
            "SET 'high-availability.type': it has no meaning here: the journal in the storage is what makes a job \
             highly available",
            "",
        ),
        (
            &[("pipeline.name", " ")],
            none,
            1,
            "SET 'pipeline.name': a name has 1 to 200 characters, on one line",
            "",
        ),
    ];
    for (settings, spec, line, message, other) in cases {
        let problems = config(spec.clone(), settings).expect_err(message);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let found = &problems[0];
        assert_eq!(found.message, *message);
        assert_eq!(found.place, Place::Sql { line: *line, column: 5 });
        assert_eq!(found.other.as_ref().map(ToString::to_string).unwrap_or_default(), *other);
    }
}
