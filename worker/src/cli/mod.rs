//! The command line: what can be asked, and how answers are shown.
//!
//! Owns: arguments, help, logging, exit codes, texts for people. It does not own running a job
//! (`weir::run`, `weir::process`), and decides nothing about state.

mod ask;
mod certificates;
mod checkpoints;
mod completions;
mod coordinator;
mod ended;
mod exit;
mod explain;
mod input;
mod logging;
mod rescale;
mod run;
mod savepoint;
mod stop;
mod storage;
mod table;
mod transport;
mod validate;
mod version;
mod worker;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use exit::Exit;

/// Streaming SQL with exactly-once state in a bucket.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, long_about = None, max_term_width = 100)]
#[command(
    after_help = "Exit codes are listed in docs/exit-codes.md. Start with:\n  weir validate job.yaml\n  weir run job.yaml"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: logging::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Rescale(rescale::RescaleArgs),
    Stop(stop::StopArgs),
    Validate(validate::ValidateArgs),
    Explain(explain::ExplainArgs),
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    #[command(subcommand)]
    Savepoint(savepoint::SavepointCommand),
    #[command(subcommand)]
    Storage(storage::StorageCommand),
    Coordinator(coordinator::CoordinatorArgs),
    Worker(worker::WorkerArgs),
    Certificates(certificates::CertificatesArgs),
    Completions(completions::CompletionsArgs),
    Version(version::VersionArgs),
}

/// How an answer is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The form of an answer, as it is asked for.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArgs {
    /// How the answer is given
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl OutputArgs {
    /// How the answer is given.
    pub(crate) fn form(self) -> Output {
        if self.json { Output::Json } else { self.output }
    }
}

/// Reads the command line and does what it asks.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are asked for, not wrong.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit.into();
        }
    };
    logging::start(&cli.log);
    let exit = match &cli.command {
        Command::Run(args) => run::main(args),
        Command::Rescale(args) => rescale::main(args),
        Command::Stop(args) => stop::main(args),
        Command::Validate(args) => validate::main(args),
        Command::Explain(args) => explain::main(args),
        Command::Checkpoints(command) => checkpoints::main(command),
        Command::Savepoint(command) => savepoint::main(command),
        Command::Storage(command) => storage::main(command),
        Command::Coordinator(args) => coordinator::main(args),
        Command::Worker(args) => worker::main(args),
        Command::Certificates(args) => certificates::main(args),
        Command::Completions(args) => completions::main(args),
        Command::Version(args) => version::main(args),
    };
    exit.into()
}

/// Writes to standard output. A reader that went away (`weir … | head`) is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes to standard error.
pub(crate) fn print_error(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// A value as JSON for a program, with a line end.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            print(&format!("{text}\n"));
            Exit::Done
        }
        Err(error) => {
            print_error(&format!("error: the answer can't be written as JSON: {error}\n"));
            Exit::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        super::Cli::command().debug_assert();
    }
}
