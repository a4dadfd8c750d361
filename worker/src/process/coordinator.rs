//! `weir coordinator`: the process that coordinates a job whose workers are processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use weir_checkpoint::Start;
use weir_control::{Heartbeat, Limits, Server, ServerOptions};
use weir_coordinator::{Exit, StopRequest};
use weir_protocol::{JobConfig, JobGraph, LivenessConfig};
use weir_runtime::tls::Transport;

use super::coordinate::Served;
use super::metrics::control_metrics;
use super::{Announced, Begin, Coordination, Ended, RunError, Signal, Signals, block_on, link};
use crate::run::progress::{self, ProgressMode};

/// How long workers have to end when the job is over.
const FAREWELL: Duration = Duration::from_secs(10);
/// The least time that a handshake has, however short the heartbeats are.
const HANDSHAKE: Duration = Duration::from_secs(1);

/// What a coordinator's process is asked for besides the job.
#[derive(Debug, Clone)]
pub struct CoordinatorOptions {
    /// What to start from.
    pub start: Start,
    /// Where workers connect.
    pub listen: SocketAddr,
    /// How their connections are made secret.
    pub transport: Transport,
    /// Where status and metrics are served; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Where the job is changed by who has a certificate of it; `None`: at `http`, by everybody.
    pub admin: Option<SocketAddr>,
    /// Whether the process stays when the job is over, and serves its last status until it is told to go.
    pub stay: bool,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// A file to write the addresses into.
    pub announce: Option<PathBuf>,
}

/// How a coordinator's process ended.
#[derive(Debug)]
pub enum CoordinatorEnd {
    /// With the job, or because another coordinator has taken over.
    Ended(Ended),
    /// It was asked to go by a signal; the job goes on, and another coordinator may take it over.
    Left(Signal),
}

/// Coordinates a job until it ends, or the process is told to go.
///
/// # Errors
/// [`RunError`]: it did not start.
pub fn run_coordinator(
    config: &JobConfig,
    graph: JobGraph,
    options: &CoordinatorOptions,
) -> Result<CoordinatorEnd, RunError> {
    block_on(async {
        let mut signals = Signals::take();
        let mut control = Control::open(config, options.listen, options.transport.clone()).await?;
        let mut coordination = Coordination::open(config, graph, options.http, options.progress).await?;
        if let Some(address) = options.admin {
            coordination.changed_at(address, options.transport.clone()).await?;
        }
        if let Some(path) = &options.announce {
            let (control, http) = (Some(control.address()), coordination.http());
            Announced { process: std::process::id(), control, http, exchange: None }.write(path)?;
        }
        progress::note(options.progress, &format!("workers connect to {}", control.address()));
        // Nobody asks through this process to stop the job: a signal means the process alone.
        let (_stop, stops) = mpsc::channel(1);
        let (exit, served) = tokio::select! {
            ended = control.coordinate(&coordination, options.start.clone(), stops) => ended?,
            signal = signals.first() => return Ok(CoordinatorEnd::Left(signal)),
        };
        if options.stay && !matches!(exit, Exit::Fenced(_)) {
            progress::note(
                options.progress,
                "the job is over; its status is served until this process is told to go",
            );
            signals.first().await;
        }
        drop(served);
        Ok(CoordinatorEnd::Ended(Ended { exit, signal: None }))
    })
}

/// The address that workers connect to, over all attempts of this process.
pub(super) struct Control {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    transport: Transport,
    config: Arc<JobConfig>,
    /// Whether workers are not needed any more.
    over: watch::Sender<bool>,
}

impl Control {
    pub(super) async fn open(
        config: &JobConfig,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<Self, RunError> {
        let failed = |error| RunError::Listen { what: "workers", address, error };
        transport.check(address).map_err(failed)?;
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener: Arc::new(listener),
            address,
            transport,
            config: Arc::new(config.clone()),
            over: watch::channel(false).0,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells when workers are not needed any more, before they learn it themselves.
    pub(super) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    /// Workers are not needed any more.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Runs attempts until one ends for good: where the job permits to go back to an older checkpoint, each
    /// step back is an attempt of its own.
    pub(super) async fn coordinate(
        &mut self,
        coordination: &Coordination,
        start: Start,
        mut stop: mpsc::Receiver<StopRequest>,
    ) -> Result<(Exit, Served), RunError> {
        let (mut begin, mut first_worker) = (Begin::new(start), 1);
        loop {
            let (server, events) = Server::start(self.listener.clone(), self.options(first_worker))?;
            let server = Arc::new(server);
            let (stop_attempt, stops) = mpsc::channel(4);
            let begins = begin.clone();
            let workers = link::workers(server.clone(), events);
            // Weak: whoever reads metrics must not keep connections open.
            let counted = Arc::downgrade(&server);
            let more = control_metrics(move || counted.upgrade().map(|server| server.counters()));
            let attempt = coordination.attempt(&begins, workers, stops, Some(more));
            tokio::pin!(attempt);
            let (exit, served) = loop {
                tokio::select! {
                    ended = &mut attempt => break ended?,
                    Some(request) = stop.recv() => {
                        // Who asks more often than that is heard already.
                        let _ = stop_attempt.try_send(request);
                    }
                }
            };
            match exit {
                Exit::StepBack { to, failure } => {
                    begin = coordination.step_back(to, failure);
                    // Workers may still know the numbers of before.
                    first_worker = server.next_worker();
                }
                // Workers look for the one that took over.
                Exit::Fenced(_) => return Ok((exit, served)),
                Exit::Finished { .. }
                | Exit::AlreadyFinished { .. }
                | Exit::Stopped { .. }
                | Exit::Failed(_) => {
                    self.end();
                    server.release_all("the job is over", FAREWELL).await;
                    return Ok((exit, served));
                }
            }
        }
    }

    fn options(&self, first_worker: u64) -> ServerOptions {
        let liveness = &self.config.liveness;
        ServerOptions {
            config: self.config.clone(),
            transport: self.transport.clone(),
            heartbeat: heartbeat(liveness),
            limits: Limits { handshake: liveness.heartbeat_timeout.max(HANDSHAKE), ..Limits::default() },
            first_worker,
        }
    }
}

fn heartbeat(liveness: &LivenessConfig) -> Heartbeat {
    Heartbeat { every: liveness.heartbeat_interval, lost_after: liveness.heartbeat_timeout }
}
