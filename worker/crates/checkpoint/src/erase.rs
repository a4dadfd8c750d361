//! Deleting what a job has in its storage, when nobody wants to go on from it.

use crate::layout;
use crate::store::{Store, StoreError};

/// What S3 takes in one request.
const AT_A_TIME: usize = 1000;

/// Deletes the journal and all checkpoints of a job that does not run; its savepoints stay, they are the user's. Safe to
/// repeat. Gives how many objects there were.
///
/// The boundary goes last: while it is there without records, nobody takes the job for one that never ran.
///
/// # Errors
/// [`StoreError`]; some may be gone.
pub async fn erase_job(store: &dyn Store) -> Result<usize, StoreError> {
    let deleted = erase_below(store, &[layout::JOURNAL, layout::MANIFESTS, layout::DATA]).await?;
    let boundary = usize::from(store.head(layout::BOUNDARY).await?.is_some());
    store.delete(&[layout::BOUNDARY.to_owned()]).await?;
    Ok(deleted + boundary)
}

/// Deletes everything in folders, and uploads to them that were never finished.
pub(crate) async fn erase_below(store: &dyn Store, folders: &[&str]) -> Result<usize, StoreError> {
    let mut deleted = 0;
    for folder in folders {
        for upload in store.uploads(folder).await? {
            store.abort_upload(&upload).await?;
        }
        let keys: Vec<String> = store.list(folder).await?.into_iter().map(|o| o.key).collect();
        for keys in keys.chunks(AT_A_TIME) {
            store.delete(keys).await?;
        }
        deleted += keys.len();
    }
    Ok(deleted)
}
