//! The report of how long each execution took to come up: what was noticed when, and when rows flowed again.

use weir_protocol::{Failure, RestoreReport, SubtaskId, SubtaskProgress};

use crate::state::Phase;
use crate::status::{RecoveryCause, RecoveryStatus};
use crate::step::Step;

impl Step<'_> {
    /// Another execution will follow.
    pub(crate) fn begin_recovery(&mut self, cause: RecoveryCause, failure: Option<Failure>) {
        let execution = match cause {
            RecoveryCause::Adoption => self.state.execution,
            _ => self.state.execution.next(),
        };
        let report = RecoveryStatus {
            execution,
            cause,
            failure,
            parallelism: self.state.layout.parallelism,
            detected_us: self.at.now.0,
            cancelled_us: None,
            placed_us: None,
            deployed_us: None,
            running_us: None,
            first_row_us: None,
            restored: RestoreReport::default(),
        };
        let limit = self.state.options.history;
        self.state.memory.recoveries.push_front(report);
        self.state.memory.recoveries.truncate(limit);
    }

    /// The report of the newest execution.
    pub(crate) fn recovery(&mut self) -> Option<&mut RecoveryStatus> {
        self.state.memory.recoveries.front_mut()
    }

    /// All subtasks of the execution before have stopped.
    pub(crate) fn all_stopped(&mut self) {
        let now = self.at.now.0;
        if let Some(recovery) = self.recovery() {
            recovery.cancelled_us.get_or_insert(now);
        }
    }

    /// Workers were told to start subtasks.
    pub(crate) fn placed(&mut self) {
        if self.state.memory.recoveries.front().is_none_or(|r| r.placed_us.is_some()) {
            // The first execution of the attempt, with nothing before it.
            self.begin_recovery(RecoveryCause::Start, None);
        }
        let (now, execution) = (self.at.now.0, self.state.execution);
        let parallelism = self.state.layout.parallelism;
        if let Some(recovery) = self.recovery() {
            recovery.placed_us = Some(now);
            recovery.execution = execution;
            recovery.parallelism = parallelism;
        }
    }

    /// A worker has read its part of the state.
    pub(crate) fn read_state(&mut self, read: RestoreReport) {
        if let Some(recovery) = self.recovery() {
            recovery.restored.local_bytes += read.local_bytes;
            recovery.restored.stored_bytes += read.stored_bytes;
            recovery.restored.read_us = recovery.restored.read_us.max(read.read_us);
        }
    }

    /// All subtasks are up.
    pub(crate) fn came_up(&mut self) {
        let now = self.at.now.0;
        if let Some(recovery) = self.recovery() {
            recovery.deployed_us = Some(now);
        }
    }

    /// Rows may flow.
    pub(crate) fn rows_may_flow(&mut self) {
        let now = self.at.now.0;
        if let Some(recovery) = self.recovery() {
            recovery.running_us = Some(now);
        }
    }

    /// A sink has put out its first row since the execution came up. After a take-over rows never stopped.
    pub(crate) fn first_row(&mut self, subtask: SubtaskId, progress: &SubtaskProgress) {
        let waits = |recovery: &RecoveryStatus| {
            recovery.first_row_us.is_none_or(|first| progress.first_out_us < first)
                && recovery.cause != RecoveryCause::Adoption
        };
        if progress.first_out_us == 0
            || !matches!(self.state.phase, Phase::Running { .. })
            || !self.state.memory.recoveries.front().is_some_and(waits)
            || !self.state.layout.graph.vertex(subtask.vertex).is_some_and(|v| v.sink)
        {
            return;
        }
        if let Some(recovery) = self.recovery() {
            // Clocks of two machines may differ, but nothing comes out before it was admitted.
            let earliest = recovery.running_us.unwrap_or(recovery.detected_us);
            recovery.first_row_us = Some(progress.first_out_us.max(earliest));
        }
    }
}
