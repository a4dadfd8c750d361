//! Executions: deploy, admit rows, fail, cancel, end.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{Failure, SinkHandles, SubtaskId, WorkerId};
use weir_runtime::Timestamp;

use crate::action::Action;
use crate::event::Exit;
use crate::handlers::manifest_loaded::Unreadable;
use crate::permit::Message;
use crate::placement::{Homes, Offer, place};
use crate::state::{AfterCancel, Commits, Committing, Deployment, Gathering, Phase, State};
use crate::status::{FailureStatus, RecoveryCause, RestartStatus};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn send(&mut self, worker: WorkerId, message: Message) {
        self.out.push(Action::Send { worker, stamp: self.state.stamp(), message });
    }

    /// Starts the next execution, if there are slots for it. Whether there were.
    pub(crate) fn deploy(&mut self) -> bool {
        self.rescale_at_rest();
        let state = &mut *self.state;
        let offers = state
            .eligible()
            .map(|(id, worker)| {
                let registration = &worker.registration;
                (id, Offer { slots: registration.slots, process: registration.process.clone() })
            })
            .collect();
        let Some(places) = place(state.layout.slots_needed(), &offers, &state.homes) else {
            return false;
        };
        state.execution = state.execution.next();
        state.gathering = Gathering::Over;
        state.held = None;
        state.homes = Homes::of(&places, |worker| state.process(worker));
        state.deployment = Deployment::new(&state.layout.graph, &places);
        self.stop_strangers();
        self.placed();
        self.tell_deployment();
        true
    }

    fn tell_deployment(&mut self) {
        let state = &*self.state;
        let list: Vec<_> =
            state.deployment.placement.iter().map(|(s, (worker, slot))| (*s, *worker, *slot)).collect();
        let missing = state.deployment.worker_ids();
        let restore = state.point.as_ref().map(|point| point.manifest.clone());
        let peers: Vec<_> = missing
            .iter()
            .filter_map(|id| Some((*id, state.workers.get(id)?.registration.data_address.clone()?)))
            .collect();
        let parallelism = state.layout.parallelism;
        for worker in &missing {
            let message = Message::deploy(parallelism, list.clone(), peers.clone(), restore.clone());
            self.send(*worker, message);
        }
        self.state.phase = Phase::Deploying { missing };
    }

    /// All subtasks are up: first the commits that may be outstanding, then rows.
    pub(crate) fn admit(&mut self) {
        self.state.unread = None;
        let outstanding = match &self.state.point {
            Some(point) => match &point.commits {
                Commits::Outstanding(sinks) => Some((point.id, sinks.clone())),
                Commits::Done | Commits::Unread { .. } => None,
            },
            None => None,
        };
        let Some((id, sinks)) = outstanding else {
            self.start_reading(&BTreeSet::new());
            return;
        };
        let by_worker = self.by_worker(sinks);
        let told: BTreeSet<WorkerId> = by_worker.keys().copied().collect();
        let missing = told.clone();
        for (worker, sinks) in by_worker {
            self.commit(worker, sinks);
        }
        let triggered = self.at.now;
        self.state.committing =
            Some(Committing { id, missing, told, reason: None, triggered, trouble: None });
        self.state.phase = Phase::Recommitting;
    }

    /// Says to a worker that the newest completed checkpoint is durable; for a job without one,
    /// that its sources may start.
    pub(crate) fn commit(&mut self, worker: WorkerId, sinks: Vec<(SubtaskId, SinkHandles)>) {
        let point = self.state.point.as_ref().map(|point| &point.permit);
        if let Some(permit) = point.or(self.state.claim.as_ref()) {
            let message = Message::commit(permit, sinks);
            self.send(worker, message);
        }
    }

    /// Who commits what: the worker that runs the sink's subtask, or, after a change of
    /// parallelism, any.
    pub(crate) fn by_worker(
        &self,
        sinks: Vec<(SubtaskId, SinkHandles)>,
    ) -> BTreeMap<WorkerId, Vec<(SubtaskId, SinkHandles)>> {
        let placement = &self.state.deployment.placement;
        let any = placement.values().next();
        let mut by_worker: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (subtask, handles) in sinks {
            if let Some((worker, _)) = placement.get(&subtask).or(any) {
                by_worker.entry(*worker).or_default().push((subtask, handles));
            }
        }
        by_worker
    }

    /// Rows may flow. Workers that were `told` have had their first commit round.
    pub(crate) fn start_reading(&mut self, told: &BTreeSet<WorkerId>) {
        for worker in self.state.deployment.worker_ids().difference(told) {
            self.commit(*worker, Vec::new());
        }
        self.rows_may_flow();
        let now = self.at.now;
        self.state.schedule.earliest = now;
        self.state.schedule.periodic = now.after(self.state.options.config.checkpoint.interval);
        self.state.failed_in_row = 0;
        self.state.phase = Phase::Running { since: now };
    }

    /// The running execution can't go on.
    pub(crate) fn fail_execution(&mut self, failure: Failure, subtask: Option<SubtaskId>) {
        self.fail(failure, subtask, RecoveryCause::Failure);
    }

    /// The running execution can't go on, for a worker is gone or can't be reached by another.
    pub(crate) fn lose_execution(&mut self, failure: Failure, subtask: Option<SubtaskId>) {
        self.fail(failure, subtask, RecoveryCause::LostWorker);
    }

    fn fail(&mut self, failure: Failure, subtask: Option<SubtaskId>, cause: RecoveryCause) {
        if self.state.ending.is_some() {
            return;
        }
        match self.state.phase {
            Phase::Deploying { .. } | Phase::Recommitting | Phase::Running { .. } => {}
            Phase::Adopting { .. } => return self.give_up_adoption(failure),
            _ => return,
        }
        self.forget_checkpoint(&failure);
        self.state.committing = None;
        self.state.held = None;
        let then = match self.after_failure(&failure, subtask, cause) {
            Some(until) => AfterCancel::Restart { until },
            None => AfterCancel::Exit(self.exit_of(failure)),
        };
        self.cancel(then);
    }

    /// Remembers a failure, and asks the restart strategy when to go on, if at all. The loss of a machine is
    /// not the job's fault: after a calm time it is not asked.
    pub(crate) fn after_failure(
        &mut self,
        failure: &Failure,
        subtask: Option<SubtaskId>,
        cause: RecoveryCause,
    ) -> Option<Timestamp> {
        let options = self.state.options.share();
        let strategy = &options.config.restart;
        let lost = cause == RecoveryCause::LostWorker;
        let delay = match self.unreadable_point(failure) {
            Some(Unreadable::ReadAgain) => Some(options.reread_after),
            Some(Unreadable::GiveUp) => None,
            None if !failure.kind.retryable() => None,
            None if lost => self.state.restarts.lost_worker(strategy, options.calm, self.at),
            None => self.state.restarts.failed(strategy, self.at),
        };
        let status = FailureStatus { at_us: self.at.now.0, subtask, failure: failure.clone() };
        let restart = RestartStatus {
            execution: self.state.execution,
            failure: status.clone(),
            delay_us: delay.map(|d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
        };
        let memory = &mut self.state.memory;
        memory.last_failure = Some(status);
        memory.restarts.push_front(restart);
        memory.restarts.truncate(options.history);
        let until = self.at.now.after(delay?);
        self.state.counters.restarts += 1;
        self.begin_recovery(cause, Some(failure.clone()));
        Some(until)
    }

    /// Stops all subtasks; what follows then is `then`.
    pub(crate) fn cancel(&mut self, then: AfterCancel) {
        let state = &*self.state;
        let mut missing = match state.phase {
            Phase::Deploying { .. }
            | Phase::Adopting { .. }
            | Phase::Recommitting
            | Phase::Running { .. } => state.deployment.worker_ids(),
            _ => BTreeSet::new(),
        };
        missing.retain(|worker| {
            state.workers.contains_key(worker) && !state.deployment.stopped.contains(worker)
        });
        for worker in &missing {
            self.send(*worker, Message::cancel());
        }
        let deadline = self.at.now.after(self.state.options.cancel_timeout);
        self.state.phase = Phase::Cancelling { missing, deadline, then };
    }

    /// The end. Subtasks that still run are told to stop; nobody waits for them.
    pub(crate) fn end(&mut self, exit: Exit) {
        let fenced = matches!(exit, Exit::Fenced(_));
        let runs = matches!(
            self.state.phase,
            Phase::Deploying { .. } | Phase::Adopting { .. } | Phase::Recommitting | Phase::Running { .. }
        );
        // Whoever has taken over goes on with what runs, or stops it.
        if runs && !fenced {
            for worker in self.state.deployment.worker_ids() {
                self.send(worker, Message::cancel());
            }
        }
        self.abandon_savepoints();
        self.state.phase = Phase::Ended(exit.clone());
        self.out.push(Action::Exit(exit));
    }
}

impl State {
    /// For people: `HotItems 2/4`.
    pub(crate) fn subtask_name(&self, subtask: SubtaskId) -> String {
        match self.layout.graph.vertex(subtask.vertex) {
            Some(v) => format!("{} {}/{}", v.name, subtask.index + 1, v.parallelism),
            None => subtask.to_string(),
        }
    }
}
