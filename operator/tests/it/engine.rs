//! A model of what runs in the pods: a journal that outlives everything, and coordinators that claim it, fence
//! each other, take checkpoints and stop. What the SQL says decides how they fare.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use weir_operator::coordinators::{Address, Ask, AskError, Coordinators};
use weir_operator::report::Report;

use crate::model::{ModelCluster, World};

/// What is in the bucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) attempt: i64,
    /// The newest completed checkpoint, and how many there were.
    pub(crate) last: Option<i64>,
    completed: i64,
    finished: bool,
    /// What the configuration asked for when it was changed, and what it was changed to.
    parallelism: Option<(u32, u32)>,
    /// Starts without any state, though there had been some.
    pub(crate) empty_starts: usize,
    /// Savepoints that were asked for.
    pub(crate) savepoints: Vec<String>,
    /// Where the first state came from, as the first claim says.
    pub(crate) origin: Option<String>,
}

/// A coordinator that runs.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    job: String,
    pod: String,
    attempt: i64,
    state: &'static str,
    sql: String,
    asked: u32,
    parallelism: u32,
    rescaling_to: Option<u32>,
    slots: u32,
    workers: usize,
    stopping: bool,
    completed_us: Option<i64>,
}

impl Engine {
    /// Whether rows flow that are in no checkpoint.
    pub(crate) fn runs(&self) -> bool {
        self.state == "Running"
    }

    /// Takes over the journal.
    pub(crate) fn claim(world: &mut World, pod: &Pod, job: &str, manifest: &Value) -> Self {
        let args: Vec<String> =
            pod.spec.iter().flat_map(|s| s.containers[0].args.clone().unwrap_or_default()).collect();
        let fresh_after = args.iter().find_map(|a| a.strip_prefix("--fresh-after=")?.parse::<i64>().ok());
        let journal = world.journals.entry(job.to_owned()).or_default();
        if fresh_after.is_some_and(|attempt| journal.attempt <= attempt) {
            journal.empty_starts += usize::from(journal.last.is_some());
            journal.last = None;
        }
        journal.attempt += 1;
        let spec = &manifest["spec"];
        if journal.attempt == 1 {
            journal.origin = spec["restoreFrom"]["location"].as_str().map(str::to_owned);
        }
        let number = |value: &Value| u32::try_from(value.as_u64().unwrap_or(1)).unwrap_or(1);
        let asked = number(&spec["parallelism"]);
        let parallelism = journal.parallelism.filter(|(a, _)| *a == asked).map_or(asked, |(_, next)| next);
        Self {
            job: job.to_owned(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
            attempt: journal.attempt,
            state: if journal.finished { "Finished" } else { "Starting" },
            sql: spec["sql"].as_str().unwrap_or_default().to_owned(),
            asked,
            parallelism,
            rescaling_to: None,
            slots: number(&spec["worker"]["taskSlots"]),
            workers: 0,
            stopping: false,
            completed_us: None,
        }
    }

    /// Whether another one has claimed the journal since.
    pub(crate) fn is_fenced(&self, world: &World) -> bool {
        world.journals.get(&self.job).is_some_and(|journal| journal.attempt != self.attempt)
    }

    /// One second of its life; `workers`: how many are registered.
    pub(crate) fn live(&mut self, journal: &mut Journal, workers: usize, now_us: i64) {
        self.workers = workers;
        let slots = u32::try_from(workers).unwrap_or(u32::MAX).saturating_mul(self.slots);
        match self.state {
            "Starting" | "Restarting" if self.stopping => self.state = "Stopped",
            "Starting" | "Restarting" if self.sql.contains("FAILS") => self.state = "Failed",
            // Where no rows flow it changes at once.
            "Starting" | "Restarting" if self.rescaling_to.is_some_and(|to| slots >= to) => {
                self.parallelism = self.rescaling_to.take().unwrap_or(self.parallelism);
            }
            "Starting" | "Restarting" if slots >= self.parallelism => self.state = "Running",
            "Running" if slots < self.parallelism && self.rescaling_to.is_none() => self.state = "Restarting",
            "Running" if self.stopping => {
                self.checkpoint(journal, now_us);
                self.state = "Stopped";
            }
            "Running" if self.sql.contains("HANGS") => {}
            "Running" => {
                self.checkpoint(journal, now_us);
                if let Some(to) = self.rescaling_to.filter(|to| slots >= *to) {
                    journal.parallelism = Some((self.asked, to));
                    (self.parallelism, self.rescaling_to) = (to, None);
                }
                if self.sql.contains("BOUNDED") && journal.completed > 3 {
                    journal.finished = true;
                    self.state = "Finished";
                }
            }
            _ => {}
        }
    }

    fn checkpoint(&mut self, journal: &mut Journal, now_us: i64) {
        journal.completed += 1;
        journal.last = Some(journal.completed);
        self.completed_us = Some(now_us);
    }

    fn report(&self, journal: &Journal) -> Value {
        let worker = json!({"name": "w", "used": 1, "draining": false});
        let failure = json!({"atUs": 1, "failure": {"kind": "config", "message": "the SQL fails"}});
        let savepoint = |id: &String| json!({"id": id, "state": "Completed", "place": format!("s3://bucket/{id}"), "checkpoint": 1, "bytes": 10});
        json!({
            "job": self.job, "state": self.state, "attempt": self.attempt, "execution": 1,
            "parallelism": self.parallelism, "rescalingTo": self.rescaling_to,
            "workers": vec![worker; self.workers],
            "checkpoints": {
                "counters": {"completed": journal.completed, "failed": 0, "restarts": 0},
                "successRate": 1.0, "failedInRow": 0,
                "lastCompleted": journal.last, "lastCompletedUs": self.completed_us, "newest": [],
            },
            "savepoints": journal.savepoints.iter().map(savepoint).collect::<Vec<_>>(),
            "lastFailure": if self.state == "Failed" { failure } else { Value::Null },
        })
    }
}

/// The coordinators of a world.
#[derive(Clone, Debug)]
pub(crate) struct ModelCoordinators(pub(crate) ModelCluster);

/// The uid of the pod at an address.
fn at(world: &World, address: IpAddr) -> Option<String> {
    let text = address.to_string();
    let is_there = |pod: &&Pod| pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()) == Some(&text);
    world.pods.values().find(is_there)?.metadata.uid.clone()
}

