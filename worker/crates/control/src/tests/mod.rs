//! Both ends against each other, and each against peers that do not keep to the protocol.

mod hostile_coordinators;
mod hostile_workers;
mod life;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_protocol::{Attempt, Execution, JobConfig, JobUid, Registration, RunningExecution, Stamp};
use weir_runtime::SeededRandom;
use weir_runtime::tls::Transport;

use crate::{
    ClientEnd, ClientOptions, Events, Heartbeat, Incoming, Limits, LinkState, Outgoing, Server,
    ServerOptions, run_client,
};

/// Nothing that a test waits for takes longer, also on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(300);

pub(crate) fn config() -> JobConfig {
    let sql = "SELECT 1".to_owned();
    JobConfig { sql, ..weir_protocol::testing::config("bids", "memory://x") }
}

pub(crate) fn stamp() -> Stamp {
    Stamp { job: config().uid, attempt: Attempt(1), execution: Execution(1) }
}

pub(crate) fn registration(process: &str) -> Registration {
    Registration {
        process: process.to_owned(),
        name: "host".to_owned(),
        slots: 2,
        data_address: None,
        running: None,
        draining: false,
    }
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Heartbeats that a busy machine keeps, and a test need not wait for long.
pub(super) const HEARTBEAT: Heartbeat =
    Heartbeat { every: Duration::from_millis(50), lost_after: Duration::from_secs(2) };

pub(super) fn limits() -> Limits {
    Limits { message_bytes: 64 << 10, queue_bytes: 256 << 10, connections: 256, handshake: ms(2000) }
}

pub(super) async fn listener() -> Arc<TcpListener> {
    Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
}

pub(super) fn server_on(
    listener: Arc<TcpListener>,
    heartbeat: Heartbeat,
    limits: Limits,
) -> (Server, Events) {
    let options = ServerOptions {
        config: Arc::new(config()),
        transport: Transport::Plaintext,
        heartbeat,
        limits,
        first_worker: 1,
    };
    Server::start(listener, options).expect("a server")
}

/// A worker's end with the ways in and out of it.
pub(super) struct Worker {
    pub(super) says: Option<mpsc::UnboundedSender<Outgoing>>,
    pub(super) hears: mpsc::UnboundedReceiver<Incoming>,
    pub(super) running: watch::Sender<Option<RunningExecution>>,
    pub(super) link: watch::Receiver<LinkState>,
    pub(super) task: JoinHandle<ClientEnd>,
}

impl Worker {
    pub(super) fn start(process: &str, coordinators: Vec<String>) -> Self {
        Self::start_with(process, coordinators, limits())
    }

    pub(super) fn start_with(process: &str, coordinators: Vec<String>, limits: Limits) -> Self {
        let (says, said) = mpsc::unbounded_channel();
        let (incoming, hears) = mpsc::unbounded_channel();
        let (running, runs) = watch::channel(None);
        let (state, link) = watch::channel(LinkState::Looking { because: None });
        let options = ClientOptions {
            coordinators,
            transport: Transport::Plaintext,
            job: None,
            registration: registration(process),
            heartbeat: HEARTBEAT,
            limits,
            random: Arc::new(SeededRandom::new(7)),
        };
        let said = stream::unfold(said, async |mut said: mpsc::UnboundedReceiver<Outgoing>| {
            said.recv().await.map(|next| (next, said))
        });
        let task = tokio::spawn(run_client(options, runs, Box::pin(said), incoming, state));
        Self { says: Some(says), hears, running, link, task }
    }

    pub(super) fn say(&self, outgoing: Outgoing) {
        self.says.as_ref().expect("not closed").send(outgoing).expect("a client that runs");
    }

    pub(super) async fn hear(&mut self) -> Incoming {
        within(self.hears.recv()).await.expect("a client that runs")
    }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it happens in time")
}

/// A frame as gRPC sends it.
pub(super) fn framed(frame: &impl Message) -> Bytes {
    prefixed(&frame.encode_to_vec())
}

/// A message of gRPC: not compressed, then its length.
pub(super) fn prefixed(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(0);
    out.put_u32(body.len() as u32);
    out.extend_from_slice(body);
    out.freeze()
}

pub(super) fn address_of(server: &Server) -> (SocketAddr, String) {
    (server.address(), server.address().to_string())
}
