//! The journal was claimed, or could not be.

use std::collections::BTreeSet;

use weir_checkpoint::{Claimed, Restore, View};
use weir_protocol::CheckpointId;
use weir_runtime::Timestamp;

use crate::action::Action;
use crate::event::{ClaimOutcome, Exit, Retained};
use crate::permit::CommitPermit;
use crate::state::{Commits, Gathering, Phase, Point};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn claimed(&mut self, outcome: ClaimOutcome) {
        if self.state.phase != Phase::Claiming {
            return;
        }
        match outcome {
            ClaimOutcome::Claimed(claimed) => self.begin(*claimed),
            ClaimOutcome::AlreadyFinished { last } => self.end(Exit::AlreadyFinished { last }),
            ClaimOutcome::Failed(failure) => self.end(Exit::Failed(failure)),
        }
    }

    fn begin(&mut self, claimed: Claimed) {
        let Some(permit) = CommitPermit::of(&claimed.claim) else {
            return;
        };
        let state = &mut *self.state;
        state.attempt = claimed.attempt;
        state.counters = claimed.counters;
        state.retained = retained(&claimed.view);
        state.last_id = CheckpointId(claimed.view.next_checkpoint().0.saturating_sub(1));
        state.garbage.due = true;
        if let Gathering::Since(first) = &mut state.gathering {
            // Who waited for the claim is waited for with the others.
            *first = self.at.now;
        }
        self.warn_of_start(&claimed);
        let state = &mut *self.state;
        match claimed.restore {
            Restore::Genesis { restore_from: None } => state.phase = Phase::Waiting,
            Restore::Genesis { restore_from: Some(from) } => self.import(from),
            Restore::Captured { id, manifest, commits, .. } => {
                state.restored = Some(id);
                let commits = Commits::Unread { outstanding: commits };
                state.point = Some(Point { id, manifest, permit: permit.clone(), commits });
                self.load();
            }
        }
        self.state.claim = Some(permit);
        self.resume_savepoints(&claimed.view);
    }

    /// Reads the manifest of the restore point, for its commits and to know that it can be read.
    pub(crate) fn load(&mut self) {
        if let Some(point) = &self.state.point {
            self.out.push(Action::LoadManifest { id: point.id, manifest: point.manifest.clone() });
            self.state.phase = Phase::Loading;
        }
    }
}

/// The completed checkpoints that were not given up, oldest first.
fn retained(view: &View) -> Vec<Retained> {
    let pinned: BTreeSet<CheckpointId> = view.pins().into_values().map(|(id, _)| id).collect();
    let all = view.checkpoints().into_iter();
    all.map(|c| Retained { id: c.id, at: Timestamp(c.at_us), pinned: pinned.contains(&c.id) }).collect()
}
