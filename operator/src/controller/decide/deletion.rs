//! The job is being deleted. That ends by its deadline, whatever is down. State stays unless the spec says otherwise; what
//! is left in the cluster belongs to the job and goes with it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use weir_crds::{DeletionSnapshot, DeletionSpec};
use weir_protocol::units::parse_duration;

use super::{Decision, Facts, RARE, SOON, Situation, Step, Stop, elapsed, holds, pods, stop};
use crate::controller::desired;
use crate::controller::observe::erases_state;

/// How long a last checkpoint may take, of the time that there is.
const SHARE: u32 = 2;

pub(super) fn decide(facts: &Facts<'_>) -> Decision {
    let observed = facts.observed;
    let mut memory = observed.memory();
    if !holds(facts) {
        return Decision::new(Situation::Deleting, memory, RARE);
    }
    let asked = observed.job.metadata.deletion_timestamp.as_ref().map_or(observed.now, |time| time.0);
    let spec = observed.job.spec.deletion.clone().unwrap_or_default();
    let deadline = deadline(&spec);
    let age = elapsed(asked, observed.now);
    let late = age >= deadline;
    let snapshot = spec.snapshot.unwrap_or_default() == DeletionSnapshot::BestEffort;
    let rested = observed.pods.iter().all(|pod| pod.going) || memory.ended.is_some();
    let in_time = snapshot && !rested && age < deadline / SHARE;
    if in_time && let Stop::Waiting(ask) = stop(facts, &mut memory, false, deadline / SHARE) {
        let mut decision = Decision::new(Situation::Deleting, memory, SOON);
        decision.steps.extend(ask.map(Step::Ask));
        return decision;
    }
    let mut decision = Decision::new(Situation::Deleting, memory, SOON);
    decision.steps = pods::delete_all(&observed.pods, "the job is being deleted");
    if !observed.pods.is_empty() && !late {
        return decision;
    }
    let erased = match state_eraser(facts) {
        Some(_) if observed.erased == Some(true) => true,
        Some(_) if late => false,
        Some(pod) => {
            // It is made once: a name that is there is no error.
            decision.steps.extend(observed.erased.is_none().then_some(Step::Create(pod)));
            return decision;
        }
        None => false,
    };
    let left = observed.pods.len();
    if left > 0 {
        let message = format!(
            "{left} pods had not ended by the deadline ({deadline:?}); they go as soon as their nodes answer"
        );
        decision.note(true, "PodsLeft", "Delete", message);
    }
    tell_of_state(facts, erased, &mut decision);
    decision.steps.push(Step::LetGo);
    decision
}

/// The pod that deletes the state, if that is asked for and the job was ever one that could have some.
fn state_eraser(facts: &Facts<'_>) -> Option<Pod> {
    let current = facts.observed.memory().current;
    let ran = || facts.stored.get(current.as_ref()?);
    let wanted = facts.target.as_ref().ok().or_else(ran);
    wanted.filter(|_| erases_state(&facts.observed.job)).map(desired::state_eraser)
}

fn deadline(spec: &DeletionSpec) -> Duration {
    let given = spec.deadline.as_deref().and_then(|text| parse_duration(text).ok());
    given.unwrap_or(Duration::from_secs(120)).min(*weir_crds::limits::DEADLINE.end())
}

/// Says what became of the state.
fn tell_of_state(facts: &Facts<'_>, erased: bool, decision: &mut Decision) {
    let job = &facts.observed.job;
    let storage = job.spec.checkpoint.as_ref().and_then(|c| c.storage.as_deref());
    let Some(storage) = storage else { return };
    let place = format!("{}/{}", storage.trim_end_matches('/'), facts.observed.uid());
    let (warning, reason, message) = match (erases_state(job), erased) {
        (true, true) => (false, "StateDeleted", format!("the state of the job at {place} is deleted")),
        (true, false) => {
            let message = format!(
                "the state of the job at {place} was not deleted by the deadline: \"weir checkpoints delete\" does it"
            );
            (true, "StateRetained", message)
        }
        (false, _) => {
            let message = format!(
                "the state of the job stays at {place}; restoreFrom.location takes a new job on from there"
            );
            (false, "StateRetained", message)
        }
    };
    decision.note(warning, reason, "Delete", message);
}
