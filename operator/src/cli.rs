//! What can be asked of the binary: to run, to print the definitions, to say what a change of a spec would do.

mod plan;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResourceExt;
use tracing_subscriber::EnvFilter;
use weir_crds::{Savepoint, StreamJob};
use weir_operator::controller::validate::Defaults;
use weir_operator::run::{Options, run};

/// The image of jobs that name none.
const IMAGE: &str = concat!("ghcr.io/weir-dev/weir:", env!("CARGO_PKG_VERSION"));

/// Runs streaming SQL jobs in a cluster.
#[derive(Debug, Parser)]
#[command(name = "weir-operator", version, about, long_about = None, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator; so does the command without a subcommand
    Run,
    /// Prints the definitions of StreamJob and Savepoint
    Crd,
    /// Says what applying a manifest would do to the job that runs
    Plan(plan::PlanArgs),
}

#[derive(Debug, Clone, Args)]
struct RunArgs {
    /// The namespaces whose jobs are run. Default: the operator's own
    #[arg(long, env = "WEIR_NAMESPACES", value_delimiter = ',', global = true)]
    namespace: Vec<String>,
    /// Runs the jobs of all namespaces
    #[arg(long, env = "WEIR_ALL_NAMESPACES", conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The operator's own namespace: its key and its Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", hide_env_values = true)]
    own_namespace: String,
    /// The operator's own name, for its Lease and events
    #[arg(long, env = "POD_NAME", default_value = "weir-operator", hide_env_values = true)]
    own_name: String,
    /// The image of jobs that name none
    #[arg(long, env = "WEIR_WORKER_IMAGE", default_value = IMAGE)]
    worker_image: String,
    /// Memory of a worker pod, where a job says nothing: request and limit
    #[arg(long, env = "WEIR_WORKER_MEMORY", default_value = "1Gi")]
    worker_memory: String,
    /// Processors that a worker pod asks for, where a job says nothing
    #[arg(long, env = "WEIR_WORKER_CPU", default_value = "500m")]
    worker_cpu: String,
    /// The Secret with the operator's key, made if absent
    #[arg(long, env = "WEIR_ROOT_SECRET", default_value = "weir-operator-root")]
    root_secret: String,
    /// Whether it waits until no other operator leads
    #[arg(long, env = "WEIR_LEADER_ELECTION", action = ArgAction::Set, default_value_t = true)]
    leader_election: bool,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "WEIR_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Jobs that are looked at at a time
    #[arg(long, env = "WEIR_CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// What is logged: a level, or per module such as weir_operator=debug,kube=warn
    #[arg(long, env = "RUST_LOG", default_value = "info", global = true)]
    log: String,
    /// The form of logs
    #[arg(long, env = "WEIR_LOG_FORMAT", value_enum, default_value_t, global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For programs.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Reads the command line and does what it asks.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // The one provider of cryptography, for all connections.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match &cli.command {
        Some(Command::Crd) => crd(),
        Some(Command::Plan(args)) => plan::main(args, &cli.run.defaults(), cli.run.namespace.first()),
        Some(Command::Run) | None => operate(&cli.run),
    }
}

impl RunArgs {
    fn defaults(&self) -> Defaults {
        let quantities = |cpu: &str, memory: &str| {
            let quantity = |text: &str| Quantity(text.to_owned());
            ResourceRequirements {
                requests: Some(
                    [("cpu".to_owned(), quantity(cpu)), ("memory".to_owned(), quantity(memory))].into(),
                ),
                limits: Some([("memory".to_owned(), quantity(memory))].into()),
                ..ResourceRequirements::default()
            }
        };
        Defaults {
            image: self.worker_image.clone(),
            worker_resources: quantities(&self.worker_cpu, &self.worker_memory),
            coordinator_resources: quantities("50m", "256Mi"),
            root_secret: self.root_secret.clone(),
        }
    }

    fn options(&self) -> Options {
        let namespaces = match (self.all_namespaces, self.namespace.as_slice()) {
            (true, _) => Vec::new(),
            (false, []) => vec![self.own_namespace.clone()],
            (false, some) => some.to_vec(),
        };
        Options {
            own_namespace: self.own_namespace.clone(),
            namespaces,
            defaults: self.defaults(),
            leader_election: self.leader_election,
            instance: self.own_name.clone(),
            listen: self.listen,
            concurrency: self.concurrency,
        }
    }
}

fn operate(args: &RunArgs) -> ExitCode {
    start_logging(args);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(async { run(args.options(), told()).await }),
        Err(error) => {
            tracing::error!("no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match ended {
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// The process is told to end. Nothing is lost by that at any point.
async fn told() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

fn start_logging(args: &RunArgs) {
    let filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match args.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        print(&format!("logging could not be started: {error}\n"));
    }
}

fn crd() -> ExitCode {
    for definition in [StreamJob::crd(), Savepoint::crd()] {
        match serde_saphyr::to_string(&definition) {
            Ok(yaml) => print(&format!("---\n{yaml}")),
            Err(error) => {
                print(&format!("the definition can't be written: {error}\n"));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Writes to standard output. A reader that went away is no failure.
fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Reads a file, or standard input for "-".
fn read(path: &PathBuf) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(1 << 20).read_to_string(&mut text)?,
        false => std::fs::File::open(path)?.take(1 << 20).read_to_string(&mut text)?,
    };
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Cli::command().debug_assert();
    }
}
