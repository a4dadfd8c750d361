//! A savepoint is asked for, and made: a checkpoint, held on to by a pin in the journal while it is copied. The
//! pin outlives the coordinator: the next one goes on with the copy.

use weir_checkpoint::savepoint::{Copied, Savepoint, SavepointId};
use weir_checkpoint::store::check_url;
use weir_checkpoint::{Body, View, layout};
use weir_protocol::{CheckpointId, CheckpointKind, Failure, FailureKind};
use weir_runtime::Timestamp;

use crate::action::Action;
use crate::event::{Accepted, Entry, Exit, Refused, StopRequest, Ticket};
use crate::savepoints::{
    AT_ONCE, SavepointRequest, SavepointState, SavepointStatus, Stage, TRIES, Work, of_pin,
};
use crate::state::{AfterCancel, Commits, Phase, State};
use crate::step::Step;

impl Step<'_> {
    /// Somebody wants a savepoint.
    pub(crate) fn savepoint(&mut self, ticket: Ticket, request: SavepointRequest) {
        let id = request.id.clone();
        let id = id.unwrap_or_else(|| SavepointId::generated(self.at.now.0, self.at.random));
        if let Some(Err(why)) = request.to.as_deref().map(check_url) {
            return self.answer(ticket, Err(Refused::Invalid(why.to_string())));
        }
        if let Some(why) = self.state.refuses_savepoint(&id, request.from_last) {
            return self.answer(ticket, Err(Refused::NotNow(why)));
        }
        let work = Work::new(id.clone(), &request, self.at.now);
        let place = self.state.savepoint_place(&work);
        self.state.savepoints.work.push(work);
        self.answer(ticket, Ok(Accepted::Savepoint { id, place }));
        if request.stop {
            self.stop(StopRequest::Graceful);
        }
    }

    /// The journal was claimed: copies that were under way are gone on with.
    pub(crate) fn resume_savepoints(&mut self, view: &View) {
        let there = view.checkpoints();
        for (name, (checkpoint, _)) in view.pins() {
            let Some((id, to)) = of_pin(&name) else { continue };
            let work = Work { id: id.clone(), to, requested: self.at.now, failed: 0, stage: Stage::Waiting };
            match there.iter().find(|c| c.id == checkpoint) {
                Some(c) => {
                    let copied = Copied {
                        id,
                        checkpoint,
                        attempt: c.attempt,
                        completed_us: c.at_us,
                        manifest: c.manifest.clone(),
                    };
                    self.copy_savepoint(work, copied);
                }
                None => {
                    let message = format!("checkpoint {checkpoint}, that it was to be a copy of, is gone");
                    self.unpin(work, Err(Failure::new(FailureKind::StateUnreadable, message)));
                }
            }
        }
    }

    /// Brings every savepoint as far as it can be brought now.
    pub(crate) fn advance_savepoints(&mut self) {
        for mut work in std::mem::take(&mut self.state.savepoints.work) {
            if let Stage::Taking(id) = work.stage
                && self.state.lost(id)
            {
                work.failed += 1;
                work.stage = Stage::Waiting;
                if work.failed >= TRIES {
                    let failure = self.state.why_failed(id);
                    self.savepoint_ended(&work, Err(failure));
                    continue;
                }
            }
            let last = self.state.last_visible(&work.id);
            let due = match work.stage {
                Stage::Taking(id) => last.filter(|copied| copied.checkpoint >= id),
                Stage::Last => last,
                _ => None,
            };
            match due {
                Some(copied) => self.pin(work, copied),
                None => self.state.savepoints.work.push(work),
            }
        }
    }

    /// A checkpoint begins: it is for everybody who waits for one.
    pub(crate) fn savepoints_triggered(&mut self, id: CheckpointId) {
        for work in &mut self.state.savepoints.work {
            if work.stage == Stage::Waiting {
                work.stage = Stage::Taking(id);
            }
        }
    }

    /// Savepoints that wait ask for a checkpoint at once.
    pub(crate) fn checkpoint_for_savepoints(&mut self) {
        if self.state.savepoint_waits() && self.may_trigger(CheckpointKind::LifeCycle) {
            self.trigger(CheckpointKind::LifeCycle);
        }
    }

    /// No more checkpoints will be taken: whoever waits gets the newest, if its output is visible.
    pub(crate) fn settle_savepoints(&mut self) {
        self.advance_savepoints();
        for work in std::mem::take(&mut self.state.savepoints.work) {
            let waits = matches!(work.stage, Stage::Waiting | Stage::Last | Stage::Taking(_));
            match self.state.last_visible(&work.id).filter(|_| waits) {
                Some(copied) => self.pin(work, copied),
                None if waits => {
                    let message = "the job ended before a checkpoint could be taken for it";
                    self.savepoint_ended(&work, Err(Failure::new(FailureKind::Worker, message)));
                }
                None => self.state.savepoints.work.push(work),
            }
        }
    }

    fn pin(&mut self, mut work: Work, copied: Copied) {
        self.state.journal.append(Body::Pin { name: work.pin(), id: copied.checkpoint });
        work.stage = Stage::Pinning(copied);
        self.state.savepoints.work.push(work);
    }

    /// A pin is durable: from here on the checkpoint stays, whatever happens to this process.
    pub(crate) fn pinned(&mut self, name: &str) {
        let work = &mut self.state.savepoints.work;
        let Some(at) = work.iter().position(|w| matches!(w.stage, Stage::Pinning(_)) && w.pin() == name)
        else {
            return;
        };
        let work = work.remove(at);
        if let Stage::Pinning(copied) = work.stage.clone() {
            self.copy_savepoint(work, copied);
        }
    }

    fn copy_savepoint(&mut self, mut work: Work, copied: Copied) {
        self.out.push(Action::CopySavepoint { copied: copied.clone(), to: work.to.clone() });
        work.stage = Stage::Copying(copied);
        self.state.savepoints.work.push(work);
    }

    /// A copy came to its end.
    pub(crate) fn savepoint_copied(&mut self, id: &SavepointId, result: Result<Savepoint, Failure>) {
        let work = &mut self.state.savepoints.work;
        let copying = |w: &Work| w.id == *id && matches!(w.stage, Stage::Copying(_));
        if let Some(at) = work.iter().position(copying) {
            let work = work.remove(at);
            self.unpin(work, result);
        }
    }

    fn unpin(&mut self, mut work: Work, result: Result<Savepoint, Failure>) {
        self.state.journal.append(Body::Unpin { name: work.pin() });
        work.stage = Stage::Unpinning(self.state.savepoint_result(&work, self.at.now, result));
        self.state.savepoints.work.push(work);
    }

    /// Nothing holds on to the checkpoint any more.
    pub(crate) fn unpinned(&mut self, name: &str) {
        let work = &mut self.state.savepoints.work;
        if let Some(at) = work.iter().position(|w| matches!(w.stage, Stage::Unpinning(_)) && w.pin() == name)
            && let Stage::Unpinning(status) = work.remove(at).stage
        {
            self.remember_savepoint(status);
        }
        let held: Vec<_> = self.state.savepoints.work.iter().filter_map(Work::pinned).collect();
        self.state.retained.iter_mut().for_each(|kept| kept.pinned = held.contains(&kept.id));
        self.state.garbage.due = true;
    }

    fn savepoint_ended(&mut self, work: &Work, result: Result<Savepoint, Failure>) {
        let status = self.state.savepoint_result(work, self.at.now, result);
        self.remember_savepoint(status);
    }

    fn remember_savepoint(&mut self, status: SavepointStatus) {
        let ended = &mut self.state.savepoints.ended;
        ended.push_front(status);
        ended.truncate(self.state.options.history);
    }

    /// The coordinator ends: whoever waits for a savepoint is told what becomes of it.
    pub(crate) fn abandon_savepoints(&mut self) {
        for work in std::mem::take(&mut self.state.savepoints.work) {
            if let Stage::Unpinning(status) = work.stage {
                self.remember_savepoint(status);
                continue;
            }
            let message = match work.pinned() {
                Some(_) => "the coordinator ended; the next one goes on with the copy",
                None => "the coordinator ended before a checkpoint could be taken for it",
            };
            self.savepoint_ended(&work, Err(Failure::new(FailureKind::Worker, message)));
        }
    }
}

