//! What an attempt starts from, where that is not as a user may expect: said, and never silent.
#![allow(clippy::panic, reason = "tests")]

mod fakes;

use std::time::Duration;

use fakes::{Fakes, running};
use weir_checkpoint::Start;
use weir_coordinator::status::WarningKind;
use weir_coordinator::{Exit, JobStatus, Options};
use weir_protocol::{Failure, FailureKind, OnUnreadable, RestartStrategy};

/// A job that has completed some checkpoints, all of which are kept; its coordinator is dead, and its worker too.
async fn with_checkpoints() -> Fakes {
    let fakes = Fakes::new();
    fakes.come("a", 1);
    let mut job = fakes.start_with(1, keeping);
    job.until("checkpoints", |s| running(s) && s.checkpoints.counters.completed >= 3).await;
    job.kill().await;
    fakes.forget("a");
    fakes.reconnect();
    fakes
}

fn keeping(options: &mut Options) {
    options.config.checkpoint.retain = 100;
    options.config.checkpoint.interval = Duration::from_millis(10);
}

fn permitting(options: &mut Options) {
    keeping(options);
    options.config.on_unreadable = OnUnreadable::Previous;
}

fn unreadable() -> Failure {
    Failure::new(FailureKind::StateUnreadable, "data/x: checksum mismatch")
}

fn delays(status: &JobStatus) -> Vec<Option<u64>> {
    status.restarts.iter().map(|restart| restart.delay_us).collect()
}

#[tokio::test]
async fn restore_from_is_said_to_be_ignored_when_the_job_has_state_and_only_once() {
    let fakes = with_checkpoints().await;
    let asking = |options: &mut Options| {
        keeping(options);
        options.restore_from = Some("savepoint/x".to_owned());
        options.spec = "with restoreFrom".to_owned();
    };
    let mut job = fakes.start_with(1, asking);
    let status = job.until("running", running).await;
    let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
    assert_eq!(warning.kind, WarningKind::RestoreFromIgnored);
    assert!(warning.message.contains("savepoint/x is not used"), "{}", warning.message);
    assert!(warning.message.contains("goes on from its own checkpoint"), "{}", warning.message);
    job.kill().await;
    fakes.forget("a");
    fakes.reconnect();
    let mut job = fakes.start_with(1, asking);
    assert_eq!(job.until("running", running).await.warnings, [], "it was said before");
    job.stop().await;
}

#[tokio::test]
async fn a_checkpoint_that_can_be_read_the_second_time_is_not_given_up() {
    let fakes = with_checkpoints().await;
    fakes.fail_deployments(vec![unreadable()]);
    let mut job = fakes.start_with(1, |options| {
        permitting(options);
        options.config.restart = RestartStrategy::None;
    });
    let status = job.until("running", running).await;
    assert_eq!(delays(&status), [Some(0)], "once more, whatever the restart strategy");
    assert_eq!(status.warnings, []);
    job.stop().await;
}

#[tokio::test]
async fn a_damaged_checkpoint_leads_to_the_one_before_at_once_where_the_user_permits_it() {
    let fakes = with_checkpoints().await;
    fakes.fail_deployments(vec![unreadable(), unreadable()]);
    // The strategy, which would try ten times, is not asked.
    let job = fakes.start_with(1, permitting);
    let status = job.watch();
    let Exit::StepBack { to, failure } = job.exit().await else { panic!("{:#?}", status.borrow()) };
    assert!(failure.kind == FailureKind::StateUnreadable && failure.message.contains("data/x"), "{failure}");
    let newest = status.borrow().checkpoints.restored.expect("a checkpoint");
    assert!(to < newest, "{to} before {newest}");
    assert_eq!(delays(&status.borrow()), [None, Some(0)]);
    fakes.reconnect();
    let mut job = fakes.start_with(1, |options| {
        permitting(options);
        options.start = Start::At(to);
        options.stepped_back = Some(failure);
    });
    let status = job.until("running", running).await;
    assert_eq!(status.checkpoints.restored, Some(to));
    let [warning] = status.warnings.as_slice() else { panic!("{:?}", status.warnings) };
    assert_eq!(warning.kind, WarningKind::SteppedBack);
    assert!(warning.message.contains("checksum mismatch"), "{}", warning.message);
    job.stop().await;
}

#[tokio::test]
async fn nobody_steps_back_for_a_store_that_is_away_or_without_the_users_permission() {
    let away = || Failure::new(FailureKind::Store, "503");
    for (failure, permitted) in [(away(), true), (unreadable(), false)] {
        let fakes = with_checkpoints().await;
        fakes.fail_deployments(vec![failure.clone(); 3]);
        let job = fakes.start_with(1, |options| {
            keeping(options);
            if permitted {
                permitting(options);
            }
            options.config.restart = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::ZERO };
        });
        let exit = job.exit().await;
        assert!(matches!(&exit, Exit::Failed(last) if last.kind == failure.kind), "{exit:?}");
    }
}
