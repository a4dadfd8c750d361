//! From state to status.

use weir_protocol::{CheckpointId, CheckpointKind, Execution, SubtaskId, SubtaskProgress, Vertex};
use weir_runtime::Timestamp;

use crate::event::Exit;
use crate::state::{AfterCancel, Phase, Progress, State};
use crate::status::{
    CheckpointState, CheckpointStatus, CheckpointsStatus, JobState, JobStatus, SavepointStatus,
    SubtaskStatus, VertexStatus, WorkerStatus,
};

impl JobStatus {
    /// The status that follows from a state.
    pub fn of(state: &State, now: Timestamp) -> Self {
        let vertices: Vec<VertexStatus> =
            state.layout.graph.vertices.iter().map(|v| vertex(state, v)).collect();
        let graph = &state.layout.graph;
        let ends = |sink: bool| {
            let both = graph.vertices.iter().zip(&vertices);
            both.filter(move |(v, _)| if sink { v.sink } else { v.source }).map(|(_, s)| s)
        };
        Self {
            job: state.options.config.uid.clone(),
            name: state.options.config.name.clone(),
            at_us: now.0,
            state: job_state(state),
            detail: detail(state),
            attempt: (state.attempt.0 > 0).then_some(state.attempt),
            execution: state.execution,
            running_since_us: match state.phase {
                Phase::Running { since } => Some(since.0),
                _ => None,
            },
            parallelism: state.layout.parallelism,
            rescaling_to: state
                .rescale
                .as_ref()
                .or(state.next_layout.as_ref())
                .map(|layout| layout.parallelism),
            graph: weir_protocol::JobGraph::clone(graph),
            workers: workers(state),
            source_rows: ends(false).map(|v| v.rows_in).sum(),
            sink_rows: ends(true).map(|v| v.rows_out).sum(),
            source_rows_per_second: ends(false).flat_map(|v| &v.subtasks).map(|s| s.rows_in_per_second).sum(),
            sink_rows_per_second: ends(true).flat_map(|v| &v.subtasks).map(|s| s.rows_out_per_second).sum(),
            watermark_ms: lowest(ends(true).map(|v| v.watermark_ms)),
            checkpoints: checkpoints(state),
            savepoints: savepoints(state),
            restarts: state.memory.restarts.iter().cloned().collect(),
            recoveries: state.memory.recoveries.iter().cloned().collect(),
            troubles: troubles(state),
            warnings: state.memory.warnings.clone(),
            last_failure: state.memory.last_failure.clone(),
            vertices,
        }
    }
}

impl CheckpointStatus {
    pub(crate) fn begun(
        id: CheckpointId,
        execution: Execution,
        reason: CheckpointKind,
        triggered: Timestamp,
    ) -> Self {
        Self {
            id,
            execution,
            reason,
            state: CheckpointState::Collecting,
            triggered_us: triggered.0,
            acknowledged_after_us: None,
            completed_after_us: None,
            committed_after_us: None,
            new_bytes: 0,
            full_bytes: 0,
            missing: Vec::new(),
            subtasks: Vec::new(),
            failure: None,
        }
    }
}

fn job_state(state: &State) -> JobState {
    let started = state.execution.0 > 1;
    match &state.phase {
        Phase::Ended(Exit::Finished { .. } | Exit::AlreadyFinished { .. }) => JobState::Finished,
        Phase::Ended(Exit::Stopped { .. }) => JobState::Stopped,
        Phase::Ended(Exit::Failed(_) | Exit::StepBack { .. }) => JobState::Failed,
        Phase::Ended(Exit::Fenced(_)) => JobState::Fenced,
        Phase::Cancelling { then: AfterCancel::Exit(_), .. } => JobState::Stopping,
        _ if state.stopping || state.ending.is_some() => JobState::Stopping,
        Phase::Cancelling { .. } | Phase::BackingOff { .. } => JobState::Restarting,
        Phase::Claiming => JobState::Starting,
        Phase::Adopting { .. } => JobState::Running,
        Phase::Recommitting if state.deployment.adopted => JobState::Running,
        Phase::Waiting | Phase::Deploying { .. } if started => JobState::Restarting,
        Phase::Loading | Phase::Planning | Phase::Recommitting => JobState::Restoring,
        Phase::Deploying { .. } if state.point.is_some() => JobState::Restoring,
        Phase::Waiting | Phase::Deploying { .. } => JobState::Starting,
        Phase::Running { .. } => JobState::Running,
    }
}

