//! `weir version`.

use clap::Args;

use super::{Exit, Output, OutputArgs, print, print_json};

/// Prints the version and what it understands
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    #[command(flatten)]
    output: OutputArgs,
}

/// The commit that was built, where the build says it, as that of images does.
const REVISION: Option<&str> = option_env!("WEIR_REVISION");

pub(super) fn main(args: &VersionArgs) -> Exit {
    let (version, api) = (env!("CARGO_PKG_VERSION"), weir_crds::API_VERSION);
    match args.output.form() {
        Output::Text => {
            let revision = REVISION.map(|r| format!("revision {r}, ")).unwrap_or_default();
            print(&format!("weir {version} ({revision}manifests: {api})\n"));
            Exit::Done
        }
        Output::Json => {
            print_json(&serde_json::json!({"version": version, "revision": REVISION, "manifests": [api]}))
        }
    }
}
