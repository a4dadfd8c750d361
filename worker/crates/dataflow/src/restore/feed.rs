//! The way of blocks from the reader to the slot whose tables they fill.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use weir_protocol::{Failure, FailureKind};

use super::Target;

/// What comes in.
pub(super) enum Fed {
    /// Rows for a table.
    Block(Target, Bytes),
    /// All are there.
    End,
    /// They can't be read.
    Failed(Failure),
}

/// Room in memory that a read takes until the last of its blocks is in its tables.
pub(super) type Held = Arc<OwnedSemaphorePermit>;

/// The slot's end.
#[derive(Debug)]
pub(super) struct Feed {
    blocks: mpsc::Receiver<(Fed, Option<Held>)>,
    over: Arc<AtomicBool>,
}

/// The reader's ends, by slot.
pub(super) struct Feeds(BTreeMap<u32, mpsc::Sender<(Fed, Option<Held>)>>);

impl Feeds {
    /// Ends for these slots. With `over` set the slots are told that nothing comes any more, whatever was sent.
    pub(super) fn new(
        slots: impl IntoIterator<Item = u32>,
        over: &Arc<AtomicBool>,
    ) -> (Self, BTreeMap<u32, Feed>) {
        let (mut senders, mut feeds) = (BTreeMap::new(), BTreeMap::new());
        for slot in slots {
            let (sender, blocks) = mpsc::channel();
            senders.insert(slot, sender);
            feeds.insert(slot, Feed { blocks, over: over.clone() });
        }
        (Self(senders), feeds)
    }

    /// Sends a block to a slot. Never blocks: what is on its way is bounded by what is held.
    pub(super) fn block(&self, slot: u32, target: Target, bytes: Bytes, held: &Held) {
        if let Some(feed) = self.0.get(&slot) {
            // A slot that is gone has told why.
            let _ = feed.send((Fed::Block(target, bytes), Some(held.clone())));
        }
    }

    /// Tells all slots how it ended.
    pub(super) fn end(self, result: Result<(), Failure>) {
        for feed in self.0.into_values() {
            let end = match &result {
                Ok(()) => Fed::End,
                Err(failure) => Fed::Failed(failure.clone()),
            };
            let _ = feed.send((end, None));
        }
    }
}

impl Feed {
    /// Waits for what comes next.
    pub(super) fn next(&self) -> Fed {
        // What is held is let go here: at most one block beyond it is worked on by each slot.
        let next = self.blocks.recv().ok().filter(|_| !self.over.load(Ordering::Acquire));
        next.map_or_else(
            || Fed::Failed(Failure::new(FailureKind::Worker, "the execution ended while its state was read")),
            |(fed, _)| fed,
        )
    }
}
