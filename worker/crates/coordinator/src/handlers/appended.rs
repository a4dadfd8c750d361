//! A record is durable, or another coordinator has taken over.

use weir_checkpoint::{Body, Durable, StopReason};
use weir_protocol::{CheckpointId, CheckpointKind};

use crate::event::{AppendOutcome, Entry, Exit};
use crate::state::{AfterCancel, Commits, Ending};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn appended(&mut self, outcome: &AppendOutcome) {
        let Some(entry) = self.state.journal.appending.take() else {
            return;
        };
        match outcome {
            AppendOutcome::Durable(durable) if says(durable, &entry) => self.recorded(durable),
            AppendOutcome::Fenced(by) => self.end(Exit::Fenced(by.clone())),
            AppendOutcome::Failed(failure) => self.end(Exit::Failed(failure.clone())),
            // Proof of another record proves nothing about ours.
            AppendOutcome::Durable(_) => self.state.journal.appending = Some(entry),
        }
    }

    fn recorded(&mut self, durable: &Durable) {
        self.state.journal.trouble = None;
        match durable.record().body.clone() {
            Body::Checkpoint { reason: CheckpointKind::Import, .. } => self.import_recorded(durable),
            Body::Checkpoint { .. } => self.complete_checkpoint(durable),
            Body::Committed { id } => self.commits_recorded(id),
            Body::Drop { ids } => {
                self.state.retained.retain(|kept| !ids.contains(&kept.id));
                self.state.garbage.due = true;
            }
            Body::Stopped { id, .. } => self.stopped_recorded(id),
            Body::Pin { name, id } => {
                self.set_pinned(id, true);
                self.pinned(&name);
            }
            Body::Unpin { name } => self.unpinned(&name),
            Body::Claim { .. } => {}
        }
    }

    fn set_pinned(&mut self, id: CheckpointId, pinned: bool) {
        let kept = self.state.retained.iter_mut().filter(|kept| kept.id == id);
        kept.for_each(|kept| kept.pinned = pinned);
    }

    fn commits_recorded(&mut self, id: CheckpointId) {
        if let Some(point) = self.state.point.as_mut().filter(|point| point.id == id) {
            point.commits = Commits::Done;
        }
        if let Some(round) = self.state.committing.take_if(|round| round.id == id) {
            self.commits_done(round);
        }
    }

    fn stopped_recorded(&mut self, last: Option<CheckpointId>) {
        let exit = match self.state.ending {
            Some(Ending { reason: StopReason::Finished, .. }) => Exit::Finished { last },
            Some(Ending { complete, .. }) => Exit::Stopped { last, complete },
            None => return,
        };
        self.cancel(AfterCancel::Exit(exit));
    }
}

/// Whether the durable record is the one that was given out.
fn says(durable: &Durable, entry: &Entry) -> bool {
    match entry {
        Entry::Body(body) => durable.record().body == *body,
        Entry::Renewal => matches!(durable.record().body, Body::Claim { .. }),
    }
}
