//! The journal was claimed, or could not be.

use weir_checkpoint::Restore;

use crate::action::Action;
use crate::event::{ClaimOutcome, Claimed, Exit};
use crate::permit::CommitPermit;
use crate::state::{Commits, Phase, Point};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn claimed(&mut self, outcome: ClaimOutcome) {
        if self.state.phase != Phase::Claiming {
            return;
        }
        match outcome {
            ClaimOutcome::Claimed(claimed) => self.begin(*claimed),
            ClaimOutcome::AlreadyFinished { last } => self.end(Exit::AlreadyFinished { last }),
            ClaimOutcome::Fenced => self.end(Exit::Fenced),
            ClaimOutcome::Failed(failure) => self.end(Exit::Failed(failure)),
        }
    }

    fn begin(&mut self, claimed: Claimed) {
        let permit = CommitPermit::of_claim(&claimed.restore, &claimed.durable);
        let state = &mut *self.state;
        state.attempt = claimed.attempt;
        state.counters = claimed.counters;
        state.retained = claimed.retained;
        state.last_id = claimed.last_id;
        state.garbage.due = true;
        match claimed.restore {
            Restore::Genesis { .. } => state.phase = Phase::Waiting,
            Restore::Captured { id, manifest, commits, .. } => {
                state.last_id = state.last_id.max(id);
                state.restored = Some(id);
                let commits = Commits::Unread { outstanding: commits };
                state.point = Some(Point { id, manifest, permit: permit.clone(), commits });
                self.load();
            }
        }
        self.state.claim = Some(permit);
    }

    /// Reads the manifest of the restore point, for its commits and to know that it can be read.
    pub(crate) fn load(&mut self) {
        if let Some(point) = &self.state.point {
            self.out.push(Action::LoadManifest { id: point.id, manifest: point.manifest.clone() });
            self.state.phase = Phase::Loading;
        }
    }
}
