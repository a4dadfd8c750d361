//! The manifest of the restore point was read, or could not be.

use weir_protocol::{CheckpointId, Failure, FailureKind};

use crate::event::{Exit, Loaded};
use crate::state::{Commits, Phase};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn manifest_loaded(&mut self, id: CheckpointId, result: Result<Box<Loaded>, Failure>) {
        let expected = self.state.point.as_ref().is_some_and(|point| point.id == id);
        if self.state.phase != Phase::Loading || !expected {
            return;
        }
        match result.and_then(|loaded| self.fitting(id, *loaded)) {
            Ok(loaded) => {
                if let Some(point) = &mut self.state.point {
                    let outstanding = matches!(point.commits, Commits::Unread { outstanding: true });
                    point.commits = match outstanding && !loaded.sinks.is_empty() {
                        true => Commits::Outstanding(loaded.sinks),
                        false => Commits::Done,
                    };
                }
                self.state.phase = Phase::Waiting;
            }
            Err(failure) => self.unreadable(failure),
        }
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

    /// Never a silent step back: tried again as the restart strategy says.
    fn unreadable(&mut self, failure: Failure) {
        match self.after_failure(&failure, None) {
            Some(until) => self.state.phase = Phase::BackingOff { until },
            None => self.end(Exit::Failed(failure)),
        }
    }
}
