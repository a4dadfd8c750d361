//! A story: a namespace of its own with an S3 server and an operator in it, jobs, and what is left for a person to read
//! when it fails.

use std::fs;
use std::path::PathBuf;
use std::sync::{LazyLock, Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kubectl::{Kubectl, Objects};
use crate::nodes::Node;
use crate::reference::{COUNTS, Rows, differences, rows};
use crate::{Job, LONG, bucket, charts};

/// Nodes are shared: a story that takes one away is alone.
static NODES: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "held, never read")]
enum Nodes {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A story that is being told. Dropping it removes its namespace; if it fails, dumps everything first.
pub struct Story {
    name: String,
    namespace: String,
    kubectl: Kubectl,
    _nodes: Nodes,
}

impl Story {
    /// Begins beside others: namespace, S3 server and operator are there.
    pub fn begin(name: &str) -> Self {
        let shared = NODES.read().unwrap_or_else(PoisonError::into_inner);
        Self::with_operator(name, Nodes::Shared(shared))
    }

    /// Begins when no other story is being told, and keeps others waiting: it may do to nodes what it likes.
    pub fn begin_alone(name: &str) -> Self {
        let alone = NODES.write().unwrap_or_else(PoisonError::into_inner);
        Self::with_operator(name, Nodes::Alone(alone))
    }

    /// Begins without an operator.
    pub fn begin_without_operator(name: &str) -> Self {
        let shared = NODES.read().unwrap_or_else(PoisonError::into_inner);
        Self::prepare(name, Nodes::Shared(shared))
    }

    fn with_operator(name: &str, nodes: Nodes) -> Self {
        let story = Self::prepare(name, nodes);
        charts::install_operator(&story.namespace, &[]);
        story
    }

