//! A folder of a store as a store of its own.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{checked, checked_prefix};
use super::{Folder, Listed, Payload, Pieces, Put, Store, StoreError, StoreFuture, Upload, Version};

/// The keys of another store that lie below a folder. Clones share it.
#[derive(Clone)]
pub struct Below {
    inner: Arc<dyn Store>,
    /// Ends with `/`.
    prefix: String,
    url: String,
}

impl std::fmt::Debug for Below {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Below").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Below {
    /// The keys below `folder`: segments joined by `/`, without one at the end.
    pub fn new(inner: Arc<dyn Store>, folder: &str) -> Self {
        let slash = if inner.url().ends_with('/') { "" } else { "/" };
        let url = format!("{}{slash}{folder}", inner.url());
        Self { inner, prefix: format!("{folder}/"), url }
    }

    fn at(&self, operation: &'static str, key: &str) -> Result<String, StoreError> {
        checked(operation, &self.url, key)?;
        Ok(format!("{}{key}", self.prefix))
    }

    fn below(&self, prefix: &str) -> Result<String, StoreError> {
        checked_prefix("list", &self.url, prefix)?;
        Ok(format!("{}{prefix}", self.prefix))
    }

    fn own(&self, mut listed: Vec<Listed>) -> Vec<Listed> {
        for object in &mut listed {
            object.key.replace_range(..self.prefix.len(), "");
        }
        listed
    }
}

impl Store for Below {
    fn url(&self) -> &str {
        &self.url
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.inner.get(&self.at("get", key)?).await })
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        Box::pin(async move { self.inner.get_versioned(&self.at("get", key)?).await })
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.inner.get_range(&self.at("get", key)?, offset, length).await })
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        Box::pin(async move { self.inner.head(&self.at("head", key)?).await })
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.inner.put_new(&self.at("create", key)?, bytes).await })
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.inner.put(&self.at("put", key)?, payload).await })
    }

    fn put_pieces<'a>(&'a self, key: &'a str, pieces: Pieces<'a>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let key = self.at("put", key)?;
            self.inner.put_pieces(&key, pieces).await
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.inner.copy(&self.at("copy", from)?, &self.at("copy", to)?).await })
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.inner.replace(&self.at("replace", key)?, expected, bytes).await })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        Box::pin(async move { Ok(self.own(self.inner.list(&self.below(prefix)?).await?)) })
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        Box::pin(async move {
            let found = self.inner.list_folder(&self.below(prefix)?).await?;
            Ok(Folder { folders: found.folders, objects: self.own(found.objects) })
        })
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let keys = keys.iter().map(|key| self.at("delete", key)).collect::<Result<Vec<_>, _>>()?;
            self.inner.delete(&keys).await
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Upload>> {
        Box::pin(async move {
            let mut uploads = self.inner.uploads(&self.below(prefix)?).await?;
            for upload in &mut uploads {
                upload.key.replace_range(..self.prefix.len(), "");
            }
            Ok(uploads)
        })
    }

    fn abort_upload<'a>(&'a self, upload: &'a Upload) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let upload = Upload { key: self.at("abort upload", &upload.key)?, id: upload.id.clone() };
            self.inner.abort_upload(&upload).await
        })
    }
}
