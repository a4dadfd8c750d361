//! What a person sees of a running job: one live line on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use weir_coordinator::JobStatus;
use weir_coordinator::status::JobState;
use weir_protocol::units::format_size;

/// How often the live line is renewed.
const LIVE_EVERY: Duration = Duration::from_millis(500);
/// How often a plain line is written.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A live line if standard error is a terminal, else plain lines.
    Auto,
    /// Plain lines.
    Plain,
    /// Nothing.
    Never,
}

/// Says something once.
pub(crate) fn note(mode: ProgressMode, text: &str) {
    if mode != ProgressMode::Never {
        line(text);
    }
}

fn line(text: &str) {
    // A closed standard error is no reason to stop a job.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows the status until the coordinator ends.
pub(crate) async fn show(mode: ProgressMode, mut status: watch::Receiver<Arc<JobStatus>>) {
    let live = mode == ProgressMode::Auto && std::io::stderr().is_terminal();
    if mode == ProgressMode::Never {
        while status.changed().await.is_ok() {}
        return;
    }
    let bar = live.then(|| {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar
    });
    let mut tick = tokio::time::interval(if live { LIVE_EVERY } else { PLAIN_EVERY });
    // The first tick comes at once, when there is nothing to tell.
    tick.tick().await;
    let mut state = None;
    loop {
        tokio::select! {
            changed = status.changed() => {
                let now = status.borrow_and_update().clone();
                if state.replace(now.state) != Some(now.state) && bar.is_none() {
                    line(&describe(&now));
                }
                if changed.is_err() {
                    break;
                }
            }
            _ = tick.tick() => {
                let now = status.borrow().clone();
                match &bar {
                    Some(bar) => {
                        bar.set_message(describe(&now));
                        bar.tick();
                    }
                    None => line(&describe(&now)),
                }
            }
        }
    }
    let last = describe(&status.borrow().clone());
    match bar {
        Some(bar) => bar.finish_with_message(last),
        None => line(&last),
    }
}

/// The job in one line.
fn describe(status: &JobStatus) -> String {
    let mut text = format!("{} {}", status.name, state(status.state));
    if let Some(detail) = &status.detail {
        text.push_str(&format!(" ({detail})"));
    }
    if status.source_rows > 0 || status.state == JobState::Running {
        text.push_str(&format!(
            " | in {} ({}/s) out {} ({}/s)",
            count(status.source_rows as f64),
            count(status.source_rows_per_second),
            count(status.sink_rows as f64),
            count(status.sink_rows_per_second),
        ));
    }
    if let Some(ms) = status.watermark_ms {
        text.push_str(&format!(" | watermark {}", time(ms)));
    }
    text.push_str(&checkpoint(status));
    for trouble in &status.troubles {
        text.push_str(&format!(" | waiting: {trouble}"));
    }
    if let (Some(failure), JobState::Restarting | JobState::Failed) = (&status.last_failure, status.state) {
        text.push_str(&format!(" | {}", failure.failure));
    }
    text
}

fn checkpoint(status: &JobStatus) -> String {
    let checkpoints = &status.checkpoints;
    let Some(id) = checkpoints.last_completed else { return String::new() };
    let mut text = format!(" | checkpoint {id}");
    if let Some(at) = checkpoints.last_completed_us {
        text.push_str(&format!(" {:.1}s ago", status.at_us.saturating_sub(at) as f64 / 1e6));
    }
    if let Some(it) = checkpoints.newest.iter().find(|c| c.id == id) {
        if let Some(us) = it.completed_after_us {
            text.push_str(&format!(" {:.0}ms", us as f64 / 1e3));
        }
        text.push_str(&format!(" {} of {}", format_size(it.new_bytes), format_size(it.full_bytes)));
    }
    text
}

fn state(state: JobState) -> String {
    format!("{state:?}").to_lowercase()
}

/// Event time for people.
fn time(ms: i64) -> String {
    if ms == i64::MAX {
        return "end".to_owned();
    }
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms}ms"), |t| format!("{t:.0}"))
}

/// A count with at most four digits.
fn count(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.2}G", n / 1e9),
        n if n >= 1e6 => format!("{:.2}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n => format!("{n:.0}"),
    }
}
