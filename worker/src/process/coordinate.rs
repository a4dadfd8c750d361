//! One coordinator from its claim to its end, with what shows of it: progress, status, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weir_checkpoint::probe::ProbeError;
use weir_checkpoint::{Start, Store};
use weir_coordinator::http::{self, Api};
use weir_coordinator::{Coordinator, Exit, MoreMetrics, Options, Shell, StopRequest, Workers};
use weir_protocol::{CheckpointId, Failure, JobConfig, JobGraph};
use weir_runtime::tls::Transport;
use weir_runtime::{Clock, LogIds, Random, SystemClock, SystemRandom};

use super::RunError;
use super::planner::graphs;
use crate::run::progress::{self, ProgressMode};
use crate::traces::Traces;

/// How an attempt begins.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    start: Start,
    /// Why the attempt before could not be restored, if this one goes back for that.
    stepped_back: Option<Failure>,
}

impl Begin {
    pub(crate) fn new(start: Start) -> Self {
        Self { start, stepped_back: None }
    }
}

/// What all attempts of one process have in common.
pub(crate) struct Coordination {
    pub(crate) config: JobConfig,
    pub(crate) graph: JobGraph,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) progress: ProgressMode,
    /// How long workers that come up together are waited for, if not as usual.
    pub(crate) gather: Option<Duration>,
    http: Option<std::net::TcpListener>,
    /// Where the job is changed, if not where its status is.
    admin: Option<(std::net::TcpListener, Transport)>,
    /// Where traces are sent, if anywhere.
    traces: Option<Arc<Traces>>,
}

/// What is served of an attempt. It ends when this is dropped.
pub(crate) struct Served(
    #[expect(dead_code, reason = "dropping them is what counts")] Vec<oneshot::Sender<()>>,
);

impl Coordination {
    /// Opens the store, which may be away yet, and the address of status and metrics.
    pub(crate) async fn open(
        config: &JobConfig,
        graph: JobGraph,
        http: Option<SocketAddr>,
        progress: ProgressMode,
    ) -> Result<Self, RunError> {
        LogIds::set_job(&config.name, config.uid.as_str());
        let (clock, random) = (Arc::new(SystemClock::default()), Arc::new(SystemRandom));
        let store = weir_checkpoint::open(&config.checkpoint.storage, &config.uid).await?;
        let http = match http {
            Some(address) => Some(bind("status", address).await?),
            None => None,
        };
        let traces = Traces::from_environment(config);
        let opened = Self {
            config: config.clone(),
            graph,
            store,
            clock,
            random,
            progress,
            gather: None,
            http,
            admin: None,
            traces,
        };
        if let Some(address) = opened.http() {
            let text = format!("status at http://{address}/v1/job, metrics at http://{address}/metrics");
            progress::note(progress, &text);
        }
        Ok(opened)
    }

    /// Lets the job be changed only by who has a certificate of it, at an address of its own.
    pub(crate) async fn changed_at(
        &mut self,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<(), RunError> {
        self.admin = Some((bind("changes of the job", address).await?, transport));
        Ok(())
    }

    /// Where status and metrics are served.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Runs one attempt to its end, as soon as the store is there; its last status is served for as long as what
    /// is given back lives. Dropping the future leaves the job to the next coordinator.
    ///
    /// # Errors
    /// [`RunError`]: the store can't be used, so that nothing was claimed.
    pub(crate) async fn attempt(
        &self,
        begin: &Begin,
        workers: Workers,
        stop: mpsc::Receiver<StopRequest>,
        more: Option<MoreMetrics>,
    ) -> Result<(Exit, Served), RunError> {
        let mut options = Options::new(self.config.clone(), self.graph.clone(), spec_digest(&self.config));
        options.start = begin.start.clone();
        options.stepped_back = begin.stepped_back.clone();
        options.gather = self.gather.unwrap_or(options.gather);
        let plan = graphs(&self.config);
        let (store, clock, random) = (self.store.clone(), self.clock.clone(), self.random.clone());
        let shell = Shell { store, workers, clock, random, stop, plan };
        let (coordinator, status) = Coordinator::new(options, shell);
        let served = self.serve(&Api { status: status.clone(), requests: coordinator.requests(), more });
        let traced = self
            .traces
            .clone()
            .map(|traces| tokio::spawn(traces.follow(status.clone(), self.random.clone())));
        let shown = tokio::spawn(progress::show(self.progress, status));
        let exit = live(coordinator).await;
        let _ = shown.await;
        if let Some(traced) = traced {
            let _ = traced.await;
        }
        Ok((exit?, served))
    }

    fn serve(&self, api: &Api) -> Served {
        let mut served = Vec::new();
        let mut until = || {
            let (closing, closed) = oneshot::channel::<()>();
            served.push(closing);
            async { drop(closed.await) }
        };
        let admin = self.admin.as_ref().and_then(|(at, transport)| Some((another(at)?, transport)));
        match (self.http.as_ref().and_then(another), admin.is_some()) {
            (Some(at), true) => drop(tokio::spawn(http::serve_reads(at, api.clone(), until()))),
            (Some(at), false) => drop(tokio::spawn(http::serve(at, api.clone(), until()))),
            (None, _) => {}
        }
        if let Some((at, transport)) = admin {
            tokio::spawn(http::serve_secure(at, transport.clone(), api.clone(), until()));
        }
        Served(served)
    }

    /// The next attempt goes back to an older checkpoint, which the job's user has permitted; this says so.
    pub(crate) fn step_back(&self, to: CheckpointId, failure: Failure) -> Begin {
        progress::note(
            self.progress,
            &format!(
                "{failure}; spec.recovery.onUnreadable permits to go back to checkpoint {to}: what was written after it is written again"
            ),
        );
        Begin { start: Start::At(to), stepped_back: Some(failure) }
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, RunError> {
    let failed = |error| RunError::Listen { what, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    listener.into_std().map_err(failed)
}

/// A handle of its own on a listener: that outlives the attempt, so that the address stays.
fn another(listener: &std::net::TcpListener) -> Option<TcpListener> {
    let cloned = listener.try_clone().and_then(TcpListener::from_std);
    cloned.inspect_err(|error| tracing::warn!("status can't be served: {error}")).ok()
}

/// From the first look at the store to the end.
async fn live(mut coordinator: Coordinator) -> Result<Exit, RunError> {
    match coordinator.try_store().await {
        Ok(None) => Ok(coordinator.run().await),
        Ok(Some(exit)) => Ok(exit),
        Err(ProbeError::Store(error)) => Err(RunError::Store(error)),
        Err(broken) => Err(RunError::Probe(broken)),
    }
}

/// What the claim records of the configuration.
fn spec_digest(config: &JobConfig) -> String {
    let text = serde_json::to_string(config).unwrap_or_default();
    format!("{:016x}", weir_protocol::key_group::hash_bytes(text.as_bytes()))
}
