//! Reading: the job, its pods, what its coordinator tells, what its spec refers to. An error of the API server
//! ends the pass: nothing is decided on half of the facts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use weir_crds::{SavepointPhase, StreamJob, StreamJobSpec, VersionStatus};

use super::desired::JOB_FILE;
use super::pods::{PodView, Role, trouble_of_warning, view};
use super::validate::{References, is_name};
use crate::cluster::{Cluster, ClusterError, Key};
use crate::coordinators::{Address, AskError, Coordinators};
use crate::report::Report;

/// What the coordinator tells.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one per pass")]
pub enum Seen {
    /// No pod of a coordinator has an address.
    Nobody,
    /// It does not answer.
    Unreachable(String),
    /// It answers.
    Reached(Report),
}

impl Seen {
    /// The report, if there is one.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Reached(report) => Some(report),
            Self::Nobody | Self::Unreachable(_) => None,
        }
    }
}

/// The facts of one pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// When they were read.
    pub now: Timestamp,
    /// Whether they were read from the API server itself, and not from what it told before.
    pub fresh: bool,
    /// The job.
    pub job: StreamJob,
    /// Its pods.
    pub pods: Vec<PodView>,
    /// Its coordinator.
    pub coordinator: Seen,
    /// Where that is.
    pub address: Option<Address>,
    /// What the spec refers to.
    pub references: References,
    /// What the API server did not permit when it was last tried.
    pub refused: Option<String>,
    /// Versions that are remembered as superseded and whose ConfigMaps are still there.
    pub leftovers: Vec<String>,
    /// Of a job that is being deleted with its state: whether the pod that does so has done it; `None` if it was not
    /// made yet.
    pub erased: Option<bool>,
}

impl Observed {
    /// What the operator remembers of the job.
    pub fn memory(&self) -> VersionStatus {
        self.job.status.as_ref().map(|s| s.version.clone()).unwrap_or_default()
    }

    /// The uid of the job.
    pub fn uid(&self) -> &str {
        self.job.metadata.uid.as_deref().unwrap_or_default()
    }
}

/// Whether the job goes, and its state with it.
pub(super) fn erases_state(job: &StreamJob) -> bool {
    let keeps = job.spec.deletion.as_ref().and_then(|deletion| deletion.keep_state);
    job.metadata.deletion_timestamp.is_some() && keeps == Some(false)
}

/// Reads the facts of a job. `fresh`: from the API server itself.
///
/// # Errors
/// Whatever could not be read, but for the coordinator.
pub async fn observe(
    cluster: &impl Cluster,
    coordinators: &impl Coordinators,
    job: StreamJob,
    fresh: bool,
) -> Result<Observed, ClusterError> {
    let now = cluster.now();
    let key = Key::of(&job);
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let mut pods: Vec<PodView> =
        cluster.pods(&key, &uid, fresh).await?.iter().filter_map(|pod| view(pod, &uid)).collect();
    explain(cluster, &key, &mut pods, now).await?;
    let memory = job.status.as_ref().map(|s| s.version.clone()).unwrap_or_default();
    let address = speaker(&pods, memory.current.as_deref()).map(|pod| Address { job: uid.clone(), pod });
    let coordinator = match &address {
        None => Seen::Nobody,
        Some(address) => match coordinators.status(address).await {
            Ok(report) => Seen::Reached(report),
            Err(AskError::Unreachable(why) | AskError::Refused(why) | AskError::NotNow(why)) => {
                Seen::Unreachable(why)
            }
        },
    };
    // The first claim is in the journal, and with it where the first state comes from.
    let started =
        memory.stable.is_some() || job.status.as_ref().is_some_and(|status| status.attempt.is_some());
    let references = references(cluster, &key, &job.spec, started, fresh).await?;
    let mut leftovers = Vec::new();
    for version in &memory.superseded {
        let name = key.identity(&job).config_map(version);
        if cluster.config_map(&key.beside(&name), true).await?.is_some() {
            leftovers.push(version.clone());
        }
    }
    let erased = match erases_state(&job) {
        true => {
            let pod = cluster.pod(&key.beside(&key.identity(&job).state_eraser())).await?;
            pod.map(|pod| pod.status.and_then(|status| status.phase).as_deref() == Some("Succeeded"))
        }
        false => None,
    };
    Ok(Observed { now, fresh, job, pods, coordinator, address, references, refused: None, leftovers, erased })
}

