//! Queues between subtasks: bounded in bytes, never blocking a thread. Between processes the writing end is fed by
//! the exchange.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Wake;
use std::thread::Thread;

use crate::exchange::{Credits, Held, RemoteSender};
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

/// Who is told when there is room again.
#[derive(Debug)]
enum Producer {
    Slot(Arc<SlotWaker>),
    Peer(Arc<Credits>),
}

#[derive(Debug)]
struct Shared {
    messages: Mutex<VecDeque<(Message, usize)>>,
    bytes: AtomicUsize,
    limit: usize,
    producer: Producer,
    consumer: Arc<SlotWaker>,
}

impl Shared {
    fn new(limit: usize, producer: Producer, consumer: Arc<SlotWaker>) -> Arc<Self> {
        let (messages, bytes) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { messages, bytes, limit, producer, consumer })
    }

    fn push(&self, message: Message, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.lock().push_back((message, bytes));
        self.consumer.signal();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Message, usize)>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end of a queue.
#[derive(Debug)]
pub(crate) enum Sender {
    /// The reading end is in this process.
    Local(LocalSender),
    /// The reading end is in another process.
    Remote(Box<RemoteSender>),
}

/// The writing end of a queue within this process.
#[derive(Debug)]
pub(crate) struct LocalSender(Arc<Shared>);

/// The writing end of a queue that takes what comes from another process.
#[derive(Debug)]
pub(crate) struct Feed(Arc<Shared>);

/// The reading end of a queue.
#[derive(Debug)]
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    /// What feeds it, if that is another process.
    _held: Option<Arc<Held>>,
}

/// A queue from a subtask in one slot to a subtask in another (or the same). `limit`: bytes of rows
/// above which the queue has no room; what is pushed may overshoot it by one input's worth.
pub(crate) fn queue(limit: usize, producer: Arc<SlotWaker>, consumer: Arc<SlotWaker>) -> (Sender, Receiver) {
    let shared = Shared::new(limit, Producer::Slot(producer), consumer);
    (Sender::Local(LocalSender(shared.clone())), Receiver { shared, _held: None })
}

/// A queue from a subtask in another process. It has room for whatever `credits` were granted for.
pub(crate) fn fed_queue(
    credits: Arc<Credits>,
    consumer: Arc<SlotWaker>,
    held: Arc<Held>,
) -> (Feed, Receiver) {
    let shared = Shared::new(usize::MAX, Producer::Peer(credits), consumer);
    (Feed(shared.clone()), Receiver { shared, _held: Some(held) })
}

impl Sender {
    /// Whether there is room for more rows.
    pub(crate) fn ready(&self) -> bool {
        match self {
            Self::Local(sender) => sender.0.bytes.load(Ordering::Acquire) < sender.0.limit,
            Self::Remote(sender) => sender.ready(),
        }
    }

    /// Puts a message at the end; always succeeds. Barriers and watermarks need no room.
    pub(crate) fn push(&self, message: Message) {
        let sender = match self {
            Self::Local(sender) => sender,
            Self::Remote(sender) => return sender.push(&message),
        };
        let bytes = match &message {
            // At least one byte, so that even rows without columns fill a queue at last.
            Message::Chunk(chunk) => chunk.bytes().max(1),
            Message::Watermark(_) | Message::Idle | Message::Active | Message::Barrier(_) => 0,
        };
        sender.0.push(message, bytes);
    }
}

impl Feed {
    /// Puts a message at the end, which took this many bytes on its way.
    pub(crate) fn push(&self, message: Message, bytes: usize) {
        self.0.push(message, bytes);
    }

    /// Messages that were not taken yet.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Receiver {
    /// Takes the message at the front.
    pub(crate) fn pop(&self) -> Option<Message> {
        let shared = &self.shared;
        let (message, bytes) = shared.lock().pop_front()?;
        let before = shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
        match &shared.producer {
            Producer::Slot(waker) if before >= shared.limit && before - bytes < shared.limit => {
                waker.signal()
            }
            Producer::Slot(_) => {}
            Producer::Peer(credits) => credits.taken(bytes),
        }
        Some(message)
    }
}
