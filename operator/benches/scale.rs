//! How the operator does with many jobs: `e2e/scale.sh`, which runs this beside a real API server.
//!
//! The operator is the real one, as a child process. Its pods are made in the API server and run nowhere: this plays
//! all kubelets, and all coordinators, each under an address of its own out of 10.200.0.0/13, which has to be local.
//! Prints one JSON object per number of jobs:
//! - `up`: jobs are added until there are so many. The time until all run, and what the operator spent on it.
//! - `rest`: nothing changes but that checkpoints complete, one in ten seconds and job. `requests_per_s` counts all
//!   that the API server answers but watches; nobody else asks it for much then, and `most` says for what.
//! - `restart`: the operator is killed and started again. The time until it has looked at every job, and until it
//!   asks for no more than it does at rest.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::panic, reason = "a bench prints what it found")]

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::StatusCode;
use axum::serve::IncomingStream;
use axum::{Json, Router, routing::get};
use clap::Parser;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use weir_crds::{ConditionStatus, ConditionType, StreamJob};
use weir_operator::names::{COMPONENT, HTTP_PORT, JOB_UID};

const NAMESPACE: &str = "scale";
/// Who writes, for server-side apply.
const WRITER: &str = "scale";
/// Where the operator serves its metrics.
const METRICS: &str = "127.0.0.1:18080";
/// Requests of this bench at a time.
const AT_ONCE: usize = 16;
/// The addresses of coordinators follow this one, those of workers the other.
const COORDINATORS: u32 = u32::from_be_bytes([10, 200, 0, 1]);
const WORKERS: u32 = u32::from_be_bytes([10, 208, 0, 1]);
/// How often a job completes a checkpoint.
const CHECKPOINT: Duration = Duration::from_secs(10);
/// What is waited for no longer.
const LATE: Duration = Duration::from_secs(1800);

/// Runs an operator over many jobs whose pods are played.
#[derive(Debug, Parser)]
struct Args {
    /// Numbers of jobs, each more than the one before
    #[arg(default_values_t = [10, 100, 1000, 5000])]
    jobs: Vec<usize>,
    /// The cluster; default: that of KUBECONFIG
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The operator's binary
    #[arg(long, default_value = env!("CARGO_BIN_EXE_weir-operator"))]
    operator: PathBuf,
    /// Where the operator's log goes
    #[arg(long, default_value = "/tmp/weir-scale-operator.log")]
    log: PathBuf,
    /// For how long the operator is watched at rest, seconds
    #[arg(long, default_value_t = 120)]
    rest: u64,
    /// How long pods take to come up, seconds
    #[arg(long, default_value_t = 0)]
    slow: u64,
    /// The SQL of jobs is in a ConfigMap that all of them share
    #[arg(long)]
    sql_from: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// A coordinator that is played.
struct Coordinator {
    job: String,
    since: Timestamp,
}

/// What the players share.
#[derive(Default)]
struct Stage {
    coordinators: BTreeMap<Ipv4Addr, Coordinator>,
    workers: u32,
    /// Jobs that run, by name.
    running: HashSet<String>,
    /// Coordinators that were asked since this was last cleared.
    asked: HashSet<Ipv4Addr>,
}

/// All players share one.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Stage>>);

impl Shared {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().expect("no player panics")
    }

    /// Gives an address to a pod; a coordinator answers there from now on.
    fn address(&self, pod: &Pod) -> Ipv4Addr {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|l| l.get(key)).cloned();
        let mut stage = self.stage();
        if label(COMPONENT).as_deref() != Some("coordinator") {
            stage.workers += 1;
            return Ipv4Addr::from(WORKERS + stage.workers);
        }
        let number = u32::try_from(stage.coordinators.len()).expect("few");
        let address = Ipv4Addr::from(COORDINATORS + number);
        let coordinator = Coordinator { job: label(JOB_UID).expect("of a job"), since: Timestamp::now() };
        stage.coordinators.insert(address, coordinator);
        address
    }
}

/// The address that a request came to: which coordinator is asked.
#[derive(Debug, Clone, Copy)]
struct Asked(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Asked {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().expect("a connection"))
    }
}

/// Plays all coordinators.
async fn coordinate(shared: Shared) {
    let answer = move |ConnectInfo(Asked(at)): ConnectInfo<Asked>| {
        let IpAddr::V4(at) = at.ip() else { panic!("not asked for: {at}") };
        let mut stage = shared.stage();
        stage.asked.insert(at);
        let report = stage.coordinators.get(&at).map(report);
        std::future::ready(report.map(Json).ok_or(StatusCode::NOT_FOUND))
    };
    let app = Router::new().route("/v1/job", get(answer)).into_make_service_with_connect_info::<Asked>();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, HTTP_PORT)).await.expect("a free port");
    axum::serve(listener, app).await.expect("serving");
}

