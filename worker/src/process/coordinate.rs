//! One coordinator from its claim to its end, with what shows of it: progress, status, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use weir_checkpoint::{Start, Store, layout};
use weir_coordinator::http::{self, Api};
use weir_coordinator::{Coordinator, Exit, Options, Shell, StopRequest, Workers};
use weir_protocol::{JobConfig, JobGraph};
use weir_runtime::tls::Transport;
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};

use super::RunError;
use super::planner::graphs;
use crate::run::progress::{self, ProgressMode};

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
}

/// What is served of an attempt. It ends when this is dropped.
pub(crate) struct Served(
    #[expect(dead_code, reason = "dropping them is what counts")] Vec<oneshot::Sender<()>>,
);

impl Coordination {
    /// Opens the store, and the address of status and metrics.
    pub(crate) async fn open(
        config: &JobConfig,
        graph: JobGraph,
        http: Option<SocketAddr>,
        progress: ProgressMode,
    ) -> Result<Self, RunError> {
        let (clock, random) = (Arc::new(SystemClock::default()), Arc::new(SystemRandom));
        let store = weir_checkpoint::open(&config.checkpoint.storage, &config.uid).await?;
        probe_if_new(store.as_ref(), random.as_ref()).await?;
        let http = match http {
            Some(address) => Some(bind("status", address).await?),
            None => None,
        };
        let config = config.clone();
        let opened = Self { config, graph, store, clock, random, progress, gather: None, http, admin: None };
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

    /// Runs one attempt to its end; its last status is served for as long as what is given back lives.
    /// Dropping the future leaves the job to the next coordinator.
    pub(crate) async fn attempt(
        &self,
        start: &Start,
        workers: Workers,
        stop: mpsc::Receiver<StopRequest>,
    ) -> (Exit, Served) {
        let mut options = Options::new(self.config.clone(), self.graph.clone(), spec_digest(&self.config));
        options.start = start.clone();
        options.gather = self.gather.unwrap_or(options.gather);
        let plan = graphs(&self.config);
        let (store, clock, random) = (self.store.clone(), self.clock.clone(), self.random.clone());
        let shell = Shell { store, workers, clock, random, stop, plan };
        let (coordinator, status) = Coordinator::new(options, shell);
        let served = self.serve(&Api { status: status.clone(), requests: coordinator.requests() });
        let shown = tokio::spawn(progress::show(self.progress, status));
        let exit = coordinator.run().await;
        let _ = shown.await;
        (exit, served)
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

    /// Says that the job steps back, which its user has permitted.
    pub(crate) fn note_step_back(&self, to: weir_protocol::CheckpointId, failure: &weir_protocol::Failure) {
        progress::note(
            self.progress,
            &format!(
                "{failure}; spec.recovery.onUnreadable permits to go back to checkpoint {to}: what was written after it is written again"
            ),
        );
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

/// A store is tried once, before a job's first record is written there.
async fn probe_if_new(store: &dyn Store, random: &dyn Random) -> Result<(), RunError> {
    let folder = store.list_folder(layout::JOURNAL).await?;
    if folder.objects.is_empty() {
        weir_checkpoint::probe::probe(store, random).await?;
    }
    Ok(())
}

/// What the claim records of the configuration.
fn spec_digest(config: &JobConfig) -> String {
    let text = serde_json::to_string(config).unwrap_or_default();
    format!("{:016x}", weir_protocol::key_group::hash_bytes(text.as_bytes()))
}
