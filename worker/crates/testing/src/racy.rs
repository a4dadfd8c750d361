//! A store that looks before it leaps: its conditional writes are not atomic. The probe must refuse it.

use bytes::Bytes;
use weir_checkpoint::store::{Folder, Listed, MemoryStore, Payload, Put, Store, StoreFuture, Version};

/// A store in memory whose conditions are checked, and then, a moment later, the write is done.
#[derive(Debug, Default)]
pub struct RacyStore {
    inner: MemoryStore,
}

impl Store for RacyStore {
    fn url(&self) -> &str {
        "memory://racy"
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.inner.get(key)
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        self.inner.get_versioned(key)
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        self.inner.get_range(key, offset, length)
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        self.inner.head(key)
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        self.replace(key, None, bytes)
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        self.inner.put(key, payload)
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        Box::pin(async move {
            let found = self.inner.get_versioned(key).await?;
            if found.map(|(_, version)| version).as_ref() != expected {
                return Ok(Put::Refused);
            }
            tokio::task::yield_now().await;
            self.inner.put(key, bytes.into()).await?;
            Ok(Put::Written)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        self.inner.list(prefix)
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        self.inner.list_folder(prefix)
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        self.inner.delete(keys)
    }
}
