//! `weir storage`: whether a store can hold checkpoints safely; and where a command's store is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use weir_checkpoint::probe::{ProbeError, probe};
use weir_checkpoint::store::open_root;
use weir_checkpoint::{Store, StoreError};
use weir_protocol::{JobUid, StorageConfig};
use weir_runtime::SystemRandom;

use super::{Exit, Output, OutputArgs, input, print, print_error, print_json};

/// Looks at a storage
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    Check(CheckArgs),
}

/// Checks by races whether a storage keeps the promises that checkpoints are built on
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir storage check job.yaml\n  weir storage check s3://bucket/jobs --endpoint http://127.0.0.1:9000\n  weir storage check file:///var/lib/weir\n\nWrites some hundred small objects below \"probe/\" and removes them. Exit code 0: it may be used; 5: it may not, or can't be reached."
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// A storage: that of a manifest's job, or a URL.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// A manifest, or the URL of a storage: s3://bucket/prefix or file:///folder
    #[arg(value_name = "FILE|URL")]
    place: String,
    #[command(flatten)]
    how: PlaceOptions,
}

/// How a storage is reached, and what is meant in it.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceOptions {
    /// The job in the storage by its uid; with a URL that holds several jobs
    #[arg(long, value_name = "UID")]
    pub(super) uid: Option<String>,
    /// S3: another endpoint than that of AWS; with a URL
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// S3: the region; with a URL
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Sets a field over what the manifest says
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The job that is meant, if the manifest holds several
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

/// Where to look, and for what.
pub(super) struct Place {
    pub(super) storage: StorageConfig,
    /// The job; known with a manifest.
    pub(super) uid: Option<JobUid>,
    /// How many checkpoints are kept and for how long; known with a manifest.
    pub(super) retention: Option<(u32, std::time::Duration)>,
}

impl PlaceArgs {
    /// Where to look.
    ///
    /// # Errors
    /// What was shown.
    pub(super) fn resolve(&self) -> Result<Place, Exit> {
        self.how.resolve(&self.place)
    }
}

impl PlaceOptions {
    /// Where to look for what `place` says: a manifest, or a URL.
    ///
    /// # Errors
    /// What was shown.
    pub(super) fn resolve(&self, place: &str) -> Result<Place, Exit> {
        let uid = match self.uid.as_deref().map(JobUid::new).transpose() {
            Ok(uid) => uid,
            Err(error) => {
                print_error(&format!("error: --uid: {error}\n"));
                return Err(Exit::Usage);
            }
        };
        let mut place = if place.contains("://") { self.of_url(place)? } else { self.of_manifest(place)? };
        place.uid = uid.or(place.uid);
        if place.storage.url.starts_with("memory://") {
            print_error(
                "error: memory:// is gone with the process that used it: there is nothing to look at\n",
            );
            return Err(Exit::Invalid);
        }
        Ok(place)
    }

    fn of_url(&self, place: &str) -> Result<Place, Exit> {
        if let Err(message) = weir_crds::check_storage_url(place) {
            print_error(&format!("error: {message}\n"));
            return Err(Exit::Usage);
        }
        if let Some(message) = self.endpoint.as_deref().and_then(|e| weir_crds::check_endpoint(e).err()) {
            print_error(&format!("error: --endpoint: {message}\n"));
            return Err(Exit::Usage);
        }
        let storage = StorageConfig {
            url: place.trim_end_matches('/').to_owned(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            path_style: self.endpoint.is_some(),
        };
        Ok(Place { storage, uid: None, retention: None })
    }

    fn of_manifest(&self, place: &str) -> Result<Place, Exit> {
        let args =
            input::ManifestArgs { file: PathBuf::from(place), set: self.set.clone(), job: self.job.clone() };
        let (manifest, outcome) = args.check(false)?;
        let Some(config) = outcome.config else {
            input::show(&manifest, &outcome.findings);
            return Err(Exit::Invalid);
        };
        let retention = Some((config.checkpoint.retain, config.checkpoint.expiration));
        Ok(Place { storage: config.checkpoint.storage, uid: Some(config.uid), retention })
    }
}

pub(super) fn main(command: &StorageCommand) -> Exit {
    let StorageCommand::Check(args) = command;
    let place = match args.place.resolve() {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    block_on(check(&place.storage, args.output.form()))
}

async fn check(storage: &StorageConfig, output: Output) -> Exit {
    let started = Instant::now();
    let store: Arc<dyn Store> = match open_root(storage).await {
        Ok(store) => store,
        Err(error) => return failed(&error),
    };
    let result = probe(store.as_ref(), &SystemRandom).await;
    let took = started.elapsed();
    match (output, &result) {
        (Output::Json, _) => {
            let answer = serde_json::json!({
                "url": storage.url,
                "safe": result.is_ok(),
                "error": result.as_ref().err().map(ToString::to_string),
                "milliseconds": took.as_millis() as u64,
            });
            if print_json(&answer) != Exit::Done {
                return Exit::Failed;
            }
        }
        (Output::Text, Ok(())) => {
            print(&format!("{}: safe for checkpoints (checked by races in {took:.1?})\n", storage.url));
        }
        (Output::Text, Err(ProbeError::Store(error))) => return failed(error),
        (Output::Text, Err(error)) => print_error(&format!("error: {error}\n")),
    }
    if result.is_ok() { Exit::Done } else { Exit::Storage }
}

/// Says what a deletion came to.
pub(super) fn deleted(place: &str, objects: usize, output: Output) -> Exit {
    match output {
        Output::Json => print_json(&serde_json::json!({"place": place, "deletedObjects": objects})),
        Output::Text => {
            print(&match objects {
                0 => format!("{place}: there was nothing to delete\n"),
                objects => format!("{place}: deleted, {objects} objects\n"),
            });
            Exit::Done
        }
    }
}

/// Says that a store could not be asked.
pub(super) fn failed(error: &StoreError) -> Exit {
    print_error(&format!("error: the storage can't be used: {error}\n"));
    Exit::Storage
}

/// Runs the short work of a command.
pub(super) fn block_on(work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            print_error(&format!("error: the system gives no event loop: {error}\n"));
            Exit::Failed
        }
    }
}
