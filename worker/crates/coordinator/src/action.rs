//! What a coordinator wants done. The driver does it and reports back as an event.

use weir_checkpoint::Manifest;
use weir_protocol::{CheckpointId, ManifestRef, ObjectRef, Stamp, WorkerId};
use weir_runtime::Timestamp;

use crate::event::{Accepted, Entry, Exit, Refused, Ticket};
use crate::permit::Message;

/// The closed set of what the driver can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Say something to a worker. Best effort: a worker that can't be reached is reported lost.
    Send {
        /// To whom.
        worker: WorkerId,
        /// For which deployment.
        stamp: Stamp,
        /// What.
        message: Message,
    },
    /// A worker did not stop its subtasks in time: it counts as lost, and what it says from now on is ignored.
    GiveUp {
        /// Which.
        worker: WorkerId,
    },
    /// A worker that is draining may end: nothing runs on it.
    Release {
        /// Which.
        worker: WorkerId,
    },
    /// Read the manifest of the checkpoint that is restored: [`Event::ManifestLoaded`](crate::Event::ManifestLoaded).
    LoadManifest {
        /// Of which checkpoint.
        id: CheckpointId,
        /// Where it is.
        manifest: ManifestRef,
    },
    /// Store a manifest under a fresh name: [`Event::ManifestWritten`](crate::Event::ManifestWritten).
    WriteManifest(Box<Manifest>),
    /// Look whether objects are in the store with the right size: [`Event::ObjectsVerified`](crate::Event::ObjectsVerified).
    VerifyObjects {
        /// For which checkpoint.
        id: CheckpointId,
        /// Which.
        objects: Vec<ObjectRef>,
    },
    /// Append a record: [`Event::Appended`](crate::Event::Appended). Never given out again before that came.
    Append(Entry),
    /// Send [`Event::Timer`](crate::Event::Timer) at this time; replaces what was asked for before.
    SetTimer {
        /// When.
        at: Timestamp,
    },
    /// Delete what the journal proves to be garbage: [`Event::GarbageCollected`](crate::Event::GarbageCollected).
    /// Never given out again before that came.
    CollectGarbage,
    /// Plan the job at this parallelism: [`Event::Planned`](crate::Event::Planned).
    Plan {
        /// Subtasks per vertex.
        parallelism: u32,
    },
    /// Answer who asked: [`Event::Asked`](crate::Event::Asked).
    Answer {
        /// Which question.
        ticket: Ticket,
        /// What becomes of it.
        answer: Result<Accepted, Refused>,
    },
    /// The end. Nothing follows.
    Exit(Exit),
}
