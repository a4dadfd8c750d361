//! `weir explain`: the job graph of a manifest.

use clap::Args;

use super::{Exit, input, print_json};

/// Shows the job graph as JSON: vertices with their ids, partitioning, state tables and parallelism
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  weir explain job.yaml\n  weir explain job.yaml | jq .vertices")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
}

pub(super) fn main(args: &ExplainArgs) -> Exit {
    let checked = match args.manifest.checked() {
        Ok(checked) => checked,
        Err(exit) => return exit,
    };
    print_json(&weir_plan::explain(&checked.planned))
}
