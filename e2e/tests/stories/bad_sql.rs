//! A manifest that can't be run.

use serde_json::json;
use weir_e2e::story::{condition, condition_of, has_reason};
use weir_e2e::{Job, Story};

const BAD: &str = "CREATE TABLE a (n BIGINT) WITH ('connector' = 'datagen');
CREATE TABLE b (n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO b SELECT missing FROM a;";

#[test]
fn what_the_schema_can_refuse_is_refused_when_it_is_applied() {
    let story = Story::begin_without_operator("refused");
    for (path, value) in [
        ("parallelism", json!(500)),
        ("checkpoint.storage", json!("ftp://somewhere")),
        ("checkpoint.interval", json!("soon")),
        ("worker.taskSlots", json!(0)),
        ("sql", json!("")),
    ] {
        let said = story.kubectl().try_apply(&Job::new("refused").with(path, value.clone()).manifest());
        assert!(said.is_err(), "{path}: {value}: {said:?}");
    }
}

#[test]
fn bad_sql_is_told_and_the_next_spec_runs() {
    let story = Story::begin("bad-sql");
    let job = Job::new("typo");
    story.apply(&job.clone().with("sql", json!(BAD)));
    let told = story.until(&job, "the problem is told", |job| has_reason(job, "InvalidSql"));
    assert_eq!(condition(&told, "Ready"), Some("False"));
    let stalled = condition_of(&told, "Stalled").unwrap();
    assert_eq!(stalled["status"], "True", "{stalled}");
    assert!(stalled["message"].as_str().unwrap().contains("missing"), "{stalled}");

    // No manual step: the next spec is enough.
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    story.finish(&job);
}

#[test]
fn a_running_job_is_left_alone_by_bad_sql() {
    let story = Story::begin("bad-change");
    let job = Job::new("steady");
    story.apply(&job);
    story.until_checkpoints(&job, 1);
    story.apply(&job.clone().with("sql", json!(BAD)));
    let told = |job: &serde_json::Value| has_reason(job, "InvalidSql") || has_reason(job, "RolledBack");
    let told = story.until(&job, "the problem is told, and the job runs", |job| {
        told(job) && condition(job, "Ready") == Some("True")
    });
    assert!(told["status"]["conditions"].to_string().contains("missing"), "{:#}", told["status"]);
    story.until_checkpoints(&job, 1);
    story.apply(&job);
    story.finish(&job);
}