/// Leaves checkpoints out of a proposal to drop them that are held on to, although the proposal was made before.
pub(crate) fn without_held(state: &State, proposed: Vec<Entry>) -> Vec<Entry> {
    let held: Vec<_> = state.savepoints.work.iter().filter_map(Work::pinned).collect();
    let mut kept = Vec::with_capacity(proposed.len());
    for entry in proposed {
        match entry {
            Entry::Body(Body::Drop { mut ids }) => {
                ids.retain(|id| !held.contains(id));
                if !ids.is_empty() {
                    kept.push(Entry::Body(Body::Drop { ids }));
                }
            }
            other => kept.push(other),
        }
    }
    kept
}

impl State {
    /// Why a savepoint can't be taken, if it can't.
    fn refuses_savepoint(&self, id: &SavepointId, from_last: bool) -> Option<String> {
        let known = self.savepoints.work.iter().map(|w| &w.id);
        let done = self.savepoints.ended.iter().filter(|s| s.state == SavepointState::Completed);
        if known.chain(done.map(|s| &s.id)).any(|known| known == id) {
            return Some(format!("savepoint {id} was asked for before: choose another id"));
        }
        if self.savepoints.work.len() >= AT_ONCE {
            return Some(format!("{AT_ONCE} savepoints are being made; wait for one of them"));
        }
        if self.ending.is_some() || matches!(self.phase, Phase::Ended(_)) {
            return Some("the job is ending".to_owned());
        }
        if from_last && self.point.is_none() {
            return Some("the job has no completed checkpoint".to_owned());
        }
        None
    }

