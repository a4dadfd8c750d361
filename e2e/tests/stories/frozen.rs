//! Processes that stand still and wake up again.

use weir_e2e::nodes::signal;
use weir_e2e::story::{counter, name};
use weir_e2e::{Job, Story, bucket};

#[test]
fn a_worker_freezes_until_it_is_given_up_and_wakes_up_as_a_zombie() {
    let story = Story::begin("frozen-worker");
    // The spare one takes over.
    let job =
        Job::new("frozen").with("worker.standby", 1.into()).with("recovery.heartbeatTimeout", "2s".into());
    story.apply(&job);
    let before = story.until_checkpoints(&job, 2);
    let pods = story.pods(&job, "worker");
    // Whether it works or stands by: frozen, one after the other, all of them are hit.
    for pod in &pods {
        let container = pod["spec"]["containers"][0]["name"].as_str().unwrap();
        signal(pod, container, "SIGSTOP");
        story.until_checkpoints(&job, 3);
        signal(pod, container, "SIGCONT");
        story.until(&job, &format!("{} is back", name(pod)), |job| {
            let workers = &job["status"]["workers"];
            workers["ready"].as_i64().unwrap_or(0) + workers["standby"].as_i64().unwrap_or(0) >= 3
                || job["status"]["state"] == "Finished"
        });
    }
    let after = story.job(&job);
    assert!(
        after["status"]["restarts"].as_i64() > before["status"]["restarts"].as_i64(),
        "somebody was given up"
    );
    story.finish(&job);
}

#[test]
fn the_bucket_is_away_for_a_minute() {
    let story = Story::begin("bucket-away");
    let job = Job::new("waiting")
        .at_rate(400)
        .with("checkpoint.timeout", "3s".into())
        .with("checkpoint.tolerableFailures", 1000.into());
    story.apply(&job);
    story.until_checkpoints(&job, 2);
    let server = story.kubectl().get(&["pod", "s3"]);
    signal(&server, "server", "SIGSTOP");
    // One begins every second, or when the one before has failed after three.
    story.until_engine(&job, "a minute of failed checkpoints", |engine| counter(engine, "failed") >= 18);
    signal(&server, "server", "SIGCONT");
    bucket::ready(story.kubectl());
    story.until_checkpoints(&job, 2);
    story.finish(&job);
}
