//! What a new job can start from: a savepoint, or a checkpoint of another job.

use std::sync::Arc;

use weir_protocol::{CheckpointId, Failure, FailureKind, ManifestRef, StorageConfig};

use super::{Found, SavepointError, SavepointFolder, SavepointId, list_savepoints};
use crate::journal::{Completed, JournalView};
use crate::layout;
use crate::store::{Store, open_at};

/// How a savepoint of the job itself is written: `savepoint/<id>`.
const OWN: &str = "savepoint/";

/// Where the state of a new job comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its folder: the keys of the manifest are keys in it.
    pub store: Arc<dyn Store>,
    /// The manifest.
    pub manifest: ManifestRef,
    /// The checkpoint's number where it was taken.
    pub checkpoint: CheckpointId,
    /// For people: what it is.
    pub name: String,
}

/// Why there is nothing to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// What is there can't be read.
    #[error(transparent)]
    Savepoint(#[from] SavepointError),
    /// The journal of the job there can't be read.
    #[error("{0}")]
    Journal(String),
    /// It is not there.
    #[error("{0}")]
    Absent(String),
}

impl OriginError {
    /// Whether trying again may help.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Savepoint(error) if error.is_unknown())
    }
}

impl From<crate::store::StoreError> for OriginError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Savepoint(error.into())
    }
}

impl From<OriginError> for Failure {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Savepoint(error) => error.into(),
            OriginError::Journal(text) => Self::new(FailureKind::StateUnreadable, text),
            OriginError::Absent(text) => Self::new(FailureKind::Config, text),
        }
    }
}

/// Finds what `from` names: `savepoint/<id>` is a savepoint in the job's folder `own`; a URL is that of a
/// savepoint's folder, of another job's folder (its newest completed checkpoint), or of a manifest in that
/// (that checkpoint). `storage` says how S3 is reached.
///
/// # Errors
/// [`OriginError`] says what is there instead.
pub async fn find_origin(
    own: &Arc<dyn Store>,
    storage: &StorageConfig,
    from: &str,
) -> Result<Origin, OriginError> {
    if let Some(id) = from.strip_prefix(OWN) {
        return of_own(own, id).await;
    }
    let url = from.trim_end_matches('/');
    let store = open_at(storage, url).await?;
    let folder = SavepointFolder::at(Arc::clone(&store));
    if folder.read().await?.is_some() {
        return of_savepoint(folder).await;
    }
    let journal = JournalView::read(store.as_ref()).await?;
    if journal.exists {
        let Some(newest) = journal.view.newest() else {
            return Err(OriginError::Absent(format!("the job in {url} has no completed checkpoint")));
        };
        return Ok(of_checkpoint(store, newest));
    }
    match url.rfind("/manifest/") {
        Some(at) => of_manifest(storage, &url[..at], &url[at + 1..]).await,
        None => Err(OriginError::Absent(format!(
            "{url} holds neither a savepoint nor a job with checkpoints; name the folder of a savepoint (weir savepoint list shows it), the folder of a job, or a manifest in that"
        ))),
    }
}

async fn of_own(own: &Arc<dyn Store>, id: &str) -> Result<Origin, OriginError> {
    let id = SavepointId::new(id).map_err(|why| OriginError::Absent(why.to_string()))?;
    let folder = SavepointFolder::of_job(Arc::clone(own), &id);
    if folder.read().await?.is_some() {
        return of_savepoint(folder).await;
    }
    let there = list_savepoints(own, layout::SAVEPOINTS).await?;
    let whole = |found: &Found| found.problem().is_none().then(|| found.id().to_owned());
    let names: Vec<String> = there.iter().filter_map(whole).collect();
    let names = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    Err(OriginError::Absent(format!("{} holds no savepoint {id}; savepoints there: {names}", own.url())))
}

async fn of_savepoint(folder: SavepointFolder) -> Result<Origin, OriginError> {
    let savepoint = folder.found().await?;
    let name = format!("savepoint {} of job {} ({})", savepoint.id, savepoint.job, folder.url());
    let (manifest, checkpoint) = (savepoint.manifest, savepoint.checkpoint);
    Ok(Origin { store: Arc::clone(folder.store()), manifest, checkpoint, name })
}

fn of_checkpoint(store: Arc<dyn Store>, checkpoint: Completed) -> Origin {
    let name = format!("checkpoint {} in {}", checkpoint.id, store.url());
    Origin { store, manifest: checkpoint.manifest, checkpoint: checkpoint.id, name }
}

/// A checkpoint by its manifest: believed only if the job's journal calls it completed.
async fn of_manifest(storage: &StorageConfig, job: &str, key: &str) -> Result<Origin, OriginError> {
    let store = open_at(storage, job).await?;
    let completed = JournalView::read(store.as_ref()).await?.view.checkpoints();
    match completed.into_iter().find(|c| c.manifest.key == key) {
        Some(checkpoint) => Ok(of_checkpoint(store, checkpoint)),
        None => Err(OriginError::Absent(format!("no completed checkpoint in {job} has the manifest {key}"))),
    }
}
