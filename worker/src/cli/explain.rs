//! `weir explain`: the job graph of a manifest.

use clap::{Args, ValueEnum};

use super::{Exit, input, print};

/// Shows the job graph: vertices with their ids, partitioning, state tables and parallelism
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir explain job.yaml\n  weir explain --set parallelism=4 job.yaml\n  weir explain --output mermaid job.yaml > graph.mmd\n  weir explain --output json job.yaml | jq .vertices"
)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
    /// How the graph is given
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// A picture, drawn by Mermaid.
    Mermaid,
}

pub(super) fn main(args: &ExplainArgs) -> Exit {
    let checked = match args.manifest.checked() {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    let explained = weir_plan::explain(&checked.planned);
    let text = match args.output {
        Form::Text => explained.text(),
        Form::Json => explained.json(),
        Form::Mermaid => explained.mermaid(),
    };
    print(&format!("{}\n", text.trim_end()));
    Exit::Done
}
