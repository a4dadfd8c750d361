//! Working state: keyed tables with batch access, and how they go into checkpoints and come back.
//!
//! Owns: the stored form of a block, dirty tracking, freezing, the hash of a batch of keys. It does
//! not own: when a checkpoint is taken, where blocks are stored, and what an aggregate means.

mod table;

pub use table::{Part, StateTable, TableStats};

/// What can be wrong with state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A block that is damaged or of another stored form.
    #[error("state of table {table:?} cannot be read: {reason}")]
    Block {
        /// The table.
        table: String,
        /// What is wrong with it.
        reason: String,
    },
}