/// What a job tells that runs on two workers, and has completed a checkpoint every now and then.
fn report(coordinator: &Coordinator) -> Value {
    let begun = coordinator.since.as_microsecond();
    let interval = i64::try_from(CHECKPOINT.as_micros()).expect("short");
    let last = (Timestamp::now().as_microsecond() - begun) / interval;
    let checkpoint = |id: i64| json!({"id": id, "triggeredUs": begun + id * interval, "completedAfterUs": 250_000, "newBytes": 1_000_000});
    json!({
        "job": coordinator.job, "state": "Running", "attempt": 1, "execution": 1, "parallelism": 2,
        "workers": [{"name": "w0", "used": 1, "draining": false}, {"name": "w1", "used": 1, "draining": false}],
        "checkpoints": {
            "counters": {"completed": last, "failed": 0, "restarts": 0}, "failedInRow": 0, "successRate": 1.0,
            "lastCompleted": (last > 0).then_some(last),
            "lastCompletedUs": (last > 0).then_some(begun + last * interval),
            "newest": (1..=last).rev().take(10).map(checkpoint).collect::<Vec<_>>(),
        },
    })
}

/// Plays all kubelets: pods run as soon as they are seen, and go when they are deleted.
async fn keep_pods(client: Client, shared: Shared, slow: Duration) {
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let requests = Semaphore::new(AT_ONCE);
    let seen = watcher(pods.clone(), watcher::Config::default()).default_backoff().applied_objects();
    seen.for_each_concurrent(None, |pod| async {
        let Ok(pod) = pod else { return };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let runs = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        if !runs {
            tokio::time::sleep(slow).await;
        }
        let _permit = requests.acquire().await;
        // One that is gone meanwhile needs nothing more.
        if pod.metadata.deletion_timestamp.is_some() {
            drop(pods.delete(&name, &DeleteParams::default().grace_period(0)).await);
        } else if !runs {
            let status = json!({"status": {
                "phase": "Running", "podIP": shared.address(&pod), "containerStatuses": [{
                    "name": "weir", "image": "weir:1", "imageID": "", "ready": true, "started": true,
                    "restartCount": 0, "state": {"running": {"startedAt": Timestamp::now()}}, "lastState": {}}],
            }});
            drop(pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await);
        }
    })
    .await;
}

/// Notes which jobs run.
async fn look_at_jobs(client: Client, shared: Shared) {
    let jobs: Api<StreamJob> = Api::namespaced(client, NAMESPACE);
    let seen = watcher(jobs, watcher::Config::default()).default_backoff().applied_objects();
    seen.for_each(|job| {
        if let Ok(job) = job {
            let ready = job.status.as_ref().and_then(|status| status.condition(ConditionType::Ready));
            let runs = ready.is_some_and(|condition| condition.status == ConditionStatus::True);
            let name = job.metadata.name.unwrap_or_default();
            let mut stage = shared.stage();
            match runs {
                true => stage.running.insert(name),
                false => stage.running.remove(&name),
            };
        }
        std::future::ready(())
    })
    .await;
}

/// The operator as a process, with what it has spent before a restart.
struct Operator {
    child: Child,
    command: Command,
}

impl Operator {
    fn start(args: &Args) -> Self {
        let mut command = Command::new(&args.operator);
        command.args(["--namespace", NAMESPACE, "--own-namespace", NAMESPACE, "--listen", METRICS]);
        command.stderr(File::create(&args.log).expect("the log can be written"));
        if let Some(kubeconfig) = &args.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        Self { child: command.spawn().expect("the operator starts"), command }
    }

    /// Kills it and starts another.
    fn restart(&mut self) {
        self.end();
        self.child = self.command.spawn().expect("the operator starts");
    }

    fn end(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }

    fn proc(&self, file: &str) -> String {
        let path = Path::new("/proc").join(self.child.id().to_string()).join(file);
        std::fs::read_to_string(path).expect("the operator runs")
    }

