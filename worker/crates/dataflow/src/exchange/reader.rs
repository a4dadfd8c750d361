//! Reads frames out of a connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::counters::{Tally, count};
use super::frame::{HEADER, Header};
use super::{ExchangeLimits, Malformed};

/// Bytes that are read at once, so that small frames cost one read together.
const AT_ONCE: usize = 64 * 1024;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The peer closed it, in order or by dying.
    #[error("the peer closed it")]
    Closed,
    /// The network or TLS failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing was heard of it for {0:?}")]
    Silent(Duration),
    /// The peer said something that no honest peer says.
    #[error("it sent {0}")]
    Malformed(#[from] Malformed),
    /// What the peer waits for did not come.
    #[error("it is ahead of this worker, and its deployment did not arrive here within {0:?}")]
    Ahead(Duration),
}

/// The reading end of a connection.
pub(super) struct FrameReader<R> {
    reader: BufReader<R>,
    frame_bytes: usize,
    lost_after: Duration,
    tally: Arc<Tally>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(reader: R, limits: &ExchangeLimits, tally: &Arc<Tally>) -> Self {
        Self {
            reader: BufReader::with_capacity(AT_ONCE, reader),
            frame_bytes: limits.frame_bytes,
            lost_after: limits.lost_after,
            tally: tally.clone(),
        }
    }

    /// The next frame with its payload.
    pub(super) async fn next(&mut self) -> Result<(Header, Vec<u8>), End> {
        let mut bytes = [0; HEADER];
        let mut left = &mut bytes[..];
        while !left.is_empty() {
            self.some(&mut left).await?;
        }
        let header = Header::decode(&bytes, self.frame_bytes)?;
        // Nothing of it is touched before it is read.
        let length = header.length as usize;
        let mut payload = Vec::with_capacity(length);
        while payload.len() < length {
            let left = length - payload.len();
            self.some(&mut (&mut payload).limit(left)).await?;
        }
        count(&self.tally.frames_in);
        self.tally.bytes_in.fetch_add((HEADER + length) as u64, Ordering::Relaxed);
        Ok((header, payload))
    }

    async fn some(&mut self, to: &mut impl BufMut) -> Result<(), End> {
        match tokio::time::timeout(self.lost_after, self.reader.read_buf(to)).await {
            Ok(Ok(0)) => Err(End::Closed),
            Ok(Ok(_)) => Ok(()),
            // A peer that dies does not say goodbye.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(End::Closed),
            Ok(Err(error)) => Err(End::Io(error)),
            Err(_) => Err(End::Silent(self.lost_after)),
        }
    }
}
