//! Taking over what runs: a new coordinator goes on with the execution of the one before it, if all of it is
//! there.
//!
//! An execution can be taken over if it is a continuation of exactly the checkpoint that the claim captured:
//! then nothing that it wrote is visible but what that checkpoint commits. Otherwise another execution starts
//! from that checkpoint, and what runs is stopped.

use std::collections::{BTreeMap, BTreeSet};

use weir_checkpoint::Start;
use weir_protocol::{CheckpointId, Failure, FailureKind, RunningExecution, Stamp, WorkerId};
use weir_runtime::Timestamp;

use crate::permit::Message;
use crate::placement::{Homes, Place};
use crate::state::{AfterCancel, Deployment, Gathering, Phase, State};
use crate::status::RecoveryCause;
use crate::step::Step;

/// An execution that is there as a whole.
struct Adoptable {
    deployed: Stamp,
    deployment: Deployment,
    places: Vec<Place>,
    /// The highest number of a checkpoint that ever began in it.
    triggered: CheckpointId,
}

impl Step<'_> {
    /// The first execution of an attempt: taken over, or deployed once nobody else has to be waited for.
    /// Whether anything was decided.
    pub(crate) fn begin_first_execution(&mut self) -> bool {
        if let Some(adoptable) = self.state.adoptable() {
            self.adopt(adoptable);
            return true;
        }
        if self.state.gathered_until().is_some_and(|until| until <= self.at.now) {
            return self.deploy();
        }
        false
    }

    fn adopt(&mut self, adoptable: Adoptable) {
        let Adoptable { deployed, deployment, places, triggered } = adoptable;
        let state = &mut *self.state;
        state.execution = state.execution.next();
        state.last_id = state.last_id.max(triggered);
        state.homes = Homes::of(&places, |worker| state.process(worker));
        state.deployment = deployment;
        state.gathering = Gathering::Over;
        let missing = state.deployment.worker_ids();
        let deadline = self.at.now.after(state.options.adoption_patience);
        self.begin_recovery(RecoveryCause::Adoption, None);
        for worker in &missing {
            self.send(*worker, Message::adopt(deployed.clone()));
        }
        self.stop_strangers();
        self.state.phase = Phase::Adopting { missing, deadline };
    }

    /// A worker's subtasks go on under this coordinator.
    pub(crate) fn adopted(&mut self, worker: WorkerId) {
        if let Phase::Adopting { missing, .. } = &mut self.state.phase {
            missing.remove(&worker);
            if missing.is_empty() {
                self.came_up();
                self.admit();
            }
        }
    }

    /// Not all of it goes on: another execution starts from the captured checkpoint.
    pub(crate) fn give_up_adoption(&mut self, why: Failure) {
        self.begin_recovery(
            RecoveryCause::Failure,
            Some(why.at("the running execution could not be taken over")),
        );
        self.cancel(AfterCancel::Restart { until: self.at.now });
    }

    /// Time is up for those that were to agree.
    pub(crate) fn adoption_timed_out(&mut self) {
        let Phase::Adopting { missing, .. } = &self.state.phase else {
            return;
        };
        let patience = self.state.options.adoption_patience;
        let who: Vec<String> = missing.iter().take(3).map(|worker| format!("worker {worker}")).collect();
        let text = format!("{} did not answer within {patience:?}", who.join(", "));
        self.give_up_adoption(Failure::new(FailureKind::Worker, text));
    }

    /// Subtasks of another execution, on workers that this one does not use, are to stop.
    pub(crate) fn stop_strangers(&mut self) {
        let mut strangers = Vec::new();
        for (id, worker) in &mut self.state.workers {
            let running = worker.registration.running.take().is_some();
            if running && !self.state.deployment.workers.contains_key(id) {
                strangers.push(*id);
            }
        }
        for worker in strangers {
            self.send(worker, Message::cancel());
        }
    }
}

impl State {
    /// What workers say that runs on them.
    fn reports(&self) -> impl Iterator<Item = (WorkerId, &RunningExecution)> {
        let workers = self.workers.iter();
        workers.filter_map(|(id, worker)| Some((*id, worker.registration.running.as_ref()?)))
    }

    /// The newest deployment that runs anywhere; one that is older is of no use.
    fn newest_deployment(&self) -> Option<&Stamp> {
        let all = self.reports().map(|(_, running)| &running.deployed);
        all.max_by_key(|stamp| (stamp.attempt, stamp.execution))
    }

