//! From what a person writes to what the engine reads: one pure function, all problems at once.

mod collector;
mod rules;

use weir_protocol::{
    CheckpointConfig, CheckpointMode, JobConfig, JobUid, LivenessConfig, OnUnreadable, RestartStrategy,
    StateBackend, StateConfig, StorageConfig,
};

use crate::text::quantity_bytes;
use crate::{
    Backend, CheckpointSpec, Mode, Problem, RecoverySpec, RestartSpec, Setting, StateSpec, Strategy,
    StreamJob, StreamJobSpec, limits, settings,
};
use collector::Collector;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is not in the manifest but decides what it means.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The text that `spec.sqlFrom` names, if the caller found it.
    pub sql_from: Option<String>,
    /// The `SET` statements of the SQL, in their order.
    pub settings: Vec<Setting>,
    /// The storage of a job that names none; a job needs one if this is `None`.
    pub storage: Option<String>,
    /// The memory that the process may take by its container's limit, in bytes.
    pub container_memory: Option<u64>,
    /// Fields that were left out because their shape is wrong: rules between several fields do not
    /// speak of them.
    pub left_out: BTreeSet<String>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The memory limit of a worker whose container has none.
const MEMORY: u64 = 1 << 30;
/// How much state may change before an early checkpoint.
const UNCHECKPOINTED: u64 = 256 << 20;

/// What a job is told to do, complete and checked.
///
/// # Errors
/// Every problem of the manifest, each with its place and with what is allowed.
///
/// ```
/// use weir_crds::{Given, StreamJob, StreamJobSpec, to_config};
/// let mut job = StreamJob::new("hot-items", StreamJobSpec::default());
/// job.spec.sql = Some("INSERT INTO hot SELECT * FROM bid".to_owned());
/// let given = Given { storage: Some("file:///tmp/weir".to_owned()), ..Given::default() };
/// let config = to_config(&job, &given)?;
/// assert_eq!(config.uid.as_str(), "hot-items");
/// assert_eq!(config.checkpoint.interval.as_secs(), 10);
///
/// job.spec.parallelism = Some(200);
/// let problems = to_config(&job, &given).expect_err("more than maxParallelism");
/// assert_eq!(problems[0].place.to_string(), "spec.parallelism");
/// # Ok::<(), Vec<weir_crds::Problem>>(())
/// ```
pub fn to_config(job: &StreamJob, given: &Given) -> Result<JobConfig, Vec<Problem>> {
    let applied = settings::apply(&job.spec, &given.settings);
    let spec = &applied.spec;
    let mut c = Collector::new(applied.problems, applied.origins, &given.left_out);

    let (name, uid) = identity(&mut c, job);
    let sql = sql(&mut c, spec, given);
    let parallelism = c.count("spec.parallelism", spec.parallelism, 1..=1024, 1);
    let max_parallelism = c.count("spec.maxParallelism", spec.max_parallelism, 1..=32_768, 128);
    let slots = spec.worker.as_ref().and_then(|w| w.task_slots);
    let task_slots = c.count("spec.worker.taskSlots", slots, 1..=256, 1);
    c.together(&["spec.parallelism", "spec.maxParallelism"], parallelism <= max_parallelism, || {
        format!("must be at most maxParallelism ({max_parallelism}), not {parallelism}")
    });
    let state = state(&mut c, spec, given);
    let checkpoint = checkpoint(&mut c, spec, given, state.memory_limit);
    let restart = restart(&mut c, spec.restart.as_ref().unwrap_or(&RestartSpec::default()));
    let recovery = spec.recovery.clone().unwrap_or_default();
    let liveness = liveness(&mut c, &recovery);
    let on_unreadable = match recovery.on_unreadable.unwrap_or_default() {
        crate::OnUnreadable::Stop => OnUnreadable::Stop,
        crate::OnUnreadable::Previous => OnUnreadable::Previous,
    };
    rules::check_the_rest(&mut c, spec);

    let config = uid.map(|uid| JobConfig {
        uid,
        name: applied.name.unwrap_or(name),
        sql,
        parallelism,
        max_parallelism,
        task_slots,
        state,
        checkpoint,
        restart,
        on_unreadable,
        restore_from: spec.restore_from.as_ref().and_then(crate::RestoreFrom::origin),
        liveness,
    });
    c.finish(config)
}

