//! The API server over the network. Every request has a deadline: the client has none of its own.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;
use weir_crds::{Savepoint, StreamJob};

use super::recent::Recent;
use super::{Cluster, ClusterError, Key, Note, PodCache};
use crate::controller::desired::Object;
use crate::metrics::Metrics;
use crate::names::{FIELD_MANAGER, FINALIZER, JOB_UID};

/// How long a request may take, with the client's own retries.
const DEADLINE: Duration = Duration::from_secs(20);
/// Requests at a time. There are more passes: most of a pass is waiting for a coordinator, and some don't answer.
const AT_ONCE: usize = 32;
/// For how long a ConfigMap is taken to be as it was, where it need not be fresh.
const MAPS: Duration = Duration::from_secs(60);
/// Likewise what is warned of a pod.
const WARNINGS: Duration = Duration::from_secs(30);

/// Reason and message of each warning about a pod.
type Warnings = Vec<(String, String)>;

/// A real API server.
#[derive(Clone)]
pub struct LiveCluster {
    client: Client,
    pods: PodCache,
    recorder: Recorder,
    metrics: Metrics,
    requests: Arc<Semaphore>,
    maps: Recent<Key, ConfigMap>,
    warnings: Recent<String, Warnings>,
}

impl LiveCluster {
    /// Over a client.
    pub fn new(client: Client, pods: PodCache, instance: Option<String>, metrics: Metrics) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance };
        let recorder = Recorder::new(client.clone(), reporter);
        Self {
            client,
            pods,
            recorder,
            metrics,
            requests: Arc::new(Semaphore::new(AT_ONCE)),
            maps: Recent::new(MAPS),
            warnings: Recent::new(WARNINGS),
        }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn ask<T>(
        &self,
        what: impl FnOnce() -> String,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ClusterError> {
        let _permit = self.requests.acquire().await;
        let answer = bounded(what, request).await;
        self.metrics.request(answer.as_ref().err());
        answer
    }

    async fn apply_one<K>(&self, object: &K) -> Result<(), ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let key = Key::of(object);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api: Api<K> = self.api(&key.namespace);
        let what = || format!("{} {}", K::kind(&()), key.name);
        self.ask(what, api.patch(&key.name, &params, &Patch::Apply(object))).await.map(drop)
    }

    /// A Secret is applied without reading it: only its metadata comes back.
    async fn apply_secret(&self, secret: &Secret) -> Result<(), ClusterError> {
        let key = Key::of(secret);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api: Api<Secret> = self.api(&key.namespace);
        let what = || format!("Secret {}", key.name);
        self.ask(what, api.patch_metadata(&key.name, &params, &Patch::Apply(secret))).await.map(drop)
    }

    async fn finalize<K>(&self, object: &K, there: bool) -> Result<(), ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
        finalizers.retain(|f| f != FINALIZER);
        if there {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "uid": object.meta().uid,
            // Refused if it has changed: another finalizer may have come or gone.
            "resourceVersion": object.meta().resource_version,
        }});
        let key = Key::of(object);
        let api: Api<K> = self.api(&key.namespace);
        let what = || format!("the finalizer of {}", key.name);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.ask(what, api.patch_metadata(&key.name, &params, &Patch::Merge(patch))).await {
            // It has gone already.
            Err(ClusterError::Missing { .. }) if !there => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn write<K>(&self, object: &K) -> Result<K, ClusterError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let key = Key::of(object);
        let api: Api<K> = self.api(&key.namespace);
        let what = || format!("the status of {}", key.name);
        self.ask(what, api.replace_status(&key.name, &PostParams::default(), object)).await
    }
}

/// A request with a deadline, and its error as one of few kinds.
///
/// # Errors
/// As the server says, or that it did not in time.
pub async fn bounded<T>(
    what: impl FnOnce() -> String,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    let answer = tokio::time::timeout(DEADLINE, request).await;
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(kind(what(), &error)),
        Err(_) => {
            let why = format!("the API server did not answer within {} seconds", DEADLINE.as_secs());
            Err(ClusterError::Unavailable { what: what(), why })
        }
    }
}

fn kind(what: String, error: &kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) => match status.code {
            409 => ClusterError::Conflict { what },
            404 => ClusterError::Missing { what },
            400 | 403 | 405 | 413 | 422 => ClusterError::Refused { what, why: status.message.clone() },
            _ => ClusterError::Unavailable { what, why: status.message.clone() },
        },
        other => ClusterError::Unavailable { what, why: other.to_string() },
    }
}

impl Cluster for LiveCluster {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn job(&self, key: &Key) -> Result<Option<StreamJob>, ClusterError> {
        let api: Api<StreamJob> = self.api(&key.namespace);
        self.ask(|| format!("StreamJob {}", key.name), api.get_opt(&key.name)).await
    }

    async fn pods(&self, job: &Key, uid: &str, fresh: bool) -> Result<Vec<Arc<Pod>>, ClusterError> {
        if !fresh && let Some(known) = self.pods.of(&job.namespace, uid) {
            return Ok(known);
        }
        let api: Api<Pod> = self.api(&job.namespace);
        let params = ListParams::default().labels(&format!("{JOB_UID}={uid}"));
        let list = self.ask(|| format!("pods of {}", job.name), api.list(&params)).await?;
        Ok(list.items.into_iter().map(Arc::new).collect())
    }

