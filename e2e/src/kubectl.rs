//! `kubectl` in one namespace.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::tools;

/// Objects by name.
pub type Objects = BTreeMap<String, Value>;

/// `kubectl` with a namespace. The program is `WEIR_E2E_KUBECTL`, or `kubectl`.
#[derive(Debug, Clone)]
pub struct Kubectl {
    namespace: String,
}

impl Kubectl {
    /// In this namespace, which need not be there yet.
    pub fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tools::program("WEIR_E2E_KUBECTL", "kubectl");
        command.args(["--namespace", &self.namespace]).args(arguments);
        command
    }

    /// What it prints; the error is what it says when it fails.
    pub fn attempt(&self, arguments: &[&str]) -> Result<String, String> {
        tools::output(self.command(arguments).stdin(Stdio::null()))
    }

    /// What it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.attempt(arguments).unwrap_or_else(|e| panic!("{e}"))
    }

    /// An object, or a list of them, as it is now.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[&["get", "--output", "json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl gives JSON")
    }

    /// The objects of a list as they are now.
    pub fn list(&self, arguments: &[&str]) -> Vec<Value> {
        match self.get(arguments)["items"].take() {
            Value::Array(items) => items,
            _ => panic!("get {arguments:?} gives no list"),
        }
    }

    /// Applies a manifest; the error is what the API server says.
    pub fn try_apply(&self, manifest: &Value) -> Result<String, String> {
        let mut child = self
            .command(&["apply", "--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut input = child.stdin.take().expect("it was asked for");
        // A kubectl that ended early says why by itself.
        let _ = input.write_all(manifest.to_string().as_bytes());
        drop(input);
        let done = child.wait_with_output().expect("kubectl can be waited for");
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        if done.status.success() { Ok(said) } else { Err(said) }
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &Value) {
        self.try_apply(manifest).unwrap_or_else(|e| panic!("apply: {e}\n{manifest:#}"));
    }

    /// Watches objects of a kind (`pods`, or `pods -l app=x`) until this is so of all that are there, by name. Gives the
    /// objects as they were then; the error are the objects as they were at last.
    pub fn try_until(
        &self,
        what: &[&str],
        limit: Duration,
        mut met: impl FnMut(&Objects) -> bool,
    ) -> Result<Objects, Objects> {
        let end = Instant::now() + limit;
        let mut objects = Objects::new();
        loop {
            // What was there before a watch broke may be gone when the next one begins.
            objects.clear();
            let watch = Watch::start(self.command(&[&["get"], what, &WATCH].concat()));
            loop {
                if met(&objects) {
                    return Ok(objects);
                }
                match watch.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(event) => take(&mut objects, event),
                    Err(RecvTimeoutError::Timeout) => return Err(objects),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if Instant::now() >= end {
                return Err(objects);
            }
        }
    }

    /// Watches objects of a kind until this is so.
    pub fn until(
        &self,
        why: &str,
        what: &[&str],
        limit: Duration,
        met: impl FnMut(&Objects) -> bool,
    ) -> Objects {
        self.try_until(what, limit, met).unwrap_or_else(|objects| {
            let objects = Value::Object(objects.into_iter().collect());
            panic!("not within {limit:?}: {why}; {what:?} at last: {objects:#}")
        })
    }

    /// Watches one object until this is so of it.
    pub fn until_one(
        &self,
        why: &str,
        kind: &str,
        name: &str,
        limit: Duration,
        met: impl Fn(&Value) -> bool,
    ) -> Value {
        let selector = format!("metadata.name={name}");
        let what = [kind, "--field-selector", &selector];
        let mut found = self.until(why, &what, limit, |all| all.get(name).is_some_and(&met));
        found.remove(name).expect("it was there")
    }

    /// Waits until no object of a kind is there any more.
    pub fn until_gone(&self, why: &str, what: &[&str], limit: Duration) {
        // A watch of nothing says nothing, so that the first look is a list.
        if !self.list(what).is_empty() {
            let mut seen = false;
            self.until(why, what, limit, |all| {
                seen |= !all.is_empty();
                all.is_empty() && (seen || self.list(what).is_empty())
            });
        }
    }
}

const WATCH: [&str; 4] = ["--output", "json", "--watch", "--output-watch-events"];

fn take(objects: &mut Objects, mut event: Value) {
    let object = event["object"].take();
    let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else { return };
    match event["type"].as_str() {
        Some("DELETED") => objects.remove(&name),
        _ => objects.insert(name, object),
    };
}

/// A `kubectl get --watch` that runs; it ends with its handle.
struct Watch {
    child: Child,
    events: Receiver<Value>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl runs");
        let output = child.stdout.take().expect("it was asked for");
        let (give, events) = mpsc::channel();
        thread::spawn(move || {
            let values = serde_json::Deserializer::from_reader(output).into_iter::<Value>();
            // Broken JSON is the end of a watch that was killed.
            for event in values.map_while(Result::ok) {
                if give.send(event).is_err() {
                    break;
                }
            }
        });
        Self { child, events }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
