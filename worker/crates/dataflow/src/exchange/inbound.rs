//! The receiving end of a channel: checks what comes in and puts it into the subtask's queue.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::credit::ReceiveWindow;
use super::frame::{ChannelId, Deployed, Frame, Header, Kind};
use super::outbox::Outbox;
use super::rows::Form;
use super::{Malformed, Peer, decode, frame};
use crate::queue::Feed;

/// Most messages of all kinds in one queue. Rows are bounded by credit, and a sender says little without sending rows
/// too: only one that floods comes here.
const MAX_QUEUED: usize = 1 << 16;

/// Gives credit back as a subtask takes rows out of its queue.
#[derive(Debug)]
pub(crate) struct Credits {
    window: Mutex<ReceiveWindow>,
    /// Where grants go; known once the peer is there.
    way: OnceLock<Arc<Outbox>>,
    deployed: Deployed,
    channel: ChannelId,
}

impl Credits {
    pub(super) fn new(limit: usize, deployed: Deployed, channel: ChannelId) -> Arc<Self> {
        let window = Mutex::new(ReceiveWindow::new(limit));
        Arc::new(Self { window, way: OnceLock::new(), deployed, channel })
    }

    /// A message was taken out of the queue that took this many bytes there.
    pub(crate) fn taken(&self, bytes: usize) {
        if bytes > 0
            && let Some(allowed) = self.window().take(bytes as u64)
        {
            self.grant(allowed);
        }
    }

    fn grant(&self, allowed: u64) {
        if let Some(way) = self.way.get() {
            let payload = frame::encode_grant(allowed);
            way.push(Frame::control(Kind::Grant, self.deployed, self.channel, 0, payload));
        }
    }

    fn window(&self) -> MutexGuard<'_, ReceiveWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One channel into this process.
pub(super) struct Inbound {
    pub(super) peer: Peer,
    form: Form,
    feed: Feed,
    credits: Arc<Credits>,
    /// The number that the next frame must have.
    next: Mutex<u64>,
}

impl Inbound {
    pub(super) fn new(peer: Peer, form: Form, feed: Feed, credits: Arc<Credits>) -> Self {
        Self { peer, form, feed, credits, next: Mutex::new(0) }
    }

    /// Takes a frame out of the connection that writes into `way`.
    ///
    /// # Errors
    /// What no honest peer sends. Nothing of it reached the queue.
    pub(super) fn take(&self, header: &Header, payload: Vec<u8>, way: &Arc<Outbox>) -> Result<(), Malformed> {
        // Held throughout: two connections can't both be in turn.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if header.sequence != *next {
            return Err(Malformed("a frame out of turn"));
        }
        if header.kind == Kind::Open {
            self.credits.way.set(way.clone()).map_err(|_| Malformed("a channel that is open already"))?;
            let allowed = self.credits.window().open();
            self.credits.grant(allowed);
        } else {
            if !self.credits.way.get().is_some_and(|mine| Arc::ptr_eq(mine, way)) {
                return Err(Malformed("a frame of another connection's channel"));
            }
            if self.feed.len() >= MAX_QUEUED {
                return Err(Malformed("more messages than a queue can hold"));
            }
            self.deliver(header, payload)?;
        }
        *next += 1;
        Ok(())
    }

    fn deliver(&self, header: &Header, payload: Vec<u8>) -> Result<(), Malformed> {
        let rows = matches!(header.kind, Kind::Rows | Kind::Changes);
        let bytes = if rows { payload.len() } else { 0 };
        if rows {
            self.credits.window().receive(bytes as u64)?;
        }
        self.feed.push(decode::message(header, payload, &self.form)?, bytes);
        Ok(())
    }
}
