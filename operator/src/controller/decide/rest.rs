//! The job is to rest: a last checkpoint, then all its pods go.

use weir_crds::{JobState, VersionStatus};

use super::{Decision, Facts, RARE, SOON, Situation, Step, Stop, apply_objects, patience, pods, stop};
use crate::controller::validate::Wanted;
use crate::report::EngineState;

pub(super) fn decide(facts: &Facts<'_>, wanted: &Wanted, mut memory: VersionStatus) -> Decision {
    let observed = &facts.observed.pods;
    if observed.iter().all(|pod| pod.going) {
        return at_rest(facts, wanted, memory);
    }
    let finished = facts.observed.coordinator.report().is_some_and(|r| r.state == EngineState::Finished);
    let stopped = stop(facts, &mut memory, false, patience(wanted));
    let mut decision = Decision::new(Situation::Suspending, memory, SOON);
    decision.runs = Some(wanted.clone());
    match stopped {
        Stop::Waiting(ask) => decision.steps.extend(ask.map(Step::Ask)),
        Stop::Done => {
            if finished {
                let ended = decision.memory.ended.get_or_insert_default();
                ended.state = JobState::Finished;
            }
            decision.steps = pods::delete_all(observed, "the job is to rest");
        }
    }
    decision
}

fn at_rest(facts: &Facts<'_>, wanted: &Wanted, mut memory: VersionStatus) -> Decision {
    memory.stopping = None;
    memory.since = None;
    memory.current.get_or_insert_with(|| wanted.version.clone());
    // A job that failed is tried again when it is resumed.
    memory.ended = memory.ended.filter(|ended| ended.state == JobState::Finished);
    let mut decision = Decision::new(Situation::Suspended, memory, RARE);
    // Nothing runs: another version is the one that a resume starts, without more ado.
    let current = decision.memory.current.clone();
    if let Some(before) = current.filter(|current| *current != wanted.version) {
        super::upgrade::switch(facts, wanted, before, &mut decision.memory);
        decision.memory.since = None;
    }
    decision.steps = apply_objects(facts, wanted, &decision.memory, true);
    decision.runs = Some(wanted.clone());
    decision
}
