//! Working state: keyed tables with batch access, and how they go into checkpoints and come back.
//!
//! Owns: the stored form of a block, dirty tracking, freezing, the hash of a batch of keys. It does
//! not own: when a checkpoint is taken, where blocks are stored, and what an aggregate means.

mod bits;
mod columns;
#[cfg(test)]
mod conformance;
mod hash;
mod index;
mod key;
mod keyed;
mod memory;
mod part;
mod processor;
mod rows;
mod slab;
mod sliced;
mod stored;
mod table;
mod timer;

use arrow_schema::DataType;

pub use hash::{HASH_OF_NO_COLUMNS, can_be_key, hash_keys};
pub use key::Keys;
pub use keyed::{KeyedTable, TableSpec, Visit};
pub use part::Part;
pub use processor::prefetch;
pub use sliced::SlicedTable;
pub use stored::{encode_parts, starts_base};
pub use table::{StateTable, TableStats};
pub use timer::TimerTable;

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
    /// A column that rows can't be grouped or partitioned by.
    #[error(
        "a column of type {data_type} cannot be a key: keys are booleans, numbers, decimals, strings, binary \
         data, dates, times and timestamps"
    )]
    KeyType {
        /// Its type.
        data_type: DataType,
    },
    /// Key columns that are not those of the table.
    #[error("the key columns {given} are not those that were declared: {declared}")]
    Columns {
        /// What the table has.
        declared: String,
        /// What came.
        given: String,
    },
    /// A value that is too long to be kept.
    #[error("a value of {bytes} bytes is too long for table {table:?}: less than 2 GiB are allowed")]
    TooLong {
        /// The table.
        table: String,
        /// Its length.
        bytes: usize,
    },
}
