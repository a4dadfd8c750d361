//! Bytes to be written, in pieces, so that a large object is never copied into one.

use std::io::{self, IoSlice, Write};

use bytes::{Bytes, BytesMut};

/// Bytes that are written together: with less a call for each counts, with several MiB Linux may look for runs of
/// memory as long for them, which takes longer.
const WRITE_BYTES: usize = 512 * 1024;
/// Pieces that are written together: as many as Linux takes in one call.
const WRITE_CHUNKS: usize = 1024;

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

    /// The pieces, taken out.
    pub fn into_chunks(self) -> Vec<Bytes> {
        self.chunks
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

    /// Writes all of it, small pieces together: a system call for each takes much longer.
    ///
    /// # Errors
    /// The writer's. How much was written is unknown then.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        let (mut slices, mut bytes) = (Vec::new(), 0);
        for chunk in &self.chunks {
            slices.push(IoSlice::new(chunk));
            bytes += chunk.len();
            if bytes >= WRITE_BYTES || slices.len() == WRITE_CHUNKS {
                write_all(to, &mut slices)?;
                slices.clear();
                bytes = 0;
            }
        }
        write_all(to, &mut slices)
    }

    /// All but the first bytes; nothing is copied.
    pub fn skip(self, bytes: u64) -> Self {
        let mut over = bytes;
        let rest = self.chunks.into_iter().filter_map(|mut chunk| {
            let some = over.min(chunk.len() as u64);
            over -= some;
            let rest = chunk.split_off(some as usize);
            (!rest.is_empty()).then_some(rest)
        });
        Self::new(rest.collect())
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

fn write_all(to: &mut impl Write, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut rest = slices;
    // Empty ones may be left.
    while rest.iter().any(|slice| !slice.is_empty()) {
        match to.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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

    /// Takes a few bytes at a time, and is interrupted before each.
    struct Few(Vec<u8>, usize, bool);

    impl Write for Few {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let some = &bytes[..bytes.len().min(self.1)];
            self.0.extend_from_slice(some);
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn splitting_and_writing_keep_every_byte_in_order() {
        for pieces in [&[0][..], &[1], &[3, 0, 4], &[10], &[4, 4, 4], &[1; 11]] {
            for size in 1..13 {
                let all: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|b| b as u8).collect();
                let mut rest = Bytes::from(all.clone());
                let payload = Payload::new(pieces.iter().map(|n| rest.split_to(*n)).collect());
                let parts = payload.clone().split(size);
                assert!(parts.iter().rev().skip(1).all(|p| p.len() == size as u64), "{pieces:?} by {size}");
                let mut written = Few(Vec::new(), size, false);
                payload.write_to(&mut written).expect("takes some at a time");
                assert_eq!(written.0, all, "{pieces:?}, at most {size} at a time");
                let rest = payload.clone().skip(size as u64).into_bytes();
                assert_eq!(rest, all[size.min(all.len())..], "{pieces:?} without {size}");
                let joined: Vec<u8> = parts.into_iter().flat_map(|p| p.into_bytes().to_vec()).collect();
                assert_eq!(joined, all, "{pieces:?} by {size}");
                assert_eq!(payload.into_bytes(), all);
            }
        }
    }
}
