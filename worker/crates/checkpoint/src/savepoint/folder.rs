//! The folder of a savepoint in a store: found, checked, deleted.

use std::sync::Arc;

use weir_protocol::units::format_size;

use super::{Savepoint, SavepointError, SavepointId, decode_savepoint, encode_savepoint};
use crate::erase::erase_below;
use crate::layout;
use crate::manifest::{Manifest, Problem, read_manifest, verify_checkpoint};
use crate::store::{Below, Folder, Listed, Put, Store, StoreError};

/// How often a write of unknown outcome is looked at again before the error is given.
const TRIES: u32 = 5;

/// A folder that holds one savepoint, or will.
#[derive(Debug, Clone)]
pub struct SavepointFolder {
    /// The folder itself, as a store.
    root: Arc<dyn Store>,
    /// The store that it is in, and its place there.
    within: Option<(Arc<dyn Store>, String)>,
}

/// A savepoint as a listing finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A whole one.
    Whole(Savepoint),
    /// Being copied now, or what is left of a copy or a deletion that did not come to its end.
    Unfinished {
        /// The folder's name.
        id: String,
        /// Bytes that it takes.
        bytes: u64,
    },
    /// What says that it is one can't be read.
    Unreadable {
        /// The folder's name.
        id: String,
        /// What is wrong.
        why: String,
    },
}

impl SavepointFolder {
    /// The folder of this savepoint in the folder of its job.
    pub fn of_job(store: Arc<dyn Store>, id: &SavepointId) -> Self {
        Self::within(store, layout::savepoint(id.as_str()))
    }

    /// The folder of this savepoint in a folder that somebody chose.
    pub fn in_folder(store: Arc<dyn Store>, id: &SavepointId) -> Self {
        Self::within(store, id.to_string())
    }

    /// A store that is the folder of a savepoint.
    pub fn at(store: Arc<dyn Store>) -> Self {
        Self { root: store, within: None }
    }

    fn within(store: Arc<dyn Store>, folder: String) -> Self {
        let root = Arc::new(Below::new(Arc::clone(&store), &folder));
        Self { root, within: Some((store, folder)) }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.root.url()
    }

