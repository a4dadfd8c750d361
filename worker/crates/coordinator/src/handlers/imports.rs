//! The first start of a job that takes over the state of a savepoint or of another job: what was claimed says from
//! where, a copy of it becomes the job's first completed checkpoint, and only then do rows flow. Until that record
//! is durable every coordinator begins anew; after it nobody looks at the origin again.

use weir_checkpoint::savepoint::Imported;
use weir_checkpoint::{Body, Durable};
use weir_protocol::{CheckpointId, CheckpointKind, Failure};
use weir_runtime::Timestamp;

use crate::action::Action;
use crate::event::{Loaded, Retained};
use crate::permit::CommitPermit;
use crate::state::{Commits, Phase, Point};
use crate::step::Step;

impl Step<'_> {
    /// Copies the origin's state, under a number of its own.
    pub(crate) fn import(&mut self, from: String) {
        let id = self.state.last_id.next();
        self.out.push(Action::Import { from: from.clone(), id });
        self.state.importing = Some(from);
        self.state.phase = Phase::Loading;
    }

    pub(crate) fn imported(&mut self, id: CheckpointId, result: Result<Imported, Failure>) {
        let expected = self.state.importing.is_some() && id == self.state.last_id.next();
        if self.state.phase != Phase::Loading || !expected {
            return;
        }
        match result.and_then(|imported| self.fitting_import(id, imported)) {
            Ok(imported) => {
                self.state.last_id = id;
                self.state.journal.append(Body::Checkpoint {
                    id,
                    reason: CheckpointKind::Import,
                    manifest: imported.manifest,
                    commits: false,
                    counters: self.state.counters,
                });
            }
            Err(failure) => {
                let from = self.state.importing.clone().unwrap_or_default();
                self.unreadable(failure.at(format_args!("the state to start from, {from}")));
            }
        }
    }

    fn fitting_import(&self, id: CheckpointId, imported: Imported) -> Result<Imported, Failure> {
        let loaded =
            Loaded { max_parallelism: imported.max_parallelism, parallelism: None, sinks: Vec::new() };
        self.fitting(id, loaded).map(|_| imported)
    }

    /// The state is the job's own now.
    pub(crate) fn import_recorded(&mut self, durable: &Durable) {
        let Some(permit) = CommitPermit::of(durable) else { return };
        let Body::Checkpoint { id, manifest, .. } = durable.record().body.clone() else { return };
        self.state.importing = None;
        self.state.restored = Some(id);
        let at = Timestamp(durable.record().at_us);
        self.state.retained.push(Retained { id, at, pinned: false });
        self.state.point = Some(Point { id, manifest, permit, commits: Commits::Done });
        if self.state.phase == Phase::Loading {
            self.state.phase = Phase::Waiting;
        }
    }
}
