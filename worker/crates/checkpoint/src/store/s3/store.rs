//! A job's folder in a bucket, as a [`Store`].

use bytes::Bytes;

use super::{Condition, S3};
use crate::store::error::{checked, checked_prefix};
use crate::store::{Folder, Listed, Payload, Pieces, Put, Store, StoreError, StoreFuture, Upload, Version};

/// All keys of a bucket that begin with a prefix.
#[derive(Debug, Clone)]
pub struct S3Store {
    s3: S3,
    /// Empty, or ends with `/`.
    prefix: String,
    url: String,
}

impl S3Store {
    /// The keys below `folder` (empty, or segments joined by `/`).
    pub fn new(s3: S3, folder: &str) -> Self {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let url = format!("{}/{prefix}", s3.url());
        Self { url: url.trim_end_matches('/').to_owned(), s3, prefix }
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

impl Store for S3Store {
    fn url(&self) -> &str {
        &self.url
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { Ok(self.s3.get(&self.at("get", key)?).await?.map(|(bytes, _)| bytes)) })
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        Box::pin(async move {
            let found = self.s3.get(&self.at("get", key)?).await?;
            Ok(found.map(|(bytes, etag)| (bytes, Version(etag))))
        })
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(async move { self.s3.get_range(&self.at("get", key)?, offset, length).await })
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        Box::pin(async move { Ok(self.s3.head(&self.at("head", key)?).await?.map(|head| head.size)) })
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        Box::pin(async move { self.s3.put_if(&self.at("create", key)?, bytes, Condition::Absent).await })
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.s3.put(&self.at("put", key)?, payload).await })
    }

    fn put_pieces<'a>(&'a self, key: &'a str, pieces: Pieces<'a>) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.s3.put_pieces(&self.at("put", key)?, pieces).await })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move { self.s3.copy(&self.at("copy", from)?, &self.at("copy", to)?).await })
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        let condition = expected.map_or(Condition::Absent, |version| Condition::Matches(&version.0));
        Box::pin(async move { self.s3.put_if(&self.at("replace", key)?, bytes, condition).await })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        Box::pin(async move { Ok(self.own(self.s3.list(&self.below(prefix)?).await?)) })
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        Box::pin(async move {
            let found = self.s3.list_folder(&self.below(prefix)?).await?;
            Ok(Folder { folders: found.folders, objects: self.own(found.objects) })
        })
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let keys = keys.iter().map(|key| self.at("delete", key)).collect::<Result<Vec<_>, _>>()?;
            self.s3.delete(&keys).await
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Upload>> {
        Box::pin(async move {
            let mut uploads = self.s3.uploads(&self.below(prefix)?).await?;
            for upload in &mut uploads {
                upload.key.replace_range(..self.prefix.len(), "");
            }
            Ok(uploads)
        })
    }

    fn abort_upload<'a>(&'a self, upload: &'a Upload) -> StoreFuture<'a, ()> {
        Box::pin(
            async move { self.s3.abort_multipart(&self.at("abort upload", &upload.key)?, &upload.id).await },
        )
    }

    fn as_s3(&self) -> Option<(&S3, &str)> {
        Some((&self.s3, &self.prefix))
    }
}
