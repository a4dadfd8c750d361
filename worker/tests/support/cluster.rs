//! A job whose coordinator and workers are processes of their own.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::http;
use super::place::{Place, Running};
use super::{LONG, until};

/// Short times, so that tests need not wait for what they provoke.
pub(crate) const QUICK: &[&str] = &[
    "recovery.heartbeatInterval=100ms",
    "recovery.heartbeatTimeout=2s",
    "restart.strategy=FixedDelay",
    "restart.attempts=1000",
    "restart.delay=10ms",
];

/// How the processes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// With certificates of the job.
    Tls,
    /// Without.
    Plaintext,
}

/// The processes of one job.
pub(crate) struct Cluster {
    pub(crate) place: Place,
    pub(crate) coordinator: Running,
    secrecy: Secrecy,
    set: Vec<String>,
    control: String,
    http: String,
}

impl Cluster {
    /// Starts the coordinator.
    pub(crate) fn start(place: Place, secrecy: Secrecy, set: &[&str]) -> Self {
        if secrecy == Secrecy::Tls {
            make_certificates(&place, place.name(), "certs");
        }
        let set: Vec<String> = QUICK.iter().chain(set).map(|s| (*s).to_owned()).collect();
        let any = "127.0.0.1:0";
        let coordinator = coordinator(&place, secrecy, &set, any, any);
        let (coordinator, announced) = announced(&place, coordinator, "coordinator.json");
        let text = |name: &str| announced[name].as_str().expect("an address").to_owned();
        Self { coordinator, secrecy, set, control: text("control"), http: text("http"), place }
    }

    /// Starts another coordinator at the same addresses, after the end of the one before.
    pub(crate) fn next_coordinator(&mut self) {
        let next = coordinator(&self.place, self.secrecy, &self.set, &self.control, &self.http);
        self.coordinator = announced(&self.place, next, "coordinator.json").0;
    }

    /// Sets a field for the coordinators to come.
    pub(crate) fn change(&mut self, set: &str) {
        self.set.push(set.to_owned());
    }

    /// Starts a second coordinator elsewhere, while the first one may still be there.
    pub(crate) fn rival(&self) -> Running {
        coordinator(&self.place, self.secrecy, &self.set, "127.0.0.1:0", "off")
    }

    /// Where workers connect.
    pub(crate) fn control(&self) -> &str {
        &self.control
    }

    /// Where the status is served.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// Starts a worker.
    pub(crate) fn worker(&self, slots: u32, more: &[&str]) -> Running {
        let slots = slots.to_string();
        let mut arguments =
            vec!["worker", "--log", "info", "--coordinator", &self.control, "--slots", slots.as_str()];
        arguments.extend(more);
        let mut command = self.place.weir(&arguments);
        command.args(secrets(&self.place, self.secrecy, "worker"));
        if self.secrecy == Secrecy::Tls {
            command.args(["--uid", self.place.name()]);
        }
        self.place.launch(command)
    }

    /// The status, if the coordinator tells it.
    pub(crate) fn status(&self) -> Option<Value> {
        http::get(&self.http, "/v1/job")
    }

    /// Waits until the status is as wanted.
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let met = until(LONG, || {
            assert!(
                self.coordinator.exited().is_none(),
                "waiting for {what}, it ended: {}",
                self.coordinator.log()
            );
            last = self.status().or(last.take());
            last.as_ref().is_some_and(&wanted)
        });
        assert!(met, "no {what}: {last:#?} {}", self.coordinator.log());
        last.unwrap_or_default()
    }

    /// Waits until rows flow and this many checkpoints more than `from` are completed.
    pub(crate) fn wait_for_checkpoints(&mut self, from: u64, more: u64) -> Value {
        let wanted = |status: &Value| completed(status) >= from + more && status["state"] == "Running";
        self.wait_for("checkpoints", wanted)
    }

    /// The addresses and secrets of this job, for a process that does not belong to it.
    pub(crate) fn secrets(&self, name: &str) -> Vec<String> {
        secrets(&self.place, self.secrecy, name)
    }
}

/// The newest completed checkpoint.
pub(crate) fn completed(status: &Value) -> u64 {
    status["checkpoints"]["lastCompleted"].as_u64().unwrap_or(0)
}

/// The names of the workers that are there.
pub(crate) fn workers(status: &Value) -> Vec<String> {
    let name = |worker: &Value| worker["name"].as_str().unwrap_or_default().to_owned();
    status["workers"].as_array().into_iter().flatten().map(name).collect()
}

fn coordinator(place: &Place, secrecy: Secrecy, set: &[String], control: &str, http: &str) -> Running {
    let mut arguments = vec!["coordinator", "job.yaml", "--log", "info", "--progress", "plain"];
    arguments.extend(["--announce", "coordinator.json", "--listen", control, "--http", http]);
    arguments.extend(place.set.iter().chain(set).flat_map(|set| ["--set", set.as_str()]));
    let mut command = place.weir(&arguments);
    command.args(secrets(place, secrecy, "coordinator"));
    place.launch(command)
}

fn secrets(place: &Place, secrecy: Secrecy, name: &str) -> Vec<String> {
    match secrecy {
        Secrecy::Plaintext => vec!["--plaintext".to_owned()],
        Secrecy::Tls => certificates(&place.path("certs"), name),
    }
}

/// The arguments of a process with certificates of this folder.
pub(crate) fn certificates(folder: &std::path::Path, name: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
    let all = ["--tls-ca", &file("ca.pem"), "--tls-cert", &certificate, "--tls-key", &key];
    all.map(str::to_owned).to_vec()
}

/// Makes certificates of a job in a folder of the place.
pub(crate) fn make_certificates(place: &Place, job: &str, folder: &str) -> PathBuf {
    let path = place.path(folder);
    let made =
        place.weir(&["certificates", "--job", job, "--out", folder]).output().expect("the binary runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// Waits for the addresses of a process that was just started.
fn announced(place: &Place, mut process: Running, file: &str) -> (Running, Value) {
    let path = place.path(file);
    let mut found = Value::Null;
    let there = until(LONG, || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        found = serde_json::from_str(&text).unwrap_or_default();
        found["process"] == process.id() || process.exited().is_some()
    });
    assert!(there && process.exited().is_none(), "no addresses: {}", process.log());
    (process, found)
}
