//! `weir savepoint`: checkpoints that the user owns.

mod create;
mod delete;
mod inspect;
mod list;
mod verify;

use std::sync::Arc;

use clap::{Args, Subcommand};
use weir_checkpoint::Store;
use weir_checkpoint::layout;
use weir_checkpoint::savepoint::{SavepointError, SavepointFolder, SavepointId, list_savepoints};
use weir_checkpoint::store::open_root;
use weir_protocol::JobUid;

use super::checkpoints::{folder, time};
use super::storage::{Place, PlaceArgs, PlaceOptions, block_on, failed};
use super::{Exit, Output, OutputArgs, print_error};

/// Makes and looks after savepoints: copies of checkpoints that belong to you
///
/// A savepoint is self-contained: it stays whole whatever becomes of its job, and nothing but "weir savepoint
/// delete" removes it. A new job starts from one with spec.restoreFrom or "weir run --restore-from".
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  weir savepoint create --http 127.0.0.1:8081          # of a running job\n  weir savepoint create --http 127.0.0.1:8081 --stop   # and the job stops\n  weir savepoint create job.yaml --id before-upgrade   # no job runs: of the last checkpoint\n  weir savepoint list job.yaml\n  weir savepoint verify job.yaml before-upgrade"
)]
pub(crate) enum SavepointCommand {
    Create(create::CreateArgs),
    /// Lists the savepoints of a job, or those in a folder
    List(ListArgs),
    /// Shows what a savepoint consists of
    Inspect(OneArgs),
    /// Reads everything that savepoints consist of and compares it with its digests
    #[command(after_help = "Exit code 0: all is as it was written; 6: something is not.")]
    Verify(VerifyArgs),
    /// Deletes a savepoint, or what is left of one that did not come to its end; safe to repeat
    Delete(OneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// A manifest, the URL of a storage, or the URL of the savepoint itself
    #[arg(value_name = "FILE|URL")]
    place: String,
    /// The savepoint; not with the URL of the savepoint itself
    #[arg(value_name = "ID")]
    id: Option<SavepointId>,
    #[command(flatten)]
    how: PlaceOptions,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// A manifest, the URL of a storage, or the URL of one savepoint
    #[arg(value_name = "FILE|URL")]
    place: String,
    /// Only this savepoint; all of the job if not given
    #[arg(value_name = "ID")]
    id: Option<SavepointId>,
    #[command(flatten)]
    how: PlaceOptions,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn main(command: &SavepointCommand) -> Exit {
    match command {
        SavepointCommand::Create(args) => create::main(args),
        SavepointCommand::List(args) => match args.place.resolve() {
            Ok(place) => block_on(list::list(&place, args.output.form())),
            Err(exit) => exit,
        },
        SavepointCommand::Inspect(args) => one(args, inspect::inspect),
        SavepointCommand::Delete(args) => one(args, delete::delete),
        SavepointCommand::Verify(args) => {
            let output = args.output.form();
            let place = match args.how.resolve(&args.place) {
                Ok(place) => place,
                Err(exit) => return exit,
            };
            block_on(async {
                match Target::find(&place, args.id.as_ref()).await {
                    Ok(Target::One(folder)) => verify::verify(vec![folder], output).await,
                    Ok(Target::Job { store, .. }) => match all_of(&store).await {
                        Ok(folders) => verify::verify(folders, output).await,
                        Err(exit) => exit,
                    },
                    Err(exit) => exit,
                }
            })
        }
    }
}

/// Does something with the one savepoint that is meant.
fn one(args: &OneArgs, work: impl AsyncFnOnce(SavepointFolder, Output) -> Exit) -> Exit {
    let place = match args.how.resolve(&args.place) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    block_on(async {
        match Target::find(&place, args.id.as_ref()).await {
            Ok(Target::One(folder)) => work(folder, args.output.form()).await,
            Ok(Target::Job { uid, store }) => name_one(&uid, &store).await,
            Err(exit) => exit,
        }
    })
}

/// What a place and an id mean together.
enum Target {
    /// This savepoint; it need not be there.
    One(SavepointFolder),
    /// A job, and no savepoint was named.
    Job { uid: JobUid, store: Arc<dyn Store> },
}

impl Target {
    async fn find(place: &Place, id: Option<&SavepointId>) -> Result<Self, Exit> {
        if place.uid.is_none() && id.is_none() {
            // The URL may be that of a savepoint.
            let folder =
                SavepointFolder::at(open_root(&place.storage).await.map_err(|error| failed(&error))?);
            match folder.read().await {
                Ok(None) => {}
                Ok(Some(_)) | Err(SavepointError::Codec { .. }) => return Ok(Self::One(folder)),
                Err(error) => return Err(said(&error)),
            }
        }
        let (uid, store) = folder(place).await?;
        match id {
            Some(id) => Ok(Self::One(SavepointFolder::of_job(store, id))),
            None => Ok(Self::Job { uid, store }),
        }
    }
}

async fn all_of(store: &Arc<dyn Store>) -> Result<Vec<SavepointFolder>, Exit> {
    let found = list_savepoints(store, layout::SAVEPOINTS).await.map_err(|error| failed(&error))?;
    let ids = found.iter().filter_map(|found| SavepointId::new(found.id()).ok());
    Ok(ids.map(|id| SavepointFolder::of_job(Arc::clone(store), &id)).collect())
}

async fn name_one(uid: &JobUid, store: &Arc<dyn Store>) -> Exit {
    match list_savepoints(store, layout::SAVEPOINTS).await {
        Ok(found) => {
            let names: Vec<&str> = found.iter().map(|found| found.id()).collect();
            let names = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
            print_error(&format!("error: say which savepoint of job {uid}: {names}\n"));
            Exit::Usage
        }
        Err(error) => failed(&error),
    }
}

/// Says what is wrong with a savepoint.
fn said(error: &SavepointError) -> Exit {
    match error {
        SavepointError::Store(error) => return failed(error),
        SavepointError::Problem(problem) if problem.is_store() => {
            print_error(&format!("error: {problem}\n"));
            return Exit::Storage;
        }
        error => print_error(&format!("error: {error}\n")),
    }
    match error {
        SavepointError::Taken { .. } | SavepointError::Job(_) => Exit::Usage,
        _ => Exit::State,
    }
}