fn detail(state: &State) -> Option<String> {
    match &state.phase {
        Phase::Claiming if state.journal.trouble.is_some() => Some("waiting for the storage".to_owned()),
        Phase::Claiming => Some("claiming the journal".to_owned()),
        Phase::Loading => match (&state.importing, &state.point) {
            (Some(from), _) => Some(format!("taking over the state of {from}")),
            (None, point) => point.as_ref().map(|p| format!("reading checkpoint {}", p.id)),
        },
        Phase::Planning => Some("planning the job at the parallelism that it goes on with".to_owned()),
        Phase::Waiting => Some(waiting(state)),
        Phase::Adopting { missing, .. } => Some(format!("{} workers are being taken over", missing.len())),
        Phase::Deploying { missing } => {
            Some(format!("{} workers are starting their subtasks", missing.len()))
        }
        Phase::Recommitting => {
            state.point.as_ref().map(|p| format!("repeating the commits of checkpoint {}", p.id))
        }
        Phase::Cancelling { missing, then, .. } if missing.is_empty() && state.holds_exit(then) => {
            Some("copying the savepoint".to_owned())
        }
        Phase::Cancelling { missing, .. } => {
            Some(format!("{} workers are stopping their subtasks", missing.len()))
        }
        Phase::BackingOff { .. } => Some("waiting before the next try".to_owned()),
        Phase::Ended(Exit::Failed(failure) | Exit::StepBack { failure, .. }) => Some(failure.message.clone()),
        Phase::Ended(Exit::Fenced(by)) => Some(format!("another coordinator has taken over: {by}")),
        Phase::Running { .. } => moving(state),
        Phase::Ended(_) => None,
    }
}

fn waiting(state: &State) -> String {
    let missing = u64::from(state.layout.slots_needed()).saturating_sub(state.slots_there());
    match missing {
        0 => "waiting a moment for more workers to come".to_owned(),
        1 => "waiting for 1 more slot".to_owned(),
        more => format!("waiting for {more} more slots"),
    }
}

/// What holds up that the job goes on elsewhere.
fn moving(state: &State) -> Option<String> {
    let what = match &state.rescale {
        Some(layout) => format!("the parallelism changes to {}", layout.parallelism),
        None if state.drains() => "workers that are about to go are being left".to_owned(),
        None => return None,
    };
    Some(match state.slots_to_move() {
        0 => what,
        1 => format!("{what} as soon as there is 1 more slot"),
        more => format!("{what} as soon as there are {more} more slots"),
    })
}

fn workers(state: &State) -> Vec<WorkerStatus> {
    let all = state.workers.iter();
    all.map(|(id, w)| WorkerStatus {
        id: *id,
        name: w.registration.name.clone(),
        slots: w.registration.slots,
        used: state.deployment.workers.get(id).copied().unwrap_or(0),
        draining: w.registration.draining,
    })
    .collect()
}

fn vertex(state: &State, v: &Vertex) -> VertexStatus {
    let ids = (0..v.parallelism).map(|index| SubtaskId { vertex: v.id, index });
    let subtasks: Vec<SubtaskStatus> = ids.map(|id| subtask(state, id)).collect();
    let sum = |of: fn(&SubtaskProgress) -> u64| subtasks.iter().map(|s| of(&s.progress)).sum();
    let most = |of: fn(&SubtaskStatus) -> f64| subtasks.iter().map(of).fold(0.0, f64::max);
    VertexStatus {
        id: v.id,
        name: v.name.clone(),
        rows_in: sum(|p| p.rows_in),
        rows_out: sum(|p| p.rows_out),
        bytes_in: sum(|p| p.bytes_in),
        bytes_out: sum(|p| p.bytes_out),
        late_rows: sum(|p| p.late_rows),
        bad_records: sum(|p| p.bad_records),
        watermark_ms: lowest(subtasks.iter().map(|s| watermark(&s.progress))),
        state_bytes: sum(|p| p.state_bytes),
        busy_ratio: most(|s| s.busy_ratio),
        backpressured_ratio: most(|s| s.backpressured_ratio),
        subtasks,
    }
}