    /// Whether a checkpoint is wanted for a savepoint.
    pub(crate) fn savepoint_waits(&self) -> bool {
        self.savepoints.work.iter().any(|w| w.stage == Stage::Waiting)
    }

    /// Whether the end is held up: what the journal holds on to for a savepoint is copied first.
    pub(crate) fn holds_exit(&self, then: &AfterCancel) -> bool {
        matches!(then, AfterCancel::Exit(Exit::Stopped { .. } | Exit::Finished { .. }))
            && !self.savepoints.work.is_empty()
    }

    /// Whether nothing will come of the checkpoint any more.
    fn lost(&self, id: CheckpointId) -> bool {
        let flies = self.in_flight.as_ref().is_some_and(|flight| flight.id == id);
        let recorded = self.recording.as_ref().is_some_and(|recording| recording.id == id);
        let complete = self.point.as_ref().is_some_and(|point| point.id >= id);
        !flies && !recorded && !complete
    }

    fn why_failed(&self, id: CheckpointId) -> Failure {
        let report = self.memory.checkpoints.iter().find(|report| report.id == id);
        let failure = report.and_then(|report| report.failure.clone());
        let unknown = || Failure::new(FailureKind::Worker, "the job was restarted");
        failure
            .unwrap_or_else(unknown)
            .at(format_args!("checkpoint {id}, the last of {TRIES} that were tried"))
    }

    /// The newest completed checkpoint to copy, if all its output is visible.
    fn last_visible(&self, id: &SavepointId) -> Option<Copied> {
        let point = self.point.as_ref().filter(|point| point.commits == Commits::Done)?;
        let completed = self.retained.iter().find(|kept| kept.id == point.id)?;
        Some(Copied {
            id: id.clone(),
            checkpoint: point.id,
            attempt: layout::origin(&point.manifest.key).map_or(self.attempt, |origin| origin.attempt),
            completed_us: completed.at.0,
            manifest: point.manifest.clone(),
        })
    }

    /// The URL of a savepoint's folder.
    pub(crate) fn savepoint_place(&self, work: &Work) -> String {
        let config = &self.options.config;
        match &work.to {
            Some(to) => format!("{}/{}", to.trim_end_matches('/'), work.id),
            None => {
                let storage = config.checkpoint.storage.url.trim_end_matches('/');
                format!("{storage}/{}/{}", config.uid, layout::savepoint(work.id.as_str()))
            }
        }
    }

    fn savepoint_result(
        &self,
        work: &Work,
        now: Timestamp,
        result: Result<Savepoint, Failure>,
    ) -> SavepointStatus {
        let took = u64::try_from(now.since(work.requested).as_micros()).unwrap_or(u64::MAX);
        let state = if result.is_ok() { SavepointState::Completed } else { SavepointState::Failed };
        SavepointStatus {
            state,
            took_us: Some(took),
            objects: result.as_ref().ok().map(|s| s.objects),
            bytes: result.as_ref().ok().map(|s| s.bytes),
            failure: result.err(),
            ..self.savepoint_status(work)
        }
    }

    /// How far one is.
    pub(crate) fn savepoint_status(&self, work: &Work) -> SavepointStatus {
        let (state, checkpoint) = match &work.stage {
            Stage::Waiting | Stage::Last => (SavepointState::Waiting, None),
            Stage::Taking(id) => (SavepointState::Checkpointing, Some(*id)),
            Stage::Pinning(copied) | Stage::Copying(copied) => {
                (SavepointState::Copying, Some(copied.checkpoint))
            }
            // Whether it is whole is said once that is all.
            Stage::Unpinning(status) => (SavepointState::Copying, status.checkpoint),
        };
        SavepointStatus {
            id: work.id.clone(),
            state,
            place: self.savepoint_place(work),
            checkpoint,
            requested_us: work.requested.0,
            took_us: None,
            objects: None,
            bytes: None,
            failure: None,
        }
    }
}
