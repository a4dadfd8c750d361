//! Alignment of barriers over the inputs of a subtask. Pure: no rows, no clock, no I/O.

use weir_protocol::{CheckpointId, CheckpointMode};

use crate::Barrier;

/// What a barrier that came in means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Aligned {
    /// Others are still to come. Under exactly-once the input is not to be read meanwhile.
    Waiting,
    /// The barrier has come on every input: freeze, then pass it on. All inputs may be read.
    Complete(Barrier),
    /// The barrier belongs to a checkpoint that was given up: forget it.
    Stale,
}

/// The barriers seen so far. Each input delivers barriers with rising ids, but may leave some out
/// (those of checkpoints that were given up on the way).
///
/// ```
/// use weir_dataflow::{Aligned, Alignment, Barrier};
/// use weir_protocol::{CheckpointId, CheckpointKind, CheckpointMode};
/// let barrier = Barrier {
///     id: CheckpointId(1),
///     kind: CheckpointKind::Periodic,
///     mode: CheckpointMode::ExactlyOnce,
///     completed: None,
///     triggered_us: 0,
/// };
/// let mut alignment = Alignment::new(2);
/// assert_eq!(alignment.barrier(0, barrier), Aligned::Waiting);
/// assert!(alignment.blocked(0) && !alignment.blocked(1));
/// assert_eq!(alignment.barrier(1, barrier), Aligned::Complete(barrier));
/// assert!(!alignment.blocked(0));
/// ```
#[derive(Debug, Clone)]
pub struct Alignment {
    arrived: Vec<bool>,
    current: Option<Barrier>,
    /// Checkpoints up to here are over for this subtask, one way or the other.
    settled: CheckpointId,
}

impl Alignment {
    /// For a number of inputs.
    pub fn new(inputs: usize) -> Self {
        Self { arrived: vec![false; inputs], current: None, settled: CheckpointId(0) }
    }

    /// Takes a barrier of an input.
    pub fn barrier(&mut self, input: usize, barrier: Barrier) -> Aligned {
        if barrier.id <= self.settled || self.current.is_some_and(|c| barrier.id < c.id) {
            return Aligned::Stale;
        }
        if self.current.is_none_or(|c| c.id < barrier.id) {
            // A newer checkpoint is only triggered after the one before it ended, so the one
            // that was being aligned was given up.
            self.arrived.fill(false);
            self.current = Some(barrier);
        }
        self.arrived[input] = true;
        if self.arrived.iter().all(|a| *a) {
            self.settle(barrier.id);
            return Aligned::Complete(barrier);
        }
        Aligned::Waiting
    }

    /// The coordinator gave a checkpoint up: nothing waits for it any more.
    pub fn abort(&mut self, id: CheckpointId) {
        if self.settled < id && self.current.is_none_or(|c| c.id <= id) {
            self.settle(id);
        }
    }

    fn settle(&mut self, id: CheckpointId) {
        self.settled = id;
        self.current = None;
        self.arrived.fill(false);
    }

    /// Whether the input must not be read now.
    pub fn blocked(&self, input: usize) -> bool {
        self.current.is_some_and(|c| c.mode == CheckpointMode::ExactlyOnce) && self.arrived[input]
    }

    /// The checkpoint that is being aligned.
    pub fn current(&self) -> Option<CheckpointId> {
        self.current.map(|c| c.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::CheckpointKind;

    fn barrier(id: u64, mode: CheckpointMode) -> Barrier {
        Barrier {
            id: CheckpointId(id),
            kind: CheckpointKind::Periodic,
            mode,
            completed: None,
            triggered_us: 0,
        }
    }

    #[test]
    fn at_least_once_never_blocks() {
        let b = barrier(1, CheckpointMode::AtLeastOnce);
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, b), Aligned::Waiting);
        assert!(!alignment.blocked(0));
        assert_eq!(alignment.barrier(1, b), Aligned::Complete(b));
    }

    #[test]
    fn an_aborted_checkpoint_frees_its_inputs_and_its_late_barriers_are_stale() {
        let b = barrier(3, CheckpointMode::ExactlyOnce);
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, b), Aligned::Waiting);
        alignment.abort(CheckpointId(3));
        assert!(!alignment.blocked(0));
        assert_eq!(alignment.barrier(1, b), Aligned::Stale);
        let next = barrier(4, CheckpointMode::ExactlyOnce);
        assert_eq!(alignment.barrier(1, next), Aligned::Waiting);
        assert_eq!(alignment.barrier(0, next), Aligned::Complete(next));
    }

    #[test]
    fn a_newer_barrier_takes_the_place_of_one_that_was_given_up_upstream() {
        let (old, new) = (barrier(5, CheckpointMode::ExactlyOnce), barrier(6, CheckpointMode::ExactlyOnce));
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(0, old), Aligned::Waiting);
        assert_eq!(alignment.barrier(1, new), Aligned::Waiting);
        assert!(!alignment.blocked(0), "input 0 must be read on to find barrier 6");
        assert_eq!(alignment.barrier(2, old), Aligned::Stale);
        assert_eq!(alignment.barrier(2, new), Aligned::Waiting);
        assert_eq!(alignment.barrier(0, new), Aligned::Complete(new));
    }

    #[test]
    fn an_abort_of_an_older_checkpoint_leaves_the_current_one_alone() {
        let b = barrier(9, CheckpointMode::ExactlyOnce);
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, b), Aligned::Waiting);
        alignment.abort(CheckpointId(8));
        assert!(alignment.blocked(0));
        assert_eq!(alignment.barrier(1, b), Aligned::Complete(b));
    }
}
