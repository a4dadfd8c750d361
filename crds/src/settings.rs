//! `SET 'key' = 'value'` with the keys of Flink: each maps to a field of the spec, states what is so
//! anyway, or is refused with the reason and what to do instead.
//!
//! A field that is given in the spec *and* set differently is a problem that names both places:
//! neither wins in silence.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_protocol::units::{format_duration, parse_duration};

use crate::problem::nearest;
use crate::{Place, Problem, Strategy, StreamJobSpec};

/// A `SET` statement of the SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, without quotes.
    pub key: String,
    /// The value, without quotes.
    pub value: String,
    /// The line of the statement in the SQL, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
}

impl Setting {
    fn place(&self) -> Place {
        Place::Sql { line: self.line, column: self.column }
    }

    fn problem(&self, message: impl std::fmt::Display) -> Problem {
        Problem::new(self.place(), format!("SET '{}': {message}", self.key))
    }
}

/// What a key means here.
enum Rule {
    /// A field of the spec.
    Field(&'static str, Kind),
    /// A field of the spec that only this restart strategy has.
    Of(Strategy, &'static str, Kind),
    /// The name for people.
    Name,
    /// It is always so: the values that say it are taken, others are refused for a reason.
    Always(&'static [&'static str], &'static str),
    /// It is refused for a reason.
    Never(&'static str),
}

/// How a value is read.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Duration,
    Count,
    Decimal,
    Text,
    Words(&'static [(&'static str, &'static str)]),
}

use Kind::{Count, Decimal, Text, Words};
use Rule::{Always, Field, Name, Never, Of};

const MODE: Kind = Words(&[("EXACTLY_ONCE", "ExactlyOnce"), ("AT_LEAST_ONCE", "AtLeastOnce")]);
const BACKEND: Kind = Words(&[("hashmap", "Memory"), ("memory", "Memory")]);
const STRATEGY: Kind = Words(&[
    ("none", "None"),
    ("off", "None"),
    ("disable", "None"),
    ("fixed-delay", "FixedDelay"),
    ("fixeddelay", "FixedDelay"),
    ("exponential-delay", "ExponentialDelay"),
    ("exponentialdelay", "ExponentialDelay"),
    ("failure-rate", "FailureRate"),
    ("failurerate", "FailureRate"),
]);
const MINI_BATCH: &str = "not needed: aggregates here work on whole batches and put the changes of a key together \
                          without waiting; remove the line";

/// Every key that is known, with what it means.
const RULES: &[(&str, Rule)] = &[
    ("execution.checkpointing.interval", Field("checkpoint.interval", Kind::Duration)),
    ("execution.checkpointing.mode", Field("checkpoint.mode", MODE)),
    ("execution.checkpointing.timeout", Field("checkpoint.timeout", Kind::Duration)),
    ("execution.checkpointing.min-pause", Field("checkpoint.minPause", Kind::Duration)),
    ("execution.checkpointing.tolerable-failed-checkpoints", Field("checkpoint.tolerableFailures", Count)),
    ("execution.checkpointing.dir", Field("checkpoint.storage", Text)),
    ("execution.checkpointing.storage", Field("checkpoint.storage", Text)),
    ("state.checkpoints.dir", Field("checkpoint.storage", Text)),
    ("state.checkpoints.num-retained", Field("checkpoint.retain", Count)),
    ("execution.checkpointing.num-retained", Field("checkpoint.retain", Count)),
    ("taskmanager.numberOfTaskSlots", Field("worker.taskSlots", Count)),
    ("parallelism.default", Field("parallelism", Count)),
    ("pipeline.max-parallelism", Field("maxParallelism", Count)),
    ("pipeline.name", Name),
    ("state.backend.type", Field("state.backend", BACKEND)),
    ("state.backend", Field("state.backend", BACKEND)),
    ("table.exec.state.ttl", Field("state.ttl", Kind::Duration)),
    ("restart-strategy.type", Field("restart.strategy", STRATEGY)),
    ("restart-strategy", Field("restart.strategy", STRATEGY)),
    ("restart-strategy.fixed-delay.attempts", Of(Strategy::FixedDelay, "restart.attempts", Count)),
    ("restart-strategy.fixed-delay.delay", Of(Strategy::FixedDelay, "restart.delay", Kind::Duration)),
    (
        "restart-strategy.exponential-delay.initial-backoff",
        Of(Strategy::ExponentialDelay, "restart.initialDelay", Kind::Duration),
    ),
    (
        "restart-strategy.exponential-delay.max-backoff",
        Of(Strategy::ExponentialDelay, "restart.maxDelay", Kind::Duration),
    ),
    (
        "restart-strategy.exponential-delay.backoff-multiplier",
        Of(Strategy::ExponentialDelay, "restart.backoffMultiplier", Decimal),
    ),
    (
        "restart-strategy.exponential-delay.reset-backoff-threshold",
        Of(Strategy::ExponentialDelay, "restart.resetAfter", Kind::Duration),
    ),
    (
        "restart-strategy.exponential-delay.jitter-factor",
        Of(Strategy::ExponentialDelay, "restart.jitter", Decimal),
    ),
    (
        "restart-strategy.exponential-delay.attempts-before-reset-backoff",
        Never(
            "it has no meaning here: this strategy never gives up; to give up, use failure-rate or fixed-delay",
        ),
    ),
    (
        "restart-strategy.failure-rate.max-failures-per-interval",
        Of(Strategy::FailureRate, "restart.maxFailuresPerInterval", Count),
    ),
    (
        "restart-strategy.failure-rate.failure-rate-interval",
        Of(Strategy::FailureRate, "restart.interval", Kind::Duration),
    ),
    ("restart-strategy.failure-rate.delay", Of(Strategy::FailureRate, "restart.delay", Kind::Duration)),
    ("heartbeat.interval", Field("recovery.heartbeatInterval", Kind::Duration)),
    ("heartbeat.timeout", Field("recovery.heartbeatTimeout", Kind::Duration)),
    ("task.cancellation.timeout", Field("recovery.cancelTimeout", Kind::Duration)),
    ("table.exec.mini-batch.enabled", Never(MINI_BATCH)),
    ("table.exec.mini-batch.allow-latency", Never(MINI_BATCH)),
    ("table.exec.mini-batch.size", Never(MINI_BATCH)),
    ("pipeline.object-reuse", Never("not needed: rows are never copied between transforms; remove the line")),
    ("execution.runtime-mode", Always(&["streaming"], "a job is always streaming; bounded input ends it")),
    ("execution.checkpointing.incremental", Always(&["true"], "checkpoints are always incremental")),
    ("state.backend.incremental", Always(&["true"], "checkpoints are always incremental")),
    (
        "execution.checkpointing.unaligned.enabled",
        Always(&["false"], "checkpoints are aligned here; unaligned ones are not there"),
    ),
    ("execution.checkpointing.unaligned", Always(&["false"], "unaligned checkpoints are not there")),
    ("execution.checkpointing.max-concurrent-checkpoints", Always(&["1"], "one checkpoint runs at a time")),
    (
        "execution.checkpointing.externalized-checkpoint-retention",
        Always(
            &["RETAIN_ON_CANCELLATION"],
            "checkpoints always stay; spec.deletion says what a deletion does",
        ),
    ),
    (
        "execution.checkpointing.checkpoints-after-tasks-finish",
        Always(&["true"], "ended inputs always take part in checkpoints"),
    ),
    ("table.local-time-zone", Always(&["UTC", "Etc/UTC", "Z"], "times are in UTC here")),
    (
        "table.exec.source.idle-timeout",
        Never("it is an option of a table here: 'scan.watermark.idle-timeout' in its WITH (…)"),
    ),
    ("state.savepoints.dir", Never("it has no meaning here: savepoints are kept beside the checkpoints")),
    (
        "execution.checkpointing.savepoint-dir",
        Never("it has no meaning here: savepoints are kept beside the checkpoints"),
    ),
    ("execution.savepoint.path", Never("use spec.restoreFrom")),
    ("execution.state-recovery.path", Never("use spec.restoreFrom")),
];

/// Families of keys that are refused for one reason.
const FAMILIES: &[(&str, &str)] = &[
    (
        "high-availability.",
        "it has no meaning here: the journal in the storage is what makes a job highly available",
    ),
    ("jobmanager.", "it has no meaning here: there is no JobManager to set up"),
    ("taskmanager.memory.", "it has no meaning here: use spec.state.memoryLimit and spec.worker.resources"),
    ("taskmanager.", "it has no meaning here: see spec.worker"),
    ("state.backend.rocksdb.", "it has no meaning here: there is no RocksDB"),
    ("table.optimizer.", "it has no meaning here: the planner has no such switch"),
    ("sql-client.", "it has no meaning in a job: it sets up Flink's SQL client"),
    ("rest.", "it has no meaning here: see weir run --listen"),
    (
        "s3.",
        "use spec.checkpoint.endpoint, region and pathStyle; credentials come from the environment or storageSecretRef",
    ),
    ("kubernetes.", "it has no meaning here: see spec.worker"),
    ("metrics.", "it has no meaning here: metrics are always on"),
];

/// Every key that `SET` knows, with what it means in words (Markdown), for the documents. A key that ends in `*` stands
/// for all that begin so.
pub fn setting_help() -> Vec<(String, String)> {
    let keys = RULES.iter().map(|(key, rule)| {
        let meaning = match rule {
            Field(path, _) => format!("`spec.{path}`"),
            Of(strategy, path, _) => format!("`spec.{path}`, of strategy `{strategy:?}`"),
            Name => "the name of the job for people".to_owned(),
            Always(values, why) => format!("only `{}`: {why}", values.join("`, `")),
            Never(why) => format!("refused: {why}"),
        };
        ((*key).to_owned(), meaning)
    });
    let families = FAMILIES.iter().map(|(prefix, why)| (format!("{prefix}*"), format!("refused: {why}")));
    keys.chain(families).collect()
}

/// A spec with the settings taken into it.
pub(crate) struct Applied {
    pub(crate) spec: StreamJobSpec,
    pub(crate) name: Option<String>,
    pub(crate) problems: Vec<Problem>,
    /// Which setting gave a field (by its path below `spec`) its value.
    pub(crate) origins: BTreeMap<String, Setting>,
}

/// Takes settings into a spec.
pub(crate) fn apply(spec: &StreamJobSpec, settings: &[Setting]) -> Applied {
    let mut tree = serde_json::to_value(spec).unwrap_or_default();
    let mut applied =
        Applied { spec: spec.clone(), name: None, problems: Vec::new(), origins: BTreeMap::new() };
    let mut bound: Vec<(&Setting, Strategy)> = Vec::new();
    for setting in settings {
        match rule(&setting.key) {
            Ok(Field(path, kind)) => applied.field(&mut tree, setting, path, *kind),
            Ok(Of(strategy, path, kind)) => {
                bound.push((setting, *strategy));
                applied.field(&mut tree, setting, path, *kind);
            }
            Ok(Name) => applied.name(setting),
            Ok(Always(values, why)) => {
                if !values.iter().any(|v| v.eq_ignore_ascii_case(&setting.value)) {
                    applied.problems.push(setting.problem(format!(
                        "'{}' is refused: {why}; write '{}' or remove the line",
                        setting.value, values[0]
                    )));
                }
            }
            Ok(Never(why)) => applied.problems.push(setting.problem(why)),
            Err(message) => applied.problems.push(setting.problem(message)),
        }
    }
    match serde_json::from_value::<StreamJobSpec>(tree) {
        Ok(spec) => applied.spec = spec,
        Err(error) => applied.problems.push(Problem::field("spec", error.to_string())),
    }
    let strategy = applied.spec.restart.as_ref().and_then(|r| r.strategy).unwrap_or_default();
    for (setting, needed) in bound {
        if needed != strategy {
            applied.problems.push(
                setting.problem(format!(
                    "it belongs to restart strategy {needed:?}, but the job has {strategy:?}"
                )),
            );
        }
    }
    applied
}

fn rule(key: &str) -> Result<&'static Rule, String> {
    if let Some((_, rule)) = RULES.iter().find(|(k, _)| *k == key) {
        return Ok(rule);
    }
    if let Some((_, why)) = FAMILIES.iter().find(|(prefix, _)| key.starts_with(prefix)) {
        return Err((*why).to_owned());
    }
    let hint = nearest(key, RULES.iter().map(|(k, _)| *k));
    Err(match hint {
        Some(k) => format!("there is no such key; did you mean '{k}'?"),
        None => "there is no such key; what a job can be told stands in its spec".to_owned(),
    })
}

impl Applied {
    fn name(&mut self, setting: &Setting) {
        let length = setting.value.chars().count();
        if setting.value.trim().is_empty() || length > 200 || setting.value.chars().any(char::is_control) {
            self.problems.push(setting.problem("a name has 1 to 200 characters, on one line"));
        } else {
            self.name = Some(setting.value.clone());
        }
    }

    fn field(&mut self, tree: &mut Value, setting: &Setting, path: &'static str, kind: Kind) {
        if path == "checkpoint.storage" && setting.key.ends_with(".storage") {
            match setting.value.as_str() {
                // Flink's word for "not in the memory of the JobManager", which is always so here.
                "filesystem" => return,
                "jobmanager" => {
                    let why = "checkpoints are never kept in a process: write 's3://…' or 'file:///…'";
                    self.problems.push(setting.problem(why));
                    return;
                }
                _ => {}
            }
        }
        let value = match kind.read(&setting.value) {
            Ok(value) => value,
            Err(message) => {
                self.problems.push(setting.problem(message));
                return;
            }
        };
        match tree.pointer(&format!("/{}", path.replace('.', "/"))) {
            None => {
                put(tree, path, value);
                self.origins.insert(path.to_owned(), setting.clone());
            }
            Some(given) if kind.same(given, &value) => {}
            Some(given) => self.conflict(setting, path, given),
        }
    }

    fn conflict(&mut self, setting: &Setting, path: &str, given: &Value) {
        let given = given.as_str().map_or_else(|| given.to_string(), str::to_owned);
        let other = self.origins.get(path).map_or(Place::field(format!("spec.{path}")), Setting::place);
        let from = match &other {
            Place::Field(field) | Place::Name(field) => format!("{field}: {given}"),
            Place::Sql { line, .. } => format!("'{given}', set in line {line} of the SQL"),
        };
        let message = format!("'{}' differs from {from}: keep one of the two", setting.value);
        self.problems.push(setting.problem(message).with(other));
    }
}

/// Puts a value at a path of names, making the objects on the way.
fn put(tree: &mut Value, path: &str, value: Value) {
    let mut at = tree;
    for name in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[name];
    }
    *at = value;
}

impl Kind {
    fn read(self, text: &str) -> Result<Value, String> {
        match self {
            // A number without a unit is milliseconds, as in Flink.
            Self::Duration => match text.trim().parse::<u32>() {
                Ok(millis) => Ok(json!(format_duration(Duration::from_millis(u64::from(millis))))),
                Err(_) => parse_duration(text).map(|d| json!(format_duration(d))),
            },
            Count => text
                .trim()
                .parse::<i32>()
                .map(Value::from)
                .map_err(|_| format!("'{text}' is not a whole number that fits here")),
            Decimal => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(json!(number)),
                _ => Err(format!("'{text}' is not a number")),
            },
            Text => Ok(json!(text)),
            Words(words) => {
                let found = words.iter().find(|(word, ours)| {
                    word.eq_ignore_ascii_case(text.trim()) || ours.eq_ignore_ascii_case(text.trim())
                });
                found.map(|(_, ours)| json!(ours)).ok_or_else(|| {
                    let mut seen = Vec::new();
                    let first: Vec<String> = words
                        .iter()
                        .filter(|(_, ours)| {
                            let new = !seen.contains(ours);
                            seen.push(ours);
                            new
                        })
                        .map(|(word, _)| format!("'{word}'"))
                        .collect();
                    let or = crate::problem::list(first.iter().map(String::as_str), "or");
                    format!("'{text}' is not allowed: {or}")
                })
            }
        }
    }

    /// Whether two values mean the same.
    fn same(self, a: &Value, b: &Value) -> bool {
        let duration = |v: &Value| v.as_str().and_then(|t| parse_duration(t).ok());
        match self {
            Self::Duration => duration(a).is_some() && duration(a) == duration(b),
            Decimal => a.as_f64() == b.as_f64(),
            Count | Text | Words(_) => a == b,
        }
    }
}