/// The name for people and the identity: `metadata.uid`, or one made of namespace and name.
fn identity(c: &mut Collector<'_>, job: &StreamJob) -> (String, Option<JobUid>) {
    let name = job.metadata.name.clone().unwrap_or_default();
    if !is_label(&name, limits::NAME) {
        c.problem("metadata.name", format!(
            "{name:?} is not a name for a job: 1 to {} characters of a-z, 0-9 and '-', starting and ending with a \
             letter or digit",
            limits::NAME
        ));
        return (name, None);
    }
    let namespace = job.metadata.namespace.as_deref();
    if let Some(namespace) = namespace.filter(|n| !is_label(n, 63)) {
        c.problem("metadata.namespace", format!(
            "{namespace:?} is not a namespace: 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a \
             letter or digit"
        ));
        return (name, None);
    }
    let (path, uid) = match (job.metadata.uid.as_deref(), namespace) {
        (Some(uid), _) => ("metadata.uid", uid.to_owned()),
        (None, None | Some("default")) => ("metadata.name", name.clone()),
        // The hash tells a/b-c from a-b/c; what stands before it is for people.
        (None, Some(namespace)) => {
            let hash = xxhash_rust::xxh3::xxh3_64(format!("{namespace}/{name}").as_bytes());
            ("metadata.name", format!("{name}-{:08x}", hash >> 32))
        }
    };
    let uid = JobUid::new(uid).map_err(|error| c.problem(path, error.to_string())).ok();
    (name, uid)
}

/// Whether a text is a DNS label of at most so many characters.
fn is_label(text: &str, most: usize) -> bool {
    text.len() <= most && JobUid::new(text).is_ok()
}

fn sql(c: &mut Collector<'_>, spec: &StreamJobSpec, given: &Given) -> String {
    let text = match (&spec.sql, &spec.sql_from) {
        (Some(_), Some(_)) => {
            c.problem("spec.sqlFrom", "sql and sqlFrom are both given: keep one of the two");
            return String::new();
        }
        (Some(sql), None) => sql.clone(),
        (None, Some(from)) => {
            let key = &from.config_map_key_ref;
            given.sql_from.clone().unwrap_or_else(|| {
                c.problem("spec.sqlFrom", format!(
                    "the ConfigMap {:?} with the key {:?} is not at hand: put it into the same file, or the SQL into \
                     spec.sql",
                    key.name, key.key
                ));
                String::new()
            })
        }
        (None, None) => {
            c.together(&["spec.sql", "spec.sqlFrom"], false, || {
                "is missing: the statements of the job (or sqlFrom, to take them from a ConfigMap)".to_owned()
            });
            return String::new();
        }
    };
    if spec.sql.is_some() && text.trim().is_empty() {
        c.problem("spec.sql", "is empty");
    }
    if text.len() > limits::SQL {
        c.problem("spec.sql", format!("is too long: {} bytes, at most {}", text.len(), limits::SQL));
    }
    text
}

fn state(c: &mut Collector<'_>, spec: &StreamJobSpec, given: &Given) -> StateConfig {
    let none = StateSpec::default();
    let state = spec.state.as_ref().unwrap_or(&none);
    let pod = spec
        .worker
        .as_ref()
        .and_then(|w| w.resources.as_ref())
        .and_then(|r| r.limits.as_ref())
        .and_then(|l| l.get("memory"))
        .and_then(|q| quantity_bytes(&q.0));
    let container = pod.or(given.container_memory).map(|bytes| bytes / 2);
    let memory = container.map_or(MEMORY, |m| m.clamp(*limits::MEMORY.start(), *limits::MEMORY.end()));
    StateConfig {
        backend: match state.backend.unwrap_or_default() {
            Backend::Memory => StateBackend::Memory,
        },
        ttl: c.duration("spec.state.ttl", &state.ttl, &limits::TTL, Duration::ZERO),
        memory_limit: c.size("spec.state.memoryLimit", &state.memory_limit, &limits::MEMORY, memory),
        deltas_per_base: c.count("spec.state.deltasPerBase", state.deltas_per_base, 0..=100, 10),
    }
}

