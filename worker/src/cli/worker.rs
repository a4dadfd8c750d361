//! `weir worker`: offers slots to the coordinator of a job.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use weir::process::{WorkerEnded, WorkerProcess, run_worker};
use weir_dataflow::Scratch;
use weir_protocol::JobUid;
use weir_protocol::units::{parse_duration, parse_size};

use super::run::{Listen, listen};
use super::{Exit, ended, print_error, transport};

/// Slots that a worker may offer.
const SLOTS: std::ops::RangeInclusive<i64> = 1..=4096;

/// Offers slots to the coordinator of a job; subtasks run in them
///
/// The job comes from the coordinator. When the coordinator is gone, subtasks go on for a while and the worker
/// looks for the next one. SIGTERM and SIGINT ask for the subtasks here to move to other workers first, after a
/// checkpoint, so that nothing is done twice; a second signal ends the process at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir worker --coordinator 127.0.0.1:7070 --plaintext --slots 2\n  weir worker --coordinator weir-a:7070,weir-b:7070 --uid hot-items --slots 4 \\\n    --listen 0.0.0.0:7071 --advertise worker-1 --scratch /var/cache/weir --scratch-limit 20Gi \\\n    --tls-ca certs/ca.pem --tls-cert certs/worker.pem --tls-key certs/worker.key"
)]
pub(crate) struct WorkerArgs {
    /// Where a coordinator may be, host:port; several are tried in turn
    #[arg(long, env = "WEIR_COORDINATOR", value_name = "ADDRESS", required = true, value_delimiter = ',', value_parser = host_and_port)]
    coordinator: Vec<String>,
    /// How many slots to offer; each runs one subtask of every vertex
    #[arg(long, env = "WEIR_SLOTS", value_name = "COUNT", default_value = "1", value_parser = clap::value_parser!(u32).range(SLOTS))]
    slots: u32,
    /// The job by its uid; needed with certificates
    #[arg(long, env = "WEIR_UID", value_name = "UID", value_parser = uid)]
    uid: Option<JobUid>,
    /// Where other workers connect to exchange rows; port 0 takes a free one
    #[arg(long, env = "WEIR_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = transport::address)]
    listen: SocketAddr,
    /// The host, or host:port, under which other workers find this one; the address of --listen if absent
    #[arg(long, env = "WEIR_ADVERTISE", value_name = "PLACE")]
    advertise: Option<String>,
    /// Where metrics are served by HTTP, such as 127.0.0.1:8082; port 0 takes a free one; "off" serves nothing
    #[arg(long, env = "WEIR_HTTP", value_name = "ADDRESS", default_value = "off", value_parser = listen)]
    http: Listen,
    #[command(flatten)]
    transport: transport::TransportArgs,
    /// Keeps copies of state in this folder, so that a restart of the subtasks here reads less from the storage.
    /// What is there may vanish at any time
    #[arg(long, env = "WEIR_SCRATCH", value_name = "FOLDER", requires = "scratch_limit")]
    scratch: Option<PathBuf>,
    /// How much may be kept there, such as 20Gi
    #[arg(long, env = "WEIR_SCRATCH_LIMIT", value_name = "SIZE", value_parser = parse_size, requires = "scratch")]
    scratch_limit: Option<u64>,
    /// How long the subtasks here may take to move when the process is asked to end
    #[arg(long, env = "WEIR_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    drain_timeout: Duration,
    /// How long the first coordinator may take to appear. (How long subtasks go on without one is
    /// spec.recovery.coordinatorTimeout of the job)
    #[arg(long, env = "WEIR_PATIENCE", value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    patience: Duration,
    /// Writes the addresses as JSON into this file as soon as they are listened on; for scripts
    #[arg(long, value_name = "FILE")]
    announce: Option<PathBuf>,
    /// Ends as soon as standard input does: for a worker that belongs to the process that started it
    #[arg(long, hide = true)]
    ends_with_input: bool,
}

fn host_and_port(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("write a host and a port, such as 127.0.0.1:7070 or hot-items:7070".to_owned()),
    }
}

fn uid(text: &str) -> Result<JobUid, String> {
    JobUid::new(text).map_err(|error| error.to_string())
}

pub(super) fn main(args: &WorkerArgs) -> Exit {
    run(args).unwrap_or_else(|exit| exit)
}

fn run(args: &WorkerArgs) -> Result<Exit, Exit> {
    let transport = args.transport.transport(args.uid.as_ref())?;
    transport::check("--listen", args.listen, &transport)?;
    if args.listen.ip().is_unspecified() && args.advertise.is_none() {
        print_error(&format!(
            "error: --advertise is missing: other workers can't connect to {}\n",
            args.listen.ip()
        ));
        return Err(Exit::Usage);
    }
    let scratch = args.scratch.clone().zip(args.scratch_limit);
    let process = WorkerProcess {
        coordinators: args.coordinator.clone(),
        job: args.uid.clone(),
        transport,
        slots: args.slots,
        listen: args.listen,
        advertise: args.advertise.clone(),
        http: args.http.0,
        scratch: scratch.map(|(folder, limit)| Scratch { folder, limit }),
        drain_timeout: args.drain_timeout,
        patience: args.patience,
        ends_with_input: args.ends_with_input,
        announce: args.announce.clone(),
    };
    Ok(match run_worker(&process) {
        Ok(WorkerEnded::Released) => Exit::Done,
        Ok(WorkerEnded::Alone(because)) => {
            let because = because.map(|why| format!("; the last try: {why}")).unwrap_or_default();
            print_error(&format!("error: there was no coordinator for too long{because}\n"));
            Exit::Alone
        }
        Ok(WorkerEnded::DrainedTooLong(signal)) => {
            print_error(
                "warning: the subtasks here have not moved in time; what they did since the last checkpoint is done \
                 again elsewhere\n",
            );
            ended::by_signal(signal)
        }
        Ok(WorkerEnded::Orphan) => Exit::Alone,
        Err(error) => ended::not_started(&error),
    })
}
