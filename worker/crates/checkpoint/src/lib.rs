//! The journal, manifests and stores: what makes a checkpoint durable and who may say so.
//!
//! Decisions (append, claim, retention, garbage) are pure; one thin driver carries them out against
//! a store. It does not own: when a checkpoint is taken (`weir-coordinator`) and what is inside a
//! block of state (`weir-state`).

mod manifest;
mod record;

pub use manifest::{Manifest, Part};
pub use record::{Body, Counters, Record, Restore, Slot, StopReason};
