//! `weir savepoint create`: by the running job, or from its storage.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use weir_checkpoint::savepoint::{
    Copied, Savepoint, SavepointError, SavepointFolder, SavepointId, copy_patiently,
};
use weir_checkpoint::store::open_at;
use weir_protocol::Failure;
use weir_protocol::units::{format_duration, format_size};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};

use super::said;
use crate::cli::checkpoints::Opened;
use crate::cli::http::ask;
use crate::cli::storage::{Place, PlaceOptions, block_on, failed};
use crate::cli::{Exit, Output, print, print_error, print_json};

/// How long a store that gives no clear answer is put up with.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the newest checkpoint is taken instead, when garbage collection was faster than the copy.
const LOOKS: u32 = 5;
/// How long one question for the state of a savepoint is held, in seconds.
const WAIT_SECONDS: u64 = 20;

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
    /// How the answer is given
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

/// What the job tells of a savepoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    id: SavepointId,
    state: String,
    place: String,
    checkpoint: Option<u64>,
    took_us: Option<u64>,
    bytes: Option<u64>,
    failure: Option<Failure>,
}

fn storage_url(text: &str) -> Result<String, String> {
    weir_crds::check_storage_url(text).map(|()| text.trim_end_matches('/').to_owned())
}

pub(super) fn main(args: &CreateArgs) -> Exit {
    let output = super::output(args.output, args.json);
    match (&args.http, &args.place) {
        (Some(address), _) => block_on(by_job(args, address, output)),
        (None, Some(place)) => match args.how.resolve(place) {
            Ok(place) => block_on(from_storage(args, &place, output)),
            Err(exit) => exit,
        },
        (None, None) => Exit::Usage,
    }
}

/// Asks the job for one, and waits for it.
async fn by_job(args: &CreateArgs, address: &str, output: Output) -> Exit {
    let mut request = json!({"stop": args.stop, "fromLast": args.from_last});
    if let Some(id) = &args.id {
        request["id"] = json!(id);
    }
    if let Some(to) = &args.to {
        request["to"] = json!(to);
    }
    let asked = match ask(address, "POST", "/v1/job/savepoints", Some(&request)).await {
        Ok(answer) if answer.is_success() => answer.body,
        Ok(answer) => return refused(&answer.error()),
        Err(error) => return refused(&error),
    };
    let Some(id) = asked.get("id").and_then(Value::as_str).map(str::to_owned) else {
        return refused("it did not say the savepoint's id");
    };
    if output == Output::Text {
        print_error(&format!("savepoint {id} is being made\n"));
    }
    let path = format!("/v1/job/savepoints/{id}?wait={WAIT_SECONDS}");
    loop {
        let answer = match ask(address, "GET", &path, None).await {
            Ok(answer) if answer.is_success() => answer.body,
            Ok(answer) => return refused(&answer.error()),
            Err(error) => {
                print_error(&format!(
                    "error: {error}\nwhat became of savepoint {id} is not known: look with weir savepoint list; if it is unfinished, the next start of the job goes on with it\n"
                ));
                return Exit::Failed;
            }
        };
        let status: Status = match serde_json::from_value(answer.clone()) {
            Ok(status) => status,
            Err(error) => return refused(&format!("its answer can't be read: {error}")),
        };
        if ["Completed", "Failed"].contains(&status.state.as_str()) {
            return ended(&status, &answer, output);
        }
    }
}

fn ended(status: &Status, answer: &Value, output: Output) -> Exit {
    if output == Output::Json && print_json(answer) != Exit::Done {
        return Exit::Failed;
    }
    if status.state == "Completed" {
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
            Err(SavepointError::Problem(problem)) if !problem.is_store() && looks < LOOKS => looks += 1,
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
