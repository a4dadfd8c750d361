//! Queues between subtasks of one process: bounded in bytes, never blocking a thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Wake;
use std::thread::Thread;

use crate::{Barrier, Chunk, Watermark};

/// What flows over an edge, in order.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    /// Rows.
    Chunk(Chunk),
    /// No row with a time up to this comes any more.
    Watermark(Watermark),
    /// The sender has nothing to say on event time for now.
    Idle,
    /// The sender has something to say on event time again.
    Active,
    /// The cut of a checkpoint.
    Barrier(Barrier),
}

/// Wakes the thread of a slot. A wake that comes before the slot sleeps is not lost.
#[derive(Debug, Default)]
pub(crate) struct SlotWaker {
    signalled: AtomicBool,
    thread: OnceLock<Thread>,
}

impl SlotWaker {
    /// Names the thread to wake: the one that calls.
    pub(crate) fn attach(&self) {
        // A second call comes from the same thread: a slot's thread is never replaced.
        let _ = self.thread.set(std::thread::current());
    }

    /// Something happened that the slot should look at.
    pub(crate) fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Whether something happened since the last call.
    pub(crate) fn take(&self) -> bool {
        self.signalled.swap(false, Ordering::AcqRel)
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.signal();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.signal();
    }
}

#[derive(Debug)]
struct Shared {
    messages: Mutex<VecDeque<(Message, usize)>>,
    bytes: AtomicUsize,
    limit: usize,
    producer: Arc<SlotWaker>,
    consumer: Arc<SlotWaker>,
}

/// The writing end of a queue.
#[derive(Debug)]
pub(crate) struct Sender(Arc<Shared>);

/// The reading end of a queue.
#[derive(Debug)]
pub(crate) struct Receiver(Arc<Shared>);

/// A queue from a subtask in one slot to a subtask in another (or the same). `limit`: bytes of rows
/// above which the queue has no room; what is pushed may overshoot it by one input's worth.
pub(crate) fn queue(limit: usize, producer: Arc<SlotWaker>, consumer: Arc<SlotWaker>) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        messages: Mutex::new(VecDeque::new()),
        bytes: AtomicUsize::new(0),
        limit,
        producer,
        consumer,
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl Sender {
    /// Whether there is room for more rows.
    pub(crate) fn ready(&self) -> bool {
        self.0.bytes.load(Ordering::Acquire) < self.0.limit
    }

    /// Puts a message at the end; always succeeds. Barriers and watermarks need no room.
    pub(crate) fn push(&self, message: Message) {
        let bytes = match &message {
            // At least one byte, so that even rows without columns fill a queue at last.
            Message::Chunk(chunk) => chunk.bytes().max(1),
            Message::Watermark(_) | Message::Idle | Message::Active | Message::Barrier(_) => 0,
        };
        self.0.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).push_back((message, bytes));
        self.0.consumer.signal();
    }
}

impl Receiver {
    /// Takes the message at the front.
    pub(crate) fn pop(&self) -> Option<Message> {
        let (message, bytes) = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        let before = self.0.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.0.limit && before - bytes < self.0.limit {
            self.0.producer.signal();
        }
        Some(message)
    }
}
