//! The process: watches of jobs, savepoints and pods, each change of which leads to a pass over its job; the Lease;
//! what is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{ReconcileRequest, trigger_owners, trigger_self};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use tracing::Instrument;
use weir_crds::{Savepoint, StreamJob};

use crate::cluster::{ClusterError, Key, LiveCluster, PodCache};
use crate::controller::Operator;
use crate::controller::validate::Defaults;
use crate::coordinators::LiveCoordinators;
use crate::leader::Leader;
use crate::metrics::Metrics;
use crate::names::{FIELD_MANAGER, MANAGED_BY};
use crate::queue::make_passes;
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
        let watched =
            watcher(self.api::<StreamJob>(namespace.as_deref()), config()).default_backoff().modify(|job| {
                job.metadata.managed_fields = None;
            });
        let by_jobs = trigger_self(reflector::reflector(jobs_writer, watched).touched_objects(), ());
        let ours = config().labels(&format!("{MANAGED_BY}={FIELD_MANAGER}"));
        let watched = watcher(self.api::<Pod>(namespace.as_deref()), ours).default_backoff().modify(strip);
        let watched = watched.inspect_ok(|event| self.pods.see(namespace.as_deref(), event));
        let by_pods = trigger_owners::<StreamJob, _>(watched.touched_objects(), (), ());
        let triggers = keys(stream::select(by_jobs, by_pods));
        let known = jobs.clone();
        let passes = make_passes(triggers, is_known(jobs.clone()), self.concurrency.into(), |key| {
            let job = known.get(&reference(&key));
            // On the heap, and only if it is there.
            let pass = job.map(|job| Box::pin(self.pass(job).instrument(span(&key))));
            async move { Some(pass?.await) }
        });
        tokio::select! {
            () = self.synced(namespace.as_deref(), jobs) => {}
            () = passes => {}
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
        let triggers = keys(trigger_self(reflector::reflector(writer, watched).touched_objects(), ()));
        make_passes(triggers, is_known(savepoints.clone()), self.concurrency.into(), |key| {
            let savepoint = savepoints.get(&reference(&key));
            let pass =
                savepoint.map(|savepoint| Box::pin(self.savepoint_pass(savepoint).instrument(span(&key))));
            async move { Some(pass?.await) }
        })
        .await;
    }

    /// A pass over a job; when the next one is due.
    async fn pass(&self, job: Arc<StreamJob>) -> Duration {
        let began = std::time::Instant::now();
        let ended = self.operator.reconcile(&job).await;
        self.metrics.reconciled(ended.as_ref().err(), began.elapsed());
        ended.unwrap_or_else(|error| {
            match error {
                ClusterError::Conflict { .. } => tracing::debug!("{error}"),
                _ => tracing::warn!("{error}"),
            }
            self.operator.back_off(&job, &error)
        })
    }

    /// The same over a savepoint.
    async fn savepoint_pass(&self, savepoint: Arc<Savepoint>) -> Duration {
        let began = std::time::Instant::now();
        let ended = self.operator.reconcile_savepoint(&savepoint).await;
        self.metrics.reconciled(ended.as_ref().err(), began.elapsed());
        ended.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            let conflict = matches!(error, ClusterError::Conflict { .. });
            Duration::from_millis(if conflict { 200 } else { 10_000 })
        })
    }
}

/// What triggers name.
fn keys<K: kube::Resource<DynamicType = ()>>(
    triggers: impl Stream<Item = Result<ReconcileRequest<K>, watcher::Error>>,
) -> impl Stream<Item = Key> {
    triggers.filter_map(|trigger| {
        // The watch tries again by itself.
        let trigger = trigger.inspect_err(|error| tracing::warn!("a watch was interrupted: {error}")).ok();
        std::future::ready(trigger.map(|request| Key {
            namespace: request.obj_ref.namespace.unwrap_or_default(),
            name: request.obj_ref.name,
        }))
    })
}

fn reference<K: kube::Resource<DynamicType = ()>>(key: &Key) -> ObjectRef<K> {
    ObjectRef::new(&key.name).within(&key.namespace)
}

/// Until all objects have been shown once. If that can't come any more, the watch has ended.
async fn is_known<K>(objects: Store<K>)
where
    K: reflector::Lookup<DynamicType = ()> + Clone + 'static,
{
    drop(objects.wait_until_ready().await);
}

fn span(key: &Key) -> tracing::Span {
    tracing::info_span!("reconcile", namespace = key.namespace, name = key.name)
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
