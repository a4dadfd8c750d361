//! A store in front of which the process dies after so many operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use weir_checkpoint::store::{
    Folder, Listed, Payload, Pieces, Put, Store, StoreError, StoreErrorKind, StoreFuture, Version,
};

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Right before this operation reaches the store.
    Before(u64),
    /// Right after this operation was done, before anybody heard of it.
    After(u64),
    /// Never: only counts.
    Never,
}

/// Counts operations from 1; from the fatal one on there are only errors without a clear answer.
#[derive(Debug)]
pub struct CrashingStore {
    inner: Arc<dyn Store>,
    death: Death,
    done: AtomicU64,
}

impl CrashingStore {
    /// A store over another.
    pub fn new(inner: Arc<dyn Store>, death: Death) -> Self {
        Self { inner, death, done: AtomicU64::new(0) }
    }

    /// How many operations were begun.
    pub fn operations(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn pass<T>(&self, key: &str, work: StoreFuture<'_, T>) -> Result<T, StoreError> {
        let at = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let dead = |why: &str| {
            Err(StoreError::new(StoreErrorKind::Unknown, "reach", self.inner.url(), key, why.to_owned()))
        };
        match self.death {
            Death::Before(fatal) if at >= fatal => dead("dead by script"),
            Death::After(fatal) if at > fatal => dead("dead by script"),
            Death::After(fatal) if at == fatal => {
                let _ = work.await;
                dead("died after it, by script")
            }
            Death::Before(_) | Death::After(_) | Death::Never => work.await,
        }
    }
}

impl Store for CrashingStore {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(self.pass(key, self.inner.get(key)))
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        Box::pin(self.pass(key, self.inner.get_versioned(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(self.pass(key, self.inner.get_range(key, offset, length)))
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        Box::pin(self.pass(key, self.inner.head(key)))
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(self.pass(key, self.inner.put_new(key, bytes)))
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        Box::pin(self.pass(key, self.inner.put(key, payload)))
    }

    fn put_pieces<'a>(&'a self, key: &'a str, pieces: Pieces<'a>) -> StoreFuture<'a, ()> {
        Box::pin(self.pass(key, self.inner.put_pieces(key, pieces)))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(self.pass(to, self.inner.copy(from, to)))
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        Box::pin(self.pass(key, self.inner.replace(key, expected, bytes)))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        Box::pin(self.pass(prefix, self.inner.list(prefix)))
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        Box::pin(self.pass(prefix, self.inner.list_folder(prefix)))
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        Box::pin(self.pass("", self.inner.delete(keys)))
    }
}
