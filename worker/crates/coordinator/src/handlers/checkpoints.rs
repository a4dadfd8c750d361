//! Checkpoints: trigger, store, record, commit, give up.

use weir_checkpoint::{Body, Durable, StopReason};
use weir_protocol::{CheckpointId, CheckpointKind, Failure, SubtaskId};

use crate::action::Action;
use crate::checkpoint::{InFlight, Recording, Storing, assemble, new_objects, prepared};
use crate::event::Retained;
use crate::permit::{CommitPermit, Message};
use crate::state::{Commits, Committing, Ending, Held, Phase, Point};
use crate::status::{CheckpointState, CheckpointStatus};
use crate::step::Step;

/// How many subtasks of older checkpoints the status remembers by themselves.
const DETAILS: usize = 5_000;

impl Step<'_> {
    /// Whether a checkpoint may begin now: one at a time, and not too soon after the last. Who wants the job to
    /// stop or move does not wait for the pause after one that completed.
    pub(crate) fn may_trigger(&self, kind: CheckpointKind) -> bool {
        let state = &self.state;
        let at_once = kind == CheckpointKind::LifeCycle && state.failed_in_row == 0;
        matches!(state.phase, Phase::Running { .. })
            && state.ending.is_none()
            && state.in_flight.is_none()
            && state.recording.is_none()
            && state.committing.is_none()
            && (at_once || state.schedule.earliest <= self.at.now)
    }

    pub(crate) fn trigger(&mut self, kind: CheckpointKind) {
        let id = self.state.last_id.next();
        self.state.last_id = id;
        let now = self.at.now;
        let hold = kind == CheckpointKind::LifeCycle && (self.state.stopping || self.state.wants_to_move());
        let next = self.state.rescale.as_ref().filter(|_| hold).unwrap_or(&self.state.layout).parallelism;
        self.state.held = hold.then_some(Held { id, triggered: now, next });
        let config = &self.state.options.config.checkpoint;
        let completed = self.state.deployment.completed;
        let message = Message::trigger(id, kind, config.mode, completed, now, hold);
        let missing: std::collections::BTreeSet<SubtaskId> = self.state.layout.graph.subtasks().collect();
        self.state.in_flight = Some(InFlight {
            id,
            reason: kind,
            triggered: now,
            deadline: now.after(config.timeout),
            next,
            missing,
            acks: std::collections::BTreeMap::new(),
            storing: None,
            report: CheckpointStatus::begun(id, self.state.execution, kind, now),
        });
        self.forget_dirty();
        for worker in self.state.deployment.worker_ids() {
            self.send(worker, message.clone());
        }
    }

    /// What was reported as changed is in the checkpoint; the next reports count anew.
    fn forget_dirty(&mut self) {
        let deployment = &mut self.state.deployment;
        deployment.progress.values_mut().for_each(|p| p.now.1.dirty_bytes = 0);
        deployment.dirty = 0;
    }

    /// All subtasks have acknowledged: store the manifest, and look for the objects meanwhile.
    pub(crate) fn store_checkpoint(&mut self) {
        let Some(flight) = &self.state.in_flight else {
            return;
        };
        let state = &*self.state;
        let assembled = assemble(&state.options, &state.layout, state.attempt, state.execution, flight);
        let manifest = match assembled {
            Ok(manifest) => manifest,
            Err((subtask, failure)) => {
                let place = format!("the acknowledgement of {}", self.state.subtask_name(subtask));
                return self.fail_checkpoint(failure.at(place), Some(subtask));
            }
        };
        let (id, objects) = (flight.id, new_objects(flight));
        let storing = Storing { sinks: prepared(&manifest), manifest: None, verified: objects.is_empty() };
        self.out.push(Action::WriteManifest(Box::new(manifest)));
        if !objects.is_empty() {
            self.out.push(Action::VerifyObjects { id, objects });
        }
        if let Some(flight) = &mut self.state.in_flight {
            flight.storing = Some(storing);
            flight.report.state = CheckpointState::Storing;
            flight.report.acknowledged_after_us = Some(self.at.now.0.saturating_sub(flight.triggered.0));
        }
    }

    /// Everything is in the store: append the record. From here on it can't be aborted.
    pub(crate) fn record_if_stored(&mut self) {
        let stored = |flight: &mut InFlight| {
            flight.storing.as_ref().is_some_and(|storing| storing.verified && storing.manifest.is_some())
        };
        let Some(flight) = self.state.in_flight.take_if(stored) else {
            return;
        };
        let Some(Storing { sinks, manifest: Some(manifest), .. }) = flight.storing else {
            return;
        };
        let mut counters = self.state.counters;
        counters.completed += 1;
        self.state.journal.append(Body::Checkpoint {
            id: flight.id,
            reason: flight.reason,
            manifest: manifest.clone(),
            commits: !sinks.is_empty(),
            counters,
        });
        let mut report = flight.report;
        report.state = CheckpointState::Recording;
        self.state.recording = Some(Recording {
            id: flight.id,
            execution: self.state.execution,
            reason: flight.reason,
            triggered: flight.triggered,
            manifest,
            sinks,
            report,
        });
    }

    /// The record is durable: this is completion. Only now may sinks commit.
    pub(crate) fn complete_checkpoint(&mut self, durable: &Durable) {
        let Some(permit) = CommitPermit::of(durable) else {
            return;
        };
        let Some(done) = self.state.recording.take_if(|recording| recording.id == permit.id()) else {
            return;
        };
        let now = self.at.now;
        let commits = match done.sinks.is_empty() {
            true => Commits::Done,
            false => Commits::Outstanding(done.sinks.clone()),
        };
        self.state.point = Some(Point { id: done.id, manifest: done.manifest, permit, commits });
        self.state.counters.completed += 1;
        self.state.failed_in_row = 0;
        self.state.memory.last_completed = Some(done.triggered);
        self.state.retained.push(Retained { id: done.id, at: now, pinned: false });
        let mut report = done.report;
        report.state = CheckpointState::Committing;
        report.completed_after_us = Some(now.0.saturating_sub(done.triggered.0));
        self.remember(report);
        if matches!(self.state.phase, Phase::Running { .. }) && done.execution == self.state.execution {
            self.state.deployment.completed = Some(done.id);
            self.tell_completed(
                Committing {
                    id: done.id,
                    missing: std::collections::BTreeSet::new(),
                    told: self.state.deployment.worker_ids(),
                    reason: Some(done.reason),
                    triggered: done.triggered,
                    trouble: None,
                },
                done.sinks,
            );
        }
    }

    fn tell_completed(&mut self, mut round: Committing, sinks: Vec<(SubtaskId, weir_protocol::SinkHandles)>) {
        self.forget_dirty();
        let mut by_worker = self.by_worker(sinks);
        round.missing = by_worker.keys().copied().collect();
        for worker in round.told.clone() {
            self.commit(worker, by_worker.remove(&worker).unwrap_or_default());
        }
        if round.missing.is_empty() {
            self.commits_done(round);
        } else {
            self.state.committing = Some(round);
        }
    }

    /// All output of the newest checkpoint is visible, and that is recorded where it has to be.
    pub(crate) fn commits_done(&mut self, round: Committing) {
        let now = self.at.now;
        if let Some(report) = self.state.memory.checkpoints.iter_mut().find(|c| c.id == round.id) {
            report.state = CheckpointState::Completed;
            report.committed_after_us = Some(now.0.saturating_sub(round.triggered.0));
        }
        match round.reason {
            None => self.start_reading(&round.told),
            Some(CheckpointKind::Final) => {
                self.finish(Ending { reason: StopReason::Finished, complete: true })
            }
            Some(CheckpointKind::LifeCycle) if self.state.stopping => {
                self.finish(Ending { reason: StopReason::Requested, complete: true });
            }
            Some(_) if self.state.held.is_some_and(|held| held.id == round.id) => {
                self.look_for_garbage();
                self.move_on();
            }
            Some(_) => {
                self.plan_next(round.triggered);
                self.look_for_garbage();
            }
        }
    }

    fn plan_next(&mut self, triggered: weir_runtime::Timestamp) {
        let config = &self.state.options.config.checkpoint;
        let schedule = &mut self.state.schedule;
        schedule.earliest = self.at.now.after(config.min_pause);
        schedule.periodic = triggered.after(config.interval).max(schedule.earliest);
    }

    /// Every few checkpoints it is worth looking for garbage.
    fn look_for_garbage(&mut self) {
        let garbage = &mut self.state.garbage;
        garbage.since += 1;
        if garbage.since >= self.state.options.garbage_every {
            garbage.since = 0;
            garbage.due = true;
        }
    }

    /// The checkpoint under way will not complete. Nothing is deleted; late acknowledgements are
    /// dropped by number.
    pub(crate) fn fail_checkpoint(&mut self, failure: Failure, subtask: Option<SubtaskId>) {
        let Some(id) = self.forget_checkpoint(&failure) else {
            return;
        };
        self.state.failed_in_row += 1;
        self.state.held = None;
        for worker in self.state.deployment.worker_ids() {
            self.send(worker, Message::abort(id));
        }
        let tolerable = self.state.options.config.checkpoint.tolerable_failures;
        if self.state.failed_in_row > tolerable {
            let place =
                format!("{} checkpoints in a row failed, the last one (id {id})", self.state.failed_in_row);
            return self.fail_execution(failure.at(place), subtask);
        }
        let now = self.at.now;
        self.plan_next(now);
    }

    /// Takes the checkpoint under way out of the state and into the history.
    pub(crate) fn forget_checkpoint(&mut self, failure: &Failure) -> Option<CheckpointId> {
        let flight = self.state.in_flight.take()?;
        self.state.counters.failed += 1;
        let mut report = flight.report;
        report.state = CheckpointState::Failed;
        report.missing = flight.missing.into_iter().collect();
        report.failure = Some(failure.clone());
        let id = report.id;
        self.remember(report);
        Some(id)
    }

    fn remember(&mut self, report: CheckpointStatus) {
        let limit = self.state.options.history;
        let checkpoints = &mut self.state.memory.checkpoints;
        checkpoints.push_front(report);
        checkpoints.truncate(limit);
        // Of a large job only the newest ones are told subtask by subtask.
        let mut left = DETAILS;
        for checkpoint in checkpoints.iter_mut().skip(1) {
            match left.checked_sub(checkpoint.subtasks.len()) {
                Some(rest) => left = rest,
                None => checkpoint.subtasks = Vec::new(),
            }
        }
    }
}