fn subtask(state: &State, id: SubtaskId) -> SubtaskStatus {
    let report = state.deployment.progress.get(&id);
    let rate = |of: fn(&SubtaskProgress) -> u64| report.map_or(0.0, |r| per_second(r, of));
    let busy_ratio = (rate(|p| p.busy_us) / 1e6).min(1.0);
    let backpressured_ratio = (rate(|p| p.backpressured_us) / 1e6).min(1.0);
    let known = report.is_some_and(|r| r.before.is_some());
    SubtaskStatus {
        subtask: id,
        worker: state.deployment.placement.get(&id).map(|(worker, _)| *worker),
        exhausted: state.deployment.exhausted.contains(&id),
        progress: report.map_or(NOTHING, |r| r.now.1),
        rows_in_per_second: rate(|p| p.rows_in),
        rows_out_per_second: rate(|p| p.rows_out),
        busy_ratio,
        backpressured_ratio,
        idle_ratio: if known { (1.0 - busy_ratio - backpressured_ratio).max(0.0) } else { 0.0 },
    }
}

const NOTHING: SubtaskProgress = SubtaskProgress {
    rows_in: 0,
    rows_out: 0,
    bytes_in: 0,
    bytes_out: 0,
    late_rows: 0,
    bad_records: 0,
    watermark_ms: i64::MIN,
    busy_us: 0,
    backpressured_us: 0,
    state_bytes: 0,
    dirty_bytes: 0,
    first_out_us: 0,
};

/// Growth of a number between the last two reports.
fn per_second(report: &Progress, of: fn(&SubtaskProgress) -> u64) -> f64 {
    let Some((before, old)) = &report.before else {
        return 0.0;
    };
    let (now, new) = &report.now;
    let seconds = now.since(*before).as_secs_f64();
    if seconds > 0.0 { of(new).saturating_sub(of(old)) as f64 / seconds } else { 0.0 }
}

fn watermark(progress: &SubtaskProgress) -> Option<i64> {
    (progress.watermark_ms != i64::MIN).then_some(progress.watermark_ms)
}

/// The lowest, if all have one.
fn lowest(all: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    all.reduce(|a, b| a.zip(b).map(|(a, b)| a.min(b))).flatten()
}

fn checkpoints(state: &State) -> CheckpointsStatus {
    let current = match (&state.in_flight, &state.recording) {
        (Some(flight), _) => {
            let missing = flight.missing.iter().copied().collect();
            Some(CheckpointStatus { missing, ..flight.report.clone() })
        }
        (None, Some(recording)) => Some(recording.report.clone()),
        (None, None) => None,
    };
    CheckpointsStatus {
        counters: state.counters,
        success_rate: state.counters.success_rate(),
        failed_in_row: state.failed_in_row,
        last_completed: state.point.as_ref().map(|p| p.id),
        restored: state.restored,
        last_completed_us: state.memory.last_completed.map(|at| at.0),
        current,
        newest: state.memory.checkpoints.iter().cloned().collect(),
        retained: state.retained.iter().map(|kept| kept.id).collect(),
    }
}

fn savepoints(state: &State) -> Vec<SavepointStatus> {
    let work = state.savepoints.work.iter().map(|work| state.savepoint_status(work));
    work.chain(state.savepoints.ended.iter().cloned()).collect()
}

fn troubles(state: &State) -> Vec<weir_protocol::Failure> {
    let commit = state.committing.as_ref().and_then(|round| round.trouble.as_ref());
    let own = [state.journal.trouble.as_ref(), commit, state.garbage.trouble.as_ref()];
    let workers = state.workers.values().flat_map(|worker| &worker.troubles);
    own.into_iter().flatten().chain(workers).cloned().collect()
}
