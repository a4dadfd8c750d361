//! From what a person wrote to what is wanted of the cluster: a type that can't be wrong, or every problem with
//! its place. Pure: what the spec refers to was read before.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use weir_crds::{
    CoordinatorSpec, Given, Problem, RestoreFrom, StreamJob, StreamJobSpec, UpgradeMode, WorkerSpec,
    to_config,
};
use weir_protocol::JobConfig;
use weir_protocol::units::parse_duration;

use super::change;
use crate::names::{Identity, RESTART};

/// What the operator gives where a spec says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// The image of coordinator and workers.
    pub image: String,
    /// Of a worker pod.
    pub worker_resources: ResourceRequirements,
    /// Of a coordinator's pod.
    pub coordinator_resources: ResourceRequirements,
    /// The Secret that holds the operator's own key: no job may refer to it.
    pub root_secret: String,
}

/// What a spec refers to, as far as it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// The text that `sqlFrom` names; why it is not there.
    pub sql: Option<Result<String, String>>,
    /// Where the savepoint of `restoreFrom` is; why that is not known.
    pub savepoint: Option<Result<String, String>>,
    /// Whether the job has started before: `restoreFrom` does not count any more.
    pub started: bool,
}

/// A checked job, and everything that follows from its spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Who it is.
    pub identity: Identity,
    /// The spec with everything filled in that the operator decides.
    pub spec: StreamJobSpec,
    /// What the engine will make of it.
    pub config: JobConfig,
    /// The digest of all that needs new pods.
    pub version: String,
    /// The digest of what the coordinator reads at its start.
    pub settings: String,
    /// The value of the annotation that asks for a new start.
    pub restart: Option<String>,
}

impl Wanted {
    /// Worker pods that the parallelism needs.
    pub fn workers_needed(&self) -> u32 {
        self.config.parallelism.div_ceil(self.config.task_slots)
    }

    /// Worker pods with spares.
    pub fn workers(&self) -> u32 {
        let standby = self.worker().standby.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        self.workers_needed() + standby
    }

    /// The worker pods' part of the spec; it was filled in.
    pub fn worker(&self) -> WorkerSpec {
        self.spec.worker.clone().unwrap_or_default()
    }

    /// Whether the job is to rest.
    pub fn suspended(&self) -> bool {
        self.spec.suspended.unwrap_or(false)
    }

    /// What an upgrade to this spec starts from.
    pub fn upgrade_mode(&self) -> UpgradeMode {
        self.spec.upgrade.as_ref().and_then(|u| u.mode).unwrap_or_default()
    }

    /// How long an upgrade to this spec may take to complete a checkpoint.
    pub fn stable_within(&self) -> Duration {
        let given = self.spec.upgrade.as_ref().and_then(|u| u.stable_within.as_deref());
        given.and_then(|text| parse_duration(text).ok()).unwrap_or(Duration::from_secs(600))
    }

    /// The same version at the size that another spec of the job asks for.
    #[must_use]
    pub fn sized_as(mut self, other: &Self) -> Self {
        self.spec.parallelism = other.spec.parallelism;
        self.spec.suspended = other.spec.suspended;
        self.config.parallelism = other.config.parallelism;
        let (mut worker, theirs) = (self.worker(), other.worker());
        worker.standby = theirs.standby;
        self.spec.worker = Some(worker);
        self
    }

    /// The manifest that the job's processes read: the spec as it was completed, under the job's uid. Without
    /// state it does not say where a first state comes from.
    pub fn manifest(&self) -> StreamJob {
        let mut job = StreamJob::new(&self.identity.name, self.spec.clone());
        job.metadata.namespace = Some(self.identity.namespace.clone());
        job.metadata.uid = Some(self.identity.uid.clone());
        // How the job is run is not the business of its processes.
        job.spec.suspended = None;
        if let Some(restart) = &self.restart {
            job.metadata.annotations = Some([(RESTART.to_owned(), restart.clone())].into());
        }
        job
    }
}

