//! A store that tells what is read, and that can keep readers waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::watch;
use weir_checkpoint::store::{Folder, Listed, MemoryStore, Payload, Put, Store, StoreFuture, Version};

#[derive(Debug)]
pub(super) struct Observed {
    inner: MemoryStore,
    reads: Mutex<BTreeMap<String, usize>>,
    /// Reads of keys that begin so get no answer.
    hang: watch::Sender<Option<&'static str>>,
    hung: watch::Sender<usize>,
}

impl Observed {
    pub(super) fn new(inner: MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            inner,
            reads: Mutex::default(),
            hang: watch::channel(None).0,
            hung: watch::channel(0).0,
        })
    }

    /// Reads so far of keys that begin so.
    pub(super) fn reads(&self, prefix: &str) -> usize {
        self.reads.lock().unwrap().iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, n)| n).sum()
    }

    pub(super) fn hang(&self, prefix: &'static str, on: bool) {
        self.hang.send_replace(on.then_some(prefix));
    }

    /// Waits until a reader waits.
    pub(super) async fn hung(&self) {
        self.hung.subscribe().wait_for(|n| *n > 0).await.unwrap();
    }

    async fn read(&self, key: &str) {
        *self.reads.lock().unwrap().entry(key.to_owned()).or_default() += 1;
        let hangs = |prefix: &Option<&'static str>| prefix.is_some_and(|p| key.starts_with(p));
        if hangs(&self.hang.borrow()) {
            self.hung.send_modify(|n| *n += 1);
            self.hang.subscribe().wait_for(|p| !hangs(p)).await.unwrap();
        }
    }
}

impl Store for Observed {
    fn url(&self) -> &str {
        self.inner.url()
    }
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            self.read(key).await;
            self.inner.get(key).await
        })
    }
    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        self.inner.get_versioned(key)
    }
    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move {
            self.read(key).await;
            self.inner.get_range(key, offset, length).await
        })
    }
    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        self.inner.head(key)
    }
    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        self.inner.put_new(key, bytes)
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
        self.inner.replace(key, expected, bytes)
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
