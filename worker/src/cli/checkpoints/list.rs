//! `weir checkpoints list`.

use serde::Serialize;
use weir_checkpoint::manifest::read_manifest;
use weir_checkpoint::{Completed, StopReason};
use weir_protocol::units::{format_duration, format_size};
use weir_protocol::{CheckpointId, CheckpointKind};

use super::{Opened, time};
use crate::cli::table::table;
use crate::cli::{Exit, Output, print, print_json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    job: String,
    storage: String,
    attempt: u64,
    completed: u64,
    failed: u64,
    restarts: u64,
    success_rate: Option<f64>,
    stopped: Option<StopReason>,
    checkpoints: Vec<Row>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: CheckpointId,
    time: String,
    attempt: u64,
    reason: CheckpointKind,
    milliseconds: Option<u64>,
    new_bytes: Option<u64>,
    full_bytes: Option<u64>,
    newest: bool,
    commits_due: bool,
    pins: Vec<String>,
    problem: Option<String>,
}

pub(super) async fn list(opened: &Opened, output: Output) -> Exit {
    let mut checkpoints = Vec::new();
    for checkpoint in opened.view.checkpoints() {
        checkpoints.push(row(opened, checkpoint).await);
    }
    let counters = opened.view.counters();
    let answer = Answer {
        job: opened.uid.to_string(),
        storage: opened.store.url().to_owned(),
        attempt: opened.view.attempt().0,
        completed: counters.completed,
        failed: counters.failed,
        restarts: counters.restarts,
        success_rate: counters.success_rate(),
        stopped: opened.view.stopped().map(|(_, reason)| reason),
        checkpoints,
    };
    match output {
        Output::Json => print_json(&answer),
        Output::Text => {
            print(&answer.text());
            Exit::Done
        }
    }
}

async fn row(opened: &Opened, checkpoint: Completed) -> Row {
    let manifest = read_manifest(opened.store.as_ref(), &checkpoint.manifest).await;
    let (manifest, problem) = match manifest {
        Ok(manifest) => (Some(manifest), None),
        Err(problem) => (None, Some(problem.to_string())),
    };
    let pins = opened.view.pins();
    Row {
        id: checkpoint.id,
        time: time(checkpoint.at_us),
        attempt: checkpoint.attempt.0,
        reason: checkpoint.reason,
        milliseconds: manifest.as_ref().map(|m| checkpoint.at_us.saturating_sub(m.triggered_us) / 1000),
        new_bytes: manifest.as_ref().map(|m| m.parts.iter().map(|p| p.new_bytes).sum()),
        full_bytes: manifest.as_ref().map(|m| m.parts.iter().map(|p| p.full_bytes).sum()),
        newest: opened.view.newest().is_some_and(|newest| newest.id == checkpoint.id),
        commits_due: checkpoint.commits_due,
        pins: pins.iter().filter(|(_, (id, _))| *id == checkpoint.id).map(|(name, _)| name.clone()).collect(),
        problem,
    }
}

impl Answer {
    fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self.checkpoints.iter().map(Row::cells).collect();
        let headings = ["id", "completed", "took", "new", "to restore", "attempt", "reason", "notes"];
        let rate = self.success_rate.map_or(String::new(), |rate| format!(" ({:.1} %)", rate * 100.0));
        let stopped = match self.stopped {
            Some(StopReason::Finished) => "; finished",
            Some(StopReason::Requested) => "; stopped, can be resumed",
            None => "",
        };
        format!(
            "job {} in {}: attempt {}, {} checkpoints completed, {} failed{rate}, {} restarts{stopped}\n\n{}",
            self.job,
            self.storage,
            self.attempt,
            self.completed,
            self.failed,
            self.restarts,
            table(&headings, &rows)
        )
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let bytes = |b: Option<u64>| b.map_or("?".to_owned(), format_size);
        let took = self.milliseconds.map(std::time::Duration::from_millis);
        let mut notes = Vec::new();
        if self.newest {
            notes.push("newest".to_owned());
        }
        if self.commits_due {
            notes.push("commits due".to_owned());
        }
        notes.extend(self.pins.iter().map(|pin| format!("pinned by {pin}")));
        notes.extend(self.problem.iter().map(|problem| format!("UNREADABLE: {problem}")));
        vec![
            self.id.to_string(),
            self.time.clone(),
            took.map_or("?".to_owned(), format_duration),
            bytes(self.new_bytes),
            bytes(self.full_bytes),
            self.attempt.to_string(),
            reason(self.reason).to_owned(),
            notes.join(", "),
        ]
    }
}

/// Why a checkpoint was taken, in words.
pub(super) fn reason(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Periodic => "interval",
        CheckpointKind::Changes => "much changed",
        CheckpointKind::LifeCycle => "life cycle",
        CheckpointKind::Final => "end of input",
        CheckpointKind::Import => "taken over",
    }
}
