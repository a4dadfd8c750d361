//! What one end of a connection has yet to write.
//!
//! Slots put frames in and never wait; one task writes as many as there are at once, and flushes when there are no
//! more. What can pile up is bounded by the credit of the channels.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::counters::Tally;
use super::frame::Frame;

/// Frames that are handed to the connection at once.
const AT_ONCE: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    closed: bool,
}

/// Frames on their way into a connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl Outbox {
    /// Puts a frame at the end. After [`Outbox::close`] it goes nowhere.
    pub(super) fn push(&self, frame: Frame) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.frames.push_back(frame);
        // The writer takes all there are: it sleeps only when there were none.
        if waiting.frames.len() == 1 {
            drop(waiting);
            self.more.notify_one();
        }
    }

    /// The connection is gone.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.frames = VecDeque::new();
    }

    /// Writes until that fails, with a sign of life whenever there was nothing else for a while.
    pub(super) async fn write<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        ping_every: Duration,
        tally: &Tally,
    ) -> io::Error {
        loop {
            let written = self.write_all(&mut writer, tally).await;
            if let Err(error) = written {
                return error;
            }
            if tokio::time::timeout(ping_every, self.more.notified()).await.is_err() {
                self.push(Frame::ping());
            }
        }
    }

    /// Writes what is there, and what comes meanwhile.
    async fn write_all<W: AsyncWrite + Unpin>(&self, writer: &mut W, tally: &Tally) -> io::Result<()> {
        loop {
            let frames: Vec<Frame> = {
                let mut waiting = self.lock();
                let count = waiting.frames.len().min(AT_ONCE);
                waiting.frames.drain(..count).collect()
            };
            if frames.is_empty() {
                return writer.flush().await;
            }
            write_vectored(writer, &frames).await?;
            tally.frames_out.fetch_add(frames.len() as u64, Ordering::Relaxed);
            let bytes: usize = frames.iter().map(Frame::bytes).sum();
            tally.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write_vectored<W: AsyncWrite + Unpin>(writer: &mut W, frames: &[Frame]) -> io::Result<()> {
    let parts = frames.iter().flat_map(|f| [&f.header[..], &f.body, &f.rest]);
    let mut slices: Vec<IoSlice<'_>> = parts.filter(|p| !p.is_empty()).map(IoSlice::new).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match writer.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}
