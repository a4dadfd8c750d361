//! The journal: an append-only list of immutable, numbered, hash-chained records, and the one authority
//! over a job.
//!
//! `append` and `claim` are pure machines; [`Journal`] is the thin driver that carries their requests out.
//! It does not own when anything is appended, nor any garbage: see `gc`.

mod append;
mod claim;
mod codec;
mod driver;
mod read;
mod view;

pub use append::{Append, AppendOutcome, Durable, Fenced, Request, Response};
pub use claim::{Claim, ClaimRefused, ClaimRequest, Claimed, Start};
pub use codec::{
    Boundary, MAX_RECORD_BYTES, decode_boundary, decode_record, digest, encode_boundary, encode_record,
};
pub use driver::{AppendError, ClaimError, ClaimWanted, Journal};
pub use read::{JournalView, ReadError};
pub use view::{BrokenChain, Completed, View, captured};
