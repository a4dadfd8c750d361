//! The process: watches of jobs, savepoints and pods, each change of which leads to a pass over its job; the Lease;
//! what is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action, Config, trigger_owners, trigger_self};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, applier};
use kube::{Api, Client};
use tokio::sync::Semaphore;
use weir_crds::{Savepoint, StreamJob};

use crate::cluster::{ClusterError, LiveCluster, PodCache};
use crate::controller::Operator;
use crate::controller::validate::Defaults;
use crate::coordinators::LiveCoordinators;
use crate::leader::Leader;
use crate::metrics::Metrics;
use crate::names::{FIELD_MANAGER, MANAGED_BY};
use crate::root::{RootError, authority};
use crate::server::{Health, serve};

/// What the process is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the operator itself lives: its key and its Lease.
    pub own_namespace: String,
    /// Whose jobs it runs; empty: those of all namespaces.
    pub namespaces: Vec<String>,
    /// What specs leave open.
    pub defaults: Defaults,
    /// Whether it waits for the Lease.
    pub leader_election: bool,
    /// Who it is, for the Lease and events.
    pub instance: String,
    /// Where metrics and health are served.
    pub listen: SocketAddr,
    /// Passes at a time, per watch.
    pub concurrency: u16,
}

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server.
    #[error("the API server can't be used: {0}")]
    Client(#[from] kube::Error),
    /// No key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// No address.
    #[error("metrics and health can't be served at {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's word.
        error: std::io::Error,
    },
    /// Another operator leads.
    #[error("the Lease is lost: another operator leads, or the API server did not answer for too long")]
    Lease,
    /// A watch has ended.
    #[error("a watch has ended")]
    Watch,
}

type Live = Operator<LiveCluster, LiveCoordinators>;

/// Runs until it is told to go, or something ends it.
///
/// # Errors
/// What ended it.
pub async fn run(options: Options, told: impl Future<Output = ()>) -> Result<(), RunError> {
    let mut told = std::pin::pin!(told);
    let (metrics, health) = (Metrics::new(), Health::default());
    let failed = |error| RunError::Listen { address: options.listen, error };
    let listener = tokio::net::TcpListener::bind(options.listen).await.map_err(failed)?;
    tokio::spawn(serve(listener, metrics.clone(), health.clone()));
    let client = Client::try_default().await?;
    let authority = authority(client.clone(), &options.own_namespace, &options.defaults.root_secret).await?;

    let instance = options.instance.clone();
    let mut leader = Leader::new(client.clone(), &options.own_namespace, FIELD_MANAGER, instance.clone());
    if options.leader_election {
        // One that waits for its turn is ready for it.
        health.is_synced();
        tracing::info!(instance, "waiting for the Lease");
        tokio::select! {
            () = leader.lead() => {}
            () = &mut told => return Ok(()),
        }
    }
    metrics.leads(true);
    tracing::info!(instance, namespaces = ?options.namespaces, "running");
    let pods = PodCache::default();
    let cluster = LiveCluster::new(client.clone(), pods.clone(), Some(instance), metrics.clone());
    let coordinators = LiveCoordinators::new(authority.clone());
    let operator = Arc::new(Operator::new(cluster, coordinators, authority, options.defaults.clone()));
    let parts =
        Parts { client, operator, pods, health: health.clone(), metrics, concurrency: options.concurrency };
    let ended = tokio::select! {
        () = parts.watch_all(&options.namespaces) => RunError::Watch,
        () = leader.hold(), if options.leader_election => RunError::Lease,
        () = &mut told => {
            if options.leader_election {
                leader.release().await;
            }
            return Ok(());
        }
    };
    health.has_failed();
    Err(ended)
}

struct Parts {
    client: Client,
    operator: Arc<Live>,
    pods: PodCache,
    health: Health,
    metrics: Metrics,
    concurrency: u16,
}