    /// Seconds of processors that it has used.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        // After the name, which may hold anything: the 12th and 13th, in hundredths.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
    }

    /// Of its memory, in MiB: `VmRSS` now, `VmHWM` at most.
    fn memory(&self, what: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(what)).expect("it is told");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        rounded(kib / 1024.0)
    }

    /// Its own counters, without their labels; nothing while it is not up.
    async fn counters(&self) -> BTreeMap<String, f64> {
        let text = async {
            let mut stream = TcpStream::connect(METRICS).await?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map(|_| text)
        };
        let text: std::io::Result<String> = text.await;
        let mut all = BTreeMap::new();
        for (name, labels, value) in samples(&text.unwrap_or_default()) {
            let outcome = label(labels, "outcome");
            *all.entry(name.to_owned()).or_default() += value;
            *all.entry(format!("{name} {outcome}")).or_default() += value;
        }
        all
    }

    /// Requests that it has made, besides watches, events and its Lease.
    async fn requests(&self) -> f64 {
        self.counters().await.get("weir_operator_api_requests_total").copied().unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.end();
    }
}

/// Name, labels and value of each line of a text of metrics.
fn samples(text: &str) -> impl Iterator<Item = (&str, &str, f64)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (left, value) = line.rsplit_once(' ')?;
        let (name, labels) = left.split_once('{').unwrap_or((left, ""));
        Some((name, labels, value.parse().ok()?))
    })
}

fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let all = labels.trim_end_matches('}').split(',');
    let found = all.filter_map(|one| one.split_once('=')).find(|(key, _)| *key == name);
    found.map_or("", |(_, value)| value.trim_matches('"'))
}

/// What the API server has answered but watches, by verb and resource.
async fn answered(client: &Client) -> BTreeMap<String, f64> {
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = client.request_text(request).await.expect("the API server's metrics");
    let mut all = BTreeMap::new();
    for (name, labels, value) in samples(&text) {
        let verb = label(labels, "verb");
        if name == "apiserver_request_total" && verb != "WATCH" {
            let (resource, part) = (label(labels, "resource"), label(labels, "subresource"));
            *all.entry(format!("{verb} {resource} {part}").trim().to_owned()).or_default() += value;
        }
    }
    all
}