impl Coordinators for ModelCoordinators {
    async fn status(&self, address: &Address) -> Result<Report, AskError> {
        let world = self.0.world();
        let gone = || AskError::Unreachable("nobody is there".to_owned());
        let engine = at(&world, address.pod).and_then(|uid| world.engines.get(&uid)).ok_or_else(gone)?;
        if engine.job != address.job || world.stuck.contains(&engine.pod) {
            return Err(gone());
        }
        let journal = world.journals.get(&engine.job).cloned().unwrap_or_default();
        Ok(serde_json::from_value(engine.report(&journal)).expect("a report"))
    }

    async fn ask(&self, address: &Address, ask: &Ask) -> Result<(), AskError> {
        let asked = self.0.ask(|world| {
            let Some(uid) = at(world, address.pod) else { return };
            let Some(engine) = world.engines.get_mut(&uid) else { return };
            match ask {
                Ask::Stop { now } => {
                    engine.stopping = true;
                    if *now && engine.state != "Finished" {
                        engine.state = "Stopped";
                    }
                }
                Ask::Rescale { parallelism } => engine.rescaling_to = Some(*parallelism),
                Ask::Savepoint { id, .. } => {
                    let job = engine.job.clone();
                    let journal = world.journals.entry(job).or_default();
                    if !journal.savepoints.contains(id) {
                        journal.savepoints.push(id.clone());
                    }
                }
            }
        });
        asked.map_err(|error| AskError::Unreachable(error.to_string()))
    }
}
