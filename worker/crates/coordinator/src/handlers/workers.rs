//! Workers come and go.

use weir_protocol::{Failure, Registration, Stamp, WorkerId};

use crate::event::Exit;
use crate::permit::Message;
use crate::state::{Gathering, Phase, Worker};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn worker_registered(&mut self, worker: WorkerId, mut registration: Registration) {
        if self.state.workers.contains_key(&worker) {
            return;
        }
        let stamp = registration.running.as_ref().map(|running| &running.stamp);
        if let Some(stamp) = stamp.filter(|stamp| self.overtaken_by(stamp)) {
            return self.end(Exit::Fenced(format!(
                "attempt {} runs on worker {}",
                stamp.attempt, registration.name
            )));
        }
        if self.state.gathering == Gathering::Nobody {
            self.state.gathering = Gathering::Since(self.at.now);
        }
        // It is taken in, but what ran there when it was lost has been given up since.
        let late = self.state.gathering == Gathering::Over && registration.running.take().is_some();
        if registration.draining {
            self.state.draining.insert(worker);
        }
        self.state.workers.insert(worker, Worker { registration, troubles: Vec::new(), released: false });
        if late {
            self.send(worker, Message::cancel());
        }
    }

    /// Whether the authority can only be of a coordinator that claimed the job after this one. One that has
    /// nothing to write would not learn of it otherwise.
    fn overtaken_by(&self, stamp: &Stamp) -> bool {
        self.state.claim.is_some()
            && stamp.job == self.state.options.config.uid
            && stamp.attempt > self.state.attempt
    }

    pub(crate) fn worker_draining(&mut self, worker: WorkerId) {
        if let Some(known) = self.state.workers.get_mut(&worker) {
            known.registration.draining = true;
            if !known.released {
                self.state.draining.insert(worker);
            }
        }
    }

    pub(crate) fn worker_lost(&mut self, worker: WorkerId, failure: Failure) {
        let Some(lost) = self.state.workers.remove(&worker) else {
            return;
        };
        self.state.draining.remove(&worker);
        if let Phase::Cancelling { missing, .. } = &mut self.state.phase {
            missing.remove(&worker);
        }
        if self.state.deployment.workers.contains_key(&worker) {
            let failure = failure.at(format_args!("worker {} ({})", worker, lost.registration.name));
            self.lose_execution(failure, None);
        }
    }
}
