//! From reports to spans: one trace per checkpoint and per recovery, with a span for each phase.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use weir_coordinator::JobStatus;
use weir_coordinator::status::{CheckpointState, CheckpointStatus, RecoveryStatus, SubtaskPhases};
use weir_protocol::Failure;
use weir_runtime::Random;

/// Spans in the making.
pub(super) struct Spans<'a> {
    status: &'a JobStatus,
    random: &'a dyn Random,
    scope: InstrumentationScope,
    made: Vec<SpanData>,
}

/// Where a span belongs.
#[derive(Clone, Copy)]
struct Parent {
    trace: TraceId,
    span: SpanId,
}

/// From when to when, in microseconds since the Unix epoch.
type Time = (u64, u64);

impl<'a> Spans<'a> {
    pub(super) fn new(status: &'a JobStatus, random: &'a dyn Random) -> Self {
        let scope = InstrumentationScope::builder("weir").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { status, random, scope, made: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<SpanData> {
        self.made
    }

    /// From the trigger to the visible output, with what each subtask did until it had acknowledged.
    pub(super) fn checkpoint(&mut self, of: &CheckpointStatus) {
        let begin = of.triggered_us;
        let after = |us: Option<u64>| us.map(|us| begin + us);
        let acknowledged = after(of.acknowledged_after_us);
        let (completed, committed) = (after(of.completed_after_us), after(of.committed_after_us));
        let failed = (of.state == CheckpointState::Failed).then_some(self.status.at_us);
        let end = committed.or(completed).or(failed).or(acknowledged).unwrap_or(self.status.at_us);
        let root = self.root(
            "checkpoint",
            (begin, end),
            of.failure.as_ref(),
            vec![
                number("weir.checkpoint.id", of.id.0),
                number("weir.execution", of.execution.0),
                KeyValue::new("weir.checkpoint.reason", format!("{:?}", of.reason)),
                KeyValue::new("weir.checkpoint.state", format!("{:?}", of.state)),
                number("weir.checkpoint.new_bytes", of.new_bytes),
                number("weir.checkpoint.full_bytes", of.full_bytes),
            ],
        );
        let collected = self.child(root, "collect", (begin, acknowledged.unwrap_or(end)), Vec::new());
        for subtask in &of.subtasks {
            self.subtask(collected, begin, subtask);
        }
        if let (Some(from), Some(to)) = (acknowledged, completed) {
            self.child(root, "record", (from, to), Vec::new());
        }
        if let (Some(from), Some(to)) = (completed, committed) {
            self.child(root, "commit", (from, to), Vec::new());
        }
    }

    /// Its phases follow each other from the trigger on.
    fn subtask(&mut self, parent: Parent, begin: u64, of: &SubtaskPhases) {
        let times = &of.times;
        let phases = [
            ("trigger", times.trigger_us),
            ("align", times.align_us),
            ("freeze", times.freeze_us),
            ("upload", times.upload_us),
            ("acknowledge", times.ack_us),
        ];
        let end = begin + phases.iter().map(|(_, us)| us).sum::<u64>();
        let vertex = self.status.graph.vertex(of.subtask.vertex).map(|v| v.name.clone()).unwrap_or_default();
        let subtask = self.child(
            parent,
            "subtask",
            (begin, end),
            vec![
                KeyValue::new("weir.vertex", vertex),
                number("weir.subtask", of.subtask.index.into()),
                number("weir.checkpoint.new_bytes", of.new_bytes),
            ],
        );
        let mut from = begin;
        for (name, us) in phases {
            self.child(subtask, name, (from, from + us), Vec::new());
            from += us;
        }
    }

    /// From when an execution was needed until its first row came out.
    pub(super) fn recovery(&mut self, of: &RecoveryStatus) {
        let steps = [
            ("cancel", of.cancelled_us),
            ("place", of.placed_us),
            ("restore", of.deployed_us),
            ("admit", of.running_us),
            ("first row", of.first_row_us),
        ];
        let end = steps.iter().filter_map(|(_, at)| *at).max().unwrap_or(self.status.at_us);
        let root = self.root(
            "recovery",
            (of.detected_us, end),
            of.failure.as_ref(),
            vec![
                KeyValue::new("weir.recovery.cause", format!("{:?}", of.cause)),
                number("weir.execution", of.execution.0),
                number("weir.parallelism", of.parallelism.into()),
                number("weir.recovery.local_bytes", of.restored.local_bytes),
                number("weir.recovery.stored_bytes", of.restored.stored_bytes),
            ],
        );
        let mut from = of.detected_us;
        for (name, at) in steps {
            if let Some(to) = at {
                self.child(root, name, (from, to), Vec::new());
                from = to;
            }
        }
    }

    /// The span that is a trace's beginning; an error if something has failed.
    fn root(
        &mut self,
        name: &'static str,
        time: Time,
        failure: Option<&Failure>,
        mut attributes: Vec<KeyValue>,
    ) -> Parent {
        attributes.push(KeyValue::new("weir.job.name", self.status.name.clone()));
        attributes.push(KeyValue::new("weir.job.uid", self.status.job.to_string()));
        attributes.push(number("weir.attempt", self.status.attempt.map_or(0, |attempt| attempt.0)));
        let trace = TraceId::from((u128::from(self.id()) << 64) | u128::from(self.id()));
        let status = match failure {
            Some(failure) => Status::error(failure.message.clone()),
            None => Status::Unset,
        };
        self.span(trace, SpanId::INVALID, name, time, status, attributes)
    }

    fn child(&mut self, parent: Parent, name: &'static str, time: Time, attributes: Vec<KeyValue>) -> Parent {
        self.span(parent.trace, parent.span, name, time, Status::Unset, attributes)
    }

    fn span(
        &mut self,
        trace: TraceId,
        parent: SpanId,
        name: &'static str,
        (from, to): Time,
        status: Status,
        attributes: Vec<KeyValue>,
    ) -> Parent {
        let span = SpanId::from(self.id());
        let context = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default());
        self.made.push(SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: time(from),
            // A clock of another machine may be behind.
            end_time: time(to.max(from)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        });
        Parent { trace, span }
    }

    /// 0 is no id.
    fn id(&self) -> u64 {
        self.random.next_u64().max(1)
    }
}

fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

fn time(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(us)
}
