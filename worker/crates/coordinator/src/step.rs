//! The heart: one event in, actions out. No clock, no randomness, no I/O.

use crate::action::Action;
use crate::event::{Event, Exit, Moment};
use crate::state::{Phase, State};

/// Handles one event. After the exit everything is ignored.
///
/// Whatever comes late, twice or from another time is dropped; nothing here panics on what workers
/// or the store say.
pub fn step(state: &mut State, event: Event, at: Moment) -> Vec<Action> {
    let mut step = Step { state, at, out: Vec::new() };
    if matches!(step.state.phase, Phase::Ended(_)) {
        return step.out;
    }
    match event {
        Event::Claimed(outcome) => step.claimed(outcome),
        Event::WorkerRegistered { worker, registration } => step.worker_registered(worker, *registration),
        Event::WorkerDraining { worker } => step.worker_draining(worker),
        Event::WorkerLost { worker, failure } => step.worker_lost(worker, failure),
        Event::Message { worker, stamp, message } => step.message(worker, &stamp, message),
        Event::Appended(outcome) => step.appended(&outcome),
        Event::Overtaken(by) => step.end(Exit::Fenced(by)),
        Event::ManifestWritten { id, result } => step.manifest_written(id, result),
        Event::ObjectsVerified { id, result } => step.objects_verified(id, result),
        Event::ManifestLoaded { id, result } => step.manifest_loaded(id, result),
        Event::Timer => step.timer(),
        Event::Stop(request) => step.stop(request),
        Event::Asked { ticket, request } => step.asked(ticket, request),
        Event::Planned { parallelism, result } => step.planned(parallelism, result),
        Event::SavepointCopied { id, result } => step.savepoint_copied(&id, result),
        Event::Imported { id, result } => step.imported(id, result),
        Event::GarbageCollected { proposed, failure } => step.garbage_collected(proposed, failure),
        Event::StoreTrouble(trouble) => step.state.journal.trouble = trouble,
    }
    step.advance();
    step.out
}

/// One event being handled.
pub(crate) struct Step<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) at: Moment,
    pub(crate) out: Vec<Action>,
}
