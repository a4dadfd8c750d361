//! `weir savepoint create`: from a job's storage.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use weir_checkpoint::manifest::Wrong;
use weir_checkpoint::savepoint::{
    Copied, Savepoint, SavepointError, SavepointFolder, SavepointId, copy_patiently,
};
use weir_checkpoint::store::open_at;
use weir_protocol::units::{format_duration, format_size};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};

use super::said;
use crate::cli::checkpoints::Opened;
use crate::cli::storage::{Place, PlaceArgs, block_on, failed};
use crate::cli::{Exit, Output, print, print_error, print_json};

/// How long a store that gives no clear answer is put up with.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the newest checkpoint is taken instead, when garbage collection was faster than the copy.
const LOOKS: u32 = 5;

/// Makes a savepoint of the last completed checkpoint in a job's storage; the job need not run
#[derive(Debug, Args)]
#[command(after_help = "Waits until the savepoint is whole, and prints its id and its place.")]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The name of the savepoint; a new one if not given
    #[arg(long, value_name = "ID")]
    id: Option<SavepointId>,
    /// The URL of the folder in which the savepoint gets its own; beside the job's checkpoints if not given
    #[arg(long, value_name = "URL", value_parser = storage_url)]
    to: Option<String>,
    /// How the answer is given
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

fn storage_url(text: &str) -> Result<String, String> {
    weir_crds::check_storage_url(text).map(|()| text.trim_end_matches('/').to_owned())
}

pub(super) fn main(args: &CreateArgs) -> Exit {
    match args.place.resolve() {
        Ok(place) => block_on(from_storage(args, &place, super::output(args.output, args.json))),
        Err(exit) => exit,
    }
}

/// Copies the newest completed checkpoint that is in the storage.
async fn from_storage(args: &CreateArgs, place: &Place, output: Output) -> Exit {
    let clock = SystemClock::default();
    let began = clock.now();
    let id = args.id.clone().unwrap_or_else(|| SavepointId::generated(began.0, SystemRandom.next_u64()));
    let mut looks = 0;
    loop {
        let opened = match Opened::open(place).await {
            Ok(opened) => opened,
            Err(exit) => return exit,
        };
        let newest = match opened.one(None) {
            Ok(newest) => newest,
            Err(exit) => return exit,
        };
        if newest.commits_due {
            // Nobody would commit it for whoever starts from the copy.
            print_error(&format!(
                "error: checkpoint {} has output that is not visible yet: start the job once more, which makes it so\n",
                newest.id
            ));
            return Exit::State;
        }
        let folder = match &args.to {
            Some(to) => match open_at(&place.storage, to).await {
                Ok(store) => SavepointFolder::in_folder(store, &id),
                Err(error) => return failed(&error),
            },
            None => SavepointFolder::of_job(opened.store.clone(), &id),
        };
        let copied = Copied {
            id: id.clone(),
            checkpoint: newest.id,
            attempt: newest.attempt,
            completed_us: newest.at_us,
            manifest: newest.manifest,
        };
        match copy_patiently(&opened.store, &copied, &folder, PATIENCE, &|| clock.now().0).await {
            Ok(savepoint) => {
                let took = clock.now().since(began);
                return made(&savepoint, folder.url(), took, output);
            }
            // The job may run, and have a newer one by now.
            Err(SavepointError::Problem(problem)) if problem.what == Wrong::Missing && looks < LOOKS => {
                looks += 1
            }
            Err(error) => return said(&error),
        }
    }
}

fn made(savepoint: &Savepoint, place: &str, took: Duration, output: Output) -> Exit {
    match output {
        Output::Json => print_json(&json!({"place": place, "savepoint": savepoint})),
        Output::Text => {
            print(&format!(
                "savepoint {} of checkpoint {}: {} in {}\n{place}\n",
                savepoint.id,
                savepoint.checkpoint,
                format_size(savepoint.bytes),
                format_duration(took),
            ));
            Exit::Done
        }
    }
}
