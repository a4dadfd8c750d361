//! The process: watches of jobs, savepoints and pods, each change of which leads to a pass over its job; the Lease;
//! what is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action, Config, trigger_owners, trigger_self};
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, watcher};
use kube::runtime::{WatchStreamExt, applier};
use kube::{Api, Client};
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

    async fn jobs(&self, namespace: Option<String>) {
        let (jobs, jobs_writer) = reflector::store::<StreamJob>();
        let (pods, pods_writer) = reflector::store::<Pod>();
        let watched =
            watcher(self.api::<StreamJob>(namespace.as_deref()), config()).default_backoff().modify(|job| {
                job.metadata.managed_fields = None;
            });
        let by_jobs = trigger_self(reflector::reflector(jobs_writer, watched).touched_objects(), ());
        let ours = config().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        let watched = watcher(self.api::<Pod>(namespace.as_deref()), ours).default_backoff().modify(strip);
        let by_pods = trigger_owners::<StreamJob, _>(
            reflector::reflector(pods_writer, watched).touched_objects(),
            (),
            (),
        );
        let triggers = stream::select(by_jobs, by_pods).filter(|trigger| {
            // The watch tries again by itself.
            if let Err(error) = trigger {
                tracing::warn!("a watch was interrupted: {error}");
            }
            std::future::ready(trigger.is_ok())
        });
        let passes = applier(
            |job, parts: Arc<(Arc<Live>, Metrics)>| Box::pin(pass(job, parts)),
            |job: Arc<StreamJob>, error: &PassError, parts: Arc<(Arc<Live>, Metrics)>| {
                Action::requeue(parts.0.back_off(&job, &error.0))
            },
            Arc::new((self.operator.clone(), self.metrics.clone())),
            jobs.clone(),
            triggers,
            Config::default().concurrency(self.concurrency),
        );
        let synced = self.synced(namespace, jobs, pods);
        tokio::select! {
            () = synced => {}
            () = passes.for_each(|_| std::future::ready(())) => {}
        }
    }

    /// Uses what the watches have shown as soon as that is all.
    async fn synced(&self, namespace: Option<String>, jobs: Store<StreamJob>, pods: Store<Pod>) {
        if pods.wait_until_ready().await.is_ok() {
            self.pods.add(namespace, pods);
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
            |savepoint, parts: Arc<(Arc<Live>, Metrics)>| Box::pin(savepoint_pass(savepoint, parts)),
            |_, error: &PassError, _| {
                let conflict = matches!(error.0, ClusterError::Conflict { .. });
                Action::requeue(Duration::from_millis(if conflict { 200 } else { 10_000 }))
            },
            Arc::new((self.operator.clone(), self.metrics.clone())),
            savepoints,
            triggers,
            Config::default().concurrency(self.concurrency),
        )
        .for_each(|_| std::future::ready(()))
        .await;
    }
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct PassError(#[from] ClusterError);

async fn pass(job: Arc<StreamJob>, parts: Arc<(Arc<Live>, Metrics)>) -> Result<Action, PassError> {
    let began = std::time::Instant::now();
    let ended = parts.0.reconcile(&job).await;
    parts.1.reconciled(ended.as_ref().err(), began.elapsed());
    if let Err(error) = &ended {
        let (namespace, name) = (job.metadata.namespace.as_deref(), job.metadata.name.as_deref());
        match error {
            ClusterError::Conflict { .. } => tracing::debug!(namespace, job = name, "{error}"),
            _ => tracing::warn!(namespace, job = name, "{error}"),
        }
    }
    Ok(Action::requeue(ended?))
}

async fn savepoint_pass(
    savepoint: Arc<Savepoint>,
    parts: Arc<(Arc<Live>, Metrics)>,
) -> Result<Action, PassError> {
    let began = std::time::Instant::now();
    let ended = parts.0.reconcile_savepoint(&savepoint).await;
    parts.1.reconciled(ended.as_ref().err(), began.elapsed());
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