fn checkpoint(c: &mut Collector<'_>, spec: &StreamJobSpec, given: &Given, memory: u64) -> CheckpointConfig {
    let none = CheckpointSpec::default();
    let s = spec.checkpoint.as_ref().unwrap_or(&none);
    let uncheckpointed = UNCHECKPOINTED.min(memory / 2);
    let config = CheckpointConfig {
        storage: storage(c, s, given),
        mode: match s.mode.unwrap_or_default() {
            Mode::ExactlyOnce => CheckpointMode::ExactlyOnce,
            Mode::AtLeastOnce => CheckpointMode::AtLeastOnce,
        },
        interval: c.duration("spec.checkpoint.interval", &s.interval, &limits::INTERVAL, 10 * SECOND),
        timeout: c.duration("spec.checkpoint.timeout", &s.timeout, &limits::TIMEOUT, 10 * MINUTE),
        min_pause: c.duration("spec.checkpoint.minPause", &s.min_pause, &limits::MIN_PAUSE, Duration::ZERO),
        tolerable_failures: c.count(
            "spec.checkpoint.tolerableFailures",
            s.tolerable_failures,
            0..=1_000_000,
            3,
        ),
        retain: c.count("spec.checkpoint.retain", s.retain, 1..=1000, 3),
        expiration: c.duration("spec.checkpoint.expiration", &s.expiration, &limits::EXPIRATION, 7 * DAY),
        max_uncheckpointed_bytes: c.size(
            "spec.checkpoint.maxUncheckpointedBytes",
            &s.max_uncheckpointed_bytes,
            &limits::UNCHECKPOINTED,
            uncheckpointed,
        ),
    };
    let both = ["spec.checkpoint.minPause", "spec.checkpoint.interval"];
    c.together(&both, config.min_pause <= config.interval, || {
        format!(
            "must be at most checkpoint.interval ({}): make the interval longer instead",
            weir_protocol::units::format_duration(config.interval)
        )
    });
    config
}

