//! Runs operators over a world until nothing changes any more.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};
use weir_crds::{ConditionType, StreamJob, StreamJobSpec};
use weir_operator::certificates::Authority;
use weir_operator::controller::Operator;
use weir_operator::controller::validate::Defaults;

use crate::engine::ModelCoordinators;
use crate::kubelet::tick;
use crate::model::{Death, ModelCluster, World};

/// The job of all tests.
pub(crate) const JOB: &str = "hot-items";

pub(crate) fn defaults() -> Defaults {
    Defaults {
        image: "weir:1".to_owned(),
        worker_resources: ResourceRequirements::default(),
        coordinator_resources: ResourceRequirements::default(),
        root_secret: "weir-operator-root".to_owned(),
    }
}

pub(crate) fn spec(value: Value) -> StreamJobSpec {
    serde_json::from_value(value).expect("a spec of the test")
}

/// The least spec, with fields over it.
pub(crate) fn spec_with(fields: Value) -> StreamJobSpec {
    let mut base = json!({"sql": "INSERT", "checkpoint": {"storage": "s3://bucket/jobs"}, "parallelism": 2});
    merge(&mut base, fields);
    spec(base)
}

pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A world with an operator in it, which may die and be followed by another.
pub(crate) struct Run {
    pub(crate) cluster: ModelCluster,
    operators: Vec<Operator<ModelCluster, ModelCoordinators>>,
    /// How many rounds it took.
    pub(crate) rounds: usize,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::with_operators(1)
    }

    /// Several operators at once, none of which knows of the others.
    pub(crate) fn with_operators(count: usize) -> Self {
        let cluster = ModelCluster(Arc::new(Mutex::new(World::new())));
        Self { operators: (0..count).map(|_| operator(&cluster)).collect(), cluster, rounds: 0 }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.cluster.world());
    }

    pub(crate) fn job(&self) -> Option<StreamJob> {
        self.cluster.world().jobs.get(JOB).cloned()
    }

    /// Lets the operator die at a write from here on, and be told what was so a while ago.
    pub(crate) fn disturb(&self, death: Option<Death>, stale: usize) {
        self.change(|world| {
            world.writes = 0;
            world.death = death;
            world.stale = stale;
        });
    }

    /// One pass over the job, and one second.
    pub(crate) fn round(&mut self) {
        self.rounds += 1;
        if self.cluster.world().dead {
            // The next one knows nothing of what the one before had in its memory.
            self.operators = vec![operator(&self.cluster)];
            self.change(|world| (world.dead, world.death) = (false, None));
        }
        let shown = self.cluster.world().shown_job(JOB);
        let savepoints: Vec<_> = self.cluster.world().savepoints.values().cloned().collect();
        for operator in &self.operators {
            // What fails is tried again.
            if let Some(job) = &shown {
                let _ = block_on(operator.reconcile(job));
            }
            for savepoint in &savepoints {
                let _ = block_on(operator.reconcile_savepoint(savepoint));
            }
        }
        tick(&mut self.cluster.world());
    }

    /// Goes on until nothing but time has changed for a while.
    ///
    /// # Panics
    /// If that never comes.
    pub(crate) fn settle(&mut self) -> &mut Self {
        let mut still = 0;
        let mut before = None;
        for _ in 0..600 {
            self.round();
            let now = Some(self.cluster.world().fingerprint());
            still = if now == before { still + 1 } else { 0 };
            before = now;
            if still >= 40 && self.cluster.world().death.is_none() {
                self.change(|world| world.stale = 0);
                return self;
            }
            // A death that was planned for a write that never comes.
            if still >= 40 {
                self.change(|world| world.death = None);
            }
        }
        panic!("it does not come to rest: {:#?}", self.picture());
    }

    /// All that has to be the same at the end, however it was reached.
    pub(crate) fn picture(&self) -> Picture {
        let world = self.cluster.world();
        let pods = world.pods.values().filter(|p| p.metadata.deletion_timestamp.is_none()).map(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            let spec = serde_json::to_value(&pod.spec).unwrap_or_default();
            // Which one of its kind it is does not matter.
            (format!("{labels:?}"), spec.to_string())
        });
        let mut pods: Vec<_> = pods.collect();
        pods.sort();
        let job = world.jobs.get(JOB);
        let status = job.and_then(|job| job.status.clone());
        Picture {
            pods,
            objects: world
                .objects
                .iter()
                .map(|(key, value)| (format!("{key:?}"), value.to_string()))
                .collect(),
            state: status.as_ref().map(|s| format!("{:?}", s.state)),
            version: status.as_ref().map(|s| {
                (s.version.current.clone(), s.version.stable.clone(), s.version.rolled_back.clone())
            }),
            generation: status.as_ref().and_then(|s| s.observed_generation),
            conditions: status
                .iter()
                .flat_map(|s| &s.conditions)
                .map(|c| format!("{:?}={:?} {:?}", c.type_, c.status, c.reason))
                .collect(),
        }
    }

    pub(crate) fn condition(&self, type_: ConditionType) -> String {
        let status = self.job().and_then(|job| job.status).unwrap_or_default();
        let condition = status.condition(type_).expect("every condition is always set");
        format!("{:?} {:?}: {}", condition.status, condition.reason, condition.message)
    }
}

/// Runs what never waits: the model answers at once.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the model made somebody wait"),
    }
}

fn operator(cluster: &ModelCluster) -> Operator<ModelCluster, ModelCoordinators> {
    let coordinators = ModelCoordinators(cluster.clone());
    Operator::new(cluster.clone(), coordinators, Authority::new([1; 32]), defaults())
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) pods: Vec<(String, String)>,
    pub(crate) objects: Vec<(String, String)>,
    pub(crate) state: Option<String>,
    pub(crate) version: Option<(Option<String>, Option<String>, Option<String>)>,
    pub(crate) generation: Option<i64>,
    pub(crate) conditions: Vec<String>,
}

impl Picture {
    /// What is in one and not in the other.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let lines = |picture: &Self| {
            let pods = picture.pods.iter().map(|(labels, spec)| format!("pod {labels} {spec}"));
            let objects = picture.objects.iter().map(|(key, value)| format!("{key} {value}"));
            let rest = [
                format!("state {:?}", picture.state),
                format!("version {:?}", picture.version),
                format!("generation {:?}", picture.generation),
                format!("conditions {:?}", picture.conditions),
            ];
            pods.chain(objects).chain(rest).collect::<Vec<String>>()
        };
        let (ours, theirs) = (lines(self), lines(other));
        let only = |one: &[String], other: &[String], sign: &str| {
            one.iter()
                .filter(|line| !other.contains(line))
                .map(|line| format!("{sign} {line}"))
                .collect::<Vec<_>>()
        };
        [only(&ours, &theirs, "+"), only(&theirs, &ours, "-")].concat()
    }
}
