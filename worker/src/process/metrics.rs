//! Numbers that only the processes of a job know: of the link between coordinator and workers, and of the exchange
//! of rows between workers.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use weir_control::Counters;
use weir_coordinator::MoreMetrics;
use weir_dataflow::ExchangeCounters;

/// What a worker's process has to tell of itself.
#[derive(Debug, Clone, Default)]
pub struct WorkerNumbers {
    /// The job by uid and name, once a coordinator has told it.
    pub job: Option<(String, String)>,
    /// Whether a coordinator is connected.
    pub connected: bool,
    /// Slots that the worker offers.
    pub slots: u32,
    /// What the exchange of rows did; absent before the job is known.
    pub exchange: Option<ExchangeCounters>,
}

/// Adds the numbers of the link to workers to those of a coordinator.
pub fn control_metrics(counters: impl Fn() -> Option<Counters> + Send + Sync + 'static) -> MoreMetrics {
    Arc::new(move |registry| {
        if let Some(counters) = counters() {
            control(registry, &counters);
        }
    })
}

/// The numbers of a worker as OpenMetrics text.
pub fn render_worker(numbers: &WorkerNumbers) -> String {
    let (job, name) = numbers.job.clone().unwrap_or_default();
    let labels = [("job", job), ("job_name", name)].map(|(key, value)| (key.into(), value.into()));
    let mut registry = Registry::with_prefix_and_labels("weir", labels.into_iter());
    let connected = u64::from(numbers.connected);
    gauge(&mut registry, "worker_connected", "1 while a coordinator is connected", connected);
    gauge(&mut registry, "worker_task_slots", "Slots that this worker offers", numbers.slots.into());
    if let Some(counters) = &numbers.exchange {
        exchange(&mut registry, counters);
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

fn control(registry: &mut Registry, of: &Counters) {
    for (name, help, value) in [
        ("control_connections", "Connections that came in at the control address", of.connections),
        (
            "control_turned_away",
            "Connections that were closed at once, for there were too many",
            of.turned_away,
        ),
        (
            "control_failed_handshakes",
            "Connections whose handshake failed or took too long",
            of.failed_handshakes,
        ),
        ("control_registered_workers", "Workers that were taken", of.registered),
        (
            "control_refused_workers",
            "Workers that were not taken: another job or version, an impossible registration",
            of.refused,
        ),
        ("control_malformed", "Connections that were ended because of what came over them", of.malformed),
        ("control_lost_workers", "Workers that were lost, for whatever reason", of.lost),
    ] {
        count(registry, name, help, value);
    }
}

fn exchange(registry: &mut Registry, of: &ExchangeCounters) {
    let open = "Connections to other workers that are open, in both directions";
    gauge(registry, "exchange_connections", open, of.connections);
    for (name, help, value) in [
        ("exchange_frames_in", "Frames read", of.frames_in),
        ("exchange_frames_out", "Frames written", of.frames_out),
        (
            "exchange_refused_connections",
            "Connections that came in and were refused: strangers, other jobs or versions, too slow, too many",
            of.refused_connections,
        ),
        (
            "exchange_lost_connections",
            "Connections that broke while a deployment used them",
            of.lost_connections,
        ),
        (
            "exchange_stale_frames",
            "Frames that were dropped because they are of an older deployment",
            of.stale_frames,
        ),
        (
            "exchange_malformed_frames",
            "Connections that were closed because of a frame that no worker sends",
            of.malformed_frames,
        ),
        ("exchange_waits", "Peers that were ahead and had to wait for a deployment here", of.waits),
    ] {
        count(registry, name, help, value);
    }
    for (name, help, value) in [
        ("exchange_in", "Bytes of frames read", of.bytes_in),
        ("exchange_out", "Bytes of frames written", of.bytes_out),
    ] {
        registry.register_with_unit(name, help, Unit::Bytes, counter(value));
    }
}

fn count(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, counter(value));
}

fn counter(value: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