    fn prepare(name: &str, nodes: Nodes) -> Self {
        static DEFINITIONS: Once = Once::new();
        DEFINITIONS.call_once(charts::install_definitions);
        let namespace = format!("weir-{name}");
        let kubectl = Kubectl::new(&namespace);
        remove(&kubectl, &namespace);
        kubectl.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        }));
        let story = Self { name: name.to_owned(), namespace, kubectl, _nodes: nodes };
        bucket::start(&story.kubectl);
        bucket::ready(&story.kubectl);
        story
    }

    /// `kubectl` in its namespace.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Applies a job.
    pub fn apply(&self, job: &Job) {
        // The reference is computed while the job comes up.
        thread::spawn(|| LazyLock::force(&COUNTS));
        self.kubectl.apply(&job.manifest());
    }

    /// Changes a part of a job's spec.
    pub fn patch(&self, job: &Job, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl.run(&["patch", "streamjob", job.name(), "--type=merge", "--patch", &patch]);
    }

    /// The job as it is now.
    pub fn job(&self, job: &Job) -> Value {
        self.kubectl.get(&["streamjob", job.name()])
    }

    /// Waits until this is so of the job.
    pub fn until(&self, job: &Job, why: &str, met: impl Fn(&Value) -> bool) -> Value {
        self.kubectl.until_one(why, "streamjobs", job.name(), LONG, met)
    }

    /// What the job itself says, by its coordinator: newer than the status of the object.
    pub fn engine(&self, job: &Job) -> Result<Value, String> {
        let selector = selector(job, "coordinator");
        let pods = self.kubectl.attempt(&["get", "pods", "--output", "json", "--selector", &selector])?;
        let pods: Value = serde_json::from_str(&pods).map_err(|e| e.to_string())?;
        let mut last = "there is no coordinator".to_owned();
        // One that goes may be on a node that does not answer.
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        for pod in pods["items"].as_array().into_iter().flatten().filter(stays).map(name) {
            let path = format!("/api/v1/namespaces/{}/pods/{pod}:8081/proxy/v1/job", self.namespace);
            match self.kubectl.attempt(&["get", "--request-timeout=5s", "--raw", &path]) {
                Ok(text) => return serde_json::from_str(&text).map_err(|e| format!("{e}: {text}")),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks the job again and again until this is so. Fails if it comes to its end before that: then nothing was shown.
    pub fn until_engine(&self, job: &Job, why: &str, met: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let said = self.engine(job);
            if let Ok(engine) = &said {
                if met(engine) {
                    return engine.clone();
                }
                let state = engine["state"].as_str().unwrap_or_default();
                assert!(!["Finished", "Failed"].contains(&state), "{state} before {why}: {engine:#}");
            }
            assert!(Instant::now() < end, "not within {LONG:?}: {why}; at last: {said:#?}");
            // A coordinator can only be asked.
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Waits until the job runs and, from then on, has completed so many more checkpoints.
    pub fn until_checkpoints(&self, job: &Job, more: u64) -> Value {
        let runs = |engine: &Value| engine["state"] == "Running";
        let from = counter(&self.until_engine(job, "it runs", runs), "completed");
        self.until_engine(job, &format!("{more} more checkpoints than {from}"), |engine| {
            runs(engine) && counter(engine, "completed") >= from + more
        })
    }

    /// The job's pods of a kind: `worker` or `coordinator`.
    pub fn pods(&self, job: &Job, component: &str) -> Vec<Value> {
        self.kubectl.list(&["pods", "--selector", &selector(job, component)])
    }

    /// Waits until this is so of the job's pods of a kind.
    pub fn until_pods(
        &self,
        job: &Job,
        component: &str,
        why: &str,
        met: impl FnMut(&Objects) -> bool,
    ) -> Objects {
        self.kubectl.until(why, &["pods", "--selector", &selector(job, component)], LONG, met)
    }

    /// Waits until so many of the job's workers are ready on other nodes than this one.
    pub fn until_workers_left(&self, job: &Job, node: Node, workers: usize) {
        self.until_pods(job, "worker", "all workers are elsewhere and ready", |pods| {
            let elsewhere = |pod: &&Value| {
                pod["metadata"]["deletionTimestamp"].is_null()
                    && pod["spec"]["nodeName"].is_string()
                    && Node::of(pod) != node
                    && condition(pod, "Ready") == Some("True")
            };
            pods.values().filter(elsewhere).count() >= workers
        });
    }

    /// Waits until all nodes are ready.
    pub fn until_nodes_ready(&self) {
        self.kubectl.until("the node is back", &["nodes"], LONG, |nodes| {
            nodes.values().all(|node| condition(node, "Ready") == Some("True"))
        });
    }

    /// Waits for the end of the job's input; then its result is the reference.
    pub fn finish(&self, job: &Job) {
        self.finish_over(job, &[job]);
    }

    /// The same where the result is spread over the folders that the job had over time.
    pub fn finish_over(&self, job: &Job, versions: &[&Job]) {
        self.until(job, "the end of the job", |job| {
            assert!(job["status"]["state"] != "Failed", "the job failed: {:#}", job["status"]);
            job["status"]["state"] == "Finished"
        });
        let found = self.result(versions);
        if let Some(differences) = differences(&found, &COUNTS) {
            panic!("{differences}");
        }
    }

    /// Looks again and again until this is so of the job's result.
    pub fn until_result(&self, job: &Job, why: &str, met: impl Fn(&Rows) -> bool) {
        let end = Instant::now() + LONG;
        loop {
            let result = self.result(&[job]);
            if met(&result) {
                return;
            }
            if Instant::now() >= end {
                let differences = differences(&result, &COUNTS).unwrap_or_default();
                panic!("not within {LONG:?}: {why}; {differences}");
            }
            // Nothing tells of a new file in the bucket.
            thread::sleep(Duration::from_secs(1));
        }
    }

    /// What is visible of the job's result.
    pub fn result(&self, versions: &[&Job]) -> Rows {
        let read = |job: &&Job| bucket::read(&self.kubectl, &job.folder()).unwrap_or_else(|e| panic!("{e}"));
        rows(&versions.iter().map(read).collect::<String>())
    }

    /// Everything that a person needs who looks for the reason of a failure, as files in a folder.
    fn dump(&self) {
        let folder = std::env::var_os("WEIR_E2E_DUMPS").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = folder.join(format!("weir-e2e-{}", self.name));
        let _ = fs::create_dir_all(&folder);
        let kubectl = |arguments: &[&str]| self.kubectl.attempt(arguments).unwrap_or_else(|e| e);
        let objects = "streamjobs,savepoints,pods,services,configmaps,poddisruptionbudgets,networkpolicies";
        let pods = kubectl(&["get", "pods", "--output", "wide"]);
        let jobs = kubectl(&["get", "streamjobs", "--output", "yaml"]);
        let events = kubectl(&["get", "events", "--sort-by=.lastTimestamp"]);
        let mut files = vec![
            ("objects.yaml".to_owned(), kubectl(&["get", objects, "--output", "yaml"])),
            ("describe.txt".to_owned(), kubectl(&["describe", objects])),
            ("nodes.txt".to_owned(), kubectl(&["describe", "nodes"])),
            ("bucket.txt".to_owned(), bucket::list(&self.kubectl, "").unwrap_or_else(|e| e)),
        ];
        for name in kubectl(&["get", "pods", "--output", "name"]).lines() {
            let file = name.trim_start_matches("pod/");
            let logs = kubectl(&["logs", "--all-containers", "--prefix", "--timestamps", name]);
            files.push((format!("{file}.log"), logs));
            if let Ok(previous) = self.kubectl.attempt(&["logs", "--previous", "--timestamps", name]) {
                files.push((format!("{file}.previous.log"), previous));
            }
        }
        let summary = format!("{pods}\n{jobs}\n{events}");
        files.push(("summary.txt".to_owned(), summary.clone()));
        for (name, text) in files {
            let _ = fs::write(folder.join(name), text);
        }
        let mut said = std::io::stderr().lock();
        let _ = std::io::Write::write_all(
            &mut said,
            format!("{}: failed; more in {}\n{summary}\n", self.name, folder.display()).as_bytes(),
        );
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dump();
            if std::env::var_os("WEIR_E2E_KEEP").is_some() {
                return;
            }
        }
        remove(&self.kubectl, &self.namespace);
    }
}

/// Removes a namespace. Jobs first, while there is an operator that lets them go; what is left of a story that failed goes
/// without.
fn remove(kubectl: &Kubectl, namespace: &str) {
    if kubectl.attempt(&["get", "namespace", namespace]).is_err() {
        return;
    }
    let jobs = ["delete", "streamjobs,savepoints", "--all", "--timeout=60s"];
    if kubectl.attempt(&jobs).is_err() {
        for name in
            kubectl.attempt(&["get", "streamjobs,savepoints", "--output", "name"]).unwrap_or_default().lines()
        {
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            let _ = kubectl.attempt(&["patch", name, "--type=merge", "--patch", patch]);
        }
    }
    let _ = kubectl.attempt(&["delete", "namespace", namespace, "--timeout=120s"]);
}

fn selector(job: &Job, component: &str) -> String {
    format!("app.kubernetes.io/instance={},app.kubernetes.io/component={component}", job.name())
}

/// The answer of a condition of a job or a pod: `True`, `False` or `Unknown`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    condition_of(object, kind)?["status"].as_str()
}

/// A condition with reason and message.
pub fn condition_of<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Whether any condition has this reason.
pub fn has_reason(object: &Value, reason: &str) -> bool {
    object["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["reason"] == reason))
}

/// A counter over the life of a job, as it says itself: `completed` and `failed` checkpoints, `restarts`.
pub fn counter(engine: &Value, name: &str) -> u64 {
    engine["checkpoints"]["counters"][name].as_u64().unwrap_or(0)
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The uid of an object.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}
