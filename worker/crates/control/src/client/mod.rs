//! The worker's end: finds a coordinator, makes the worker known, and does so again whenever the connection
//! breaks, for as long as the worker lives. One connection at a time: what two coordinators say never mixes.

mod dial;
mod mailbox;
mod session;

use std::sync::Arc;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use weir_protocol::{
    FromWorker, JobConfig, JobUid, Registration, RunningExecution, Stamp, ToWorker, WorkerId,
};
use weir_runtime::Random;
use weir_runtime::tls::Transport;

use crate::limits::{Heartbeat, Limits};

use dial::Dialer;
use mailbox::Mailbox;
use session::{Finished, Greeted, NoGreeting, Session};

/// What a client is started with.
pub struct ClientOptions {
    /// Where a coordinator may be, each `host:port`, tried in turn; at least one.
    pub coordinators: Vec<String>,
    /// How connections are made secret.
    pub transport: Transport,
    /// The job that the worker belongs to, if that is known before the first welcome.
    pub job: Option<JobUid>,
    /// What the worker says of itself; `running` and `draining` are filled in at each registration.
    pub registration: Registration,
    /// Heartbeats until a coordinator has said which it wants.
    pub heartbeat: Heartbeat,
    /// Sizes.
    pub limits: Limits,
    /// Spreads the times of new tries.
    pub random: Arc<dyn Random>,
}

/// What a worker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A coordinator has taken it. Everything up to [`Incoming::Disconnected`] is of this coordinator.
    Connected {
        /// The number that it gave.
        worker: WorkerId,
        /// The job; always the same work, see [`ClientEnd::OtherWork`].
        config: Arc<JobConfig>,
    },
    /// A message.
    Message(Stamp, ToWorker),
    /// There is no coordinator now.
    Disconnected,
    /// It may end.
    Release {
        /// For people.
        reason: String,
    },
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A message; dropped while there is no coordinator.
    Message(Stamp, FromWorker),
    /// It was asked to end and wants its subtasks moved. Every coordinator that comes hears of it.
    Draining,
}

/// How the work of a client ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEnd {
    /// Nothing more is going to be said: the end of `outgoing`.
    Closed,
    /// The coordinator's job is the same, but what is to be done in it has changed, so that nothing that
    /// runs can go on. The worker is to start anew.
    OtherWork,
}

/// Where a client stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// No coordinator.
    Looking {
        /// Why the last try came to nothing, with the address.
        because: Option<String>,
    },
    /// A coordinator has taken the worker.
    Connected {
        /// Its address.
        coordinator: String,
        /// The worker's number.
        worker: WorkerId,
    },
}

/// Keeps a worker in touch with its coordinator until `outgoing` ends. What is said while there is no
/// coordinator is dropped; `running` must say at any time what a new one has to know, and must say it before
/// the message that tells the same.
pub async fn run_client(
    options: ClientOptions,
    running: watch::Receiver<Option<RunningExecution>>,
    outgoing: impl Stream<Item = Outgoing> + Send + Unpin,
    incoming: mpsc::UnboundedSender<Incoming>,
    state: watch::Sender<LinkState>,
) -> ClientEnd {
    let mut dialer = Dialer::new(&options);
    let mut mailbox = Mailbox::new(outgoing);
    let mut known = Known { config: None, job: options.job.clone() };
    loop {
        let connection = tokio::select! {
            connection = dialer.dial() => connection,
            () = mailbox.drop_all() => return ClientEnd::Closed,
        };
        // What came before is in `running`; what comes from here on is kept for the welcome.
        mailbox.drop_waiting();
        let registration = Registration {
            running: running.borrow().clone(),
            draining: mailbox.draining(),
            ..options.registration.clone()
        };
        let coordinator = connection.address.clone();
        let (session, greeted) = match Session::greet(&options, &known, connection, &registration).await {
            Ok(greeted) => greeted,
            Err(NoGreeting::Released(reason)) => {
                let _ = incoming.send(Incoming::Release { reason });
                mailbox.drop_all().await;
                return ClientEnd::Closed;
            }
            Err(NoGreeting::OtherWork) => return ClientEnd::OtherWork,
            Err(NoGreeting::Failed(why)) => {
                dialer.failed(&coordinator, &why);
                state.send_replace(LinkState::Looking { because: Some(format!("{coordinator}: {why}")) });
                continue;
            }
        };
        dialer.succeeded();
        let Greeted { worker, config } = greeted;
        tracing::info!(%coordinator, %worker, "connected");
        known.take(&config);
        state.send_replace(LinkState::Connected { coordinator: coordinator.clone(), worker });
        let _ = incoming.send(Incoming::Connected { worker, config });
        match session.run(&mut mailbox, &incoming).await {
            Finished::Closed => return ClientEnd::Closed,
            Finished::Released => {
                mailbox.drop_all().await;
                return ClientEnd::Closed;
            }
            Finished::Lost(end) => {
                tracing::warn!(%coordinator, "the coordinator is lost: {end}");
                let because = Some(format!("{coordinator}: {end}"));
                state.send_replace(LinkState::Looking { because });
                let _ = incoming.send(Incoming::Disconnected);
            }
        }
    }
}

/// What is known of the job.
struct Known {
    job: Option<JobUid>,
    config: Option<Arc<JobConfig>>,
}

impl Known {
    fn take(&mut self, config: &Arc<JobConfig>) {
        self.job.get_or_insert_with(|| config.uid.clone());
        self.config.get_or_insert_with(|| config.clone());
    }
}
