//! The frames of a connection: a header of fixed size, then a payload of bounded size. Pure.
//!
//! ```text
//! kind(1) zero(3) length(4) attempt(8) execution(8) edge(4) from(4) to(4) metadata(4) sequence(8)  payload
//! ```
//! Numbers are little endian. `length` counts the payload; `metadata` the part of it behind the body of a batch of
//! rows, and is zero for other kinds. `sequence` counts the frames of a channel from zero.

use weir_protocol::{Attempt, CheckpointId, CheckpointKind, CheckpointMode, Execution};

use super::Malformed;
use crate::{Barrier, Watermark};

/// Bytes of a header.
pub(super) const HEADER: usize = 48;
/// Bytes of the payload of a barrier.
const BARRIER: usize = 28;

/// A way from one subtask to another: an edge of the graph by its position, and the numbers of the two
/// subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct ChannelId {
    pub(super) edge: u32,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl std::fmt::Display for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "edge {} from subtask {} to subtask {}", self.edge, self.from, self.to)
    }
}

/// Under which deployment a frame is sent; the job is settled when the connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Deployed {
    pub(super) attempt: Attempt,
    pub(super) execution: Execution,
}

impl std::fmt::Display for Deployed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.attempt, self.execution)
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sign of life, in both directions.
    Ping,
    /// The first of a channel: its sender is there and asks for credit.
    Open,
    /// Rows that are all inserts.
    Rows,
    /// Rows with their kinds as a last column.
    Changes,
    /// No row up to a time comes any more.
    Watermark,
    /// Nothing to say on event time for now.
    Idle,
    /// Something to say again.
    Active,
    /// The cut of a checkpoint.
    Barrier,
    /// From the receiver: how many bytes of rows the channel may have sent in all.
    Grant,
}

const KINDS: [Kind; 9] = [
    Kind::Ping,
    Kind::Open,
    Kind::Rows,
    Kind::Changes,
    Kind::Watermark,
    Kind::Idle,
    Kind::Active,
    Kind::Barrier,
    Kind::Grant,
];

impl Kind {
    fn fits(self, length: u32, metadata: u32, limit: usize) -> bool {
        let length = length as usize;
        match self {
            Self::Rows | Self::Changes => length <= limit && 0 < metadata && (metadata as usize) <= length,
            Self::Ping | Self::Open | Self::Idle | Self::Active => length == 0 && metadata == 0,
            Self::Watermark | Self::Grant => length == 8 && metadata == 0,
            Self::Barrier => length == BARRIER && metadata == 0,
        }
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) deployed: Deployed,
    pub(super) channel: ChannelId,
    pub(super) sequence: u64,
    pub(super) length: u32,
    pub(super) metadata: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let at = KINDS.iter().position(|k| *k == self.kind).unwrap_or_default();
        bytes[0] = at as u8;
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(4, &self.length.to_le_bytes());
        put(8, &self.deployed.attempt.0.to_le_bytes());
        put(16, &self.deployed.execution.0.to_le_bytes());
        put(24, &self.channel.edge.to_le_bytes());
        put(28, &self.channel.from.to_le_bytes());
        put(32, &self.channel.to.to_le_bytes());
        put(36, &self.metadata.to_le_bytes());
        put(40, &self.sequence.to_le_bytes());
        bytes
    }

    /// Reads a header. `limit`: most bytes of a payload of rows.
    pub(super) fn decode(bytes: &[u8; HEADER], limit: usize) -> Result<Self, Malformed> {
        let kind = *KINDS.get(usize::from(bytes[0])).ok_or(Malformed("a frame of unknown kind"))?;
        if bytes[1..4] != [0; 3] {
            return Err(Malformed("a frame with bits that mean nothing"));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let header = Self {
            kind,
            deployed: Deployed { attempt: Attempt(u64_at(8)), execution: Execution(u64_at(16)) },
            channel: ChannelId { edge: u32_at(24), from: u32_at(28), to: u32_at(32) },
            sequence: u64_at(40),
            length: u32_at(4),
            metadata: u32_at(36),
        };
        if !kind.fits(header.length, header.metadata, limit) {
            return Err(Malformed("a frame of a length that its kind can't have"));
        }
        Ok(header)
    }
}

/// A frame that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) header: [u8; HEADER],
    /// The first part of the payload.
    pub(super) body: Vec<u8>,
    /// The second part.
    pub(super) rest: Vec<u8>,
}

impl Frame {
    /// A frame without payload on no channel.
    pub(super) fn ping() -> Self {
        Self::control(Kind::Ping, Deployed::default(), ChannelId::default(), 0, Vec::new())
    }

    /// A frame of any kind but rows.
    pub(super) fn control(
        kind: Kind,
        deployed: Deployed,
        channel: ChannelId,
        sequence: u64,
        payload: Vec<u8>,
    ) -> Self {
        let length = payload.len() as u32;
        let header = Header { kind, deployed, channel, sequence, length, metadata: 0 };
        Self { header: header.encode(), body: Vec::new(), rest: payload }
    }

    /// Bytes on the wire.
    pub(super) fn bytes(&self) -> usize {
        HEADER + self.payload()
    }

    /// Bytes of the payload: what rows cost in credit.
    pub(super) fn payload(&self) -> usize {
        self.body.len() + self.rest.len()
    }
}

