//! `weir coordinator`: coordinates a job whose workers are processes of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use weir::process::{CoordinatorEnd, CoordinatorOptions, run_coordinator};
use weir_checkpoint::Start;
use weir_protocol::Attempt;

use super::run::{Listen, Progress, listen, runnable};
use super::{Exit, ended, input, print_error, transport};

/// Coordinates a job whose workers are processes of their own: see weir worker
///
/// A coordinator that is started while another runs takes over from it: subtasks that are all alive go on,
/// else the job goes on from its last checkpoint. SIGTERM and SIGINT end this process, not the job: workers go
/// on and wait for the next coordinator. The process ends with the job.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir coordinator job.yaml --plaintext\n  weir certificates --job hot-items --out certs coordinator worker\n  weir coordinator job.yaml --listen 0.0.0.0:7070 --http 0.0.0.0:8081 \\\n    --tls-ca certs/ca.pem --tls-cert certs/coordinator.pem --tls-key certs/coordinator.key"
)]
pub(crate) struct CoordinatorArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
    /// Starts from nothing although the storage holds state of this job. That state is given up
    #[arg(long)]
    fresh: bool,
    /// Starts from nothing as long as no attempt after this one was begun: a restart of this process goes on with
    /// what it began
    #[arg(long, value_name = "ATTEMPT", conflicts_with = "fresh")]
    fresh_after: Option<u64>,
    /// Where workers connect; port 0 takes a free one
    #[arg(long, env = "WEIR_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:7070", value_parser = transport::address)]
    listen: SocketAddr,
    /// Where metrics and status are served by HTTP; port 0 takes a free one and says which; "off"
    /// serves nothing
    #[arg(long, env = "WEIR_HTTP", value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = listen)]
    http: Listen,
    /// Where the job is changed over HTTPS, by who shows a certificate of the job; the address of --http then only
    /// answers reads
    #[arg(long, env = "WEIR_ADMIN", value_name = "ADDRESS", conflicts_with = "plaintext", value_parser = transport::address)]
    admin: Option<SocketAddr>,
    /// Stays when the job is over, and serves its last status until the process is told to go
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    transport: transport::TransportArgs,
    /// Writes the addresses as JSON into this file as soon as they are listened on; for scripts
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
    /// How progress is shown: live on a terminal, else as plain lines
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    progress: Progress,
}

pub(super) fn main(args: &CoordinatorArgs) -> Exit {
    run(args).unwrap_or_else(|exit| exit)
}

fn run(args: &CoordinatorArgs) -> Result<Exit, Exit> {
    let checked = runnable(&args.manifest)?;
    let transport = args.transport.transport(Some(&checked.config.uid))?;
    transport::check("--listen", args.listen, &transport)?;
    let options = CoordinatorOptions {
        start: match args.fresh_after {
            Some(attempt) => Start::AfreshAfter(Attempt(attempt)),
            None if args.fresh => Start::Afresh,
            None => Start::Continue,
        },
        listen: args.listen,
        transport,
        http: args.http.0,
        admin: args.admin,
        stay: args.stay,
        progress: args.progress.mode(),
        announce: args.announce.clone(),
    };
    Ok(match run_coordinator(&checked.config, checked.planned.job.graph, &options) {
        Ok(CoordinatorEnd::Ended(how)) => ended::say(&how),
        Ok(CoordinatorEnd::Left(signal)) => {
            print_error("this coordinator has gone; workers go on and wait for the next\n");
            ended::by_signal(signal)
        }
        Err(error) => ended::not_started(&error),
    })
}
