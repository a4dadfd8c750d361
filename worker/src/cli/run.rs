//! `weir run`: the arguments, and how the end of a run is said. The run itself is in [`weir::run`].

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use weir::run::{Ended, ProgressMode, RunError, RunOptions, Signal};
use weir_checkpoint::Start;
use weir_coordinator::Exit as JobExit;
use weir_protocol::FailureKind;

use super::{Exit, input, print_error};

/// Runs a job on this machine: its slots as threads, its state in its storage
///
/// A job that ran before goes on from its last checkpoint, also after kill -9. A job whose manifest names
/// no storage keeps its state in the folder .weir under the current one. Ctrl-C takes a last checkpoint
/// and ends; a second Ctrl-C ends at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir run job.yaml\n  weir run --set parallelism=4 --set checkpoint.interval=1s job.yaml\n  weir run --set checkpoint.storage=s3://bucket/jobs job.yaml\n  weir run --listen 127.0.0.1:8081 job.yaml    # metrics and status at http://127.0.0.1:8081"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
    /// Starts from nothing although the storage holds state of this job. That state is given up
    #[arg(long)]
    fresh: bool,
    /// Where metrics and status are served by HTTP; port 0 takes a free one and says which; "off"
    /// serves nothing
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = listen)]
    listen: Listen,
    /// How progress is shown: live on a terminal, else as plain lines
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    progress: Progress,
    /// The same as --progress plain
    #[arg(long, conflicts_with = "progress")]
    plain: bool,
}

/// Where HTTP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listen(Option<SocketAddr>);

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Progress {
    /// Live on a terminal, else plain.
    #[default]
    Auto,
    /// A line now and then.
    Plain,
    /// Nothing.
    None,
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen(None));
    }
    text.parse()
        .map(|address| Listen(Some(address)))
        .map_err(|_| "write an address and a port, such as 127.0.0.1:8081 or [::1]:0, or \"off\"".to_owned())
}

pub(super) fn main(args: &RunArgs) -> Exit {
    let checked = match args.manifest.checked() {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    if checked.job.spec.restore_from.is_some() {
        // Starting without it would silently be another job than the one that was asked for.
        print_error("error: spec.restoreFrom: weir run can't take over a savepoint: remove the field\n");
        return Exit::Invalid;
    }
    if checked.job.spec.suspended == Some(true) {
        print_error("error: spec.suspended: the job is suspended: run it with --set suspended=false\n");
        return Exit::Invalid;
    }
    let options = RunOptions {
        start: if args.fresh { Start::Afresh } else { Start::Continue },
        listen: args.listen.0,
        progress: args.progress(),
    };
    match weir::run::run(&checked.config, checked.planned.job, &options) {
        Ok(ended) => say(&ended),
        Err(error) => {
            print_error(&format!("error: {error}\n"));
            match error {
                RunError::Store(_) | RunError::Probe(_) => Exit::Storage,
                RunError::Listen { .. } => Exit::Usage,
                RunError::Threads(_) => Exit::Failed,
            }
        }
    }
}

impl RunArgs {
    fn progress(&self) -> ProgressMode {
        match (self.plain, self.progress) {
            (true, _) | (false, Progress::Plain) => ProgressMode::Plain,
            (false, Progress::Auto) => ProgressMode::Auto,
            (false, Progress::None) => ProgressMode::Never,
        }
    }
}

/// Says how a run ended, where progress does not show it.
fn say(ended: &Ended) -> Exit {
    match &ended.exit {
        JobExit::Finished { .. } => Exit::Done,
        JobExit::AlreadyFinished { .. } => {
            print_error("the job had finished before; --fresh starts it again from nothing\n");
            Exit::Done
        }
        JobExit::Stopped { complete, .. } => {
            if !complete {
                print_error(
                    "warning: the last checkpoint was not completed; what came after it is read again\n",
                );
            }
            match ended.signal {
                Some(Signal::Terminate) => Exit::Terminated,
                Some(Signal::Interrupt) | None => Exit::Interrupted,
            }
        }
        JobExit::Failed(failure) | JobExit::StepBack { failure, .. } => {
            print_error(&format!("error: the job failed: {failure}\n"));
            match failure.kind {
                FailureKind::StateUnreadable | FailureKind::StateIncompatible | FailureKind::SinkDataLost => {
                    Exit::State
                }
                FailureKind::Store => Exit::Storage,
                FailureKind::Config => Exit::Invalid,
                _ => Exit::Failed,
            }
        }
        JobExit::Fenced(how) => {
            print_error(&format!("another process runs this job now, so this one ends: {how}\n"));
            Exit::Fenced
        }
    }
}
