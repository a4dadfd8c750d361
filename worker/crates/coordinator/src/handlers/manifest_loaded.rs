//! The manifest of the restore point was read, or could not be.

use weir_protocol::{CheckpointId, Failure, FailureKind, OnUnreadable};

use crate::action::Action;
use crate::event::{Exit, Loaded};
use crate::state::{Commits, Phase, Planning, State};
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
                self.state.unread = None;
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

    pub(crate) fn fitting(&self, id: CheckpointId, loaded: Loaded) -> Result<Loaded, Failure> {
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
    pub(crate) fn unreadable(&mut self, failure: Failure) {
        match self.after_failure(&failure, None, RecoveryCause::Failure) {
            Some(until) => self.state.phase = Phase::BackingOff { until },
            None => {
                let exit = self.exit_of(failure);
                self.end(exit);
            }
        }
    }

    /// How a failure that is not retried ends this attempt.
    pub(crate) fn exit_of(&self, failure: Failure) -> Exit {
        match self.state.step_back_for(&failure) {
            Some((_, to)) => Exit::StepBack { to, failure },
            None => Exit::Failed(failure),
        }
    }

    /// Where the job permits to go back to an older checkpoint, a restore point that is missing or damaged is read
    /// once more, and then given up, whatever the restart strategy. `None`: that is not what has happened.
    pub(crate) fn unreadable_point(&mut self, failure: &Failure) -> Option<Unreadable> {
        let restoring = matches!(self.state.phase, Phase::Loading | Phase::Deploying { .. });
        let (point, _) = self.state.step_back_for(failure).filter(|_| restoring)?;
        Some(match self.state.unread.replace(point) == Some(point) {
            true => Unreadable::GiveUp,
            false => Unreadable::ReadAgain,
        })
    }
}

/// What follows when a restore point can't be read and there is one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// What was seen may have been a moment's trouble.
    ReadAgain,
    /// It is damaged.
    GiveUp,
}

impl State {
    /// The restore point that can't be read, and the newest completed checkpoint before it, to which the next attempt
    /// goes back: only where the user permits it, and only for state that is missing or damaged.
    fn step_back_for(&self, failure: &Failure) -> Option<(CheckpointId, CheckpointId)> {
        let permitted = failure.kind == FailureKind::StateUnreadable
            && self.options.config.on_unreadable == OnUnreadable::Previous;
        let point = self.point.as_ref().filter(|_| permitted)?.id;
        let older = self.retained.iter().map(|kept| kept.id).filter(|id| *id < point).max()?;
        Some((point, older))
    }
}
