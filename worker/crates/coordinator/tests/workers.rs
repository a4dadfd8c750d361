//! Many workers that come, go and are taken over: the driver over a store in memory, with workers that say what
//! hosts would say.
#![allow(clippy::panic, reason = "tests")]

mod fakes;

use std::time::Duration;

use fakes::{Fakes, running};
use weir_coordinator::status::{JobState, RecoveryCause};
use weir_coordinator::{Accepted, AskError, Exit, Refused, Request, StopRequest};
use weir_protocol::CheckpointKind;

#[tokio::test]
async fn a_lost_worker_is_replaced_at_once_and_the_others_keep_their_places() {
    let fakes = Fakes::new();
    for name in ["a", "b", "standby"] {
        fakes.come(name, 1);
    }
    let mut job = fakes.start(2);
    job.until("running", |s| running(s) && s.checkpoints.last_completed.is_some()).await;
    let placed = fakes.placed();
    assert_eq!(placed, [("a".to_owned(), 0), ("b".to_owned(), 0)]);
    fakes.lose("a");
    let status = job.until("running again", |s| running(s) && s.execution.0 == 2).await;
    assert_eq!(fakes.placed(), [("standby".to_owned(), 0), ("b".to_owned(), 0)]);
    assert_eq!(status.restarts[0].delay_us, Some(0), "{:?}", status.restarts);
    let recovery = &status.recoveries[0];
    assert_eq!((recovery.cause, recovery.execution.0), (RecoveryCause::LostWorker, 2));
    assert!(
        recovery.failure.as_ref().is_some_and(|f| f.message.contains("(a): its connection broke")),
        "{recovery:?}"
    );
    let times = [Some(recovery.detected_us), recovery.cancelled_us, recovery.placed_us, recovery.deployed_us];
    assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{recovery:?}");
    assert_eq!(recovery.restored.stored_bytes, 20, "both read what they did not have");
    // The one that comes back is a standby now: a running job is left alone.
    fakes.come("a", 1);
    let status = job.until("taken in", |s| s.workers.len() == 3).await;
    assert_eq!((status.execution.0, status.workers[2].used), (2, 0));
    job.stop().await;
}

