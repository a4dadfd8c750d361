//! Where a job's journal and checkpoints are: one trait over memory, a file system and S3.
//!
//! It owns keys, outcomes and errors of single operations. It does not own what the operations
//! mean together (`journal`, `gc`), and it never turns an unclear answer into a clear one.

mod below;
mod error;
mod fs;
mod memory;
mod open;
mod payload;
pub mod s3;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use below::Below;
pub use error::{StoreError, StoreErrorKind, check_key, check_prefix};
pub use fs::FsStore;
pub use memory::MemoryStore;
pub use open::{check_url, open, open_at, open_root};
pub use payload::Payload;
pub use s3::S3Store;

/// What an operation on a store gives.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The content of an object, piece by piece as it comes.
pub type Pieces<'a> = BoxStream<'a, Result<Bytes, StoreError>>;

/// How a conditional write ended, when its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// This call wrote the object, and it is durable.
    Written,
    /// The condition did not hold: the key is there already, or holds another version. After a
    /// retry on the way this can be the caller's own write: read back and compare.
    Refused,
}

/// What identifies the content of an object for a compare-and-swap. Equal bytes may have equal
/// versions, so what is swapped must hold something that never repeats.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub(crate) String);

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The key, complete (below the store's root).
    pub key: String,
    /// Length in bytes.
    pub size: u64,
}

/// What lies directly below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folder {
    /// Names of sub-folders, without slash, sorted.
    pub folders: Vec<String>,
    /// Objects, sorted by key.
    pub objects: Vec<Listed>,
}

/// An unfinished upload that takes room but is no object yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The key that it would get.
    pub key: String,
    /// The store's name of the upload.
    pub id: String,
}

/// A flat map from keys to immutable bytes, below one root.
///
/// # Guarantees that everything above relies on
/// - An object is seen whole or not at all; a write that returned is durable and every later
///   read and list shows it.
/// - Of any number of concurrent [`put_new`](Self::put_new) of one key exactly one is
///   [`Put::Written`]; likewise for [`replace`](Self::replace) of one version.
/// - Deleting forgets: the key may be created again. (What needs more has to keep a boundary.)
///
/// # Errors
/// An error whose [`kind`](StoreError::kind) is [`StoreErrorKind::Unknown`] says nothing about
/// whether a write was done; it may even be done later. All other kinds say that it was not.
/// Reads are free of that: there `Unknown` means that trying again may help.
///
/// # Keys
/// `[A-Za-z0-9._-]` in segments joined by `/`, at most 512 bytes in all and 200 per segment; no
/// segment is empty or begins with a dot. Others are refused with [`StoreErrorKind::Invalid`].
/// No key may be the folder of another.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The root, for messages; never holds a credential.
    fn url(&self) -> &str;

    /// The object, or `None` if there is none. Never from a cache.
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;

    /// The object with its version, for [`replace`](Self::replace).
    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>>;

    /// `length` bytes from `offset`. `None` if there is no such object; an object that is too short is
    /// an error of kind [`StoreErrorKind::Failed`].
    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>>;

    /// The size in bytes, or `None` if there is no such object.
    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>>;

    /// Creates a small object (at most some 100 KiB) if the key is absent. Never retried inside.
    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put>;

    /// Writes an object of any size under a name that nobody else uses. Retried inside, the same bytes
    /// only; if it fails, the name must not be used for anything else.
    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()>;

    /// As [`put`](Self::put), with pieces that come one after the other, so that a large object is never in
    /// memory as a whole. If a piece is an error, that is the result and there is no object.
    fn put_pieces<'a>(&'a self, key: &'a str, pieces: Pieces<'a>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let chunks = pieces.try_collect().await?;
            self.put(key, Payload::new(chunks)).await
        })
    }

    /// Copies an object to a name that nobody else uses; `false` if there is no such object. A store that
    /// can do so copies by itself: the bytes do not come here. Retried inside; copying again is harmless.
    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let Some(bytes) = self.get(from).await? else { return Ok(false) };
            self.put(to, Payload::from(bytes)).await?;
            Ok(true)
        })
    }

    /// Replaces a small object if it still has that version; `None` creates it. Never retried inside.
    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put>;

    /// All objects whose key begins with `prefix` (empty, or a folder ending with `/`), sorted by key.
    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>>;

    /// What lies directly below the folder `prefix` (empty, or ending with `/`).
    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder>;

    /// Deletes objects; those that are absent count as deleted. On an error some may be gone.
    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()>;

    /// Unfinished uploads below `prefix`. Stores without such a thing have none.
    fn uploads<'a>(&'a self, _prefix: &'a str) -> StoreFuture<'a, Vec<Upload>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Gives an unfinished upload up; one that is gone counts as given up.
    fn abort_upload<'a>(&'a self, _upload: &'a Upload) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// The S3 access behind this store with the key prefix of its root, if it is one: the probe
    /// checks multipart uploads on it.
    fn as_s3(&self) -> Option<(&s3::S3, &str)> {
        None
    }
}
