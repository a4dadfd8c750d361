//! The coordinator's end: takes workers, gives them numbers, tells what becomes of them.

mod accept;
mod events;
mod roster;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_protocol::{Failure, FailureKind, JobConfig, JobUid, Stamp, ToWorker, WorkerId};
use weir_runtime::tls::Transport;

use crate::frame::{FromCoordinatorFrame, Release};
use crate::limits::{Heartbeat, Limits};
use crate::wire;

pub use events::{Events, ServerEvent};
use events::{Left, Shared};

/// What a server is started with.
pub struct ServerOptions {
    /// The job: workers of another are refused. Every worker gets it when it is taken.
    pub config: Arc<JobConfig>,
    /// How connections are made secret.
    pub transport: Transport,
    /// Heartbeats in both directions.
    pub heartbeat: Heartbeat,
    /// Sizes.
    pub limits: Limits,
    /// The first number that is given to a worker; at least 1.
    pub first_worker: u64,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address of the listener.
    #[error("the control address can't be told: {0}")]
    Address(std::io::Error),
    /// The configuration has no JSON form.
    #[error("the job's configuration can't be sent to workers: {0}")]
    Config(String),
}

/// What a server has seen; numbers only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that were closed at once, for there were too many.
    pub turned_away: u64,
    /// Connections whose handshake failed or came too late, and that never said who they are.
    pub failed_handshakes: u64,
    /// Workers that were taken.
    pub registered: u64,
    /// Workers that were not taken: another job, no version in common, an impossible registration.
    pub refused: u64,
    /// Connections that were ended because of what came over them.
    pub malformed: u64,
    /// Workers that were lost, for whatever reason.
    pub lost: u64,
}

/// The same, while they are counted.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    turned_away: AtomicU64,
    failed_handshakes: AtomicU64,
    registered: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    lost: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What never changes while a server runs.
struct Given {
    job: JobUid,
    /// The configuration as workers get it.
    config: Bytes,
    transport: Transport,
    heartbeat: Heartbeat,
    limits: Limits,
    counts: Counts,
}

/// The server of one coordinator. Dropping it ends all connections at once: workers go on and look for another
/// coordinator.
pub struct Server {
    given: Arc<Given>,
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts to take workers, within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn start(listener: Arc<TcpListener>, options: ServerOptions) -> Result<(Self, Events), ServerError> {
        let address = listener.local_addr().map_err(ServerError::Address)?;
        let ServerOptions { config, transport, heartbeat, limits, first_worker } = options;
        let json = wire::to_json(config.as_ref()).map_err(|e| ServerError::Config(e.to_string()))?;
        let job = config.uid.clone();
        let counts = Counts::default();
        let given = Arc::new(Given { job: job.clone(), config: json, transport, heartbeat, limits, counts });
        let shared = Shared::new(job, first_worker, limits.queue_bytes);
        let accepting = tokio::spawn(accept::accept(listener, given.clone(), shared.clone()));
        let events = Events::new(shared.clone());
        Ok((Self { given, shared, address, accepting }, events))
    }

    /// Where workers connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was seen so far.
    pub fn counters(&self) -> Counters {
        let counts = &self.given.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: read(&counts.connections),
            turned_away: read(&counts.turned_away),
            failed_handshakes: read(&counts.failed_handshakes),
            registered: read(&counts.registered),
            refused: read(&counts.refused),
            malformed: read(&counts.malformed),
            lost: read(&counts.lost),
        }
    }

    /// The number that the next worker will get.
    pub fn next_worker(&self) -> u64 {
        self.shared.next_worker()
    }

    /// Sends a message. Never blocks and never fails: to a worker that is not there it is dropped, and a
    /// worker for which too much waits is lost.
    pub fn send(&self, worker: WorkerId, stamp: &Stamp, message: &ToWorker) {
        let Some(link) = self.shared.link(worker) else { return };
        let limit = self.given.limits.message_bytes;
        let lost = match wire::seal(stamp, message) {
            Err(error) => Some(format!("a message to it can't be written: {error}")),
            Ok(envelope) if envelope.body.len() > limit => {
                let bytes = envelope.body.len();
                Some(format!("a message to it has {bytes} bytes; {limit} are allowed"))
            }
            Ok(envelope) => {
                let pushed = link.outbox.push(FromCoordinatorFrame::Message(envelope).into());
                pushed.err().map(|full| {
                    format!("it does not keep up: {} bytes wait to be sent to it", full.waiting_bytes)
                })
            }
        };
        if let Some(why) = lost {
            self.lose(worker, &why);
        }
    }

    /// Ends the connection of a worker, which registers anew if it lives.
    pub fn give_up(&self, worker: WorkerId) {
        self.lose(worker, "it was given up, for it did not stop its subtasks in time");
    }

    /// Tells a worker that it may end.
    pub fn release(&self, worker: WorkerId, reason: &str) {
        if let Some(link) = self.shared.release(worker) {
            let release = Release { reason: reason.to_owned() };
            if link.outbox.push(FromCoordinatorFrame::Release(release).into()).is_err() {
                self.lose(worker, "it does not keep up");
            }
        }
    }

    fn lose(&self, worker: WorkerId, why: &str) {
        if self.shared.lose(worker, Failure::new(FailureKind::Worker, why)) == Left::Lost {
            count(&self.given.counts.lost);
        }
    }

    /// Ends the server because the job is over: every worker is told that it may end, also one that comes
    /// meanwhile, and has a moment to do so.
    pub async fn release_all(&self, reason: &str, patience: Duration) {
        for worker in self.shared.close(Some(reason.to_owned())) {
            self.release(worker, reason);
        }
        let gone = tokio::time::timeout(patience, self.shared.all_gone()).await;
        if gone.is_err() {
            tracing::warn!("some workers have not ended after {patience:?}; their connections are closed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        for worker in self.shared.close(None) {
            self.lose(worker, "the coordinator has ended");
        }
    }
}