#[tokio::test]
async fn without_slots_the_job_waits_and_says_how_many() {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    fakes.come("b", 1);
    let mut job = fakes.start(2);
    job.until("running", running).await;
    fakes.lose("b");
    job.until("waiting", |s| s.detail.as_deref() == Some("waiting for 1 more slot")).await;
    fakes.come("b", 4);
    job.until("running again", running).await;
    assert_eq!(fakes.placed(), [("a".to_owned(), 0), ("b".to_owned(), 0)], "back to where its state is");
    job.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_was_overtaken_learns_it_from_a_worker_of_the_other() {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    let mut job = fakes.start(1);
    job.until("running", running).await;
    fakes.cut("a");
    fakes.change("a", |running| running.stamp.attempt.0 += 1);
    fakes.reconnect_one("a");
    assert!(matches!(job.exit().await, Exit::Fenced(by) if by == "attempt 2 runs on worker a"));
}

#[tokio::test]
async fn a_coordinator_that_waits_for_slots_learns_that_it_was_overtaken() {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    let quick = Duration::from_millis(20);
    let mut first = fakes.start_with(2, |options| options.config.liveness.heartbeat_timeout = quick);
    first.until("waiting", |s| s.detail.as_deref() == Some("waiting for 1 more slot")).await;
    // It has nothing to write, and keeps worker a from the other.
    let mut second = fakes.start(1);
    second.until("running", running).await;
    assert!(matches!(first.exit().await, Exit::Fenced(by) if by.contains("attempt 2")));
    second.stop().await;
}

#[tokio::test]
async fn another_coordinator_takes_over_what_runs_without_stopping_it() {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    fakes.come("b", 2);
    let mut job = fakes.start(3);
    job.until("running", |s| running(s) && s.checkpoints.counters.completed >= 2).await;
    job.kill().await;
    let deployed = fakes.deployments();
    fakes.reconnect();
    let mut job = fakes.start(3);
    let status = job.until("running", running).await;
    assert_eq!((status.attempt.map(|a| a.0), status.execution.0), (Some(2), 1));
    assert_eq!(status.recoveries[0].cause, RecoveryCause::Adoption);
    assert_eq!(fakes.deployments(), deployed, "nothing was deployed anew");
    let before = status.checkpoints.counters.completed;
    job.until("checkpoints", |s| s.checkpoints.counters.completed > before).await;
    assert_eq!(fakes.deployments(), deployed);
    assert!(fakes.declined().is_empty(), "numbers of checkpoints rise: {:?}", fakes.declined());
    job.stop().await;
}

#[tokio::test]
async fn what_is_not_whole_or_not_of_the_newest_checkpoint_is_not_taken_over() {
    for case in ["missing", "older", "finished elsewhere"] {
        let fakes = Fakes::new();
        for name in ["a", "b"] {
            fakes.come(name, 1);
        }
        let mut job = fakes.start(2);
        job.until("running", |s| running(s) && s.checkpoints.counters.completed >= 2).await;
        job.kill().await;
        match case {
            "missing" => fakes.forget("b"),
            "older" => fakes.change("a", |running| {
                running.completed = Some(weir_protocol::CheckpointId(1));
                running.acknowledged = None;
            }),
            _ => fakes.change("a", |running| running.parallelism = 5),
        }
        let deployed = fakes.deployments();
        fakes.reconnect();
        let mut job = fakes.start(2);
        let status = job.until("running", running).await;
        assert_eq!(status.recoveries[0].cause, RecoveryCause::Start, "{case}");
        assert_eq!(fakes.deployments(), deployed + 2, "{case}");
        job.stop().await;
    }
}

#[tokio::test]
async fn a_worker_that_does_not_agree_to_be_taken_over_makes_it_a_restore() {
    let fakes = Fakes::new();
    for name in ["a", "b"] {
        fakes.come(name, 1);
    }
    let mut job = fakes.start(2);
    job.until("running", |s| running(s) && s.checkpoints.counters.completed >= 1).await;
    job.kill().await;
    fakes.reconnect();
    fakes.refuse_adoption("b");
    let mut job = fakes.start(2);
    let status = job.until("running", running).await;
    assert_eq!(status.execution.0, 2);
    assert_eq!(status.checkpoints.counters.restarts, 0, "it is not the job's fault");
    assert_eq!(status.recoveries[1].cause, RecoveryCause::Adoption);
    job.stop().await;
}

#[tokio::test]
async fn a_draining_worker_is_left_through_a_checkpoint_and_released() {
    let fakes = Fakes::new();
    for name in ["a", "b", "c"] {
        fakes.come(name, 1);
    }
    let mut job = fakes.start_every(2, Duration::from_secs(3600));
    job.until("running", running).await;
    fakes.drain("a");
    let status = job.until("moved", |s| running(s) && s.execution.0 == 2).await;
    assert_eq!(fakes.placed(), [("c".to_owned(), 0), ("b".to_owned(), 0)]);
    assert_eq!(fakes.released(), ["a"]);
    assert_eq!(status.checkpoints.counters.restarts, 0);
    let checkpoint = &status.checkpoints.newest[0];
    assert_eq!(
        (checkpoint.reason, status.recoveries[0].cause),
        (CheckpointKind::LifeCycle, RecoveryCause::Drain)
    );
    assert_eq!(fakes.holds(), [checkpoint.id], "sources stop behind the barrier");
    job.stop().await;
}

#[tokio::test]
async fn a_draining_worker_without_replacement_goes_on_until_there_is_one() {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    fakes.come("b", 1);
    let mut job = fakes.start(2);
    job.until("running", running).await;
    fakes.drain("b");
    let waits = "workers that are about to go are being left as soon as there is 1 more slot";
    job.until("waits", |s| running(s) && s.detail.as_deref() == Some(waits)).await;
    assert!(fakes.released().is_empty());
    fakes.come("c", 1);
    job.until("moved", |s| running(s) && s.execution.0 == 2).await;
    assert_eq!(fakes.placed(), [("a".to_owned(), 0), ("c".to_owned(), 0)]);
    assert_eq!(fakes.released(), ["b"]);
    job.stop().await;
}

#[tokio::test]
async fn an_idle_worker_that_drains_is_released_at_once() {
    let fakes = Fakes::new();
    fakes.come("a", 2);
    fakes.come("b", 1);
    let mut job = fakes.start(2);
    job.until("running", running).await;
    fakes.lose("b");
    job.until("all on one", |s| running(s) && s.execution.0 == 2).await;
    fakes.come("c", 1);
    fakes.drain("c");
    fakes.until_released("c").await;
    assert_eq!(job.status().execution.0, 2);
    job.stop().await;
}

#[tokio::test]
async fn the_parallelism_of_a_running_job_changes_through_a_checkpoint_and_stays() {
    let fakes = Fakes::new();
    fakes.come("a", 2);
    fakes.come("b", 2);
    let mut job = fakes.start_every(2, Duration::from_secs(3600));
    job.until("running", running).await;
    for (parallelism, why) in [(0, "within 1 to 128"), (129, "within 1 to 128"), (5, "there are 4")] {
        let refused = job.ask(Request::Rescale { parallelism }).await;
        let Err(AskError::Refused(Refused::Invalid(text) | Refused::NotNow(text))) = refused else {
            panic!("{refused:?}");
        };
        assert!(text.contains(why), "{text}");
    }
    let accepted = job.ask(Request::Rescale { parallelism: 3 }).await;
    assert_eq!(accepted, Ok(Accepted::Rescaling { from: 2, to: 3 }));
    let status = job.until("rescaled", |s| running(s) && s.execution.0 == 2).await;
    assert_eq!((status.parallelism, status.graph.vertices[0].parallelism), (3, 3));
    assert_eq!(fakes.placed().len(), 3);
    let recovery = &status.recoveries[0];
    assert_eq!((recovery.cause, recovery.parallelism), (RecoveryCause::Rescale, 3));
    assert!(recovery.pause_us().is_some());
    assert_eq!(status.checkpoints.counters.restarts, 0);
    // Another coordinator, without anything to take over and before any checkpoint at the new parallelism.
    job.kill().await;
    for name in ["a", "b"] {
        fakes.forget(name);
    }
    fakes.reconnect();
    let mut job = fakes.start(2);
    let status = job.until("running", running).await;
    assert_eq!((status.parallelism, fakes.placed().len()), (3, 3));
    job.until("a checkpoint", |s| s.checkpoints.counters.completed >= 2).await;
    job.stop().await;
    // Whoever changes what the configuration asks for is heard.
    fakes.reconnect();
    let mut job = fakes.start(4);
    assert_eq!(job.until("running", running).await.parallelism, 4);
    job.stop().await;
}

#[tokio::test]
async fn a_job_that_lacks_slots_can_be_made_smaller() {
    let fakes = Fakes::new();
    fakes.come("a", 2);
    let mut job = fakes.start(3);
    job.until("waiting", |s| s.detail.as_deref() == Some("waiting for 1 more slot")).await;
    assert_eq!(
        job.ask(Request::Rescale { parallelism: 2 }).await,
        Ok(Accepted::Rescaling { from: 3, to: 2 })
    );
    assert_eq!(job.until("running", running).await.parallelism, 2);
    job.stop().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_with_what_was_given_up_is_told_to_stop_it() {
    let fakes = Fakes::new();
    for name in ["a", "b", "c"] {
        fakes.come(name, 1);
    }
    let mut job = fakes.start(2);
    job.until("running", running).await;
    fakes.cut("a");
    job.until("moved", |s| running(s) && s.execution.0 == 2).await;
    fakes.reconnect_one("a");
    fakes.until_idle("a").await;
    let status = job.until("taken in", |s| s.workers.len() == 3).await;
    assert_eq!((status.state, status.execution.0), (JobState::Running, 2));
    job.stop().await;
}

#[tokio::test]
async fn workers_that_come_up_together_share_the_subtasks() {
    let fakes = Fakes::new();
    let mut job = fakes.start_with(2, |options| options.gather = Duration::from_millis(200));
    fakes.come("a", 2);
    tokio::task::yield_now().await;
    fakes.come("b", 2);
    job.until("running", running).await;
    assert_eq!(fakes.placed(), [("a".to_owned(), 0), ("b".to_owned(), 0)]);
    assert_eq!(job.ask(Request::Stop(StopRequest::Graceful)).await, Ok(Accepted::Stopping));
    assert!(matches!(job.exit().await, Exit::Stopped { complete: true, .. }));
    assert_eq!(fakes.placed().len(), 0, "all was cancelled");
}

#[tokio::test]
async fn a_job_is_changed_and_stopped_over_http_and_refusals_are_explained() {
    let fakes = Fakes::new();
    fakes.come("a", 4);
    let mut job = fakes.start(2);
    job.until("running", running).await;
    let server = job.serve().await;
    let json = "application/json";
    for (path, kind, body, expected) in [
        ("/v1/job/rescale", "text/plain", r#"{"parallelism":3}"#, ["415", "send JSON"]),
        ("/v1/job/rescale", json, r#"{"parallelism":"x"}"#, ["422", "parallelism"]),
        ("/v1/job/rescale", json, r#"{"parallel":3}"#, ["422", "unknown field"]),
        ("/v1/job/rescale", json, r#"{"parallelism":0}"#, ["422", "within 1 to 128"]),
        ("/v1/job/rescale", json, r#"{"parallelism":9}"#, ["409", "takes 9 slots and there are 4"]),
        ("/v1/job/rescale", json, r#"{"parallelism":3}"#, ["202", r#"{"from":2,"to":3}"#]),
    ] {
        let answer = server.post(path, kind, body).await;
        assert!(expected.iter().all(|part| answer.contains(part)), "{path} {body}: {answer}");
    }
    job.until("rescaled", |s| running(s) && s.parallelism == 3).await;
    let answer = server.get("/v1/job/stop").await;
    assert!(answer.contains("405") && answer.contains("can only be asked for, with POST"), "{answer}");
    let metrics = server.get("/metrics").await;
    for part in
        ["weir_parallelism{", "weir_recovery_cause{", "weir_subtask_checkpoint_seconds{", "phase=\"align\""]
    {
        assert!(metrics.contains(part), "{part} is not in {metrics}");
    }
    assert!(server.post("/v1/job/stop", json, "{}").await.contains("202"));
    assert!(matches!(job.exit().await, Exit::Stopped { complete: true, .. }));
    let answer = server.post("/v1/job/stop", json, "{}").await;
    assert!(answer.contains("503") && answer.contains("the coordinator has ended"), "{answer}");
}
