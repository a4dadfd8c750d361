//! `weir run`: the arguments. The run itself is in [`weir::run`] and [`weir::process`].

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use weir::process::{ClusterOptions, run_cluster};
use weir::run::{ProgressMode, RunOptions};
use weir_checkpoint::Start;
use weir_checkpoint::savepoint::SavepointId;
use weir_protocol::JobConfig;

use super::{Exit, ended, input, logging, print_error};
use crate::manifest::Checked;

/// Runs a job on this machine: its slots as threads, its state in its storage
///
/// A job that ran before goes on from its last checkpoint, also after kill -9. A job whose manifest names
/// no storage keeps its state in the folder .weir under the current one. Ctrl-C takes a last checkpoint
/// and ends; a second Ctrl-C ends at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir run job.yaml\n  weir run --set parallelism=4 --set checkpoint.interval=1s job.yaml\n  weir run --set checkpoint.storage=s3://bucket/jobs job.yaml\n  weir run --listen 127.0.0.1:8081 job.yaml    # metrics and status at http://127.0.0.1:8081\n  weir run --workers 3 job.yaml                # three worker processes; kill one and see"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
    /// Starts as if for the first time although the storage holds state of this job. That state is given up
    #[arg(long)]
    fresh: bool,
    /// What the job starts from the first time, over what the manifest says: savepoint/ID in its storage, or the
    /// URL of a savepoint or of another job's folder
    #[arg(long, value_name = "ID|URL", value_parser = restore_from)]
    restore_from: Option<String>,
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
    /// Runs the slots in so many worker processes beside this one, over encrypted connections; one that ends is
    /// replaced
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Option<u32>,
    /// Slots of each worker process; as many as the job's parallelism needs if absent
    #[arg(long, value_name = "COUNT", requires = "workers", value_parser = clap::value_parser!(u32).range(1..=4096))]
    slots: Option<u32>,
}

/// Where HTTP is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Progress {
    /// Live on a terminal, else plain.
    #[default]
    Auto,
    /// A line now and then.
    Plain,
    /// Nothing.
    None,
}

pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen(None));
    }
    text.parse()
        .map(|address| Listen(Some(address)))
        .map_err(|_| "write an address and a port, such as 127.0.0.1:8081 or [::1]:0, or \"off\"".to_owned())
}

fn restore_from(text: &str) -> Result<String, String> {
    if let Some(id) = text.strip_prefix("savepoint/") {
        return SavepointId::new(id).map(|_| text.to_owned()).map_err(|why| why.to_string());
    }
    let neither = |why| format!("{text:?} is neither savepoint/<id> nor a storage URL: {why}");
    weir_crds::check_storage_url(text).map(|()| text.to_owned()).map_err(neither)
}

pub(super) fn main(args: &RunArgs) -> Exit {
    run(args).unwrap_or_else(|exit| exit)
}

fn run(args: &RunArgs) -> Result<Exit, Exit> {
    let Checked { mut config, planned, .. } = runnable(&args.manifest)?;
    if args.restore_from.is_some() {
        config.restore_from.clone_from(&args.restore_from);
    }
    let options = RunOptions {
        start: if args.fresh { Start::Afresh } else { Start::Continue },
        listen: args.listen.0,
        progress: args.progress(),
    };
    let ended = match args.workers {
        None => weir::run::run(&config, planned.job, &options),
        Some(workers) => run_cluster(&config, &planned.job, &options, &args.cluster(workers, &config)?),
    };
    Ok(match ended {
        Ok(ended) => ended::say(&ended),
        Err(error) => ended::not_started(&error),
    })
}

/// The checked job, if it can be run from a command line.
///
/// # Errors
/// What was shown.
pub(super) fn runnable(manifest: &input::ManifestArgs) -> Result<Checked, Exit> {
    let checked = manifest.checked()?;
    if checked.job.spec.suspended == Some(true) {
        print_error("error: spec.suspended: the job is suspended: run it with --set suspended=false\n");
        return Err(Exit::Invalid);
    }
    Ok(checked)
}

impl RunArgs {
    fn progress(&self) -> ProgressMode {
        if self.plain { ProgressMode::Plain } else { self.progress.mode() }
    }

    fn cluster(&self, workers: u32, config: &JobConfig) -> Result<ClusterOptions, Exit> {
        let program = std::env::current_exe().map_err(|error| {
            print_error(&format!("error: this program can't be found to start workers: {error}\n"));
            Exit::File
        })?;
        let slots = self.slots.unwrap_or_else(|| config.parallelism.div_ceil(workers).max(config.task_slots));
        Ok(ClusterOptions { workers, slots, program, arguments: logging::arguments() })
    }
}

impl Progress {
    pub(super) fn mode(self) -> ProgressMode {
        match self {
            Self::Auto => ProgressMode::Auto,
            Self::Plain => ProgressMode::Plain,
            Self::None => ProgressMode::Never,
        }
    }
}