fn difference(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let since = |(name, value): (&String, &f64)| (name.clone(), value - before.get(name).unwrap_or(&0.0));
    let mut all: Vec<_> = after.iter().map(since).filter(|(_, value)| *value > 0.0).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Waits until something holds; seconds since `from`.
async fn until(from: Instant, what: &str, holds: impl Fn() -> bool) -> f64 {
    while !holds() {
        assert!(from.elapsed() < LATE, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rounded(from.elapsed().as_secs_f64())
}

/// Everything that is measured needs these.
struct Bench {
    client: Client,
    shared: Shared,
    operator: Operator,
    rest: Duration,
    sql_from: bool,
}

impl Bench {
    fn job(&self, number: usize) -> StreamJob {
        let sql = match self.sql_from {
            true => json!({"sqlFrom": {"configMapKeyRef": {"name": "sql", "key": "sql"}}}),
            false => json!({"sql": SQL}),
        };
        let mut job = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": format!("job-{number}")},
            "spec": {"parallelism": 2, "checkpoint": {"storage": "s3://bucket/x", "interval": "10s"}},
        });
        job["spec"].as_object_mut().expect("an object").extend(sql.as_object().cloned().unwrap_or_default());
        serde_json::from_value(job).expect("a job")
    }

    /// Adds jobs until there are so many.
    async fn up(&self, from: usize, to: usize) -> Value {
        let (began, cpu, requests) = (Instant::now(), self.operator.cpu(), self.operator.requests().await);
        let api: Api<StreamJob> = Api::namespaced(self.client.clone(), NAMESPACE);
        let params = PatchParams::apply(WRITER).force();
        futures::stream::iter(from..to)
            .for_each_concurrent(AT_ONCE, |number| {
                let (api, params, job) = (&api, &params, self.job(number));
                async move {
                    let name = job.metadata.name.clone().unwrap_or_default();
                    api.patch(&name, params, &Patch::Apply(&job)).await.expect("a job is applied");
                }
            })
            .await;
        let applied = rounded(began.elapsed().as_secs_f64());
        let took = until(began, "all jobs run", || self.shared.stage().running.len() >= to).await;
        let requests = self.operator.requests().await - requests;
        json!({
            "added": to - from, "applied_s": applied, "s": took, "cpu_s": rounded(self.operator.cpu() - cpu),
            "requests": requests, "peak_mib": self.operator.memory("VmHWM"),
        })
    }

    /// Watches it while nothing changes.
    async fn rest(&self) -> Value {
        // All have told their first checkpoint by then.
        tokio::time::sleep(Duration::from_secs(45)).await;
        let (began, cpu) = (Instant::now(), self.operator.cpu());
        let (server, own) = (answered(&self.client).await, self.operator.counters().await);
        tokio::time::sleep(self.rest).await;
        let (server, own) = (
            difference(&server, &answered(&self.client).await),
            difference(&own, &self.operator.counters().await),
        );
        let seconds = began.elapsed().as_secs_f64();
        let rate = |counted: &[(String, f64)], name: &str| {
            let found = counted.iter().find(|(n, _)| n == name).map_or(0.0, |(_, value)| *value);
            rounded(found / seconds)
        };
        let most: serde_json::Map<String, Value> = server
            .iter()
            .take(5)
            .map(|(name, value)| (name.clone(), json!(rounded(value / seconds))))
            .collect();
        json!({
            "s": rounded(seconds),
            "cpu_s_per_min": rounded((self.operator.cpu() - cpu) / seconds * 60.0),
            "requests_per_s": rounded(server.iter().map(|(_, value)| value).sum::<f64>() / seconds),
            "own_requests_per_s": rate(&own, "weir_operator_api_requests_total"),
            "passes_per_s": rate(&own, "weir_operator_reconciles_total"),
            "conflicts_per_s": rate(&own, "weir_operator_reconciles_total Conflict"),
            "most": most, "rss_mib": self.operator.memory("VmRSS"),
        })
    }

    /// Kills the operator and starts it again.
    async fn restart(&mut self, jobs: usize, at_rest: f64) -> Value {
        self.operator.restart();
        self.shared.stage().asked.clear();
        let began = Instant::now();
        let seen = until(began, "every job was looked at", || self.shared.stage().asked.len() >= jobs).await;
        // A second may be calm by chance: the end is before five that are.
        let (mut calm, mut before, mut settled) = (0, self.operator.requests().await, seen);
        while calm < 5 {
            assert!(began.elapsed() < LATE, "it does not come to rest after a restart");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.operator.requests().await;
            calm = if now - before <= at_rest * 1.5 + 5.0 { calm + 1 } else { 0 };
            settled = if calm == 0 { rounded(began.elapsed().as_secs_f64()) } else { settled };
            before = now;
        }
        json!({
            "seen_s": seen, "settled_s": settled, "cpu_s": rounded(self.operator.cpu()), "requests": before,
            "rss_mib": self.operator.memory("VmRSS"), "peak_mib": self.operator.memory("VmHWM"),
        })
    }
}

const SQL: &str =
    "CREATE TABLE keys (k BIGINT NOT NULL) WITH ('connector' = 'datagen', 'rows-per-second' = '10');
CREATE TABLE sink (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
INSERT INTO sink SELECT MOD(k, 10), COUNT(*) FROM keys GROUP BY MOD(k, 10);
";

/// Makes the definitions, the namespace, and the SQL that jobs may share.
async fn prepare(client: &Client) {
    let params = PatchParams::apply(WRITER).force();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for file in ["streamjobs.weir.dev", "savepoints.weir.dev"] {
        let path = format!("{}/../charts/weir-crds/files/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a definition");
        let definition: Value = serde_saphyr::from_str(&text).expect("a definition");
        definitions.patch(file, &params, &Patch::Apply(&definition)).await.expect("a definition is applied");
        let established = kube::runtime::conditions::is_crd_established();
        kube::runtime::wait::await_condition(definitions.clone(), file, established)
            .await
            .expect("it is used");
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    namespaces.patch(NAMESPACE, &params, &Patch::Apply(&namespace)).await.expect("a namespace");
    // Nobody else makes it here, and pods are refused without.
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    accounts.patch("default", &params, &Patch::Apply(&account)).await.expect("an account");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sql"}, "data": {"sql": SQL}});
    maps.patch("sql", &params, &Patch::Apply(&map)).await.expect("a ConfigMap");
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = match &args.kubeconfig {
        None => Config::infer().await.expect("a cluster"),
        Some(path) => {
            let file = Kubeconfig::read_from(path).expect("a kubeconfig");
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a cluster")
        }
    };
    let client = Client::try_from(config).expect("a cluster");
    prepare(&client).await;
    let shared = Shared::default();
    tokio::spawn(coordinate(shared.clone()));
    tokio::spawn(keep_pods(client.clone(), shared.clone(), Duration::from_secs(args.slow)));
    tokio::spawn(look_at_jobs(client.clone(), shared.clone()));
    let operator = Operator::start(&args);
    let rest = Duration::from_secs(args.rest);
    let mut bench = Bench { client, shared, operator, rest, sql_from: args.sql_from };
    let mut from = 0;
    for jobs in args.jobs {
        let up = bench.up(from, jobs).await;
        let rest = bench.rest().await;
        let at_rest = rest["own_requests_per_s"].as_f64().unwrap_or_default();
        let restart = bench.restart(jobs, at_rest).await;
        println!("{}", json!({"jobs": jobs, "up": up, "rest": rest, "restart": restart}));
        from = jobs;
    }
}
