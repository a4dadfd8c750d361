//! `weir checkpoints`: what is in a job's storage, with no job running.

mod delete;
mod gc;
mod inspect;
mod list;
mod verify;

use std::sync::Arc;

use clap::{Args, Subcommand};
use weir_checkpoint::journal::ReadError;
use weir_checkpoint::store::open_root;
use weir_checkpoint::{Completed, JournalView, Store, View, open};
use weir_protocol::{CheckpointId, JobUid};

use super::storage::{Place, PlaceArgs, block_on, failed};
use super::{Exit, OutputArgs, print_error};

/// Looks at the checkpoints of a job in its storage; the job need not run
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  weir checkpoints list job.yaml\n  weir checkpoints verify s3://bucket/jobs --uid hot-items"
)]
pub(crate) enum CheckpointsCommand {
    /// Lists the completed checkpoints
    List(CommonArgs),
    /// Shows what a checkpoint consists of
    Inspect(OneArgs),
    /// Reads everything that checkpoints consist of and compares it with its digests
    #[command(after_help = "Exit code 0: all is as it was written; 6: something is not.")]
    Verify(VerifyArgs),
    /// Shows what garbage collection would delete, and why
    Gc(GcArgs),
    /// Deletes the journal and all checkpoints of a job that does not run any more; savepoints stay
    #[command(
        after_help = "The job can't go on after that, and a job of the same uid begins anew. Safe to repeat."
    )]
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The checkpoint; the newest completed one if not given
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Only this checkpoint; all if not given
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Only shows; the running job does the deleting by itself
    #[arg(long, required = true)]
    dry_run: bool,
    /// How many checkpoints are kept; the manifest's, or 3
    #[arg(long, value_name = "NUMBER")]
    retain: Option<u32>,
    /// How long a superseded checkpoint is kept; the manifest's, or 7d
    #[arg(long, value_name = "DURATION", value_parser = weir_protocol::units::parse_duration)]
    expiration: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Says that it is meant: there is no way back
    #[arg(long, required = true)]
    all: bool,
}

pub(super) fn main(command: &CheckpointsCommand) -> Exit {
    let common = match command {
        CheckpointsCommand::List(common) => common,
        CheckpointsCommand::Inspect(args) => &args.common,
        CheckpointsCommand::Verify(args) => &args.common,
        CheckpointsCommand::Gc(args) => &args.common,
        CheckpointsCommand::Delete(args) => &args.common,
    };
    let place = match common.place.resolve() {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    let form = common.output.form();
    block_on(async {
        match command {
            CheckpointsCommand::List(_) => {
                with_journal(&place, async |journal| list::list(journal, form).await).await
            }
            CheckpointsCommand::Inspect(args) => {
                with_journal(&place, async |journal| inspect::inspect(journal, args.id, form).await).await
            }
            CheckpointsCommand::Verify(args) => {
                with_journal(&place, async |journal| verify::verify(journal, args.id, form).await).await
            }
            CheckpointsCommand::Gc(args) => {
                let (keep, expiration) =
                    place.retention.unwrap_or((3, std::time::Duration::from_secs(7 * 86_400)));
                let retention = weir_checkpoint::gc::Retention {
                    keep: args.retain.unwrap_or(keep),
                    expiration: args.expiration.unwrap_or(expiration),
                };
                with_journal(&place, async |journal| gc::dry_run(journal, retention, form).await).await
            }
            CheckpointsCommand::Delete(_) => delete::delete(&place, form).await,
        }
    })
}

async fn with_journal(place: &Place, look: impl AsyncFnOnce(&Opened) -> Exit) -> Exit {
    match Opened::open(place).await {
        Ok(journal) => look(&journal).await,
        Err(exit) => exit,
    }
}

/// A job's storage and its journal as it was read.
pub(super) struct Opened {
    pub(super) uid: JobUid,
    pub(super) store: Arc<dyn Store>,
    pub(super) view: View,
}

impl Opened {
    pub(super) async fn open(place: &Place) -> Result<Self, Exit> {
        let (uid, store) = folder(place).await?;
        let journal = JournalView::read(store.as_ref()).await.map_err(|error| unreadable(&error))?;
        if !journal.exists {
            print_error(&format!("error: {} holds no journal: the job {uid} never ran there\n", store.url()));
            return Err(Exit::State);
        }
        Ok(Self { uid, store, view: journal.view })
    }

    /// The checkpoint of a number, or the newest.
    pub(super) fn one(&self, id: Option<u64>) -> Result<Completed, Exit> {
        let found = match id {
            Some(id) => self.view.checkpoints().into_iter().find(|c| c.id == CheckpointId(id)),
            None => self.view.newest(),
        };
        found.ok_or_else(|| {
            let known: Vec<String> = self.view.checkpoints().iter().map(|c| c.id.to_string()).collect();
            let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
            let what =
                id.map_or("no completed checkpoint".to_owned(), |id| format!("no completed checkpoint {id}"));
            print_error(&format!("error: the job {} has {what}; completed and kept: {known}\n", self.uid));
            Exit::State
        })
    }
}

/// The folder of the job that is meant.
pub(super) async fn folder(place: &Place) -> Result<(JobUid, Arc<dyn Store>), Exit> {
    let uid = match &place.uid {
        Some(uid) => uid.clone(),
        None => only_job(place).await?,
    };
    let store = open(&place.storage, &uid).await.map_err(|error| failed(&error))?;
    Ok((uid, store))
}

/// The only job of a storage.
async fn only_job(place: &Place) -> Result<JobUid, Exit> {
    let root = open_root(&place.storage).await.map_err(|error| failed(&error))?;
    let folders = root.list_folder("").await.map_err(|error| failed(&error))?.folders;
    let jobs: Vec<JobUid> = folders.into_iter().filter_map(|name| JobUid::new(name).ok()).collect();
    match jobs.as_slice() {
        [job] => Ok(job.clone()),
        [] => {
            print_error(&format!("error: {} holds no jobs\n", place.storage.url));
            Err(Exit::State)
        }
        jobs => {
            let names: Vec<&str> = jobs.iter().map(JobUid::as_str).collect();
            print_error(&format!(
                "error: {} holds several jobs: choose one with --uid: {}\n",
                place.storage.url,
                names.join(", ")
            ));
            Err(Exit::Usage)
        }
    }
}

pub(super) fn unreadable(error: &ReadError) -> Exit {
    match error {
        ReadError::Store(error) => failed(error),
        ReadError::Broken(_) | ReadError::Gap(_) | ReadError::Boundary(_) => {
            print_error(&format!("error: the journal can't be read: {error}\n"));
            Exit::State
        }
    }
}

/// A time as people and programs read it: RFC 3339, UTC, whole seconds.
pub(super) fn time(at_us: u64) -> String {
    let at = i64::try_from(at_us / 1_000_000).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    at.map_or_else(|| at_us.to_string(), |at| at.to_string())
}