/// The payload of a watermark.
pub(super) fn encode_watermark(watermark: Watermark) -> Vec<u8> {
    watermark.0.to_le_bytes().to_vec()
}

/// Reads the payload of a watermark.
pub(super) fn decode_watermark(payload: &[u8]) -> Result<Watermark, Malformed> {
    let bytes = payload.try_into().map_err(|_| Malformed("a watermark that is none"))?;
    Ok(Watermark(i64::from_le_bytes(bytes)))
}

/// The payload of a grant.
pub(super) fn encode_grant(allowed: u64) -> Vec<u8> {
    allowed.to_le_bytes().to_vec()
}

/// Reads the payload of a grant.
pub(super) fn decode_grant(payload: &[u8]) -> Result<u64, Malformed> {
    let bytes = payload.try_into().map_err(|_| Malformed("a grant that is none"))?;
    Ok(u64::from_le_bytes(bytes))
}

const CHECKPOINT_KINDS: [CheckpointKind; 4] =
    [CheckpointKind::Periodic, CheckpointKind::Changes, CheckpointKind::LifeCycle, CheckpointKind::Final];
const MODES: [CheckpointMode; 2] = [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce];

/// The payload of a barrier: id, completed, time of the trigger, kind, mode, whether there is a completed one,
/// zero.
pub(super) fn encode_barrier(barrier: &Barrier) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BARRIER);
    bytes.extend_from_slice(&barrier.id.0.to_le_bytes());
    bytes.extend_from_slice(&barrier.completed.unwrap_or_default().0.to_le_bytes());
    bytes.extend_from_slice(&barrier.triggered_us.to_le_bytes());
    bytes.push(CHECKPOINT_KINDS.iter().position(|k| *k == barrier.kind).unwrap_or_default() as u8);
    bytes.push(MODES.iter().position(|m| *m == barrier.mode).unwrap_or_default() as u8);
    bytes.push(u8::from(barrier.completed.is_some()));
    bytes.push(0);
    bytes
}

/// Reads the payload of a barrier.
pub(super) fn decode_barrier(payload: &[u8]) -> Result<Barrier, Malformed> {
    let none = Malformed("a barrier that is none");
    let bytes: &[u8; BARRIER] = payload.try_into().map_err(|_| none)?;
    let (numbers, flags) = bytes.split_at(24);
    let mut numbers = numbers.chunks_exact(8).map(|b| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)));
    let mut number = || numbers.next().ok_or(none);
    let (id, completed, triggered_us) = (CheckpointId(number()?), CheckpointId(number()?), number()?);
    let completed = match flags[2] {
        0 if completed.0 == 0 => None,
        1 if completed < id => Some(completed),
        _ => return Err(none),
    };
    if flags[3] != 0 {
        return Err(none);
    }
    Ok(Barrier {
        id,
        kind: *CHECKPOINT_KINDS.get(usize::from(flags[0])).ok_or(none)?,
        mode: *MODES.get(usize::from(flags[1])).ok_or(none)?,
        completed,
        triggered_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        for (kind, length, metadata) in
            [(Kind::Ping, 0, 0), (Kind::Rows, 64, 32), (Kind::Barrier, 28, 0), (Kind::Grant, 8, 0)]
        {
            let header = Header {
                kind,
                deployed: Deployed { attempt: Attempt(3), execution: Execution(u64::MAX - 7) },
                channel: ChannelId { edge: 1, from: 2, to: u32::MAX },
                sequence: 1 << 40,
                length,
                metadata,
            };
            assert_eq!(Header::decode(&header.encode(), 64), Ok(header));
        }
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_before_anything_is_read() {
        let rows = |length, metadata| Header {
            kind: Kind::Rows,
            deployed: Deployed::default(),
            channel: ChannelId::default(),
            sequence: 0,
            length,
            metadata,
        };
        assert!(Header::decode(&rows(64, 8).encode(), 64).is_ok());
        for bad in [rows(72, 8), rows(u32::MAX, 8), rows(64, 72), rows(64, 0)] {
            assert!(Header::decode(&bad.encode(), 64).is_err(), "{bad:?}");
        }
        let mut bytes = rows(64, 8).encode();
        bytes[0] = KINDS.len() as u8;
        assert!(Header::decode(&bytes, 64).is_err());
        bytes[0] = 2;
        bytes[3] = 1;
        assert!(Header::decode(&bytes, 64).is_err());
    }

    #[test]
    fn barriers_survive_the_wire() {
        for kind in CHECKPOINT_KINDS {
            for mode in MODES {
                for completed in [None, Some(CheckpointId(6))] {
                    let barrier =
                        Barrier { id: CheckpointId(7), kind, mode, completed, triggered_us: 1 << 50 };
                    assert_eq!(decode_barrier(&encode_barrier(&barrier)), Ok(barrier));
                }
            }
        }
    }

    #[test]
    fn a_barrier_must_make_sense() {
        let good = encode_barrier(&Barrier {
            id: CheckpointId(7),
            kind: CheckpointKind::Final,
            mode: CheckpointMode::ExactlyOnce,
            completed: Some(CheckpointId(6)),
            triggered_us: 1,
        });
        for (at, byte) in [(24, 4), (25, 2), (26, 2), (26, 0), (27, 1), (8, 7)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(decode_barrier(&bad).is_err(), "byte {at} is {byte}");
        }
        assert!(decode_barrier(&good[1..]).is_err());
    }
}
