//! The bucket is there, and answers badly.

use weir_e2e::story::counter;
use weir_e2e::{Job, Story, bucket};

#[test]
fn the_bucket_refuses_and_then_is_slow() {
    let story = Story::begin("bucket-trouble");
    let job = Job::new("patient")
        .through_trouble()
        .at_rate(500)
        .with("checkpoint.timeout", "3s".into())
        .with("checkpoint.tolerableFailures", 1000.into());
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    bucket::trouble(story.kubectl(), "503");
    story.until_engine(&job, "failed checkpoints are told", |engine| counter(engine, "failed") >= 2);
    bucket::trouble(story.kubectl(), "300");
    story.until_checkpoints(&job, 2);
    bucket::trouble(story.kubectl(), "");
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}
