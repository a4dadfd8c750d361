//! Another version than the one that runs is wanted: stop, remember, and only then go on under the other one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{UpgradeMode, VersionStatus};

use super::run::keeps_state;
use super::{Decision, Facts, SOON, Situation, Step, Stop, patience, stop};
use crate::controller::validate::Wanted;

pub(super) fn decide(
    facts: &Facts<'_>,
    wanted: &Wanted,
    from: String,
    mut memory: VersionStatus,
) -> Decision {
    memory.current = Some(from.clone());
    let before = facts.stored.get(&from);
    let at_once = wanted.upgrade_mode() != UpgradeMode::Savepoint;
    let ended = memory.ended.is_some();
    let stopped = match stop(facts, &mut memory, at_once, patience(before.unwrap_or(wanted))) {
        _ if ended => Stop::Done,
        stopped => stopped,
    };
    let mut decision = Decision::new(Situation::Upgrading, memory, SOON);
    decision.runs = before.cloned();
    match stopped {
        Stop::Waiting(ask) => decision.steps.extend(ask.map(Step::Ask)),
        Stop::Done => switch(facts, wanted, from, &mut decision.memory),
    }
    decision
}

/// The other version is the current one from here on. Its pods are made in the next pass, when that is written.
pub(super) fn switch(facts: &Facts<'_>, wanted: &Wanted, from: String, memory: &mut VersionStatus) {
    memory.superseded.retain(|version| *version != wanted.version);
    if !memory.superseded.contains(&from) {
        memory.superseded.push(from);
    }
    // Bounded by what can be stable and what can be current; a long row of failed tries is cut.
    if memory.superseded.len() > 32 {
        memory.superseded.remove(0);
    }
    memory.current = Some(wanted.version.clone());
    memory.since = Some(Time(facts.observed.now));
    memory.stopping = None;
    memory.ended = None;
    // Another spec than the one that was taken back, or the same one asked for once more.
    memory.rolled_back = None;
    memory.rolled_back_because = None;
    if !keeps_state(wanted) {
        let reported = facts.observed.coordinator.report().and_then(|report| report.attempt);
        let known = facts.observed.job.status.as_ref().and_then(|status| status.attempt);
        memory.fresh_after = reported.or(known).or(memory.fresh_after);
        // What ran before would not find its state any more.
        memory.stable = None;
    }
}
