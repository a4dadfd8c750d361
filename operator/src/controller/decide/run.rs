//! The version that is wanted is the one that runs: its objects are healed, its size is kept, its end is noticed,
//! and an upgrade that comes to nothing is taken back.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{EndedStatus, JobState, Reason, UpgradeMode, VersionStatus};
use weir_protocol::FailureKind;

use super::{Decision, Facts, RARE, SOON, STEADY, Situation, Step, apply_objects, elapsed, pods};
use crate::controller::observe::Seen;
use crate::controller::pods::Role;
use crate::controller::validate::Wanted;
use crate::coordinators::Ask;
use crate::report::{EngineState, Report};

/// How long pods that can't run are given before an upgrade is taken back: images are pulled again by then.
const BROKEN: Duration = Duration::from_secs(90);

pub(super) fn decide(facts: &Facts<'_>, wanted: &Wanted, mut memory: VersionStatus) -> Decision {
    memory.current = Some(wanted.version.clone());
    memory.since.get_or_insert(Time(facts.observed.now));
    memory.stopping = None;
    if let Some(report) = facts.observed.coordinator.report() {
        learn(report, &mut memory);
    }
    if let Some(taken_back) = take_back(facts, wanted, &memory) {
        return taken_back;
    }
    if let Some(ended) = memory.ended.clone() {
        return over(facts, wanted, memory, &ended);
    }
    let mut decision = Decision::new(Situation::Active, memory, again(facts, wanted));
    decision.steps = apply_objects(facts, wanted, &decision.memory, false);
    decision.steps.extend(pods::steps(facts, wanted, &decision.memory));
    decision.steps.extend(start_again(facts));
    decision.steps.extend(rescale(facts, wanted));
    forget(facts, &mut decision);
    decision.runs = Some(wanted.clone());
    decision
}

/// What the coordinator's report adds to what is remembered.
fn learn(report: &Report, memory: &mut VersionStatus) {
    let message = |kind: Option<FailureKind>| {
        let failure = report.last_failure.as_ref().map(|f| f.failure.message.clone());
        (kind.map_or(Reason::RestartsExhausted, reason), failure.or_else(|| report.detail.clone()))
    };
    match report.state {
        EngineState::Finished => {
            memory.ended = Some(EndedStatus { state: JobState::Finished, reason: None, message: None });
        }
        EngineState::Failed => {
            let kind = report.last_failure.as_ref().and_then(|f| f.failure.kind());
            let (reason, message) = message(kind);
            memory.ended = Some(EndedStatus { state: JobState::Failed, reason: Some(reason), message });
        }
        // It was started again, by a restart of its container.
        EngineState::Starting | EngineState::Restoring | EngineState::Running => memory.ended = None,
        _ => {}
    }
}

/// The reason of a condition for a failure that ended the job.
fn reason(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::StateUnreadable => Reason::StateUnreadable,
        FailureKind::StateIncompatible => Reason::StateIncompatible,
        FailureKind::SinkDataLost => Reason::SinkDataLost,
        FailureKind::Config => Reason::InvalidSql,
        FailureKind::Store => Reason::StorageUnreachable,
        FailureKind::Memory => Reason::OutOfMemory,
        _ => Reason::RestartsExhausted,
    }
}

/// An upgrade whose version has not completed a checkpoint goes back to the version before, once, if it fails or
/// takes too long. What that goes on from is the last checkpoint before the upgrade: there is no later one.
fn take_back(facts: &Facts<'_>, wanted: &Wanted, memory: &VersionStatus) -> Option<Decision> {
    let stable = memory.stable.as_ref().filter(|stable| **stable != wanted.version)?;
    facts.stored.get(stable)?;
    let why = failing(facts, wanted, memory)?;
    let mut memory = memory.clone();
    memory.superseded.push(wanted.version.clone());
    memory.superseded.retain(|version| version != stable);
    memory.current = Some(stable.clone());
    memory.rolled_back = Some(wanted.version.clone());
    memory.rolled_back_because = Some(why.clone());
    memory.since = Some(Time(facts.observed.now));
    memory.ended = None;
    let mut decision = Decision::new(Situation::Upgrading, memory, SOON);
    let message = format!("the upgrade is taken back, and the job goes on as before: {why}");
    decision.note(true, "RolledBack", "Upgrade", message);
    decision.runs = facts.stored.get(stable).cloned();
    Some(decision)
}