    /// The folder as a store: its keys are those of the savepoint's manifest.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.root
    }

    /// What the key of an object in here is called in `store`, if the folder lies in that.
    pub(super) fn key_in(&self, store: &Arc<dyn Store>, key: &str) -> Option<String> {
        let (outer, folder) = self.within.as_ref()?;
        std::ptr::addr_eq(Arc::as_ptr(outer), Arc::as_ptr(store)).then(|| format!("{folder}/{key}"))
    }

    /// What says that it is a savepoint; `None` if nothing does.
    ///
    /// # Errors
    /// [`SavepointError::Store`], [`SavepointError::Codec`].
    pub async fn read(&self) -> Result<Option<Savepoint>, SavepointError> {
        let Some(bytes) = self.root.get(layout::SAVEPOINT).await? else { return Ok(None) };
        let place = || format!("{}/{}", self.url(), layout::SAVEPOINT);
        decode_savepoint(&bytes).map(Some).map_err(|why| SavepointError::Codec { place: place(), why })
    }

    /// As [`read`](Self::read); that there is none is an error.
    ///
    /// # Errors
    /// [`SavepointError`].
    pub async fn found(&self) -> Result<Savepoint, SavepointError> {
        self.read().await?.ok_or_else(|| SavepointError::Absent(self.url().to_owned()))
    }

    /// The savepoint with its manifest, checked.
    ///
    /// # Errors
    /// [`SavepointError`].
    pub async fn manifest(&self) -> Result<(Savepoint, Manifest), SavepointError> {
        let savepoint = self.found().await?;
        let manifest = read_manifest(self.root.as_ref(), &savepoint.manifest).await?;
        Ok((savepoint, manifest))
    }

    /// Reads everything that it consists of and compares it with its digests. Gives every problem.
    ///
    /// # Errors
    /// [`SavepointError`]: there is nothing to compare with.
    pub async fn verify(&self) -> Result<(Savepoint, Vec<Problem>), SavepointError> {
        let savepoint = self.found().await?;
        let problems = verify_checkpoint(self.root.as_ref(), &savepoint.manifest).await;
        Ok((savepoint, problems))
    }

    /// Says that everything is there. Whoever says so first decides: a second copy of the same checkpoint counts
    /// as done, one of another is refused.
    pub(super) async fn finish(&self, savepoint: &Savepoint) -> Result<Savepoint, SavepointError> {
        let bytes = encode_savepoint(savepoint)
            .map_err(|why| SavepointError::Codec { place: self.url().to_owned(), why })?;
        let mut unclear = None;
        for _ in 0..TRIES {
            match self.root.put_new(layout::SAVEPOINT, bytes.clone()).await {
                Ok(Put::Written) => return Ok(savepoint.clone()),
                Ok(Put::Refused) => {}
                Err(error) if error.is_unknown() => unclear = Some(error),
                Err(error) => return Err(error.into()),
            }
            if let Some(found) = self.read().await? {
                return self.agreed(savepoint, found);
            }
        }
        let deleted = || {
            StoreError::new(
                crate::StoreErrorKind::Unknown,
                "create",
                self.url(),
                layout::SAVEPOINT,
                "it is there and then not",
            )
        };
        Err(unclear.unwrap_or_else(deleted).into())
    }

    /// The savepoint that is there, if it is a copy of what is wanted.
    pub(super) fn agreed(&self, wanted: &Savepoint, found: Savepoint) -> Result<Savepoint, SavepointError> {
        if found.same(wanted) {
            return Ok(found);
        }
        let (job, checkpoint) = (found.job, found.checkpoint);
        Err(SavepointError::Taken { id: found.id.to_string(), job, checkpoint })
    }

    /// Deletes the savepoint, or what is left of one: first what says that it is one, so that half of it is never
    /// taken for a whole. Safe to repeat. Gives how many objects there were.
    ///
    /// # Errors
    /// [`SavepointError::Job`] if it is a job's folder; else [`SavepointError::Store`], and some may be gone.
    pub async fn delete(&self) -> Result<usize, SavepointError> {
        if self.within.is_none() && is_job(self.root.list_folder("").await?) {
            return Err(SavepointError::Job(self.url().to_owned()));
        }
        let marker = usize::from(self.root.head(layout::SAVEPOINT).await?.is_some());
        self.root.delete(&[layout::SAVEPOINT.to_owned()]).await?;
        let below = erase_below(self.root.as_ref(), &[layout::MANIFESTS, layout::DATA]).await?;
        Ok(marker + below)
    }

    async fn look(self, id: String) -> Result<Found, StoreError> {
        match self.read().await {
            Ok(Some(savepoint)) => Ok(Found::Whole(savepoint)),
            Ok(None) => {
                let objects: Vec<Listed> = self.root.list("").await?;
                Ok(Found::Unfinished { id, bytes: objects.iter().map(|o| o.size).sum() })
            }
            Err(SavepointError::Store(error)) => Err(error),
            Err(error) => Ok(Found::Unreadable { id, why: error.to_string() }),
        }
    }
}

/// The savepoints in a job's folder, by name; or, if `folder` is empty, those directly in a store.
///
/// # Errors
/// The store's.
pub async fn list_savepoints(store: &Arc<dyn Store>, folder: &str) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for id in store.list_folder(folder).await?.folders {
        if SavepointId::new(id.clone()).is_ok() {
            let place = SavepointFolder::within(Arc::clone(store), format!("{folder}{id}"));
            found.push(place.look(id).await?);
        }
    }
    Ok(found)
}

impl Found {
    /// The folder's name.
    pub fn id(&self) -> &str {
        match self {
            Self::Whole(savepoint) => savepoint.id.as_str(),
            Self::Unfinished { id, .. } | Self::Unreadable { id, .. } => id,
        }
    }

    /// What is wrong with it, for people; `None` if it is whole.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Whole(_) => None,
            Self::Unfinished { bytes, .. } => {
                Some(format!("unfinished ({}): being copied, or left over", format_size(*bytes)))
            }
            Self::Unreadable { why, .. } => Some(format!("UNREADABLE: {why}")),
        }
    }
}

fn is_job(folder: Folder) -> bool {
    folder.folders.iter().any(|name| layout::JOURNAL.trim_end_matches('/') == name)
        || folder.objects.iter().any(|object| object.key == layout::BOUNDARY)
}
