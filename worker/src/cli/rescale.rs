//! `weir rescale`: another parallelism for a running job.

use std::time::{Duration, Instant};

use clap::Args;
use weir_coordinator::JobStatus;
use weir_coordinator::http::{RescaleBody, Rescaling};
use weir_coordinator::status::JobState;

use super::ask::{AskError, JobAddress};
use super::{Exit, print, print_error};

/// Between two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Changes the parallelism of a running job, through a checkpoint
///
/// Nothing is read twice: sources stop at the checkpoint, and the job goes on from it with the new number of
/// subtasks. Needs as many free slots as that number. What the manifest says counts again when it is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir rescale --http 127.0.0.1:8081 4")]
pub(crate) struct RescaleArgs {
    #[command(flatten)]
    job: JobAddress,
    /// Subtasks per vertex, at most the job's maxParallelism
    #[arg(value_name = "PARALLELISM")]
    parallelism: u32,
    /// Does not wait until rows flow again
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for that
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = weir_protocol::units::parse_duration)]
    timeout: Duration,
}

pub(super) fn main(args: &RescaleArgs) -> Exit {
    match rescale(args) {
        Ok(text) => {
            print(&format!("{text}\n"));
            Exit::Done
        }
        Err(error) => {
            print_error(&format!("error: {error}\n"));
            match error {
                AskError::Refused { status: 422, .. } => Exit::Usage,
                _ => Exit::Failed,
            }
        }
    }
}

fn rescale(args: &RescaleArgs) -> Result<String, AskError> {
    let answer = args.job.post("/v1/job/rescale", &RescaleBody { parallelism: args.parallelism })?;
    let Ok(Rescaling { from, to }) = serde_json::from_str(&answer.body) else {
        return Ok("the job changes its parallelism".to_owned());
    };
    if from == to {
        return Ok(format!("the job runs at parallelism {to} already"));
    }
    if args.no_wait {
        return Ok(format!("the job changes from parallelism {from} to {to}"));
    }
    let begun = Instant::now();
    while begun.elapsed() < args.timeout {
        if let Some(pause) = pause_after(&args.job.status()?, to) {
            let pause = pause.as_secs_f64();
            return Ok(format!(
                "the job runs at parallelism {to}, before {from}; rows stood still for {pause:.2} s"
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let message =
        format!("the job does not run at parallelism {to} after {:?}; it goes on trying", args.timeout);
    Err(AskError::Refused { status: 504, message })
}

/// How long rows stood still, once the job runs at this parallelism.
fn pause_after(status: &JobStatus, parallelism: u32) -> Option<Duration> {
    let runs = status.state == JobState::Running && status.parallelism == parallelism;
    let newest = status.recoveries.first().filter(|_| runs && status.rescaling_to.is_none())?;
    newest.pause_us().map(Duration::from_micros)
}
