//! The status as Prometheus metrics (OpenMetrics text).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::status::{CheckpointState, CheckpointStatus, JobState, JobStatus, RecoveryCause, SubtaskStatus};

type Number = Gauge<f64, AtomicU64>;

/// Adds the numbers of somebody else, such as the link to workers, whenever metrics are asked for.
pub type MoreMetrics = Arc<dyn Fn(&mut Registry) + Send + Sync>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Subtask {
    vertex: String,
    name: String,
    subtask: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubtaskPhase {
    vertex: String,
    name: String,
    subtask: u32,
    phase: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct From {
    from: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Renders a status, and what `more` adds. Counters of subtasks start again at zero with each execution.
pub fn render(status: &JobStatus, more: Option<&MoreMetrics>) -> String {
    let labels = [("job", status.job.to_string()), ("job_name", status.name.clone())];
    let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
    let mut registry = Registry::with_prefix_and_labels("weir", labels);
    job(&mut registry, status);
    checkpoints(&mut registry, status);
    phases(&mut registry, status);
    recovery(&mut registry, status);
    subtasks(&mut registry, status);
    if let Some(more) = more {
        more(&mut registry);
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

fn number(registry: &mut Registry, name: &str, help: &str, unit: Option<Unit>, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, gauge),
        None => registry.register(name, help, gauge),
    }
}

fn count(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn job(registry: &mut Registry, status: &JobStatus) {
    let state = Family::<State, Gauge>::default();
    for each in JobState::ALL {
        let label = State { state: format!("{each:?}") };
        state.get_or_create(&label).set(i64::from(each == status.state));
    }
    registry.register("job_state", "1 for the state that the job is in", state);
    let attempt = status.attempt.map_or(0, |attempt| attempt.0);
    number(registry, "attempt", "The coordinator's attempt", None, attempt as f64);
    number(registry, "execution", "The newest execution of the attempt", None, status.execution.0 as f64);
    count(
        registry,
        "restarts",
        "Executions that failed and were followed by another",
        status.checkpoints.counters.restarts,
    );
    number(registry, "workers", "Workers that are there", None, status.workers.len() as f64);
    let slots: u32 = status.workers.iter().map(|worker| worker.slots).sum();
    number(registry, "task_slots", "Slots that the workers offer", None, f64::from(slots));
    let draining = status.workers.iter().filter(|worker| worker.draining).count();
    number(registry, "workers_draining", "Workers that are about to go", None, draining as f64);
    number(
        registry,
        "parallelism",
        "Subtasks per vertex of the running or next execution",
        None,
        f64::from(status.parallelism),
    );
    let troubles = Family::<Kind, Gauge>::default();
    for trouble in &status.troubles {
        troubles.get_or_create(&Kind { kind: format!("{:?}", trouble.kind) }).inc();
    }
    registry.register("troubles", "What is wrong now and being waited out, by kind", troubles);
}

fn checkpoints(registry: &mut Registry, status: &JobStatus) {
    let all = &status.checkpoints;
    count(
        registry,
        "checkpoints_completed",
        "Checkpoints that completed, over the job's life",
        all.counters.completed,
    );
    count(
        registry,
        "checkpoints_failed",
        "Checkpoints that were triggered and did not complete",
        all.counters.failed,
    );
    number(
        registry,
        "checkpoints_failed_in_row",
        "Checkpoints that failed since the last that completed",
        None,
        f64::from(all.failed_in_row),
    );
    if let Some(rate) = all.success_rate {
        number(
            registry,
            "checkpoint_success",
            "Completed checkpoints by all that ended",
            Some(Unit::Ratios),
            rate,
        );
    }
    if let Some(id) = all.last_completed {
        number(
            registry,
            "checkpoint_last_id",
            "Number of the newest completed checkpoint",
            None,
            id.0 as f64,
        );
    }
    if let Some(at) = all.last_completed_us {
        let age = status.at_us.saturating_sub(at) as f64 / 1e6;
        number(
            registry,
            "checkpoint_age",
            "Since the trigger of the newest completed checkpoint",
            Some(Unit::Seconds),
            age,
        );
    }
    let completed = |state| matches!(state, CheckpointState::Committing | CheckpointState::Completed);
    if let Some(last) = all.newest.iter().find(|checkpoint| completed(checkpoint.state)) {
        let duration = last.completed_after_us.unwrap_or(0) as f64 / 1e6;
        number(
            registry,
            "checkpoint_last_duration",
            "Trigger to durable record of the newest completed checkpoint",
            Some(Unit::Seconds),
            duration,
        );
        number(
            registry,
            "checkpoint_last_new",
            "What the newest completed checkpoint added to the store",
            Some(Unit::Bytes),
            last.new_bytes as f64,
        );
        number(
            registry,
            "checkpoint_last_full",
            "What a restore of the newest completed checkpoint reads",
            Some(Unit::Bytes),
            last.full_bytes as f64,
        );
    }
}

/// The newest completed checkpoint, subtask by subtask.
fn phases(registry: &mut Registry, status: &JobStatus) {
    let done =
        |c: &&CheckpointStatus| matches!(c.state, CheckpointState::Committing | CheckpointState::Completed);
    let Some(last) = status.checkpoints.newest.iter().find(done) else {
        return;
    };
    let family = Family::<SubtaskPhase, Number>::default();
    for part in &last.subtasks {
        let vertex = status.graph.vertex(part.subtask.vertex);
        let times = &part.times;
        for (phase, us) in [
            ("trigger", times.trigger_us),
            ("align", times.align_us),
            ("freeze", times.freeze_us),
            ("upload", times.upload_us),
            ("ack", times.ack_us),
        ] {
            let label = SubtaskPhase {
                vertex: part.subtask.vertex.to_string(),
                name: vertex.map(|v| v.name.clone()).unwrap_or_default(),
                subtask: part.subtask.index,
                phase: phase.to_owned(),
            };
            family.get_or_create(&label).set(us as f64 / 1e6);
        }
    }
    registry.register_with_unit(
        "subtask_checkpoint",
        "How long each phase of the newest completed checkpoint took",
        Unit::Seconds,
        family,
    );
}

/// How the newest execution came up.
fn recovery(registry: &mut Registry, status: &JobStatus) {
    let Some(newest) = status.recoveries.first() else {
        return;
    };
    let cause = Family::<Cause, Gauge>::default();
    for each in RecoveryCause::ALL {
        let label = Cause { cause: format!("{each:?}") };
        cause.get_or_create(&label).set(i64::from(each == newest.cause));
    }
    registry.register("recovery_cause", "1 for why the newest execution began", cause);
    let family = Family::<Phase, Number>::default();
    for (phase, at) in [
        ("cancelled", newest.cancelled_us),
        ("placed", newest.placed_us),
        ("deployed", newest.deployed_us),
        ("running", newest.running_us),
        ("first_row", newest.first_row_us),
    ] {
        if let Some(at) = at {
            let since = at.saturating_sub(newest.detected_us) as f64 / 1e6;
            family.get_or_create(&Phase { phase: phase.to_owned() }).set(since);
        }
    }
    registry.register_with_unit(
        "recovery",
        "From when the newest execution was needed to each step of its start",
        Unit::Seconds,
        family,
    );
    let read = Family::<From, Number>::default();
    let restored = &newest.restored;
    for (from, bytes) in [("local", restored.local_bytes), ("store", restored.stored_bytes)] {
        read.get_or_create(&From { from: from.to_owned() }).set(bytes as f64);
    }
    registry.register_with_unit("recovery_read", "State that the newest execution read", Unit::Bytes, read);
    number(
        registry,
        "recovery_read_duration",
        "How long the slowest worker of the newest execution read state",
        Some(Unit::Seconds),
        restored.read_us as f64 / 1e6,
    );
}

fn subtasks(registry: &mut Registry, status: &JobStatus) {
    let mut counter = |name: &str, help: &str, of: fn(&SubtaskStatus) -> u64| {
        let family = Family::<Subtask, Counter>::default();
        each(status, |label, subtask| {
            family.get_or_create(&label).inc_by(of(subtask));
        });
        registry.register(name, help, family);
    };
    counter("subtask_rows_in", "Rows that came in", |s| s.progress.rows_in);
    counter("subtask_rows_out", "Rows that went out", |s| s.progress.rows_out);
    counter("subtask_in_bytes", "Bytes that came in", |s| s.progress.bytes_in);
    counter("subtask_out_bytes", "Bytes that went out", |s| s.progress.bytes_out);
    counter("subtask_late_rows", "Rows behind the watermark that a window could not take", |s| {
        s.progress.late_rows
    });
    counter("subtask_bad_records", "Records that could not be decoded", |s| s.progress.bad_records);
    let mut gauge = |name: &str, help: &str, unit: Unit, of: fn(&SubtaskStatus) -> Option<f64>| {
        let family = Family::<Subtask, Number>::default();
        each(status, |label, subtask| {
            if let Some(value) = of(subtask) {
                family.get_or_create(&label).set(value);
            }
        });
        registry.register_with_unit(name, help, unit, family);
    };
    gauge("subtask_watermark_timestamp", "Watermark, since the Unix epoch", Unit::Seconds, |s| {
        (s.progress.watermark_ms != i64::MIN).then_some(s.progress.watermark_ms as f64 / 1e3)
    });
    gauge("subtask_busy", "Share of its time that it works", Unit::Ratios, |s| Some(s.busy_ratio));
    gauge("subtask_backpressured", "Share of its time that it waits for room", Unit::Ratios, |s| {
        Some(s.backpressured_ratio)
    });
    gauge("subtask_idle", "Share of its time that it has nothing to do", Unit::Ratios, |s| {
        Some(s.idle_ratio)
    });
    gauge("subtask_state", "Working state", Unit::Bytes, |s| Some(s.progress.state_bytes as f64));
}

fn each(status: &JobStatus, mut f: impl FnMut(Subtask, &SubtaskStatus)) {
    for vertex in &status.vertices {
        for subtask in &vertex.subtasks {
            let label = Subtask {
                vertex: vertex.id.to_string(),
                name: vertex.name.clone(),
                subtask: subtask.subtask.index,
            };
            f(label, subtask);
        }
    }
}
