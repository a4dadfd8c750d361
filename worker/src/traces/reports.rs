//! Which checkpoints and recoveries of a status are over and have not been told yet.

use std::collections::BTreeSet;

use weir_coordinator::JobStatus;
use weir_coordinator::status::{CheckpointState, RecoveryCause, RecoveryStatus};
use weir_protocol::CheckpointId;

use super::spans::Spans;

/// A recovery whose sinks have put nothing out for so long is told without that.
const FIRST_ROW_US: u64 = 30_000_000;

/// What was told already, among what the status still remembers.
#[derive(Debug, Default)]
pub(super) struct Reports {
    checkpoints: BTreeSet<CheckpointId>,
    /// By when each was noticed.
    recoveries: BTreeSet<u64>,
}

impl Reports {
    /// Makes spans of what is over and new. `last`: nothing comes after this status.
    pub(super) fn take(&mut self, now: &JobStatus, last: bool, spans: &mut Spans<'_>) {
        let newest = &now.checkpoints.newest;
        self.checkpoints.retain(|id| newest.iter().any(|checkpoint| checkpoint.id == *id));
        for checkpoint in newest.iter().rev() {
            let over =
                last || matches!(checkpoint.state, CheckpointState::Completed | CheckpointState::Failed);
            if over && self.checkpoints.insert(checkpoint.id) {
                spans.checkpoint(checkpoint);
            }
        }
        self.recoveries.retain(|at| now.recoveries.iter().any(|recovery| recovery.detected_us == *at));
        for (at, recovery) in now.recoveries.iter().enumerate().rev() {
            let over = last || at > 0 || is_over(recovery, now.at_us);
            if over && self.recoveries.insert(recovery.detected_us) {
                spans.recovery(recovery);
            }
        }
    }
}

fn is_over(recovery: &RecoveryStatus, now_us: u64) -> bool {
    match (recovery.running_us, recovery.first_row_us) {
        (Some(_), Some(_)) => true,
        (Some(since), None) => {
            recovery.cause == RecoveryCause::Adoption || now_us.saturating_sub(since) > FIRST_ROW_US
        }
        (None, _) => false,
    }
}
