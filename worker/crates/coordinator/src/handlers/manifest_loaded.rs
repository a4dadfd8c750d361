//! The manifest of the restore point was read, or could not be.

use weir_protocol::{CheckpointId, Failure, FailureKind, OnUnreadable};

use crate::action::Action;
use crate::event::{Exit, Loaded};
use crate::state::{Commits, Phase, Planning};
use crate::status::RecoveryCause;
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn manifest_loaded(&mut self, id: CheckpointId, result: Result<Box<Loaded>, Failure>) {
        let expected = self.state.point.as_ref().is_some_and(|point| point.id == id);
        if self.state.phase != Phase::Loading || !expected {
            return;
        }
        match result.and_then(|loaded| self.fitting(id, *loaded)) {
            Ok(loaded) => {
                let asked = self.state.options.config.parallelism;
                let parallelism = loaded.parallelism.map_or(asked, |p| p.under(asked));
                if let Some(point) = &mut self.state.point {
                    let outstanding = matches!(point.commits, Commits::Unread { outstanding: true });
                    point.commits = match outstanding && !loaded.sinks.is_empty() {
                        true => Commits::Outstanding(loaded.sinks),
                        false => Commits::Done,
                    };
                }
                self.go_on_at(parallelism);
            }
            Err(failure) => self.unreadable(failure),
        }
    }

    /// The job goes on at the parallelism that it had, also after a coordinator that changed it is gone.
    fn go_on_at(&mut self, parallelism: u32) {
        let most = self.state.options.config.max_parallelism;
        if parallelism == self.state.layout.parallelism || !(1..=most).contains(&parallelism) {
            self.state.phase = Phase::Waiting;
            return;
        }
        self.state.planning = Some(Planning::Start { parallelism });
        self.state.phase = Phase::Planning;
        self.out.push(Action::Plan { parallelism });
    }

    fn fitting(&self, id: CheckpointId, loaded: Loaded) -> Result<Loaded, Failure> {
        let now = self.state.options.config.max_parallelism;
        if loaded.max_parallelism == now {
            return Ok(loaded);
        }
        let message = format!(
            "checkpoint {id} was taken with maxParallelism {}, the job now says {now}: it is fixed for a job's life, set it back to {}",
            loaded.max_parallelism, loaded.max_parallelism
        );
        Err(Failure::new(FailureKind::StateIncompatible, message))
    }

    /// Tried again as the restart strategy says, if the store is to blame.
    fn unreadable(&mut self, failure: Failure) {
        match self.after_failure(&failure, None, RecoveryCause::Failure) {
            Some(until) => self.state.phase = Phase::BackingOff { until },
            None => {
                let exit = self.exit_of(failure);
                self.end(exit);
            }
        }
    }

    /// How a failure that is not retried ends this attempt. Only where the user permits it, and only for
    /// state that can't be read, the next one goes back to an older checkpoint.
    pub(crate) fn exit_of(&self, failure: Failure) -> Exit {
        let state = &*self.state;
        let permitted = failure.kind == FailureKind::StateUnreadable
            && state.options.config.on_unreadable == OnUnreadable::Previous;
        let point = state.point.as_ref().map(|point| point.id).filter(|_| permitted);
        let older = state.retained.iter().map(|kept| kept.id).filter(|id| Some(*id) < point).max();
        match older {
            Some(to) => Exit::StepBack { to, failure },
            None => Exit::Failed(failure),
        }
    }
}
