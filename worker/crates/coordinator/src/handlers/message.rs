//! A worker says something: one handler each. What is not of the current deployment is dropped by
//! number.

use weir_protocol::{
    CheckpointId, Failure, FailureKind, FromWorker, RestoreReport, Stamp, SubtaskAck, SubtaskId,
    SubtaskProgress, WorkerId,
};

use weir_checkpoint::Body;
use weir_protocol::CheckpointKind;

use crate::state::{Phase, Progress};
use crate::status::SubtaskPhases;
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn message(&mut self, worker: WorkerId, stamp: &Stamp, message: FromWorker) {
        let known = self.state.workers.contains_key(&worker);
        if !known || *stamp != self.state.stamp() {
            return;
        }
        match message {
            FromWorker::Deployed { restored } => self.deployed(worker, restored),
            FromWorker::Adopted => self.adopted(worker),
            FromWorker::Exhausted { subtask } => self.exhausted(worker, subtask),
            FromWorker::Ack { id, ack } => self.ack(worker, id, *ack),
            FromWorker::Decline { id, subtask, failure } => self.decline(worker, id, subtask, failure),
            FromWorker::Committed { id } => self.committed(worker, id),
            FromWorker::CommitFailed { id, failure } => self.commit_failed(worker, id, failure),
            FromWorker::Failed { subtask, failure } => self.failed(worker, subtask, failure),
            FromWorker::Stopped => self.stopped(worker),
            FromWorker::Progress { subtasks, troubles } => self.progress(worker, subtasks, troubles),
        }
    }

    /// Whether the subtask runs on this worker.
    fn runs(&self, worker: WorkerId, subtask: SubtaskId) -> bool {
        self.state.deployment.placement.get(&subtask).is_some_and(|(at, _)| *at == worker)
    }

    fn deployed(&mut self, worker: WorkerId, restored: RestoreReport) {
        if let Phase::Deploying { missing } = &mut self.state.phase
            && missing.remove(&worker)
        {
            let all = missing.is_empty();
            self.read_state(restored);
            if all {
                self.came_up();
                self.admit();
            }
        }
    }

    fn exhausted(&mut self, worker: WorkerId, subtask: SubtaskId) {
        let source = self.state.layout.graph.vertex(subtask.vertex).is_some_and(|v| v.source);
        if source && self.runs(worker, subtask) {
            self.state.deployment.exhausted.insert(subtask);
        }
    }

    fn ack(&mut self, worker: WorkerId, id: CheckpointId, mut ack: SubtaskAck) {
        if !self.runs(worker, ack.subtask) {
            return;
        }
        let Some(flight) = self.state.in_flight.as_mut().filter(|flight| flight.id == id) else {
            return;
        };
        if !flight.missing.remove(&ack.subtask) {
            return;
        }
        let times = &mut ack.times;
        let since = self.at.now.0.saturating_sub(flight.triggered.0);
        let before = [times.trigger_us, times.align_us, times.freeze_us, times.upload_us];
        times.ack_us = before.iter().fold(since, |left, part| left.saturating_sub(*part));
        flight.report.new_bytes += ack.new_bytes;
        flight.report.full_bytes += ack.full_bytes;
        flight.report.subtasks.push(SubtaskPhases {
            subtask: ack.subtask,
            times: ack.times,
            new_bytes: ack.new_bytes,
            full_bytes: ack.full_bytes,
        });
        flight.acks.insert(ack.subtask, ack);
        if flight.missing.is_empty() {
            self.store_checkpoint();
        }
    }

    fn decline(&mut self, worker: WorkerId, id: CheckpointId, subtask: SubtaskId, failure: Failure) {
        let current = self.state.in_flight.as_ref().is_some_and(|flight| flight.id == id);
        if current && self.runs(worker, subtask) {
            let place = self.state.subtask_name(subtask);
            self.fail_checkpoint(failure.at(place), Some(subtask));
        }
    }

    fn committed(&mut self, worker: WorkerId, id: CheckpointId) {
        let Some(round) = self.state.committing.as_mut().filter(|round| round.id == id) else {
            return;
        };
        if round.missing.remove(&worker) && round.missing.is_empty() {
            round.trouble = None;
            self.state.journal.append(Body::Committed { id });
        }
    }

    fn commit_failed(&mut self, worker: WorkerId, id: CheckpointId, failure: Failure) {
        let waited =
            |round: &&mut crate::state::Committing| round.id == id && round.missing.contains(&worker);
        let Some(round) = self.state.committing.as_mut().filter(waited) else {
            return;
        };
        let failure = failure.at(format_args!("the commit of checkpoint {id}"));
        match failure.kind.retryable() {
            true => round.trouble = Some(failure),
            false => self.fail_execution(failure, None),
        }
    }

    fn failed(&mut self, worker: WorkerId, subtask: Option<SubtaskId>, failure: Failure) {
        let place = match subtask {
            Some(subtask) if self.runs(worker, subtask) => self.state.subtask_name(subtask),
            _ => format!("worker {worker}"),
        };
        let failure = failure.at(place);
        match failure.kind {
            FailureKind::Worker => self.lose_execution(failure, subtask),
            _ => self.fail_execution(failure, subtask),
        }
    }

    fn stopped(&mut self, worker: WorkerId) {
        if !self.state.deployment.workers.contains_key(&worker) {
            return;
        }
        self.state.deployment.stopped.insert(worker);
        match &mut self.state.phase {
            Phase::Cancelling { missing, .. } => {
                missing.remove(&worker);
            }
            _ => {
                let message = format!("worker {worker} stopped its subtasks without being asked");
                self.fail_execution(Failure::new(FailureKind::Worker, message), None);
            }
        }
    }

    fn progress(
        &mut self,
        worker: WorkerId,
        subtasks: Vec<(SubtaskId, SubtaskProgress)>,
        troubles: Vec<Failure>,
    ) {
        let now = self.at.now;
        for (subtask, progress) in subtasks {
            if self.runs(worker, subtask) {
                self.first_row(subtask, &progress);
                let deployment = &mut self.state.deployment;
                let before = deployment.progress.get(&subtask).map(|p| p.now);
                let dirty = before.map_or(0, |(_, before)| before.dirty_bytes);
                deployment.dirty =
                    deployment.dirty.saturating_sub(dirty).saturating_add(progress.dirty_bytes);
                deployment.progress.insert(subtask, Progress { now: (now, progress), before });
            }
        }
        if let Some(known) = self.state.workers.get_mut(&worker) {
            known.troubles = troubles;
        }
        let limit = self.state.options.config.checkpoint.max_uncheckpointed_bytes;
        if self.state.deployment.dirty > limit && self.may_trigger(CheckpointKind::Changes) {
            self.trigger(CheckpointKind::Changes);
        }
    }
}
