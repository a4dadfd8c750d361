//! Frames: what travels on the stream, as protocol buffers. In the language of `.proto` files:
//!
//! ```proto
//! service Control { rpc Connect(stream WorkerFrame) returns (stream CoordinatorFrame); }
//!
//! message WorkerFrame { oneof content {
//!   Hello hello = 1; Envelope message = 2; Heartbeat heartbeat = 3; Draining draining = 4; } }
//! message CoordinatorFrame { oneof content {
//!   Welcome welcome = 1; Refusal refusal = 2; Envelope message = 3; Heartbeat heartbeat = 4;
//!   Release release = 5; } }
//! ```
//!
//! What they carry of `weir-protocol` is JSON in a field of bytes: the body of a message names its kind in
//! its field `type`.

use bytes::Bytes;
use prost::{Message, Oneof};

/// Where the service is found on a connection.
pub(crate) const PATH: &str = "/weir.control.v1.Control/Connect";

/// Worker to coordinator.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WorkerFrame {
    #[prost(oneof = "FromWorkerFrame", tags = "1, 2, 3, 4")]
    pub(crate) content: Option<FromWorkerFrame>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum FromWorkerFrame {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Message(Envelope),
    #[prost(message, tag = "3")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "4")]
    Draining(Draining),
}

/// Coordinator to worker.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CoordinatorFrame {
    #[prost(oneof = "FromCoordinatorFrame", tags = "1, 2, 3, 4, 5")]
    pub(crate) content: Option<FromCoordinatorFrame>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum FromCoordinatorFrame {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    Refusal(Refusal),
    #[prost(message, tag = "3")]
    Message(Envelope),
    #[prost(message, tag = "4")]
    Heartbeat(Heartbeat),
    #[prost(message, tag = "5")]
    Release(Release),
}

/// The first frame of a worker.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    /// Versions that it speaks, both included.
    #[prost(uint32, tag = "1")]
    pub(crate) oldest: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) newest: u32,
    /// The job that it belongs to; empty if it belongs to none yet.
    #[prost(string, tag = "3")]
    pub(crate) job: String,
    /// A `Registration`.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) registration: Bytes,
}

/// The coordinator's answer to a worker that it takes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Welcome {
    /// The version that is spoken from here on.
    #[prost(uint32, tag = "1")]
    pub(crate) version: u32,
    /// The worker's number.
    #[prost(uint64, tag = "2")]
    pub(crate) worker: u64,
    /// The `JobConfig`.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) config: Bytes,
    /// Heartbeats of this connection, in milliseconds: how often, and after which silence it is lost.
    #[prost(uint64, tag = "4")]
    pub(crate) heartbeat_ms: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) lost_after_ms: u64,
}

/// The coordinator's answer to a worker that it does not take; the last frame.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Refusal {
    /// For people.
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
}

/// A message under its stamp.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(string, tag = "1")]
    pub(crate) job: String,
    #[prost(uint64, tag = "2")]
    pub(crate) attempt: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) execution: u64,
    /// A `ToWorker` or a `FromWorker`.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) body: Bytes,
}

/// Nothing new; the other end is there.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Heartbeat {}

/// The worker was asked to end and wants its subtasks moved.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Draining {}

/// The worker may end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Release {
    /// For people.
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
}

/// A frame that can be put into an outbox.
pub(crate) trait Frame: Message + Default + Send + Clone + 'static {
    /// The frame that says nothing but that its sender is there.
    fn heartbeat() -> Self;
}

impl Frame for WorkerFrame {
    fn heartbeat() -> Self {
        FromWorkerFrame::Heartbeat(Heartbeat {}).into()
    }
}

impl Frame for CoordinatorFrame {
    fn heartbeat() -> Self {
        FromCoordinatorFrame::Heartbeat(Heartbeat {}).into()
    }
}

impl From<FromWorkerFrame> for WorkerFrame {
    fn from(content: FromWorkerFrame) -> Self {
        Self { content: Some(content) }
    }
}

impl From<FromCoordinatorFrame> for CoordinatorFrame {
    fn from(content: FromCoordinatorFrame) -> Self {
        Self { content: Some(content) }
    }
}
