//! The bytes of records and of the boundary.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::frame::{CodecError, Frame};
use crate::{Record, Slot};

/// The most bytes that a record may have.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

const RECORD: Frame = Frame { kind: "record", version: 1, limit: MAX_RECORD_BYTES };
const BOUNDARY: Frame = Frame { kind: "boundary", version: 1, limit: 1024 };

/// The bytes of a record.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn encode_record(record: &Record) -> Result<Bytes, CodecError> {
    RECORD.encode(record)
}

/// The record in these bytes.
///
/// # Errors
/// Anything that [`encode_record`] would not have written.
pub fn decode_record(bytes: &[u8]) -> Result<Record, CodecError> {
    RECORD.decode(bytes)
}

/// The digest by which the next record refers to these bytes.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The journal's boundary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Boundary {
    /// Slots up to this one do not exist.
    pub slot: Slot,
    /// Drawn by the writer, so that no two writes of the boundary have equal bytes.
    pub nonce: String,
}

/// The bytes of a boundary.
///
/// # Errors
/// [`CodecError::TooLarge`] for an overlong nonce.
pub fn encode_boundary(boundary: &Boundary) -> Result<Bytes, CodecError> {
    BOUNDARY.encode(boundary)
}

/// The boundary in these bytes.
///
/// # Errors
/// Anything that [`encode_boundary`] would not have written.
pub fn decode_boundary(bytes: &[u8]) -> Result<Boundary, CodecError> {
    BOUNDARY.decode(bytes)
}
