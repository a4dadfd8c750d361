//! Copying a checkpoint into the folder of a savepoint.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use weir_protocol::{Attempt, CheckpointId, ManifestRef, ObjectRef};

use super::{Savepoint, SavepointError, SavepointFolder, SavepointId};
use crate::layout;
use crate::manifest::{Problem, Wrong, check_object, check_present, pieces, read_manifest};
use crate::store::Store;

/// Objects that are copied at a time.
const AT_A_TIME: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The name that the savepoint gets.
    pub id: SavepointId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Under which attempt it was taken.
    pub attempt: Attempt,
    /// When it was completed, microseconds since the Unix epoch.
    pub completed_us: u64,
    /// Its manifest, in the job's folder.
    pub manifest: ManifestRef,
}

/// Copies everything that a checkpoint in the job's folder `source` consists of, compares it with its digests, and
/// then says that the savepoint is whole. `now_us` is asked for the time of that.
///
/// May be repeated after a crash or an error at any point, also by another process: what is there already and is
/// right is not copied again, and a savepoint that is whole counts as done.
///
/// # Errors
/// [`SavepointError`]. What was copied stays, without being a savepoint.
pub async fn copy_checkpoint(
    source: &Arc<dyn Store>,
    wanted: &Copied,
    folder: &SavepointFolder,
    now_us: &(dyn Fn() -> u64 + Send + Sync),
) -> Result<Savepoint, SavepointError> {
    let there = folder.read().await?;
    let manifest = match read_manifest(source.as_ref(), &wanted.manifest).await {
        Ok(manifest) => manifest,
        // The checkpoint may be gone for long, and its copy be whole.
        Err(problem) => return done_before(wanted, there).ok_or_else(|| problem.into()),
    };
    let mut objects = manifest.objects;
    let savepoint = Savepoint {
        id: wanted.id.clone(),
        job: manifest.job,
        checkpoint: wanted.checkpoint,
        attempt: wanted.attempt,
        completed_us: wanted.completed_us,
        copied_us: 0,
        manifest: wanted.manifest.clone(),
        objects: objects.len() as u64,
        bytes: objects.iter().map(|o| o.size).sum::<u64>() + wanted.manifest.size,
    };
    if let Some(there) = there {
        return folder.agreed(&savepoint, there);
    }
    objects.push(wanted.manifest.clone());
    // Boxed with their lifetime named, so that what waits for them can move between threads.
    let copy = |object| -> BoxFuture<'_, Result<(), SavepointError>> {
        Box::pin(copy_object(source, object, folder))
    };
    let copies: Vec<_> = objects.iter().map(copy).collect();
    stream::iter(copies).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    let savepoint = folder.finish(&Savepoint { copied_us: now_us(), ..savepoint }).await?;
    // A process that slept through the deletion of what another one finished must not bring half of it back.
    match check_present(folder.store().as_ref(), &objects).await.into_iter().next() {
        None => Ok(savepoint),
        Some(problem) if problem.is_store() => Err(problem.into()),
        Some(problem) => {
            folder.store().delete(&[layout::SAVEPOINT.to_owned()]).await?;
            Err(problem.into())
        }
    }
}

/// As [`copy_checkpoint`]; while the store gives no clear answer it is tried again, until the pauses add up to
/// `patience`. If it fails for good, what was copied is removed as far as the store lets it.
///
/// # Errors
/// [`SavepointError`].
pub async fn copy_patiently(
    source: &Arc<dyn Store>,
    wanted: &Copied,
    folder: &SavepointFolder,
    patience: Duration,
    now_us: &(dyn Fn() -> u64 + Send + Sync),
) -> Result<Savepoint, SavepointError> {
    let (mut pause, mut left) = (FIRST_PAUSE, patience);
    let error = loop {
        match copy_checkpoint(source, wanted, folder, now_us).await {
            Ok(savepoint) => return Ok(savepoint),
            Err(error) if error.is_unknown() && !left.is_zero() => {
                left = left.saturating_sub(pause);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => break error,
        }
    };
    // Somebody else's savepoint stays, and so does one that may be whole.
    if let Ok(None) = folder.read().await
        && let Err(left_over) = folder.delete().await
    {
        tracing::warn!(error = %left_over, "what a savepoint that failed has copied is left behind");
    }
    Err(error)
}

/// The savepoint that is there, if it is what is wanted as far as can be said without the checkpoint.
fn done_before(wanted: &Copied, there: Option<Savepoint>) -> Option<Savepoint> {
    there.filter(|s| s.checkpoint == wanted.checkpoint && s.manifest == wanted.manifest)
}

/// Brings one object into the folder, unless it is there and right.
async fn copy_object(
    source: &Arc<dyn Store>,
    object: &ObjectRef,
    folder: &SavepointFolder,
) -> Result<(), SavepointError> {
    let target = folder.store();
    if target.head(&object.key).await? == Some(object.size)
        && check_object(target.as_ref(), object).await.is_ok()
    {
        return Ok(());
    }
    match folder.key_in(source, &object.key) {
        Some(key) => {
            if !source.copy(&object.key, &key).await? {
                return Err(Problem::new(&object.key, Wrong::Missing).into());
            }
            check_object(target.as_ref(), object).await?;
        }
        None => stream_object(source, object, target, &object.key).await?,
    }
    Ok(())
}

/// Copies an object between stores, piece by piece, and compares what came with its digest.
pub(super) async fn stream_object(
    source: &Arc<dyn Store>,
    object: &ObjectRef,
    target: &Arc<dyn Store>,
    key: &str,
) -> Result<(), SavepointError> {
    let (pieces, checked) = pieces(source.as_ref(), object);
    let put = target.put_pieces(key, pieces).await;
    // What is wrong with the source says more than that the target was given nothing.
    if let Some(problem) = checked.problem() {
        return Err(problem.into());
    }
    Ok(put?)
}
