//! A model of the API server: versions of objects are checked, owners take their objects with them, and it can
//! stop serving before or after any write, for good: that is how an operator dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::Value;
use weir_crds::{Savepoint, StreamJob, StreamJobSpec};
use weir_operator::cluster::{Cluster, ClusterError, Key, Note};
use weir_operator::controller::desired::Object;
use weir_operator::names::FINALIZER;

use crate::engine::{Engine, Journal};

/// The namespace of all tests.
pub(crate) const NAMESPACE: &str = "ns";

/// When an operator dies: at which write, and on which side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) write: usize,
    pub(crate) after: bool,
}

/// All that there is.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    counter: u64,
    pub(crate) jobs: BTreeMap<String, StreamJob>,
    pub(crate) savepoints: BTreeMap<String, Savepoint>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) objects: BTreeMap<(String, String), Value>,
    pub(crate) engines: BTreeMap<String, Engine>,
    pub(crate) journals: BTreeMap<String, Journal>,
    /// Pods on nodes that do not answer: they stay when they are deleted.
    pub(crate) stuck: BTreeSet<String>,
    pub(crate) notes: Vec<Note>,
    /// Writes of the operator so far.
    pub(crate) writes: usize,
    /// Those that were not of a status.
    acts: usize,
    pub(crate) death: Option<Death>,
    /// The operator is dead: nothing that it asks for is done.
    pub(crate) dead: bool,
    /// Not 0: every fifth request is not answered; draws which.
    pub(crate) flaky: u64,
    /// How many ticks old what it has been told is.
    pub(crate) stale: usize,
    history: VecDeque<(BTreeMap<String, StreamJob>, BTreeMap<String, Pod>)>,
    /// Jobs whose state was deleted, by a pod.
    pub(crate) erased: Vec<String>,
    /// Coordinators that were taken away while rows flowed.
    pub(crate) unclean: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { now: "2026-11-29T10:00:00Z".parse().expect("a time"), ..Self::default() }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Changes when anything but time, checkpoints and what is reported of them does.
    pub(crate) fn fingerprint(&self) -> String {
        let told = self.jobs.values().filter_map(|job| job.status.as_ref()).map(|status| {
            let conditions: Vec<_> = status.conditions.iter().map(|c| (c.status, c.reason)).collect();
            format!("{:?} {:?} {conditions:?} {:?}", status.state, status.version, status.observed_generation)
        });
        let told: Vec<String> = told.collect();
        let saved = self.savepoints.values().filter(|s| s.status.is_some()).count();
        format!("{} {} {} {saved} {told:?}", self.acts, self.pods.len(), self.engines.len())
    }

    pub(crate) fn pass_time(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// What watches may still show.
    pub(crate) fn remember(&mut self) {
        self.history.push_front((self.jobs.clone(), self.pods.clone()));
        self.history.truncate(16);
    }

    /// A job as watches show it.
    pub(crate) fn shown_job(&self, name: &str) -> Option<StreamJob> {
        match self.history.get(self.stale) {
            Some((jobs, _)) if self.stale > 0 => jobs.get(name).or_else(|| self.jobs.get(name)).cloned(),
            _ => self.jobs.get(name).cloned(),
        }
    }

    /// Applies a job, as a person does.
    pub(crate) fn apply_job(&mut self, name: &str, spec: StreamJobSpec) {
        let number = self.number();
        let now = self.now;
        let job = self.jobs.entry(name.to_owned()).or_insert_with(|| {
            let mut job = StreamJob::new(name, StreamJobSpec::default());
            job.metadata.namespace = Some(NAMESPACE.to_owned());
            job.metadata.uid = Some(format!("{number:08x}-0000-4000-8000-000000000000"));
            job.metadata.creation_timestamp = Some(Time(now));
            job.metadata.generation = Some(0);
            job
        });
        if job.spec != spec || job.metadata.generation == Some(0) {
            job.metadata.generation = job.metadata.generation.map(|g| g + 1);
        }
        job.spec = spec;
        job.metadata.resource_version = Some(number.to_string());
    }

    /// Asks for a new start, as a person does.
    pub(crate) fn annotate(&mut self, name: &str, key: &str, value: &str) {
        let number = self.number();
        let job = self.jobs.get_mut(name).expect("a job of the test");
        job.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        job.metadata.resource_version = Some(number.to_string());
    }

    /// Deletes a job, as a person does.
    pub(crate) fn delete_job(&mut self, name: &str) {
        let (number, now) = (self.number(), self.now);
        let Some(job) = self.jobs.get_mut(name) else { return };
        job.metadata.deletion_timestamp.get_or_insert(Time(now));
        job.metadata.generation = job.metadata.generation.map(|g| g + 1);
        job.metadata.resource_version = Some(number.to_string());
        self.collect(name);
    }

    /// Deletes a pod, as chaos does.
    pub(crate) fn kill_pod(&mut self, name: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(name) {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }

    /// What Kubernetes' garbage collector does when a job has no finalizer left.
    fn collect(&mut self, name: &str) {
        let Some(job) = self.jobs.get(name) else { return };
        let held = job.metadata.finalizers.iter().flatten().next().is_some();
        if job.metadata.deletion_timestamp.is_none() || held {
            return;
        }
        let uid = job.metadata.uid.clone().unwrap_or_default();
        self.jobs.remove(name);
        let now = self.now;
        let owned = |metadata: &ObjectMeta| metadata.owner_references.iter().flatten().any(|o| o.uid == uid);
        for pod in self.pods.values_mut().filter(|pod| owned(&pod.metadata)) {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
        self.objects.retain(|_, object| {
            let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
            !owned(&metadata)
        });
    }

    /// A request that is not answered: `Some`, with whether it is done all the same.
    fn unanswered(&mut self) -> Option<bool> {
        if self.flaky == 0 {
            return None;
        }
        self.flaky ^= self.flaky << 13;
        self.flaky ^= self.flaky >> 7;
        self.flaky ^= self.flaky << 17;
        self.flaky.is_multiple_of(5).then_some(self.flaky.is_multiple_of(2))
    }

    /// One write of the operator: it may be its last, on either side of it.
    fn write<T>(
        &mut self,
        what: &str,
        change: impl FnOnce(&mut Self) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        if self.dead {
            return Err(dead());
        }
        if let Some(done) = self.unanswered() {
            if done {
                let _ = change(self);
            }
            return Err(ClusterError::Unavailable { what: what.to_owned(), why: "no answer".to_owned() });
        }
        self.writes += 1;
        self.acts += usize::from(what != "a status");
        let here = self.death.filter(|death| death.write == self.writes);
        match here {
            Some(death) if !death.after => {
                self.dead = true;
                Err(dead())
            }
            Some(_) => {
                let _ = change(self);
                self.dead = true;
                Err(dead())
            }
            None => {
                tracing::trace!("write {}: {what}", self.writes);
                change(self)
            }
        }
    }
}

fn dead() -> ClusterError {
    ClusterError::Unavailable { what: "anything".to_owned(), why: "this operator is dead".to_owned() }
}

fn conflict(what: &str) -> ClusterError {
    ClusterError::Conflict { what: what.to_owned() }
}

/// The API server of a world.
#[derive(Clone, Debug)]
pub(crate) struct ModelCluster(pub(crate) Arc<Mutex<World>>);

impl ModelCluster {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics while it holds the world")
    }

    fn read<T>(&self, read: impl FnOnce(&World) -> T) -> Result<T, ClusterError> {
        let mut world = self.world();
        if world.unanswered().is_some() {
            return Err(ClusterError::Unavailable { what: "a read".to_owned(), why: "no answer".to_owned() });
        }
        if world.dead { Err(dead()) } else { Ok(read(&world)) }
    }

    /// One write that is not to the API server: a question to a coordinator.
    pub(crate) fn ask(&self, change: impl FnOnce(&mut World)) -> Result<(), ClusterError> {
        self.world().write("a question", |world| {
            change(world);
            Ok(())
        })
    }
}

impl Cluster for ModelCluster {
    fn now(&self) -> Timestamp {
        self.world().now
    }

    async fn job(&self, key: &Key) -> Result<Option<StreamJob>, ClusterError> {
        self.read(|world| world.jobs.get(&key.name).cloned())
    }

    async fn pods(&self, _: &Key, uid: &str, fresh: bool) -> Result<Vec<Arc<Pod>>, ClusterError> {
        self.read(|world| {
            let pods = match world.history.get(world.stale) {
                Some((_, pods)) if !fresh && world.stale > 0 => pods,
                _ => &world.pods,
            };
            let of_job =
                |pod: &&Pod| pod.metadata.labels.as_ref().is_some_and(|l| l["weir.dev/job-uid"] == uid);
            pods.values().filter(of_job).cloned().map(Arc::new).collect()
        })
    }

    async fn config_map(&self, key: &Key, _: bool) -> Result<Option<ConfigMap>, ClusterError> {
        self.read(|world| {
            let found = world.objects.get(&("ConfigMap".to_owned(), key.name.clone()));
            found.map(|value| serde_json::from_value(value.clone()).expect("a ConfigMap"))
        })
    }

    async fn savepoint(&self, key: &Key) -> Result<Option<Savepoint>, ClusterError> {
        self.read(|world| world.savepoints.get(&key.name).cloned())
    }

    async fn pod(&self, key: &Key) -> Result<Option<Pod>, ClusterError> {
        self.read(|world| world.pods.get(&key.name).cloned())
    }

    async fn pod_warnings(&self, _: &Key, _: &str) -> Result<Vec<(String, String)>, ClusterError> {
        self.read(|_| Vec::new())
    }

    async fn apply(&self, object: &Object) -> Result<(), ClusterError> {
        let value = match object {
            Object::Service(o) => serde_json::to_value(o),
            Object::ConfigMap(o) => serde_json::to_value(o),
            Object::Secret(o) => serde_json::to_value(o),
            Object::ServiceAccount(o) => serde_json::to_value(o),
            Object::PodDisruptionBudget(o) => serde_json::to_value(o),
            Object::NetworkPolicy(o) => serde_json::to_value(o),
        }
        .expect("objects are plain data");
        let name = object.metadata().name.clone().expect("a name");
        let owners: Vec<String> =
            object.metadata().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect();
        self.world().write(object.kind(), |world| {
            // What belongs to nobody any more is collected.
            let alive = |uid: &String| world.jobs.values().any(|job| job.metadata.uid.as_ref() == Some(uid));
            if owners.iter().all(alive) {
                world.objects.insert((object.kind().to_owned(), name), value);
            }
            Ok(())
        })
    }

    async fn create_pod(&self, pod: &Pod) -> Result<(), ClusterError> {
        let name = pod.metadata.name.clone().expect("a name");
        self.world().write(&format!("pod {name}"), |world| {
            if world.pods.contains_key(&name) {
                return Ok(());
            }
            let (number, now) = (world.number(), world.now);
            let mut pod = pod.clone();
            pod.metadata.uid = Some(format!("pod-{number}"));
            pod.metadata.creation_timestamp = Some(Time(now));
            world.pods.insert(name, pod);
            Ok(())
        })
    }

    async fn try_pod(&self, pod: &Pod) -> Result<(), ClusterError> {
        let refused = pod.metadata.labels.iter().flatten().any(|(_, value)| value == "forbidden");
        self.read(|_| ())?;
        match refused {
            true => {
                Err(ClusterError::Refused { what: "a pod".to_owned(), why: "violates a policy".to_owned() })
            }
            false => Ok(()),
        }
    }

    async fn delete_pod(&self, key: &Key, uid: &str) -> Result<(), ClusterError> {
        self.world().write(&format!("deletion of pod {}", key.name), |world| {
            let now = world.now;
            let running = world.engines.get(uid).is_some_and(Engine::runs);
            let Some(pod) = world.pods.get_mut(&key.name) else { return Ok(()) };
            if pod.metadata.uid.as_deref() != Some(uid) {
                return Ok(());
            }
            if pod.metadata.deletion_timestamp.is_none() {
                pod.metadata.deletion_timestamp = Some(Time(now));
                if running {
                    world.unclean.push(key.name.clone());
                }
            }
            Ok(())
        })
    }

    async fn delete_config_map(&self, key: &Key) -> Result<(), ClusterError> {
        self.world().write(&format!("deletion of ConfigMap {}", key.name), |world| {
            world.objects.remove(&("ConfigMap".to_owned(), key.name.clone()));
            Ok(())
        })
    }

    async fn write_status(&self, job: &StreamJob) -> Result<StreamJob, ClusterError> {
        let key = Key::of(job);
        self.world().write("a status", |world| {
            let number = world.number();
            let stored =
                world.jobs.get_mut(&key.name).ok_or(ClusterError::Missing { what: key.name.clone() })?;
            if stored.metadata.resource_version != job.metadata.resource_version {
                return Err(conflict("a status"));
            }
            stored.status.clone_from(&job.status);
            stored.metadata.resource_version = Some(number.to_string());
            Ok(stored.clone())
        })
    }

    async fn set_finalizer(&self, job: &StreamJob, there: bool) -> Result<(), ClusterError> {
        let key = Key::of(job);
        self.world().write("a finalizer", |world| {
            let number = world.number();
            let Some(stored) = world.jobs.get_mut(&key.name) else { return Ok(()) };
            if stored.metadata.resource_version != job.metadata.resource_version {
                return Err(conflict("a finalizer"));
            }
            let finalizers = stored.metadata.finalizers.get_or_insert_default();
            finalizers.retain(|f| f != FINALIZER);
            if there {
                finalizers.push(FINALIZER.to_owned());
            }
            stored.metadata.resource_version = Some(number.to_string());
            world.collect(&key.name);
            Ok(())
        })
    }

    async fn write_savepoint_status(&self, savepoint: &Savepoint) -> Result<(), ClusterError> {
        let key = Key::of(savepoint);
        self.world().write("the status of a savepoint", |world| {
            let number = world.number();
            let stored = world
                .savepoints
                .get_mut(&key.name)
                .ok_or(ClusterError::Missing { what: key.name.clone() })?;
            if stored.metadata.resource_version != savepoint.metadata.resource_version {
                return Err(conflict("the status of a savepoint"));
            }
            stored.status.clone_from(&savepoint.status);
            stored.metadata.resource_version = Some(number.to_string());
            Ok(())
        })
    }

    async fn set_savepoint_finalizer(&self, savepoint: &Savepoint, there: bool) -> Result<(), ClusterError> {
        let key = Key::of(savepoint);
        self.world().write("the finalizer of a savepoint", |world| {
            let number = world.number();
            let Some(stored) = world.savepoints.get_mut(&key.name) else { return Ok(()) };
            if stored.metadata.resource_version != savepoint.metadata.resource_version {
                return Err(conflict("a finalizer"));
            }
            stored.metadata.resource_version = Some(number.to_string());
            stored.metadata.finalizers = there.then(|| vec![FINALIZER.to_owned()]);
            if !there && stored.metadata.deletion_timestamp.is_some() {
                world.savepoints.remove(&key.name);
            }
            Ok(())
        })
    }

    async fn note(&self, _: &StreamJob, note: &Note) {
        self.world().notes.push(note.clone());
    }
}
