//! Bytes to be written, in pieces, so that a large object is never copied into one.

use bytes::{Bytes, BytesMut};

/// The content of an object, as pieces in order. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    chunks: Vec<Bytes>,
    len: u64,
}

impl Payload {
    /// The pieces in order.
    pub fn new(chunks: Vec<Bytes>) -> Self {
        let len = chunks.iter().map(|c| c.len() as u64).sum();
        Self { chunks, len }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// All in one piece; copies unless it is one already.
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.chunks) {
            Ok([one]) => one,
            Err(chunks) => {
                let mut all = BytesMut::with_capacity(usize::try_from(self.len).unwrap_or(0));
                chunks.iter().for_each(|c| all.extend_from_slice(c));
                all.freeze()
            }
        }
    }

    /// Cuts into payloads of exactly `size` bytes each but for the last; no bytes are copied.
    pub fn split(self, size: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut part, mut room) = (Vec::new(), size);
        for mut chunk in self.chunks {
            while chunk.len() >= room {
                part.push(chunk.split_to(room));
                parts.push(Self::new(std::mem::take(&mut part)));
                room = size;
            }
            room -= chunk.len();
            if !chunk.is_empty() {
                part.push(chunk);
            }
        }
        if !part.is_empty() {
            parts.push(Self::new(part));
        }
        parts
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_keeps_every_byte_in_order() {
        for pieces in [&[0][..], &[1], &[3, 0, 4], &[10], &[4, 4, 4], &[1; 11]] {
            for size in 1..13 {
                let all: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|b| b as u8).collect();
                let mut rest = Bytes::from(all.clone());
                let payload = Payload::new(pieces.iter().map(|n| rest.split_to(*n)).collect());
                let parts = payload.clone().split(size);
                assert!(parts.iter().rev().skip(1).all(|p| p.len() == size as u64), "{pieces:?} by {size}");
                let joined: Vec<u8> = parts.into_iter().flat_map(|p| p.into_bytes().to_vec()).collect();
                assert_eq!(joined, all, "{pieces:?} by {size}");
                assert_eq!(payload.into_bytes(), all);
            }
        }
    }
}
