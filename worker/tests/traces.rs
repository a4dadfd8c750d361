//! Traces of checkpoints and recoveries reach a collector, and nothing is sent where none is named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use support::nexmark::{COUNTS, EVENTS, tables};
use support::place::{DONE, Place, Running};
use support::{LONG, until};

/// A collector that speaks OTLP over HTTP with JSON: real requests over a real socket.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One that breaks off has sent nothing.
                if let Ok(body) = receive(stream) {
                    kept.lock().unwrap().extend(spans_of(&body));
                }
            }
        });
        Self { address, spans }
    }

    /// What came, trace by trace, each with the span that it begins with.
    fn traces(&self, name: &str) -> Vec<(Value, Vec<Value>)> {
        let spans = self.spans.lock().unwrap().clone();
        let roots = spans.iter().filter(|span| span["name"] == name && is_root(span));
        let of = |root: &Value| spans.iter().filter(|s| s["traceId"] == root["traceId"]).cloned().collect();
        roots.map(|root| (root.clone(), of(root))).collect()
    }
}

fn receive(stream: TcpStream) -> std::io::Result<Value> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains("content-type: application/json"), "{head}");
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    reader.read_exact(&mut body)?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    reader.into_inner().write_all(answer.as_bytes())?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn spans_of(body: &Value) -> Vec<Value> {
    let scopes = items(body, "resourceSpans").flat_map(|resource| {
        let attributes = &resource["resource"];
        assert_eq!(attribute(attributes, "service.name"), "weir");
        assert_eq!(attribute(attributes, "weir.job.name"), "traced");
        items(resource, "scopeSpans")
    });
    scopes.flat_map(|scope| items(scope, "spans")).cloned().collect()
}

/// An attribute as text, whatever its type.
fn attribute(of: &Value, key: &str) -> String {
    let found = items(of, "attributes").find(|attribute| attribute["key"] == key);
    let value = found.map(|attribute| &attribute["value"]);
    let text = value.and_then(|v| v.as_object()?.values().next().cloned());
    text.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default()
}

fn is_root(span: &Value) -> bool {
    span["parentSpanId"].as_str().unwrap_or_default().is_empty()
}

fn number(span: &Value, name: &str) -> u64 {
    span[name].as_str().and_then(|text| text.parse().ok()).or(span[name].as_u64()).unwrap()
}

fn children<'a>(spans: &'a [Value], of: &Value) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["parentSpanId"] == of["spanId"]).collect()
}

fn names<'a>(spans: &[&'a Value]) -> Vec<&'a str> {
    spans.iter().filter_map(|span| span["name"].as_str()).collect()
}

/// Runs the job, and kills it once the collector has what it waits for; else to its end.
fn run(place: &Place, collector: &Collector) -> Running {
    let mut command = place.weir(&["run", "job.yaml", "--listen", "off", "--progress", "plain"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json");
    place.launch(command)
}

#[test]
fn a_checkpoint_and_a_recovery_are_traces_with_a_span_for_each_phase() {
    let place = Place::new("traced", &(tables(EVENTS, Some(10_000)) + COUNTS), &[]);
    let collector = Collector::start();
    let mut first = run(&place, &collector);
    let some = || collector.traces("checkpoint").len() >= 2;
    assert!(until(LONG, || some() || first.exited().is_some()) && some(), "{}", first.log());
    first.kill();
    let mut second = run(&place, &collector);
    assert_eq!(second.wait(LONG), DONE, "{}", second.log());

    let completed = |span: &Value| attribute(span, "weir.checkpoint.state") == "Completed";
    let traces = collector.traces("checkpoint");
    let (root, spans) = traces.iter().find(|(root, _)| completed(root)).unwrap();
    let phases = children(spans, root);
    assert_eq!(names(&phases)[..2], ["collect", "record"], "{spans:#?}");
    let subtasks = children(spans, phases[0]);
    assert!(subtasks.len() >= 2 && names(&subtasks).iter().all(|name| *name == "subtask"), "{spans:#?}");
    for subtask in subtasks {
        let phases = children(spans, subtask);
        assert_eq!(names(&phases), ["trigger", "align", "freeze", "upload", "acknowledge"]);
        assert!(!attribute(subtask, "weir.vertex").is_empty(), "{subtask:#?}");
    }
    for phase in phases {
        let within = number(phase, "startTimeUnixNano") >= number(root, "startTimeUnixNano")
            && number(phase, "endTimeUnixNano") <= number(root, "endTimeUnixNano");
        assert!(within, "{root:#?} {phase:#?}");
    }

    let restored = |span: &Value| attribute(span, "weir.attempt") == "2";
    let traces = collector.traces("recovery");
    let (root, spans) = traces.iter().find(|(root, _)| restored(root)).unwrap();
    assert_eq!(attribute(root, "weir.recovery.cause"), "Start");
    assert_ne!(attribute(root, "weir.recovery.stored_bytes"), "0", "it read its state");
    let phases = names(&children(spans, root));
    assert!(phases.starts_with(&["place", "restore", "admit"]), "{phases:?}");
}

#[test]
fn a_collector_that_is_not_there_costs_traces_and_nothing_else() {
    let place = Place::new("traced", &(tables(EVENTS, None) + COUNTS), &[]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = place.weir(&["run", "job.yaml", "--listen", "off", "--progress", "plain"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{gone}"));
    let mut run = place.launch(command);
    assert_eq!(run.wait(LONG), DONE, "{}", run.log());
    let log = run.log();
    assert_eq!(log.matches("traces can't be sent and are lost").count(), 1, "{log}");
}