/// Checks a job.
///
/// # Errors
/// All problems that were found.
pub fn validate(
    job: &StreamJob,
    references: &References,
    defaults: &Defaults,
) -> Result<Wanted, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut completed = job.clone();
    completed.spec = complete(&job.spec, references, defaults, &mut problems);
    let left_out: BTreeSet<String> = problems.iter().map(|p| p.place.to_string()).collect();
    let given = Given { left_out, ..Given::default() };
    let config = match to_config(&completed, &given) {
        Ok(config) => Some(config),
        Err(more) => {
            problems.extend(more);
            None
        }
    };
    problems.extend(on_kubernetes(&completed, defaults));
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        problems.dedup();
        return Err(problems);
    };
    let restart = job.metadata.annotations.as_ref().and_then(|a| a.get(RESTART)).cloned();
    Ok(Wanted {
        identity: Identity {
            name: job.metadata.name.clone().unwrap_or_default(),
            namespace: job.metadata.namespace.clone().unwrap_or_default(),
            uid: config.uid.to_string(),
        },
        version: change::version(&completed.spec, restart.as_deref()),
        settings: change::settings(&completed.spec),
        spec: completed.spec,
        config,
        restart,
    })
}

/// The spec with what the operator decides, so that it means the same for ever.
fn complete(
    spec: &StreamJobSpec,
    references: &References,
    defaults: &Defaults,
    problems: &mut Vec<Problem>,
) -> StreamJobSpec {
    let mut spec = spec.clone();
    if spec.sql.is_none() && spec.sql_from.is_some() {
        match &references.sql {
            Some(Ok(text)) => (spec.sql, spec.sql_from) = (Some(text.clone()), None),
            Some(Err(why)) => problems.push(Problem::field("spec.sqlFrom", why)),
            None => problems.push(Problem::field("spec.sqlFrom", "has not been read yet")),
        }
    }
    if let Some((savepoint, alone)) = spec.restore_from.as_ref().and_then(|from| {
        let savepoint = from.savepoint.clone()?;
        // With a location beside it, it is refused for that.
        Some((savepoint, from.location.is_none()))
    }) {
        let why = match &references.savepoint {
            _ if !is_name(&savepoint) => Some(format!("{savepoint:?} is not the name of a Savepoint")),
            Some(Ok(place)) if alone => {
                spec.restore_from = Some(RestoreFrom { savepoint: None, location: Some(place.clone()) });
                None
            }
            Some(Ok(_)) => None,
            // It counted when the job first started.
            _ if references.started && alone => {
                spec.restore_from = None;
                None
            }
            Some(Err(why)) => Some(why.clone()),
            None => Some(format!("the Savepoint {savepoint:?} has not been looked at yet")),
        };
        problems.extend(why.map(|why| Problem::field("spec.restoreFrom.savepoint", why)));
    }
    spec.parallelism.get_or_insert(1);
    let worker = spec.worker.get_or_insert_default();
    worker.task_slots.get_or_insert(1);
    worker.image.get_or_insert_with(|| defaults.image.clone());
    worker.resources.get_or_insert_with(|| defaults.worker_resources.clone());
    let coordinator = spec.coordinator.get_or_insert_with(CoordinatorSpec::default);
    coordinator.resources.get_or_insert_with(|| defaults.coordinator_resources.clone());
    spec
}

/// What only the cluster can't do, or must not.
fn on_kubernetes(job: &StreamJob, defaults: &Defaults) -> Vec<Problem> {
    let mut problems = Vec::new();
    if job.metadata.uid.is_none() || job.metadata.namespace.is_none() {
        problems.push(Problem::field("metadata.uid", "is missing: the API server gives it"));
    }
    let storage = job.spec.checkpoint.as_ref().and_then(|c| c.storage.as_deref());
    if storage.is_some_and(|url| !url.starts_with("s3://")) {
        let why = "must be s3://bucket/prefix: pods do not share folders";
        problems.push(Problem::field("spec.checkpoint.storage", why));
    }
    let from = job.spec.restore_from.as_ref().and_then(|from| from.location.as_deref());
    if from.is_some_and(|url| !url.starts_with("s3://")) {
        problems.push(Problem::field("spec.restoreFrom.location", "must be s3://bucket/prefix/…"));
    }
    let secret = job.spec.checkpoint.as_ref().and_then(|c| c.storage_secret_ref.as_ref());
    if let Some(secret) = secret {
        refused_secret(&mut problems, "spec.checkpoint.storageSecretRef.name", &secret.name, defaults);
    }
    if let Some(worker) = &job.spec.worker {
        if worker.image.as_ref().is_some_and(|image| image.ends_with(":latest")) {
            let why = "must be a fixed version, not :latest: what runs must not change by itself";
            problems.push(Problem::field("spec.worker.image", why));
        }
        check_maps(&mut problems, worker);
        check_references(&mut problems, worker, defaults);
        check_mounts(&mut problems, worker);
    }
    problems
}

