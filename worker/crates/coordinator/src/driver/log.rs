//! What is logged of a job: whatever changed from one status to the next.

use std::time::Duration;

use weir_protocol::Failure;

use crate::status::{CheckpointState, JobState, JobStatus, RestartStatus};

/// Logs what is new.
pub(super) fn tell(before: &JobStatus, now: &JobStatus) {
    for warning in now.warnings.iter().skip(before.warnings.len()) {
        tracing::warn!("{}", warning.message);
    }
    troubles(&before.troubles, &now.troubles);
    let known = before.restarts.first();
    let restarts: Vec<_> = now.restarts.iter().take_while(|r| Some(*r) != known).collect();
    restarts.into_iter().rev().for_each(restart);
    checkpoints(before, now);
    if before.state != now.state {
        state(now);
    }
}

/// Told once for each kind: the words may change with every try.
fn troubles(before: &[Failure], now: &[Failure]) {
    let of_kind = |all: &[Failure], failure: &Failure| all.iter().any(|f| f.kind == failure.kind);
    for trouble in now.iter().filter(|trouble| !of_kind(before, trouble)) {
        tracing::warn!("waiting: {trouble}");
    }
    for trouble in before.iter().filter(|trouble| !of_kind(now, trouble)) {
        tracing::info!("no longer waiting: {trouble}");
    }
}

fn restart(restart: &RestartStatus) {
    let failure = &restart.failure.failure;
    match restart.delay_us.map(Duration::from_micros) {
        Some(delay) => {
            tracing::warn!("execution {} failed, the next follows in {delay:?}: {failure}", restart.execution)
        }
        None => tracing::error!("execution {} failed for good: {failure}", restart.execution),
    }
}

fn checkpoints(before: &JobStatus, now: &JobStatus) {
    let known = |id| before.checkpoints.newest.iter().any(|checkpoint| checkpoint.id == id);
    let ended = now.checkpoints.newest.iter().take_while(|checkpoint| !known(checkpoint.id));
    for checkpoint in ended.collect::<Vec<_>>().into_iter().rev() {
        match (checkpoint.state, &checkpoint.failure) {
            (CheckpointState::Failed, Some(failure)) => {
                tracing::warn!("checkpoint {} failed: {failure}", checkpoint.id);
            }
            (CheckpointState::Failed, None) => tracing::warn!("checkpoint {} failed", checkpoint.id),
            _ => {
                let after = Duration::from_micros(checkpoint.completed_after_us.unwrap_or(0));
                tracing::debug!("checkpoint {} is complete after {after:?}", checkpoint.id);
            }
        }
    }
}

fn state(now: &JobStatus) {
    let detail = now.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    match now.state {
        JobState::Failed => tracing::error!("the job has failed{detail}"),
        state => tracing::info!("the job is {}{detail}", format!("{state:?}").to_lowercase()),
    }
}
