//! Appending one record: the only way to change a job's state. A pure state machine.
//!
//! The owner carries out [`Append::request`], tells the answer to [`Append::step`], and so on until
//! there is an outcome. A read that failed is simply asked again; only a create may end in
//! [`Response::Unknown`].

use bytes::Bytes;
use weir_protocol::{Attempt, CheckpointId, ManifestRef};

use super::codec::{decode_boundary, decode_record, digest, encode_record};
use crate::frame::CodecError;
use crate::{Body, Record, Restore, Slot};

/// What the journal's machines ask of the store. Reads must not come from a cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Create the record of a slot if there is none.
    Create {
        /// Where.
        slot: Slot,
        /// What.
        bytes: Bytes,
    },
    /// Read the records of these slots.
    Read {
        /// Which, rising.
        slots: Vec<Slot>,
    },
    /// Read the boundary.
    ReadBoundary,
    /// List the slots that have records.
    ListSlots,
    /// Say whether there are data objects or manifests.
    ListRemains,
    /// Create the boundary if there is none.
    CreateBoundary {
        /// What.
        bytes: Bytes,
    },
}

/// What the store answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Response {
    /// To a create: done by this request.
    Created,
    /// To a create: something is there.
    Exists,
    /// To a create: no clear answer. It may be done, now or later.
    Unknown,
    /// To [`Request::Read`]: the bytes of each slot that was asked for.
    Records(Vec<Option<Bytes>>),
    /// To [`Request::ReadBoundary`].
    Boundary(Option<Bytes>),
    /// To [`Request::ListSlots`], rising.
    Slots(Vec<Slot>),
    /// To [`Request::ListRemains`].
    Remains(bool),
}

/// Proof that a record is durable, and the only permit to act on it. Only the journal makes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Durable {
    record: Record,
    digest: String,
}

impl Durable {
    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The digest by which the next record refers to it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The checkpoint whose commits it permits, with the manifest to take them from: a completed
    /// checkpoint, or the one that a claim captured.
    pub fn permits(&self) -> Option<(CheckpointId, &ManifestRef)> {
        match &self.record.body {
            Body::Checkpoint { id, manifest, .. }
            | Body::Claim { restore: Restore::Captured { id, manifest, .. }, .. } => Some((*id, manifest)),
            _ => None,
        }
    }
}

/// Who overtook this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fenced {
    /// Another process wrote the slot.
    #[error("slot {slot} of the journal was written by attempt {attempt}")]
    Record {
        /// Where.
        slot: Slot,
        /// By whom.
        attempt: Attempt,
    },
    /// The slot holds something that is not a record.
    #[error("slot {slot} of the journal holds what this program can't read: {why}")]
    Foreign {
        /// Where.
        slot: Slot,
        /// What is wrong with it.
        why: CodecError,
    },
    /// The journal went on past the slot, so that it was even collected.
    #[error("slot {slot} is behind the journal's boundary {boundary}")]
    Boundary {
        /// Where this process wanted to write.
        slot: Slot,
        /// Slots up to this one do not exist.
        boundary: Slot,
    },
}

/// How an append ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AppendOutcome {
    /// The record is in the journal for ever.
    Durable(Durable),
    /// It is not and never will be: another process has the authority. Nothing more may be done.
    Fenced(Fenced),
    /// The boundary can't be read, so nothing can be said; the journal is damaged.
    Damaged(CodecError),
}

/// One append on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Append {
    record: Record,
    bytes: Bytes,
    request: Request,
}

impl Append {
    /// An append of this record at its slot.
    ///
    /// # Errors
    /// [`CodecError::TooLarge`]; nothing is written then.
    pub fn new(record: Record) -> Result<Self, CodecError> {
        let bytes = encode_record(&record)?;
        let request = Request::Create { slot: record.slot, bytes: bytes.clone() };
        Ok(Self { record, bytes, request })
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What is to be asked of the store now.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Takes the answer to [`Self::request`]. `None`: there is a next request.
    ///
    /// "Exists" may be our own doing (a retry on the way), and an unclear answer is never a failure:
    /// both are settled by reading the slot back. Whatever says "it is there" is followed by a look
    /// at the boundary: create-if-absent forgets what was deleted, so even a success may come long
    /// after the slot was written by another, superseded and collected (F1, F2).
    pub fn step(&mut self, response: Response) -> Option<AppendOutcome> {
        let slot = self.record.slot;
        match response {
            Response::Created => self.request = Request::ReadBoundary,
            Response::Exists | Response::Unknown => self.request = Request::Read { slots: vec![slot] },
            Response::Records(found) => match found.into_iter().next().flatten() {
                Some(bytes) if bytes == self.bytes => self.request = Request::ReadBoundary,
                Some(other) => return Some(AppendOutcome::Fenced(overtaken(slot, &other))),
                None => self.request = Request::Create { slot, bytes: self.bytes.clone() },
            },
            Response::Boundary(found) => return Some(self.judge(found.as_deref())),
            Response::Slots(_) | Response::Remains(_) => {}
        }
        None
    }

    fn judge(&self, boundary: Option<&[u8]>) -> AppendOutcome {
        let slot = self.record.slot;
        match read_boundary(boundary) {
            Err(why) => AppendOutcome::Damaged(why),
            Ok(boundary) if slot <= boundary => AppendOutcome::Fenced(Fenced::Boundary { slot, boundary }),
            Ok(_) => {
                AppendOutcome::Durable(Durable { record: self.record.clone(), digest: digest(&self.bytes) })
            }
        }
    }
}

/// The boundary's slot; 0 if there is none.
pub(super) fn read_boundary(bytes: Option<&[u8]>) -> Result<Slot, CodecError> {
    bytes.map_or(Ok(Slot(0)), |bytes| Ok(decode_boundary(bytes)?.slot))
}

/// Who wrote what is in a slot that was to be ours.
pub(super) fn overtaken(slot: Slot, bytes: &[u8]) -> Fenced {
    match decode_record(bytes) {
        Ok(record) => Fenced::Record { slot, attempt: record.attempt },
        Err(why) => Fenced::Foreign { slot, why },
    }
}
