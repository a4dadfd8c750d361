//! The contract of a table of keyed state with a checkpoint.

use weir_protocol::{KeyGroupRange, StateTableInfo};

use crate::{Part, StateError};

/// What a table occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableStats {
    /// Keys that are present.
    pub rows: u64,
    /// Memory in bytes, index and spare room included.
    pub bytes: u64,
    /// Bytes that a delta would hold now (an estimate).
    pub dirty_bytes: u64,
}

/// A table of keyed state, as the engine sees it around checkpoints. How rows are read and
/// written is the concern of the concrete type and of the transform that owns it.
///
/// # Contract
/// - `restore` is called for each block of a checkpoint in order, before any row is processed.
///   Restoring blocks and then reading equals the table at the barrier, for the key groups given.
/// - `freeze` is called at a barrier, is short (a bit per row at most) and never fails. At most
///   one frozen set exists: `freeze` is called again only after `completed` or `aborted`.
/// - `sweep` yields exactly the rows as they were at the freeze, whatever is written meanwhile.
///   A write to a row that has not been swept yet keeps the old values for the sweep.
/// - After `aborted`, all that was dirty at the freeze is dirty again, whether it was swept or not.
/// - After `completed`, only what changed since the freeze is dirty.
pub trait StateTable: Send {
    /// Name and stored form.
    fn info(&self) -> StateTableInfo;

    /// Takes in a block (the encoded form of a [`Part`]) for the key groups of `range`: those that
    /// this subtask owns *and* the subtask that wrote the list of blocks owned. Blocks before the
    /// newest one that starts a base are not in the list.
    ///
    /// # Errors
    /// A block that is not of this table's stored form, or is damaged.
    fn restore(&mut self, block: &[u8], range: KeyGroupRange) -> Result<(), StateError>;

    /// Marks what a checkpoint will hold: everything (`full`) or what changed since the last
    /// completed one.
    fn freeze(&mut self, full: bool);

    /// Takes about `max_rows` frozen rows out, several times as many where that takes no longer; `None` when there
    /// are no more.
    fn sweep(&mut self, max_rows: usize) -> Option<Part>;

    /// The checkpoint of the frozen set is durable.
    fn completed(&mut self);

    /// The checkpoint of the frozen set will not be.
    fn aborted(&mut self);

    /// What the table occupies.
    fn stats(&self) -> TableStats;
}
