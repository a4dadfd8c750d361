//! The exchange of rows between the workers of a job.
//!
//! Each process has one [`Exchange`] for its whole life. Executions come and go over it; connections stay and are
//! warm when the next one is deployed.
//!
//! # Connections and channels
//! A worker dials every worker that it sends rows to: rows flow from the one who dialled to the one who accepted, credit
//! the other way. A pair of workers that send to each other has two connections, one per direction. One for both
//! would save a socket and cost an agreement on who dials: worker numbers change with the coordinator, workers come up
//! in any order, and one that may not dial can only wait. This way the end that has rows makes the connection when it
//! needs it, and reading on one side never waits for writing on the same one.
//!
//! Over a connection go many **channels**: one per edge, sending subtask and receiving subtask. A channel begins with
//! an `Open` and belongs to one deployment, whose attempt and execution every frame carries. Frames of older deployments
//! are dropped and counted. Who is ahead of this process waits (its connection is not read) until the deployment
//! arrives here too, for a bounded time.
//!
//! # Credit
//! The receiver grants each channel as many bytes as its queue may hold (`credit.rs`). A sending subtask whose channel has
//! no credit is not ready, exactly as with a full local queue, and does not block its thread. Barriers, watermarks and
//! the end of the input need no credit of their own; they keep their place behind rows that wait for it. So whoever reads a
//! connection always has room for what it reads, and no channel waits for another one.
//!
//! # What may go wrong
//! A connection that breaks, or over which nothing was heard for a while, fails the executions that use it, at both of
//! its ends, with the name of the peer. Frames are counted per channel: one that is malformed, too large, repeated or
//! without credit closes its connection, and nothing else. Only processes that show a certificate of the job get as
//! far as a frame.
//!
//! It does not own: when to deploy, what follows a failure, local queues.

mod accept;
mod counters;
mod credit;
mod decode;
mod frame;
mod hello;
mod inbound;
mod link;
mod outbound;
mod outbox;
mod reader;
mod registry;
mod rows;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod wiring;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use weir_protocol::{Failure, FailureKind, JobUid, WorkerId};
use weir_runtime::tls::Transport;

pub use counters::ExchangeCounters;
#[doc(hidden)]
pub use decode::decode_frames;
pub(crate) use inbound::Credits;
pub(crate) use outbound::RemoteSender;
pub(crate) use registry::Held;
pub(crate) use wiring::{Routes, Wiring};

use counters::Tally;
use link::Link;
use registry::Registry;

/// Times and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeLimits {
    /// Bytes of the payload of one frame. Larger batches are split by rows.
    pub frame_bytes: usize,
    /// Connections that may be open to this process.
    pub connections: usize,
    /// Connections among them that have not said yet who they are.
    pub handshakes: usize,
    /// From the acceptance of a connection to its hello.
    pub handshake: Duration,
    /// How long a peer is dialled before it counts as lost.
    pub dial: Duration,
    /// From one sign of life to the next.
    pub ping_every: Duration,
    /// A peer of which nothing was heard for this long is lost.
    pub lost_after: Duration,
    /// How long a peer that is ahead waits for the deployment to arrive here.
    pub wait_for_deployment: Duration,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 32 << 20,
            connections: 4096,
            handshakes: 256,
            handshake: Duration::from_secs(5),
            dial: Duration::from_secs(5),
            ping_every: Duration::from_secs(1),
            lost_after: Duration::from_secs(10),
            wait_for_deployment: Duration::from_secs(300),
        }
    }
}

/// What an exchange is made of.
#[derive(Debug, Clone)]
pub struct ExchangeOptions {
    /// How connections are made, and with whom.
    pub transport: Transport,
    /// The job of this process.
    pub job: JobUid,
    /// Times and sizes.
    pub limits: ExchangeLimits,
}

/// A frame, or what it is in, that no honest peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(&'static str);

/// The exchange of this process.
#[derive(Debug)]
pub struct Exchange {
    inner: Arc<Inner>,
    accepting: AbortHandle,
}

/// What the tasks of an exchange share.
#[derive(Debug)]
struct Inner {
    options: ExchangeOptions,
    io: Handle,
    tally: Arc<Tally>,
    registry: Registry,
    links: Mutex<HashMap<String, Arc<Link>>>,
}

impl Exchange {
    /// Begins to accept peers; ends with the value that is given, and all connections with it. Must be called within a
    /// tokio runtime, which does the I/O.
    pub fn start(listener: TcpListener, options: ExchangeOptions) -> Arc<Self> {
        let io = Handle::current();
        let inner = Arc::new(Inner {
            options,
            io: io.clone(),
            tally: Arc::default(),
            registry: Registry::default(),
            links: Mutex::default(),
        });
        let accepting = io.spawn(accept::accept(listener, inner.clone())).abort_handle();
        Arc::new(Self { inner, accepting })
    }

    /// What it did so far.
    pub fn counters(&self) -> ExchangeCounters {
        self.inner.tally.read()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.accepting.abort();
        let links = std::mem::take(&mut *self.inner.links());
        links.values().for_each(|link| link.abort());
    }
}

impl Inner {
    /// The connection to a peer: the one that is there, or a new one.
    fn link(&self, address: &str) -> Arc<Link> {
        let mut links = self.links();
        links.retain(|_, link| link.is_alive());
        let new = || Link::start(address.to_owned(), &self.options, &self.tally, &self.io);
        links.entry(address.to_owned()).or_insert_with(new).clone()
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other worker of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    worker: WorkerId,
    address: String,
}

impl Peer {
    fn lost(&self, why: &str) -> Failure {
        let text = format!("the connection to worker {} at {} is lost: {why}", self.worker, self.address);
        Failure::new(FailureKind::Worker, text)
    }
}
