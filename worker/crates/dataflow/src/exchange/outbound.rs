//! The sending end of a channel.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_protocol::{Failure, FailureKind};

use super::credit::SendWindow;
use super::frame::{ChannelId, Deployed, Frame, Header, Kind};
use super::link::Link;
use super::registry::{Held, Registration};
use super::rows::{Encoded, Encoder, MAX_ROWS};
use super::{Malformed, Peer, frame};
use crate::Chunk;
use crate::queue::{Message, SlotWaker};

#[derive(Debug, Default)]
struct State {
    window: SendWindow,
    sequence: u64,
    /// What waits for credit, in order; whether each costs some.
    waiting: VecDeque<(bool, Frame)>,
}

impl State {
    fn ready(&self) -> bool {
        self.waiting.is_empty() && self.window.is_open()
    }
}

/// One channel out of this process.
#[derive(Debug)]
pub(super) struct Outbound {
    peer: Peer,
    deployed: Deployed,
    channel: ChannelId,
    state: Mutex<State>,
    /// [`State::ready`], to be asked for each batch.
    ready: AtomicBool,
    producer: Arc<SlotWaker>,
    registration: Arc<Registration>,
}

impl Outbound {
    pub(super) fn key(&self) -> (Deployed, ChannelId) {
        (self.deployed, self.channel)
    }

    /// The connection is over.
    pub(super) fn lost(&self, why: &str) {
        self.registration.fail(self.peer.lost(why));
    }

    /// The receiver allows more.
    pub(super) fn grant(&self, allowed: u64, link: &Link) -> Result<(), Malformed> {
        let mut state = self.lock();
        state.window.grant(allowed)?;
        while let Some((costs, frame)) = state.waiting.pop_front() {
            if costs && !state.window.is_open() {
                state.waiting.push_front((costs, frame));
                break;
            }
            if costs {
                state.window.send(frame.payload() as u64);
            }
            link.outbox.push(frame);
        }
        let ready = state.ready();
        if !self.ready.swap(ready, Ordering::AcqRel) && ready {
            self.producer.signal();
        }
        Ok(())
    }

    fn push(&self, link: &Link, costs: bool, frame: impl FnOnce(u64) -> Frame) {
        let mut state = self.lock();
        let frame = frame(state.sequence);
        state.sequence += 1;
        if !state.waiting.is_empty() || costs && !state.window.is_open() {
            state.waiting.push_back((costs, frame));
        } else {
            if costs {
                state.window.send(frame.payload() as u64);
            }
            link.outbox.push(frame);
        }
        self.ready.store(state.ready(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A queue whose reading end is in another process.
pub(crate) struct RemoteSender {
    channel: Arc<Outbound>,
    link: Arc<Link>,
    encoder: Mutex<Encoder>,
    frame_bytes: usize,
    held: Arc<Held>,
}

impl std::fmt::Debug for RemoteSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteSender").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl RemoteSender {
    pub(super) fn new(
        (peer, channel): (Peer, ChannelId),
        link: Arc<Link>,
        encoder: Encoder,
        frame_bytes: usize,
        producer: Arc<SlotWaker>,
        held: Arc<Held>,
    ) -> Self {
        let registration = held.registration().clone();
        let channel = Arc::new(Outbound {
            peer,
            deployed: registration.deployed,
            channel,
            state: Mutex::default(),
            ready: AtomicBool::new(false),
            producer,
            registration,
        });
        Self { channel, link, encoder: Mutex::new(encoder), frame_bytes, held }
    }

    /// Says to the peer that the channel is there.
    pub(super) fn open(&self) {
        // First, so that no grant comes before anybody listens.
        self.link.attach(&self.channel);
        self.control(Kind::Open, Vec::new());
    }

    /// Whether there is credit for more rows.
    pub(crate) fn ready(&self) -> bool {
        self.channel.ready.load(Ordering::Acquire)
    }

    /// Puts a message at the end. What can't be sent fails the execution.
    pub(crate) fn push(&self, message: &Message) {
        match message {
            Message::Chunk(chunk) => {
                let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(failure) = self.rows(&mut encoder, chunk) {
                    self.held.registration().fail(failure);
                }
            }
            Message::Watermark(watermark) => {
                self.control(Kind::Watermark, frame::encode_watermark(*watermark));
            }
            Message::Idle => self.control(Kind::Idle, Vec::new()),
            Message::Active => self.control(Kind::Active, Vec::new()),
            Message::Barrier(barrier) => self.control(Kind::Barrier, frame::encode_barrier(barrier)),
        }
    }

    fn control(&self, kind: Kind, payload: Vec<u8>) {
        let (deployed, channel) = self.channel.key();
        let frame = |sequence| Frame::control(kind, deployed, channel, sequence, payload);
        self.channel.push(&self.link, false, frame);
    }

    /// Sends a batch, in halves if it is too large for one frame.
    fn rows(&self, encoder: &mut Encoder, chunk: &Chunk) -> Result<(), Failure> {
        if chunk.len() <= MAX_ROWS {
            let encoded = encoder.encode(chunk)?;
            if encoded.bytes() <= self.frame_bytes {
                self.send(encoded);
                return Ok(());
            }
            if chunk.len() <= 1 {
                let (is, most) = (encoded.bytes(), self.frame_bytes);
                let text = format!("a row of {is} bytes is larger than what workers exchange, {most} bytes");
                return Err(Failure::new(FailureKind::Config, text));
            }
        }
        let half = chunk.len() / 2;
        self.rows(encoder, &chunk.slice(0, half))?;
        self.rows(encoder, &chunk.slice(half, chunk.len() - half))
    }

    fn send(&self, encoded: Encoded) {
        let (deployed, channel) = self.channel.key();
        let kind = if encoded.changes { Kind::Changes } else { Kind::Rows };
        let (length, metadata) = (encoded.bytes() as u32, encoded.metadata.len() as u32);
        let frame = |sequence| Frame {
            header: Header { kind, deployed, channel, sequence, length, metadata }.encode(),
            body: encoded.body,
            rest: encoded.metadata,
        };
        self.channel.push(&self.link, true, frame);
    }
}

impl Drop for RemoteSender {
    fn drop(&mut self) {
        self.link.detach(&self.channel);
    }
}
