//! A coordinator process: the real step function and the real journal machines, driven by hand.

use std::collections::VecDeque;

use weir_checkpoint::gc::Plan;
use weir_checkpoint::journal::{Append, Claim};
use weir_checkpoint::{Claimed, Manifest, Record, Restore, Slot, View};
use weir_coordinator::{Exit, State};
use weir_protocol::{FromWorker, Registration, Stamp, WorkerId};
use weir_runtime::Timestamp;

#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// The how many-th process of the world it is.
    pub(crate) number: u64,
    pub(crate) nonces: u64,
    pub(crate) paused: bool,
    pub(crate) state: State,
    pub(crate) claim: Option<Claim>,
    pub(crate) append: Option<Append>,
    /// A claim that goes on without reading, as a mutant does: what it captured.
    pub(crate) blind_claim: Option<Append>,
    /// A claim that is durable, and whose restore point is looked up later, as a mutant does.
    pub(crate) unread_claim: Option<Claimed>,
    pub(crate) view: View,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) timer: Option<Timestamp>,
    pub(crate) sweep: Option<Sweeping>,
    /// The number that the next worker gets.
    pub(crate) next_worker: u64,
    /// Workers that have left it, which it does not know yet, with what they had said of themselves.
    pub(crate) gone: VecDeque<(WorkerId, Registration)>,
    /// What it deployed or took over last.
    pub(crate) deployed: Option<Stamp>,
    /// Whether somebody asked for another parallelism.
    pub(crate) rescaled: bool,
    pub(crate) repeats: VecDeque<(WorkerId, Stamp, FromWorker)>,
    pub(crate) exit: Option<Exit>,
}

/// Garbage collection on its way, in the order that is prescribed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sweeping {
    pub(crate) manifests: Vec<String>,
    pub(crate) data: Vec<String>,
    pub(crate) boundary: Option<Slot>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) proposed: Vec<weir_coordinator::Entry>,
}

impl Sweeping {
    pub(crate) fn of(plan: Plan) -> Self {
        let proposed = plan.append.into_iter().map(|proposed| match proposed.body {
            weir_checkpoint::Body::Claim { .. } => weir_coordinator::Entry::Renewal,
            body => weir_coordinator::Entry::Body(body),
        });
        Self {
            proposed: proposed.collect(),
            manifests: plan.manifests.into_iter().map(|d| d.key).collect(),
            data: plan.data.into_iter().map(|d| d.key).collect(),
            boundary: plan.boundary,
            slots: plan.slots,
        }
    }
}

impl Process {
    /// Whether a request of the journal's machines is open.
    pub(crate) fn asks(&self) -> Option<&weir_checkpoint::journal::Request> {
        let append = self.blind_claim.as_ref().or(self.append.as_ref());
        append.map(Append::request).or(self.claim.as_ref().map(Claim::request))
    }

    pub(crate) fn lives(&self) -> bool {
        self.exit.is_none()
    }

    /// A name that nobody else makes, and that does not depend on what others do.
    pub(crate) fn nonce(&mut self) -> String {
        self.nonces += 1;
        format!("p{}.{}", self.number, self.nonces)
    }
}

/// What a claim's record captured, as a checkpoint number.
pub(crate) fn captured(record: &Record) -> Option<weir_protocol::CheckpointId> {
    match &record.body {
        weir_checkpoint::Body::Claim { restore: Restore::Captured { id, .. }, .. } => Some(*id),
        _ => None,
    }
}
