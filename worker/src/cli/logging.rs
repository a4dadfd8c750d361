//! Logs: to standard error, as text or JSON.

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use weir::logs::Lines;

/// How much is logged, and in which form.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace), or per module such as
    /// "warn,weir_coordinator=debug"
    #[arg(
        long,
        global = true,
        env = "RUST_LOG",
        default_value = "warn",
        value_name = "FILTER",
        help_heading = "Logging"
    )]
    log: String,
    /// The form of logs
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = "Logging")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One object per line.
    Json,
}

/// How this process logs, as arguments.
static ARGUMENTS: OnceLock<Vec<String>> = OnceLock::new();

/// Arguments by which another process logs as this one does.
pub(super) fn arguments() -> Vec<String> {
    ARGUMENTS.get().cloned().unwrap_or_default()
}

/// Starts logging. A filter that can't be read is said and replaced by "warn".
pub(super) fn start(args: &LogArgs) {
    let format = match args.log_format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    ARGUMENTS.get_or_init(|| ["--log", &args.log, "--log-format", format].map(str::to_owned).to_vec());
    let (filter, wrong) = match EnvFilter::try_new(&args.log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let coloured = colours(&std::io::stderr());
    let started = match args.log_format {
        LogFormat::Text => base.with_ansi(coloured).event_format(Lines::text(coloured)).try_init(),
        LogFormat::Json => base.json().event_format(Lines::json()).try_init(),
    };
    if let Some(error) = wrong {
        tracing::warn!(filter = %args.log, %error, "the log filter can't be read; logging warnings");
    }
    if let Err(error) = started {
        super::print_error(&format!("warning: logging could not be started: {error}\n"));
    }
}

/// Whether a stream takes colours: a terminal, and nobody said no.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    stream.is_terminal() && !refused
}
