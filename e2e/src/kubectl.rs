//! `kubectl` in one namespace.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
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

    /// Looks at the objects of a kind (`pods`, or `pods -l app=x`), by name, after every change of them until this is so.
    /// Gives the objects as they were then; the error are the objects as they were at last.
    pub fn try_until(
        &self,
        what: &[&str],
        limit: Duration,
        mut met: impl FnMut(&Objects) -> bool,
    ) -> Result<Objects, Objects> {
        let end = Instant::now() + limit;
        let mut watch = self.watch(what);
        loop {
            let objects = self.objects(what);
            if met(&objects) {
                return Ok(objects);
            }
            if Instant::now() >= end {
                return Err(objects);
            }
            // What happened before the watch began is seen by the next look.
            match watch.changes.recv_timeout(LOOK) {
                Ok(()) => watch.changes.try_iter().for_each(drop),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(AGAIN);
                    watch = self.watch(what);
                }
            }
        }
    }

    /// What is there; nothing while the API server can't say.
    fn objects(&self, what: &[&str]) -> Objects {
        let text = self.attempt(&[&["get", "--output", "json"], what].concat()).unwrap_or_default();
        let mut list: Value = serde_json::from_str(&text).unwrap_or_default();
        let Value::Array(items) = list["items"].take() else { return Objects::new() };
        let named = |item: Value| Some((item["metadata"]["name"].as_str()?.to_owned(), item));
        items.into_iter().filter_map(named).collect()
    }

    fn watch(&self, what: &[&str]) -> Watch {
        Watch::start(self.command(&[&["get"], what, &["--output", "name", "--watch-only"]].concat()))
    }

    /// Looks at objects of a kind until this is so.
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

    /// Looks at one object until this is so of it.
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
        // An API server that does not answer shows nothing as well.
        self.until(why, what, limit, |all| all.is_empty() && self.list(what).is_empty());
    }
}

/// How often is looked where nothing seems to change.
const LOOK: Duration = Duration::from_secs(5);
/// Until a watch that broke is begun again.
const AGAIN: Duration = Duration::from_millis(500);

/// A `kubectl get --watch` that runs; it ends with its handle.
struct Watch {
    child: Child,
    changes: Receiver<()>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl runs");
        let output = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (give, changes) = mpsc::channel();
        thread::spawn(move || {
            // A line per change.
            for line in output.lines() {
                if line.is_err() || give.send(()).is_err() {
                    break;
                }
            }
        });
        Self { child, changes }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