impl Parts {
    /// Runs until one of the watches ends.
    async fn watch_all(&self, namespaces: &[String]) {
        let places: Vec<Option<String>> = match namespaces {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let mut watches: stream::FuturesUnordered<_> =
            places.into_iter().map(|place| self.watch(place)).collect();
        watches.next().await;
    }

    async fn watch(&self, namespace: Option<String>) {
        tokio::select! {
            () = self.jobs(namespace.clone()) => {}
            () = self.savepoints(namespace) => {}
        }
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn passes(&self) -> Arc<Passes> {
        let turns = Semaphore::new(self.concurrency.into());
        Arc::new(Passes { operator: self.operator.clone(), metrics: self.metrics.clone(), turns })
    }

    async fn jobs(&self, namespace: Option<String>) {
        let (jobs, jobs_writer) = reflector::store::<StreamJob>();
        let watched =
            watcher(self.api::<StreamJob>(namespace.as_deref()), config()).default_backoff().modify(|job| {
                job.metadata.managed_fields = None;
            });
        let by_jobs = trigger_self(reflector::reflector(jobs_writer, watched).touched_objects(), ());
        let ours = config().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        let watched = watcher(self.api::<Pod>(namespace.as_deref()), ours).default_backoff().modify(strip);
        let watched = watched.inspect_ok(|event| self.pods.see(namespace.as_deref(), event));
        let by_pods = trigger_owners::<StreamJob, _>(watched.touched_objects(), (), ());
        let triggers = stream::select(by_jobs, by_pods).filter(|trigger| {
            // The watch tries again by itself.
            if let Err(error) = trigger {
                tracing::warn!("a watch was interrupted: {error}");
            }
            std::future::ready(trigger.is_ok())
        });
        let passes = applier(
            |job, passes: Arc<Passes>| Box::pin(pass(job, passes)),
            |job: Arc<StreamJob>, error: &PassError, passes: Arc<Passes>| {
                Action::requeue(passes.operator.back_off(&job, &error.0))
            },
            self.passes(),
            jobs.clone(),
            triggers,
            Config::default(),
        );
        let synced = self.synced(namespace.as_deref(), jobs);
        tokio::select! {
            () = synced => {}
            () = passes.for_each(|_| std::future::ready(())) => {}
        }
    }

    /// Tells when the watches have shown all that there is, and from then on how many jobs there are.
    async fn synced(&self, namespace: Option<&str>, jobs: Store<StreamJob>) {
        while !self.pods.is_synced(namespace) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if jobs.wait_until_ready().await.is_ok() {
            self.health.is_synced();
        }
        loop {
            self.metrics.jobs(jobs.len());
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    async fn savepoints(&self, namespace: Option<String>) {
        let (savepoints, writer) = reflector::store::<Savepoint>();
        let watched = watcher(self.api::<Savepoint>(namespace.as_deref()), config()).default_backoff();
        let triggers = trigger_self(reflector::reflector(writer, watched).touched_objects(), ());
        let triggers = triggers.filter(|trigger| std::future::ready(trigger.is_ok()));
        applier(
            |savepoint, passes: Arc<Passes>| Box::pin(savepoint_pass(savepoint, passes)),
            |_, error: &PassError, _| {
                let conflict = matches!(error.0, ClusterError::Conflict { .. });
                Action::requeue(Duration::from_millis(if conflict { 200 } else { 10_000 }))
            },
            self.passes(),
            savepoints,
            triggers,
            Config::default(),
        )
        .for_each(|_| std::future::ready(()))
        .await;
    }
}

/// What all passes of a watch share.
struct Passes {
    operator: Arc<Live>,
    metrics: Metrics,
    /// First come, first served. kube's own limit takes those that wait in the order of their hashes: under load some
    /// of them never.
    turns: Semaphore,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct PassError(#[from] ClusterError);

async fn pass(job: Arc<StreamJob>, passes: Arc<Passes>) -> Result<Action, PassError> {
    let _turn = passes.turns.acquire().await;
    let began = std::time::Instant::now();
    // On the heap: what waits for its turn is small.
    let ended = Box::pin(passes.operator.reconcile(&job)).await;
    passes.metrics.reconciled(ended.as_ref().err(), began.elapsed());
    if let Err(error) = &ended {
        let (namespace, name) = (job.metadata.namespace.as_deref(), job.metadata.name.as_deref());
        match error {
            ClusterError::Conflict { .. } => tracing::debug!(namespace, job = name, "{error}"),
            _ => tracing::warn!(namespace, job = name, "{error}"),
        }
    }
    Ok(Action::requeue(ended?))
}

async fn savepoint_pass(savepoint: Arc<Savepoint>, passes: Arc<Passes>) -> Result<Action, PassError> {
    let _turn = passes.turns.acquire().await;
    let began = std::time::Instant::now();
    let ended = Box::pin(passes.operator.reconcile_savepoint(&savepoint)).await;
    passes.metrics.reconciled(ended.as_ref().err(), began.elapsed());
    if let Err(error) = &ended {
        tracing::warn!(savepoint = savepoint.metadata.name.as_deref(), "{error}");
    }
    Ok(Action::requeue(ended?))
}

/// A watch is renewed every minute: one that was cut off in silence is noticed by then.
fn config() -> watcher::Config {
    watcher::Config::default().timeout(60)
}

/// Keeps of a pod what is looked at: there are many, and they are large.
fn strip(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    pod.spec = None;
    if let Some(status) = &mut pod.status {
        status.init_container_statuses = None;
        status.host_ips = None;
        status.pod_ips = None;
        status.conditions.iter_mut().flatten().for_each(|c| c.last_probe_time = None);
    }
}
