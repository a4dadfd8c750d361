//! The journal, manifests and stores: what makes a checkpoint durable and who may say so.
//!
//! Decisions (append, claim, retention, garbage) are pure; thin drivers carry them out against
//! a store. It does not own: when a checkpoint is taken (`weir-coordinator`) and what is inside a
//! block of state (`weir-state`).

mod erase;
mod frame;
pub mod gc;
pub mod journal;
pub mod layout;
pub mod manifest;
pub mod probe;
mod record;
pub mod savepoint;
pub mod segment;
pub mod store;

pub use erase::erase_job;
pub use frame::CodecError;
pub use journal::{
    AppendError, ClaimError, ClaimWanted, Claimed, Completed, Durable, Fenced, Journal, JournalView, Start,
    View,
};
pub use manifest::{Manifest, Parallelism, Part};
pub use record::{Body, Counters, Record, Restore, Slot, StopReason};
pub use store::{Payload, Put, Store, StoreError, StoreErrorKind, open};
