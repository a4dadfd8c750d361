//! `weir stop`: the end of a running job, from which it can be started again.

use clap::Args;
use weir_coordinator::http::StopBody;

use super::ask::{AskError, JobAddress};
use super::{Exit, print, print_error};

/// Stops a running job after a last checkpoint
///
/// Started again, the job goes on from there, and reads nothing twice.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir stop --http 127.0.0.1:8081")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    job: JobAddress,
    /// Stops at once, without a last checkpoint: what came after the newest one is read again
    #[arg(long)]
    now: bool,
}

pub(super) fn main(args: &StopArgs) -> Exit {
    match args.job.post("/v1/job/stop", &StopBody { now: args.now }) {
        Ok(_) => {
            print("the job stops\n");
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