/// Folders of ours in a pod.
const OUR_FOLDERS: [&str; 3] = ["/etc/weir", "/var/cache/weir", "/tmp"];
/// What the names of Secrets with certificates end with.
pub const CERTIFICATES: &str = "-weir-tls";

fn refused_secret(problems: &mut Vec<Problem>, path: &str, name: &str, defaults: &Defaults) {
    if name == defaults.root_secret || name.ends_with(CERTIFICATES) {
        problems.push(Problem::field(path, format!("the Secret {name:?} belongs to the operator")));
    }
    if !is_name(name) {
        problems.push(Problem::field(path, format!("{name:?} is not the name of a Secret")));
    }
}

fn check_references(problems: &mut Vec<Problem>, worker: &WorkerSpec, defaults: &Defaults) {
    let env = worker.env.iter().flatten().enumerate();
    for (i, from) in env.filter_map(|(i, env)| Some((i, env.value_from.as_ref()?))) {
        let path = format!("spec.worker.env[{i}].valueFrom");
        for (field, key, secret) in [
            ("secretKeyRef", &from.secret_key_ref, true),
            ("configMapKeyRef", &from.config_map_key_ref, false),
        ] {
            let Some(key) = key else { continue };
            let path = format!("{path}.{field}.name");
            match secret {
                true => refused_secret(problems, &path, &key.name, defaults),
                false if !is_name(&key.name) => {
                    problems
                        .push(Problem::field(path, format!("{:?} is not the name of a ConfigMap", key.name)));
                }
                false => {}
            }
        }
    }
    for (i, volume) in worker.volumes.iter().flatten().enumerate() {
        if let Some(secret) = &volume.secret {
            refused_secret(
                problems,
                &format!("spec.worker.volumes[{i}].secret.name"),
                &secret.name,
                defaults,
            );
        }
    }
    for (i, secret) in worker.image_pull_secrets.iter().flatten().enumerate() {
        refused_secret(problems, &format!("spec.worker.imagePullSecrets[{i}].name"), &secret.name, defaults);
    }
}

fn check_mounts(problems: &mut Vec<Problem>, worker: &WorkerSpec) {
    let mut seen = BTreeSet::new();
    for (i, volume) in worker.volumes.iter().flatten().enumerate() {
        let path = format!("spec.worker.volumes[{i}].mountPath");
        let folder = volume.mount_path.trim_end_matches('/');
        let ours = OUR_FOLDERS.iter().any(|our| {
            let below =
                |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
            below(folder, our) || below(our, folder)
        });
        if ours {
            let why = format!("{folder:?} would hide a folder of weir's ({})", OUR_FOLDERS.join(", "));
            problems.push(Problem::field(path, why));
        } else if !seen.insert(folder) {
            problems.push(Problem::field(path, format!("{folder:?} is mounted twice")));
        }
    }
}

fn check_maps(problems: &mut Vec<Problem>, worker: &WorkerSpec) {
    let maps = [
        ("labels", &worker.labels, true),
        ("annotations", &worker.annotations, false),
        ("nodeSelector", &worker.node_selector, true),
    ];
    for (field, map, is_label) in maps {
        for (key, value) in map.iter().flatten() {
            let path = weir_crds::field_path(&format!("spec.worker.{field}"), key);
            if !is_qualified(key) {
                problems.push(Problem::field(&path, format!("{key:?} is not a name of one of the {field}")));
            }
            if is_label && !is_label_value(value) {
                let why = format!(
                    "{value:?} is not a value: at most 63 characters of A-Z, a-z, 0-9, '-', '_' and '.'"
                );
                problems.push(Problem::field(&path, why));
            }
        }
    }
}

/// Whether a text is the name of an object (a DNS subdomain).
pub(super) fn is_name(text: &str) -> bool {
    let part = |p: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !p.is_empty() && p.bytes().all(inner) && !p.starts_with('-') && !p.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// Whether a text is the key of a label: `[domain/]name`.
fn is_qualified(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((domain, _)) if !is_name(domain) => return false,
        Some((_, name)) => name,
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && text.bytes().all(inner) && ends(bytes.first()) && ends(bytes.last())
}