/// How long a pod may take to come up before its events are looked at.
const SLOW: Duration = Duration::from_secs(30);
/// Pods whose events are looked at in one pass: what is wrong is mostly the same for all.
const EXPLAINED: usize = 2;

/// Finds out what keeps pods from coming up, where their status does not say it.
async fn explain(
    cluster: &impl Cluster,
    job: &Key,
    pods: &mut [PodView],
    now: Timestamp,
) -> Result<(), ClusterError> {
    let is_slow = |pod: &&mut PodView| {
        let age = pod.since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
        pod.counts()
            && !pod.running
            && pod.restarts == 0
            && pod.trouble.is_none()
            && age.is_some_and(|a| a > SLOW)
    };
    for pod in pods.iter_mut().filter(is_slow).take(EXPLAINED) {
        let warnings = cluster.pod_warnings(&job.beside(&pod.name), &pod.uid).await?;
        pod.trouble =
            warnings.iter().find_map(|(reason, message)| trouble_of_warning(&pod.name, reason, message));
    }
    Ok(())
}

/// The pod whose word counts: the newest coordinator that is not on its way out, of the version that runs.
fn speaker(pods: &[PodView], current: Option<&str>) -> Option<std::net::IpAddr> {
    let coordinators = pods.iter().filter(|pod| pod.role == Role::Coordinator && pod.counts());
    let of_version = coordinators.filter(|pod| current.is_none_or(|current| pod.version == current));
    of_version.filter(|pod| pod.address.is_some()).max_by_key(|pod| (pod.since, pod.name.clone()))?.address
}

async fn references(
    cluster: &impl Cluster,
    job: &Key,
    spec: &StreamJobSpec,
    started: bool,
    fresh: bool,
) -> Result<References, ClusterError> {
    let mut found = References { started, ..References::default() };
    if let Some(from) = &spec.sql_from {
        let key = &from.config_map_key_ref;
        // What is no name is not asked for: it would be part of a path.
        let map = match is_name(&key.name) {
            true => cluster.config_map(&job.beside(&key.name), fresh).await?,
            false => None,
        };
        found.sql = Some(match map {
            None => Err(format!("the ConfigMap {:?} is not there", key.name)),
            Some(map) => map.data.and_then(|mut data| data.remove(&key.key)).ok_or_else(|| {
                format!("the ConfigMap {:?} has no text under the key {:?}", key.name, key.key)
            }),
        });
    }
    if let Some(name) =
        spec.restore_from.as_ref().and_then(|from| from.savepoint.as_ref()).filter(|_| !started)
    {
        let savepoint = match is_name(name) {
            true => cluster.savepoint(&job.beside(name)).await?,
            false => None,
        };
        let status = savepoint.map(|savepoint| savepoint.status.unwrap_or_default());
        found.savepoint = Some(match status {
            None => Err(format!("the Savepoint {name:?} is not there")),
            Some(status) => match (status.state, status.place) {
                (SavepointPhase::Completed, Some(place)) => Ok(place),
                (SavepointPhase::Failed, _) => Err(format!("the Savepoint {name:?} has failed")),
                (SavepointPhase::Deleting, _) => Err(format!("the Savepoint {name:?} is being deleted")),
                _ => Err(format!("the Savepoint {name:?} is not complete yet")),
            },
        });
    }
    Ok(found)
}

/// The manifests of versions of the job that are stored in the cluster, by version. `fresh`: from the API server
/// itself.
///
/// # Errors
/// What could not be read. A version that is not there is left out.
pub async fn stored(
    cluster: &impl Cluster,
    job: &StreamJob,
    versions: impl IntoIterator<Item = String>,
    fresh: bool,
) -> Result<BTreeMap<String, StreamJob>, ClusterError> {
    let mut found = BTreeMap::new();
    let identity = Key::of(job).identity(job);
    for version in versions {
        let key = Key::of(job).beside(&identity.config_map(&version));
        let Some(map) = cluster.config_map(&key, fresh).await? else { continue };
        let text = map.data.and_then(|mut data| data.remove(JOB_FILE)).unwrap_or_default();
        // What somebody has damaged is as if it were not there.
        let Ok(mut manifest) = serde_json::from_str::<StreamJob>(&text) else { continue };
        let same = manifest.metadata.uid == job.metadata.uid && manifest.metadata.name == job.metadata.name;
        if same {
            manifest.metadata.namespace = job.metadata.namespace.clone();
            found.insert(version, manifest);
        }
    }
    Ok(found)
}
