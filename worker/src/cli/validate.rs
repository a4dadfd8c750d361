//! `weir validate`: everything that is wrong with a manifest and its SQL, without running it.

use clap::Args;
use serde::Serialize;

use super::{Exit, Output, OutputArgs, input, print, print_json};
use crate::manifest::Finding;

/// Finds everything that is wrong with a manifest and its SQL, without running it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir validate job.yaml\n  weir validate --set parallelism=8 job.yaml\n  kubectl get streamjob hot -o yaml | weir validate - --output json\n\nExit code 0: no problems; 3: problems, all of them shown."
)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    manifest: input::ManifestArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Answer<'a> {
    valid: bool,
    file: &'a str,
    findings: &'a [Finding],
}

pub(super) fn main(args: &ValidateArgs) -> Exit {
    let (manifest, outcome) = match args.manifest.check(true) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    let valid = outcome.checked.is_some();
    match args.output.form() {
        Output::Text => {
            input::show(&manifest, &outcome.findings);
            if let Some(checked) = &outcome.checked {
                print(&format!("{}: the job {:?} has no problems\n", manifest.name, checked.config.name));
            }
        }
        Output::Json => {
            let answer = Answer { valid, file: &manifest.name, findings: &outcome.findings };
            if print_json(&answer) != Exit::Done {
                return Exit::Failed;
            }
        }
    }
    if valid { Exit::Done } else { Exit::Invalid }
}
