//! `weir version`.

use clap::Args;

use super::{Exit, Output, OutputArgs, print, print_json};

/// Prints the version and what it understands
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn main(args: &VersionArgs) -> Exit {
    let (version, api) = (env!("CARGO_PKG_VERSION"), weir_crds::API_VERSION);
    match args.output.form() {
        Output::Text => {
            print(&format!("weir {version} (manifests: {api})\n"));
            Exit::Done
        }
        Output::Json => print_json(&serde_json::json!({"version": version, "manifests": [api]})),
    }
}