    async fn config_map(&self, key: &Key, fresh: bool) -> Result<Option<ConfigMap>, ClusterError> {
        if !fresh && let Some(known) = self.maps.get(key) {
            return Ok(Some(known));
        }
        let api: Api<ConfigMap> = self.api(&key.namespace);
        let found = self.ask(|| format!("ConfigMap {}", key.name), api.get_opt(&key.name)).await?;
        // One that is not there is waited for, and asked for again.
        if let Some(map) = &found {
            self.maps.put(key.clone(), map.clone());
        }
        Ok(found)
    }

    async fn savepoint(&self, key: &Key) -> Result<Option<Savepoint>, ClusterError> {
        let api: Api<Savepoint> = self.api(&key.namespace);
        self.ask(|| format!("Savepoint {}", key.name), api.get_opt(&key.name)).await
    }

    async fn pod(&self, key: &Key) -> Result<Option<Pod>, ClusterError> {
        let api: Api<Pod> = self.api(&key.namespace);
        self.ask(|| format!("pod {}", key.name), api.get_opt(&key.name)).await
    }

    async fn pod_warnings(&self, pod: &Key, uid: &str) -> Result<Warnings, ClusterError> {
        if let Some(known) = self.warnings.get(&uid.to_owned()) {
            return Ok(known);
        }
        let api: Api<k8s_openapi::api::core::v1::Event> = self.api(&pod.namespace);
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&fields).limit(50);
        let found = self.ask(|| format!("events of pod {}", pod.name), api.list(&params)).await?;
        let mut items = found.items;
        let at = |e: &k8s_openapi::api::core::v1::Event| {
            e.last_timestamp.as_ref().map(|t| t.0).or_else(|| e.event_time.as_ref().map(|t| t.0))
        };
        items.sort_by_key(|event| std::cmp::Reverse(at(event)));
        let told = |e: k8s_openapi::api::core::v1::Event| Some((e.reason?, e.message.unwrap_or_default()));
        let warnings: Warnings = items.into_iter().filter_map(told).collect();
        self.warnings.put(uid.to_owned(), warnings.clone());
        Ok(warnings)
    }

    async fn apply(&self, object: &Object) -> Result<(), ClusterError> {
        match object {
            Object::Service(o) => self.apply_one(o).await,
            Object::ConfigMap(o) => self.apply_one(o).await,
            Object::Secret(o) => self.apply_secret(o).await,
            Object::ServiceAccount(o) => self.apply_one(o).await,
            Object::PodDisruptionBudget(o) => self.apply_one(o).await,
            Object::NetworkPolicy(o) => self.apply_one(o).await,
        }
    }

    async fn create_pod(&self, pod: &Pod) -> Result<(), ClusterError> {
        let key = Key::of(pod);
        let api: Api<Pod> = self.api(&key.namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.ask(|| format!("pod {}", key.name), api.create(&params, pod)).await {
            // Our own, by a try before: names hold the job's uid.
            Err(ClusterError::Conflict { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn try_pod(&self, pod: &Pod) -> Result<(), ClusterError> {
        let key = Key::of(pod);
        let api: Api<Pod> = self.api(&key.namespace);
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match self.ask(|| format!("pod {}", key.name), api.create(&params, pod)).await {
            Err(ClusterError::Conflict { .. }) => Ok(()),
            // What takes up the quota may be what is about to go.
            Err(ClusterError::Refused { why, .. }) if why.contains("exceeded quota") => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn delete_pod(&self, key: &Key, uid: &str) -> Result<(), ClusterError> {
        let api: Api<Pod> = self.api(&key.namespace);
        let uid = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::default() };
        gone(self.ask(|| format!("pod {}", key.name), api.delete(&key.name, &params)).await)
    }

    async fn delete_config_map(&self, key: &Key) -> Result<(), ClusterError> {
        let api: Api<ConfigMap> = self.api(&key.namespace);
        let what = || format!("ConfigMap {}", key.name);
        let Some(found) = self.ask(what, api.get_metadata_opt(&key.name)).await? else { return Ok(()) };
        let uid = Preconditions { uid: found.metadata.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(uid), ..DeleteParams::default() };
        gone(self.ask(what, api.delete(&key.name, &params)).await)
    }

    async fn write_status(&self, job: &StreamJob) -> Result<StreamJob, ClusterError> {
        self.write(job).await
    }

    async fn set_finalizer(&self, job: &StreamJob, there: bool) -> Result<(), ClusterError> {
        self.finalize(job, there).await
    }

    async fn write_savepoint_status(&self, savepoint: &Savepoint) -> Result<(), ClusterError> {
        self.write(savepoint).await.map(drop)
    }

    async fn set_savepoint_finalizer(&self, savepoint: &Savepoint, there: bool) -> Result<(), ClusterError> {
        self.finalize(savepoint, there).await
    }

    async fn note(&self, about: &StreamJob, note: &Note) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            // Longer ones are refused.
            note: Some(note.message.chars().take(1000).collect()),
            action: note.action.to_owned(),
            secondary: None,
        };
        let about = about.object_ref(&());
        let told = self.recorder.publish(&event, &about);
        if let Ok(Err(error)) = tokio::time::timeout(DEADLINE, told).await {
            tracing::debug!("an event could not be told: {error}");
        }
    }
}

/// What was to be deleted and is not there, or is another one by now, is gone.
fn gone<T>(answer: Result<T, ClusterError>) -> Result<(), ClusterError> {
    match answer {
        Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => Ok(()),
        answer => answer.map(drop),
    }
}
