//! Going on elsewhere without reading anything twice: a worker that is to go is left, or the parallelism
//! changes. Sources stop at a last checkpoint; the next execution starts from it.

use weir_protocol::WorkerId;

use crate::action::Action;
use crate::state::{AfterCancel, Gathering, Layout, Phase, Planning, State};
use crate::status::RecoveryCause;
use crate::step::Step;

impl Step<'_> {
    /// The last checkpoint of this execution is durable and committed.
    pub(crate) fn move_on(&mut self) {
        let Some(held) = self.state.held.take() else {
            return;
        };
        let rescaled = self.state.rescale.take_if(|rescale| rescale.parallelism == held.next);
        let cause = match rescaled.is_some() {
            true => RecoveryCause::Rescale,
            false => RecoveryCause::Drain,
        };
        self.begin_recovery(cause, None);
        // Rows have stood still since then.
        if let Some(recovery) = self.recovery() {
            recovery.detected_us = held.triggered.0;
        }
        if let Some(layout) = rescaled {
            self.state.next_layout = Some(layout);
        }
        self.cancel(AfterCancel::Restart { until: self.at.now });
    }

    /// Where no rows flow the parallelism changes at once, if there are slots for it.
    pub(crate) fn rescale_at_rest(&mut self) {
        let there = self.state.slots_there();
        let fits = |layout: &mut Layout| u64::from(layout.slots_needed()) <= there;
        let decided = self.state.next_layout.take();
        if let Some(layout) = decided.or_else(|| self.state.rescale.take_if(fits)) {
            self.state.layout = layout;
        }
    }

    /// Workers that are about to go may, once nothing runs on them.
    pub(crate) fn release_drained(&mut self) {
        let free: Vec<WorkerId> =
            self.state.draining.iter().copied().filter(|worker| !self.state.is_needed(*worker)).collect();
        for worker in free {
            self.state.draining.remove(&worker);
            if let Some(known) = self.state.workers.get_mut(&worker) {
                known.released = true;
                self.out.push(Action::Release { worker });
            }
        }
    }
}

impl State {
    /// The workers that take subtasks, with their slots.
    pub(crate) fn eligible(&self) -> impl Iterator<Item = (WorkerId, &crate::state::Worker)> {
        let there = self.workers.iter().filter(|(_, worker)| !worker.registration.draining);
        there.map(|(id, worker)| (*id, worker))
    }

    /// Slots that are there for the next execution.
    pub(crate) fn slots_there(&self) -> u64 {
        self.eligible().map(|(_, worker)| u64::from(worker.registration.slots)).sum()
    }

    /// Whether the next execution can be placed.
    pub(crate) fn has_slots(&self) -> bool {
        u64::from(self.layout.slots_needed()) <= self.slots_there()
    }

    /// Whether the running execution is to be followed by another as soon as it can.
    pub(crate) fn wants_to_move(&self) -> bool {
        if let Some(layout) = &self.rescale {
            return u64::from(layout.slots_needed()) <= self.slots_there();
        }
        self.drains() && self.has_slots()
    }

    /// Whether subtasks run on workers that are about to go.
    pub(crate) fn drains(&self) -> bool {
        self.draining.iter().any(|worker| self.deployment.workers.contains_key(worker))
    }

    /// How many more slots it takes to leave the workers that are about to go, or to change the parallelism.
    pub(crate) fn slots_to_move(&self) -> u64 {
        let needed = self.rescale.as_ref().unwrap_or(&self.layout).slots_needed();
        match self.rescale.is_some() || self.drains() {
            true => u64::from(needed).saturating_sub(self.slots_there()),
            false => 0,
        }
    }

    /// Whether a worker that is about to go has something that others wait for.
    fn is_needed(&self, worker: WorkerId) -> bool {
        let may_be_adopted = self.gathering != Gathering::Over
            && self.workers.get(&worker).is_some_and(|known| known.registration.running.is_some());
        let runs =
            self.deployment.workers.contains_key(&worker) && !self.deployment.stopped.contains(&worker);
        let resting = matches!(self.phase, Phase::Waiting | Phase::BackingOff { .. } | Phase::Planning);
        may_be_adopted || (runs && !resting)
    }

    /// The parallelism that a question which is being planned asks for.
    pub(crate) fn planned_for(&self, parallelism: u32) -> Option<Planning> {
        self.planning.filter(|planning| match planning {
            Planning::Start { parallelism: p } | Planning::Rescale { parallelism: p, .. } => {
                *p == parallelism
            }
        })
    }
}
