//! Taking over the state of a savepoint or of another job's checkpoint: a copy in the job's own folder, under
//! names of its own, so that nothing depends on what it came from.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use weir_protocol::{Attempt, CheckpointId, CheckpointKind, Execution, JobUid, ManifestRef, ObjectRef};
use weir_runtime::Random;

use super::copy::stream_object;
use super::{Origin, SavepointError};
use crate::layout;
use crate::manifest::{Manifest, WriteError, read_manifest, write_manifest};
use crate::store::Store;

/// Objects that are copied at a time.
const AT_A_TIME: usize = 4;

/// State that was taken over; nothing names it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The manifest in the job's own folder.
    pub manifest: ManifestRef,
    /// Number of key groups it was written with.
    pub max_parallelism: u32,
    /// Bytes that were copied.
    pub bytes: u64,
}

/// As whose, and as which, checkpoint it is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportAs {
    /// The job.
    pub job: JobUid,
    /// Under which attempt.
    pub attempt: Attempt,
    /// The number that it gets.
    pub id: CheckpointId,
    /// Now, microseconds since the Unix epoch.
    pub at_us: u64,
}

/// Copies what an origin consists of into the job's folder, each object compared with its digest.
///
/// What its sinks had prepared is left out: to make that visible is the business of the job that it is of, and
/// doing it here too could do it twice. May be repeated: each time under other names, and what is not recorded
/// is garbage like any other of a fenced attempt.
///
/// # Errors
/// [`SavepointError`].
pub async fn import(
    origin: &Origin,
    target: &Arc<dyn Store>,
    random: &dyn Random,
    wanted: &ImportAs,
) -> Result<Imported, SavepointError> {
    let manifest = read_manifest(origin.store.as_ref(), &origin.manifest).await?;
    let nonce = random.nonce();
    let renamed = |(at, object): (usize, &ObjectRef)| {
        let key = layout::data(wanted.attempt, wanted.id, &format!("import-{at:05}-{nonce}"));
        ObjectRef { key, ..object.clone() }
    };
    let objects: Vec<ObjectRef> = manifest.objects.iter().enumerate().map(renamed).collect();
    // Boxed with their lifetime named, so that what waits for them can move between threads.
    let copy = |(from, to)| -> BoxFuture<'_, Result<(), SavepointError>> {
        let (from, to): (&ObjectRef, &ObjectRef) = (from, to);
        Box::pin(stream_object(&origin.store, from, target, &to.key))
    };
    let copies: Vec<_> = manifest.objects.iter().zip(&objects).map(copy).collect();
    stream::iter(copies).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    let bytes = objects.iter().map(|o| o.size).sum();
    let own = renewed(manifest, objects, wanted);
    let written = write_manifest(target.as_ref(), random, &own).await.map_err(|error| match error {
        WriteError::Store(error) => SavepointError::Store(error),
        WriteError::Codec(why) => SavepointError::Codec { place: origin.name.clone(), why },
    })?;
    Ok(Imported { manifest: written, max_parallelism: own.max_parallelism, bytes })
}

fn renewed(mut manifest: Manifest, objects: Vec<ObjectRef>, wanted: &ImportAs) -> Manifest {
    for part in &mut manifest.parts {
        part.sinks.iter_mut().for_each(|sink| sink.handles.clear());
    }
    Manifest {
        job: wanted.job.clone(),
        attempt: wanted.attempt,
        execution: Execution(0),
        id: wanted.id,
        reason: CheckpointKind::Import,
        triggered_us: wanted.at_us,
        // The parallelism is the new job's own.
        parallelism: None,
        objects,
        ..manifest
    }
}
