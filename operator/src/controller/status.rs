//! What is reported of a job: pure, from the facts and the decision. A report, never the authority.

mod conditions;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{
    ChangeClass, ChangeStatus, CheckpointStatus, CheckpointsStatus, JobState, StreamJob, StreamJobStatus,
    WorkersStatus,
};

use super::change;
use super::decide::{Decision, Situation, Target};
use super::observe::{Observed, Seen};
use super::pods::Role;
use super::validate::Wanted;
use crate::report::{EngineState, Report};

/// The longest message of a condition, in characters.
const LONGEST: usize = 3000;

/// The status of a job after a decision. `before`: the stored manifest of what runs, if it was read.
pub fn status(
    observed: &Observed,
    target: &Target,
    decision: &Decision,
    before: Option<&StreamJob>,
) -> StreamJobStatus {
    let old = observed.job.status.clone().unwrap_or_default();
    let report = observed.coordinator.report();
    let mut new = StreamJobStatus {
        observed_generation: observed.job.metadata.generation,
        state: state(observed, decision, &old),
        conditions: conditions::conditions(observed, target, decision, &old),
        version: decision.memory.clone(),
        change: changed(observed, target, before).or_else(|| old.change.clone()),
        ..old
    };
    new.workers = decision.runs.as_ref().map(|wanted| workers(observed, decision, wanted));
    match report {
        Some(report) => numbers(report, &mut new),
        // Nothing runs: no parallelism, but what was counted stays.
        None if matches!(decision.situation, Situation::Suspended | Situation::Finished) => {
            new.parallelism = Some(0);
        }
        None => {}
    }
    if decision.situation == Situation::Failed {
        new.parallelism = Some(0);
    }
    new
}

/// Whether two statuses differ in more than numbers that change all the time.
pub fn differs(old: &StreamJobStatus, new: &StreamJobStatus) -> bool {
    let without = |status: &StreamJobStatus| StreamJobStatus {
        checkpoints: None,
        restore_point: None,
        ..status.clone()
    };
    // The first completed checkpoint is worth telling at once.
    let first = old.restore_point.is_none() != new.restore_point.is_none();
    first || without(old) != without(new)
}

fn state(observed: &Observed, decision: &Decision, old: &StreamJobStatus) -> JobState {
    match decision.situation {
        Situation::Refused => JobState::Pending,
        Situation::Suspending => JobState::Suspending,
        Situation::Suspended => JobState::Suspended,
        Situation::Upgrading => JobState::Upgrading,
        Situation::Finished => JobState::Finished,
        Situation::Failed => JobState::Failed,
        Situation::Deleting => JobState::Deleting,
        Situation::Active => match &observed.coordinator {
            Seen::Reached(report) => engine_state(report.state),
            // What runs goes on without a coordinator for a while; nothing else is known.
            Seen::Unreachable(_) | Seen::Nobody => match old.state {
                state @ (JobState::Running | JobState::Restoring) => state,
                _ => JobState::Starting,
            },
        },
    }
}

fn engine_state(state: EngineState) -> JobState {
    match state {
        EngineState::Restoring | EngineState::Restarting => JobState::Restoring,
        EngineState::Running | EngineState::Stopping => JobState::Running,
        EngineState::Finished => JobState::Finished,
        EngineState::Failed => JobState::Failed,
        EngineState::Starting | EngineState::Stopped | EngineState::Fenced | EngineState::Unknown => {
            JobState::Starting
        }
    }
}

fn workers(observed: &Observed, decision: &Decision, wanted: &Wanted) -> WorkersStatus {
    let resting = !matches!(decision.situation, Situation::Active | Situation::Upgrading);
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let needed = if resting { 0 } else { wanted.workers_needed() };
    let there = match &observed.coordinator {
        Seen::Reached(report) => report.workers.iter().filter(|w| !w.draining).count(),
        Seen::Nobody | Seen::Unreachable(_) => {
            let pods =
                observed.pods.iter().filter(|p| p.role != Role::Coordinator && p.counts() && p.running);
            pods.count()
        }
    };
    let needed = usize::try_from(needed).unwrap_or(usize::MAX);
    WorkersStatus {
        desired: count(needed),
        ready: count(there.min(needed)),
        standby: count(there.saturating_sub(needed)),
    }
}

fn numbers(report: &Report, status: &mut StreamJobStatus) {
    let checkpoints = &report.checkpoints;
    let counters = checkpoints.counters;
    status.attempt = report.attempt.or(status.attempt);
    status.execution = Some(report.execution);
    status.parallelism = i32::try_from(report.parallelism).ok();
    status.restarts = Some(counters.restarts);
    let last = checkpoints.last_completed.map(|id| {
        let known = checkpoints.newest.iter().find(|c| c.id == id);
        let begun = known.map(|c| c.triggered_us).or(checkpoints.last_completed_us);
        let took = known.and_then(|c| c.completed_after_us);
        let at = begun.map(|us| us.saturating_add_unsigned(took.unwrap_or(0)));
        CheckpointStatus {
            id,
            // Whole seconds: what is shown is an age.
            time: at.and_then(|us| Timestamp::from_second(us / 1_000_000).ok()).map(Time),
            duration: took
                .map(|us| weir_protocol::units::format_duration(std::time::Duration::from_millis(us / 1000))),
            bytes: known.map(|c| c.new_bytes),
        }
    });
    let last = last.or_else(|| status.restore_point.clone());
    status.restore_point.clone_from(&last);
    status.checkpoints = Some(CheckpointsStatus {
        last_completed: last,
        total: counters.completed + counters.failed,
        completed: counters.completed,
        failed: counters.failed,
        success_rate: checkpoints.success_rate.map(|rate| format!("{:.1}%", rate * 100.0)),
    });
}

/// What a change of the spec means, when it is first seen.
fn changed(observed: &Observed, target: &Target, before: Option<&StreamJob>) -> Option<ChangeStatus> {
    let generation = observed.job.metadata.generation?;
    let status = observed.job.status.as_ref()?;
    if status.observed_generation == Some(generation) {
        return None;
    }
    let (target, before) = (target.as_ref().ok()?, before?);
    let mut new = target.spec.clone();
    // The stored manifest does not say it.
    new.suspended = None;
    let changes = change::changes(&before.spec, &new);
    let class = change::strongest(&changes);
    let tell = |c: &change::Changed| format!("{}: {:?}, {}", c.path, c.class, c.how);
    let message = match changes.as_slice() {
        [] => "nothing that concerns what runs".to_owned(),
        changes => cut(&changes.iter().map(tell).collect::<Vec<_>>().join("; ")),
    };
    let class = if changes.is_empty() { ChangeClass::Ignore } else { class };
    Some(ChangeStatus { generation, class, message })
}

/// A text that is short enough for a condition.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