    /// Whether a part of an execution is a continuation of what the claim captured.
    fn continues(&self, running: &RunningExecution) -> bool {
        let older = running.stamp.job == self.options.config.uid && running.stamp.attempt < self.attempt;
        let same = match &self.point {
            // It builds on that checkpoint, or has given its part to it and was not told more.
            Some(point) => [running.completed, running.acknowledged].contains(&Some(point.id)),
            None => running.completed.is_none(),
        };
        older && same && running.parallelism == self.layout.parallelism
    }

    /// Whether waiting for more workers may give a whole execution.
    fn may_be_adopted(&self) -> bool {
        // Going back to an older checkpoint, or to none, is not going on.
        if self.options.start != Start::Continue
            || self.options.restore_from.is_some() && self.point.is_none()
        {
            return false;
        }
        let Some(newest) = self.newest_deployment() else {
            return false;
        };
        self.reports().filter(|(_, r)| r.deployed == *newest).all(|(_, running)| self.continues(running))
    }

    /// The running execution, if every subtask of it is there.
    fn adoptable(&self) -> Option<Adoptable> {
        if !self.may_be_adopted() {
            return None;
        }
        let deployed = self.newest_deployment()?.clone();
        let (mut placement, mut exhausted) = (BTreeMap::new(), BTreeSet::new());
        let mut triggered = CheckpointId(0);
        for (worker, running) in self.reports().filter(|(_, r)| r.deployed == deployed) {
            for (subtask, slot) in &running.placed {
                if placement.insert(*subtask, (worker, *slot)).is_some() {
                    return None;
                }
            }
            exhausted.extend(running.exhausted.iter().copied());
            triggered = triggered.max(running.triggered).max(running.acknowledged.unwrap_or_default());
        }
        if !self.layout.graph.subtasks().eq(in_order(self, &placement)) {
            return None;
        }
        let places: BTreeMap<u32, Place> =
            placement.iter().map(|(subtask, place)| (subtask.index, *place)).collect();
        let mut deployment = Deployment::new(&self.layout.graph, &[]);
        for (worker, _) in places.values() {
            *deployment.workers.entry(*worker).or_default() += 1;
        }
        deployment.placement = placement;
        deployment.exhausted = exhausted;
        deployment.adopted = true;
        deployment.completed = self.point.as_ref().map(|point| point.id);
        Some(Adoptable { deployed, deployment, places: places.into_values().collect(), triggered })
    }

    /// When the first execution of the attempt is deployed if nothing can be taken over until then; `None`
    /// before the first worker came.
    pub(crate) fn gathered_until(&self) -> Option<Timestamp> {
        let Gathering::Since(since) = self.gathering else {
            return None;
        };
        let options = &self.options;
        let wait = match (self.may_be_adopted(), self.attempt.0 > 1) {
            (true, _) => options.adoption_patience.max(options.gather),
            // What ran before may still be looking for its new coordinator.
            (false, true) => 2 * options.gather,
            // Nothing runs anywhere, and subtasks can't be spread any further.
            (false, false) if self.eligible().count() >= self.layout.slots_needed() as usize => {
                return Some(since);
            }
            (false, false) => options.gather,
        };
        Some(since.after(wait))
    }

    /// The process of a worker, as it named itself.
    pub(crate) fn process(&self, worker: WorkerId) -> String {
        self.workers.get(&worker).map(|w| w.registration.process.clone()).unwrap_or_default()
    }
}

/// The subtasks of a placement, vertex by vertex as in the graph; those of no vertex at the end.
fn in_order<'a>(
    state: &'a State,
    placement: &'a BTreeMap<weir_protocol::SubtaskId, Place>,
) -> impl Iterator<Item = weir_protocol::SubtaskId> + 'a {
    let graph = &state.layout.graph;
    let known = graph.vertices.iter().flat_map(move |v| {
        let range = weir_protocol::SubtaskId { vertex: v.id, index: 0 }..=weir_protocol::SubtaskId {
            vertex: v.id,
            index: u32::MAX,
        };
        placement.range(range).map(|(subtask, _)| *subtask)
    });
    known.chain(placement.keys().filter(move |s| graph.vertex(s.vertex).is_none()).copied())
}
