//! `weir savepoint create`: by the running job, or from its storage.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use weir_checkpoint::manifest::Wrong;
use weir_checkpoint::savepoint::{
    Copied, Savepoint, SavepointError, SavepointFolder, SavepointId, copy_patiently,
};
use weir_checkpoint::store::open_at;
use weir_coordinator::{SavepointRequest, SavepointState, SavepointStatus};
use weir_protocol::units::{format_duration, format_size};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};

use super::said;
use crate::cli::ask::{AskError, JobAddress};
use crate::cli::checkpoints::Opened;
use crate::cli::storage::{Place, PlaceOptions, block_on, failed};
use crate::cli::{Exit, Output, OutputArgs, print, print_error, print_json};

/// How long a store that gives no clear answer is put up with.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the newest checkpoint is taken instead, when garbage collection was faster than the copy.
const LOOKS: u32 = 5;
/// How long one question for the state of a savepoint is held, in seconds.
const WAIT_SECONDS: u64 = 5;

/// Makes a savepoint: of a running job (--http), or from the last completed checkpoint in its storage
#[derive(Debug, Args)]
#[command(
    after_help = "With --http the running job takes a checkpoint and copies it; without, the last completed checkpoint in the storage is copied, and the job need not run. Waits until the savepoint is whole, and prints its id and its place."
)]
pub(crate) struct CreateArgs {
    /// A manifest, or the URL of a storage: s3://bucket/prefix or file:///folder; not with --http
    #[arg(value_name = "FILE|URL", required_unless_present = "http", conflicts_with = "http")]
    place: Option<String>,
    /// Where the running job serves its status: host:port
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// The job stops: the savepoint is a copy of its last checkpoint
    #[arg(long, requires = "http")]
    stop: bool,
    /// The running job copies its last completed checkpoint instead of taking one
    #[arg(long, requires = "http", conflicts_with = "stop")]
    from_last: bool,
    /// The name of the savepoint; a new one if not given
    #[arg(long, value_name = "ID")]
    id: Option<SavepointId>,
    /// The URL of the folder in which the savepoint gets its own; beside the job's checkpoints if not given
    #[arg(long, value_name = "URL", value_parser = storage_url)]
    to: Option<String>,
    #[command(flatten)]
    how: PlaceOptions,
    #[command(flatten)]
    output: OutputArgs,
}

fn storage_url(text: &str) -> Result<String, String> {
    weir_crds::check_storage_url(text).map(|()| text.trim_end_matches('/').to_owned())
}

pub(super) fn main(args: &CreateArgs) -> Exit {
    let output = args.output.form();
    match (&args.http, &args.place) {
        (Some(address), _) => by_job(args, address, output),
        (None, Some(place)) => match args.how.resolve(place) {
            Ok(place) => block_on(from_storage(args, &place, output)),
            Err(exit) => exit,
        },
        (None, None) => Exit::Usage,
    }
}

/// Asks the job for one, and waits for it.
fn by_job(args: &CreateArgs, address: &str, output: Output) -> Exit {
    let job = JobAddress::new(address);
    let request = SavepointRequest {
        id: args.id.clone(),
        to: args.to.clone(),
        from_last: args.from_last,
        stop: args.stop,
    };
    let id = match job.post("/v1/job/savepoints", &request).map(|answer| id_of(&answer.body)) {
        Ok(Some(id)) => id,
        Ok(None) => return refused("it did not say the savepoint's id"),
        Err(error @ AskError::Refused { status: 422, .. }) => {
            print_error(&format!("error: {error}\n"));
            return Exit::Usage;
        }
        Err(error) => return refused(&error.to_string()),
    };
    if output == Output::Text {
        print_error(&format!("savepoint {id} is being made\n"));
    }
    let path = format!("/v1/job/savepoints/{id}?wait={WAIT_SECONDS}");
    loop {
        let status = match job.get::<SavepointStatus>(&path) {
            Ok(status) => status,
            Err(error) => {
                print_error(&format!(
                    "error: {error}\nwhat became of savepoint {id} is not known: look with weir savepoint list; if it is unfinished, the next start of the job goes on with it\n"
                ));
                return Exit::Failed;
            }
        };
        if status.state.ended() {
            return ended(&status, output);
        }
    }
}

fn id_of(answer: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    Some(answer.get("id")?.as_str()?.to_owned())
}

fn ended(status: &SavepointStatus, output: Output) -> Exit {
    if output == Output::Json && print_json(status) != Exit::Done {
        return Exit::Failed;
    }
    if status.state == SavepointState::Completed {
        if output == Output::Text {
            let took = status.took_us.map(|us| format_duration(Duration::from_millis(us / 1000)));
            print(&format!(
                "savepoint {} of checkpoint {}: {} in {}\n{}\n",
                status.id,
                status.checkpoint.map_or_else(|| "?".to_owned(), |id| id.to_string()),
                status.bytes.map_or_else(|| "?".to_owned(), format_size),
                took.unwrap_or_else(|| "?".to_owned()),
                status.place
            ));
        }
        return Exit::Done;
    }
    let why = status.failure.as_ref().map_or("no reason was given", |failure| failure.message.as_str());
    print_error(&format!("error: savepoint {}: {why}\n", status.id));
    Exit::Failed
}

fn refused(why: &str) -> Exit {
    print_error(&format!("error: {why}\n"));
    Exit::Failed
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
                "error: checkpoint {} has output that is not visible yet: start the job once more, which makes it so, or ask the running job with --http\n",
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