/// Why the version that runs is not worth waiting for.
fn failing(facts: &Facts<'_>, wanted: &Wanted, memory: &VersionStatus) -> Option<String> {
    let since = memory.since.as_ref().map_or(facts.observed.now, |time| time.0);
    let age = elapsed(since, facts.observed.now);
    if let Some(ended) = memory.ended.as_ref().filter(|ended| ended.state == JobState::Failed) {
        return Some(ended.message.clone().unwrap_or_else(|| "it failed".to_owned()));
    }
    let current = facts.observed.pods.iter().filter(|p| p.version == wanted.version && p.counts());
    let trouble = current.clone().filter_map(|p| p.trouble.as_ref());
    let fatal = trouble.clone().find(|t| matches!(t.reason, Reason::InvalidSql | Reason::StateUnreadable));
    if let Some(trouble) = fatal {
        return Some(trouble.message.clone());
    }
    if let Some(trouble) = trouble.clone().next().filter(|_| age >= BROKEN) {
        return Some(trouble.message.clone());
    }
    if let Some(refused) = facts.observed.refused.as_ref().filter(|_| age >= BROKEN) {
        return Some(refused.clone());
    }
    let limit = wanted.stable_within();
    (age >= limit).then(|| {
        let limit = weir_protocol::units::format_duration(limit);
        format!("no checkpoint was completed within {limit} (upgrade.stableWithin)")
    })
}

/// The job is over: its workers go. Its coordinator's pod stays where there is a failure to look into.
fn over(facts: &Facts<'_>, wanted: &Wanted, memory: VersionStatus, ended: &EndedStatus) -> Decision {
    let finished = ended.state == JobState::Finished;
    let situation = if finished { Situation::Finished } else { Situation::Failed };
    let mut decision = Decision::new(situation, memory, RARE);
    decision.steps = apply_objects(facts, wanted, &decision.memory, true);
    let observed = &facts.observed.pods;
    decision.steps.extend(match finished {
        true => pods::delete_all(observed, "the job has finished"),
        false => pods::delete_workers(observed, "the job has failed"),
    });
    forget(facts, &mut decision);
    decision.runs = Some(wanted.clone());
    decision
}

/// A coordinator whose job was stopped by hand, though it is to run, is replaced.
fn start_again(facts: &Facts<'_>) -> Vec<Step> {
    let stopped = facts.observed.coordinator.report().is_some_and(|r| r.state == EngineState::Stopped);
    let pods = facts.observed.pods.iter().filter(|p| stopped && p.role == Role::Coordinator && p.counts());
    let delete = |name: &str, uid: &str| Step::Delete {
        name: name.to_owned(),
        uid: uid.to_owned(),
        why: "its job was stopped, and is to run",
    };
    pods.map(|p| delete(&p.name, &p.uid)).collect()
}

/// Asks for the parallelism that is wanted. Slots may still be coming: the coordinator waits for them. Also of one
/// that has not come up: a job that was rescaled goes on at what it was rescaled to, whatever its manifest says,
/// and may wait for workers that nobody makes.
fn rescale(facts: &Facts<'_>, wanted: &Wanted) -> Option<Step> {
    let report = facts.observed.coordinator.report()?;
    let parallelism = wanted.config.parallelism;
    let leaves = matches!(report.state, EngineState::Stopping | EngineState::Fenced);
    let able = !leaves && !report.has_ended() && report.parallelism > 0;
    let asks = able && report.parallelism != parallelism && report.rescaling_to.is_none();
    asks.then_some(Step::Ask(Ask::Rescale { parallelism }))
}

/// Deletes the ConfigMaps of versions that nobody goes back to any more. They are remembered until they are gone.
pub(super) fn forget(facts: &Facts<'_>, decision: &mut Decision) {
    let memory = &mut decision.memory;
    if memory.stable != memory.current {
        return;
    }
    let current = memory.current.clone();
    let there = |version: &String| facts.observed.leftovers.contains(version);
    memory.superseded.retain(|version| there(version) && Some(version) != current.as_ref());
    decision.steps.extend(memory.superseded.iter().cloned().map(Step::Forget));
}

fn again(facts: &Facts<'_>, wanted: &Wanted) -> Duration {
    // What keeps a pod from running does not pass in a second, and a change of the pod is seen at once.
    let troubled = facts.observed.pods.iter().any(|pod| pod.counts() && pod.trouble.is_some());
    if troubled && facts.observed.coordinator.report().is_none() {
        return SOON * 10;
    }
    match &facts.observed.coordinator {
        Seen::Reached(report) => {
            let steady =
                report.state == EngineState::Running && report.parallelism == wanted.config.parallelism;
            if steady { STEADY } else { SOON * 2 }
        }
        Seen::Nobody | Seen::Unreachable(_) => SOON * 2,
    }
}

/// Whether a change to this spec keeps the state of what ran.
pub(super) fn keeps_state(wanted: &Wanted) -> bool {
    wanted.upgrade_mode() != UpgradeMode::Stateless
}