fn storage(c: &mut Collector<'_>, s: &CheckpointSpec, given: &Given) -> StorageConfig {
    let path = "spec.checkpoint.storage";
    let url = match (&s.storage, &given.storage) {
        (Some(url), _) => {
            if let Err(message) = crate::check_storage_url(url) {
                c.problem(path, message);
            }
            url.clone()
        }
        (None, Some(url)) => url.clone(),
        (None, None) => {
            c.together(&[path], false, || {
                "is missing: where checkpoints go, s3://bucket/prefix or file:///folder".to_owned()
            });
            String::new()
        }
    };
    let s3 = url.starts_with("s3://");
    let others = [
        ("spec.checkpoint.endpoint", s.endpoint.is_some()),
        ("spec.checkpoint.region", s.region.is_some()),
        ("spec.checkpoint.pathStyle", s.path_style.is_some()),
        ("spec.checkpoint.storageSecretRef", s.storage_secret_ref.is_some()),
    ];
    for (other, given) in others {
        c.together(&[other, path], s3 || !given, || "belongs to s3:// storage".to_owned());
    }
    if let Some(message) = s.endpoint.as_deref().and_then(|e| crate::storage::check_endpoint(e).err()) {
        c.problem("spec.checkpoint.endpoint", message);
    }
    let region = |r: &str| {
        !r.is_empty() && r.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if let Some(bad) = s.region.as_deref().filter(|r| !region(r)) {
        c.problem(
            "spec.checkpoint.region",
            format!("{bad:?} is not a region: a-z, 0-9 and '-', such as eu-central-1"),
        );
    }
    StorageConfig {
        url: url.trim_end_matches('/').to_owned(),
        endpoint: s.endpoint.as_deref().map(|e| e.trim_end_matches('/').to_owned()),
        region: s.region.clone(),
        path_style: s.path_style.unwrap_or(s.endpoint.is_some()),
    }
}

fn restart(c: &mut Collector<'_>, s: &RestartSpec) -> RestartStrategy {
    let strategy = s.strategy.unwrap_or_default();
    rules::check_restart_fields(c, s, strategy);
    match strategy {
        Strategy::None => RestartStrategy::None,
        Strategy::FixedDelay => RestartStrategy::FixedDelay {
            attempts: c.count("spec.restart.attempts", s.attempts, 1..=1_000_000, 3),
            delay: c.duration("spec.restart.delay", &s.delay, &limits::DELAY, SECOND),
        },
        Strategy::ExponentialDelay => exponential(c, s),
        Strategy::FailureRate => RestartStrategy::FailureRate {
            max_failures_per_interval: c.count(
                "spec.restart.maxFailuresPerInterval",
                s.max_failures_per_interval,
                1..=1_000_000,
                1,
            ),
            interval: c.duration("spec.restart.interval", &s.interval, &limits::FAILURE_INTERVAL, MINUTE),
            delay: c.duration("spec.restart.delay", &s.delay, &limits::DELAY, SECOND),
        },
    }
}

fn exponential(c: &mut Collector<'_>, s: &RestartSpec) -> RestartStrategy {
    let (first, last) = ("spec.restart.initialDelay", "spec.restart.maxDelay");
    let max_delay = c.duration(last, &s.max_delay, &limits::BACKOFF, MINUTE);
    let initial_delay = c.duration(first, &s.initial_delay, &limits::BACKOFF, SECOND);
    c.together(&[first, last], initial_delay <= max_delay, || {
        format!("must be at most restart.maxDelay ({})", weir_protocol::units::format_duration(max_delay))
    });
    RestartStrategy::ExponentialDelay {
        initial_delay,
        max_delay,
        backoff_multiplier: c.share("spec.restart.backoffMultiplier", s.backoff_multiplier, 1.0..=100.0, 2.0),
        reset_after: c.duration("spec.restart.resetAfter", &s.reset_after, &limits::RESET_AFTER, HOUR),
        jitter: c.share("spec.restart.jitter", s.jitter, 0.0..=1.0, 0.1),
    }
}

fn liveness(c: &mut Collector<'_>, s: &RecoverySpec) -> LivenessConfig {
    let d = LivenessConfig::default();
    let (interval, timeout) = ("spec.recovery.heartbeatInterval", "spec.recovery.heartbeatTimeout");
    let config = LivenessConfig {
        heartbeat_interval: c.duration(
            interval,
            &s.heartbeat_interval,
            &limits::HEARTBEAT,
            d.heartbeat_interval,
        ),
        heartbeat_timeout: c.duration(
            timeout,
            &s.heartbeat_timeout,
            &limits::HEARTBEAT_TIMEOUT,
            d.heartbeat_timeout,
        ),
        coordinator_timeout: c.duration(
            "spec.recovery.coordinatorTimeout",
            &s.coordinator_timeout,
            &limits::COORDINATOR_TIMEOUT,
            d.coordinator_timeout,
        ),
        cancel_timeout: c.duration(
            "spec.recovery.cancelTimeout",
            &s.cancel_timeout,
            &limits::CANCEL_TIMEOUT,
            d.cancel_timeout,
        ),
    };
    let fits = config.heartbeat_timeout >= config.heartbeat_interval * 2;
    c.together(&[timeout, interval], fits, || {
        let interval = weir_protocol::units::format_duration(config.heartbeat_interval);
        format!("must be at least twice recovery.heartbeatInterval ({interval})")
    });
    config
}
