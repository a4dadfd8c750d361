//! Workers come and go.

use weir_protocol::{Failure, Registration, WorkerId};

use crate::state::{Phase, Worker};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn worker_registered(&mut self, worker: WorkerId, registration: Registration) {
        self.state.workers.entry(worker).or_insert(Worker { registration, troubles: Vec::new() });
    }

    pub(crate) fn worker_draining(&mut self, worker: WorkerId) {
        if let Some(known) = self.state.workers.get_mut(&worker) {
            known.registration.draining = true;
        }
    }

    pub(crate) fn worker_lost(&mut self, worker: WorkerId, failure: Failure) {
        let Some(lost) = self.state.workers.remove(&worker) else {
            return;
        };
        if let Phase::Cancelling { missing, .. } = &mut self.state.phase {
            missing.remove(&worker);
        }
        if self.state.deployment.workers().contains(&worker) {
            self.fail_execution(
                failure.at(format_args!("worker {} ({})", worker, lost.registration.name)),
                None,
            );
        }
    }
}
