//! The way to workers and back, whatever carries it.

use tokio::sync::mpsc;
use weir_protocol::{Failure, FromWorker, Registration, Stamp, ToWorker, WorkerId};

/// Carries messages to workers.
///
/// # Contract
/// - Messages to one worker arrive in the order in which they were sent, or the worker is reported
///   lost through [`LinkEvent::Lost`] and none arrives any more.
/// - `send` never blocks and never fails: to a worker that is not there the message is dropped.
pub trait WorkerLink: Send + Sync {
    /// Sends a message.
    fn send(&self, worker: WorkerId, stamp: Stamp, message: ToWorker);

    /// The coordinator does not count on a worker any more, for it did not stop its subtasks in time.
    /// A link that can should end it, so that it may register anew under another number.
    fn give_up(&self, _worker: WorkerId) {}

    /// A worker that is draining has nothing left to do: it may end.
    fn release(&self, _worker: WorkerId) {}
}

/// What comes from the workers' side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A worker is there. Numbers are given by the link, rise, and are never used twice.
    Registered {
        /// Its number.
        worker: WorkerId,
        /// What it says of itself.
        registration: Box<Registration>,
    },
    /// A worker was asked to end and wants its subtasks moved. It waits for [`WorkerLink::release`].
    Draining {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is gone for good; if it comes back it registers under another number.
    Lost {
        /// Which.
        worker: WorkerId,
        /// Why.
        failure: Failure,
    },
    /// A worker says something.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// For which deployment.
        stamp: Stamp,
        /// What.
        message: FromWorker,
    },
}

/// The coordinator's end of the link.
pub struct Workers {
    /// To the workers.
    pub link: std::sync::Arc<dyn WorkerLink>,
    /// From the workers.
    pub events: mpsc::Receiver<LinkEvent>,
}
