//! S3 and what speaks its protocol.
//!
//! [`S3`] is one bucket with the operations that a careful writer needs, for the store below and for
//! connectors that read and write files. It owns timeouts, retries and the reading of answers:
//! - conditional writes are sent exactly once, for the SDK's own retry turns a success whose answer
//!   was lost into "exists"; an unclear answer is [`StoreErrorKind::Unknown`](super::StoreErrorKind),
//!   a conflict (409) too;
//! - everything else is retried with backoff.

mod answer;
mod client;
mod copy;
mod multipart;
mod store;

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, Delete, ObjectIdentifier};
use bytes::Bytes;

use super::{Folder, Listed, Payload, Put, StoreError, StoreErrorKind};
use answer::Answer;

pub use client::{Credentials, S3Options};
pub use multipart::{Completed, PART_BYTES, Part};
pub use store::S3Store;

/// At most this many keys per delete request (a limit of S3).
const DELETE_KEYS: usize = 1000;

/// One bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3 {
    /// Retries unclear answers by itself.
    retrying: aws_sdk_s3::Client,
    /// Sends each request exactly once.
    once: aws_sdk_s3::Client,
    bucket: String,
    url: String,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("url", &self.url).finish_non_exhaustive()
    }
}

/// When a conditional write is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// If the key is absent.
    Absent,
    /// If the object still has this ETag.
    Matches(&'a str),
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Length in bytes.
    pub size: u64,
    /// The ETag as the server gives it.
    pub etag: String,
    /// The CRC-32 as the server gives it (base64; of a multipart object: of its parts' CRCs, with `-<parts>`),
    /// if the object was written with one.
    pub crc32: Option<String>,
}

impl S3 {
    /// The bucket as a URL, for messages; holds no credential.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The client that retries, for requests that are not here.
    pub fn client(&self) -> &aws_sdk_s3::Client {
        &self.retrying
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    fn error(&self, kind: StoreErrorKind, operation: &'static str, key: &str, message: String) -> StoreError {
        StoreError::new(kind, operation, &self.url, key, message)
    }

    /// The object and its ETag, or `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, key: &str) -> Result<Option<(Bytes, String)>, StoreError> {
        self.read(key, None).await
    }

    /// `length` bytes from `offset`; `None` if there is no such object.
    ///
    /// # Errors
    /// [`StoreErrorKind::Failed`] if the object is too short.
    pub async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Option<Bytes>, StoreError> {
        let Some(last) = length.checked_sub(1).and_then(|l| offset.checked_add(l)) else {
            // An empty range can't be asked for.
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        };
        let found = self.read(key, Some(format!("bytes={offset}-{last}"))).await?;
        let Some((bytes, _)) = found else { return Ok(None) };
        if bytes.len() as u64 != length {
            let message = format!("{length} bytes from {offset} were asked for, but {} came", bytes.len());
            return Err(self.error(StoreErrorKind::Failed, "get", key, message));
        }
        Ok(Some(bytes))
    }

    /// Reads with retries around the body too: the SDK retries only until the answer begins.
    async fn read(&self, key: &str, range: Option<String>) -> Result<Option<(Bytes, String)>, StoreError> {
        let mut pause = Duration::from_millis(50);
        for last in [false, false, false, true] {
            match self.read_once(key, range.clone()).await {
                Err(error) if error.is_unknown() && !last => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 4;
        }
        Ok(None)
    }

    async fn read_once(
        &self,
        key: &str,
        range: Option<String>,
    ) -> Result<Option<(Bytes, String)>, StoreError> {
        let request = self.retrying.get_object().bucket(&self.bucket).key(key).set_range(range);
        let sent = request.checksum_mode(ChecksumMode::Enabled).send().await;
        let output = match Answer::of(sent, "get", &self.url, key)? {
            Answer::Done(output) => output,
            Answer::Absent => return Ok(None),
            Answer::Refused(why) => return Err(self.error(StoreErrorKind::Failed, "get", key, why)),
        };
        let etag = output.e_tag().unwrap_or_default().to_owned();
        match output.body.collect().await {
            Ok(body) => Ok(Some((body.into_bytes(), etag))),
            Err(e) => Err(self.error(StoreErrorKind::Unknown, "get", key, answer::chain(&e))),
        }
    }

    /// What is known of the object, or `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn head(&self, key: &str) -> Result<Option<Head>, StoreError> {
        let request = self.retrying.head_object().bucket(&self.bucket).key(key);
        let sent = request.checksum_mode(ChecksumMode::Enabled).send().await;
        match Answer::of(sent, "head", &self.url, key)? {
            Answer::Done(output) => Ok(Some(Head {
                size: size(output.content_length()),
                etag: output.e_tag().unwrap_or_default().to_owned(),
                crc32: output.checksum_crc32().map(str::to_owned),
            })),
            Answer::Absent => Ok(None),
            Answer::Refused(why) => Err(self.error(StoreErrorKind::Failed, "head", key, why)),
        }
    }

    /// Writes under a name of its own; above [`PART_BYTES`] in parts. Retried, the same bytes only.
    ///
    /// # Errors
    /// [`StoreError`]; the name must not be used for anything else then.
    pub async fn put(&self, key: &str, payload: Payload) -> Result<(), StoreError> {
        if payload.len() > PART_BYTES as u64 {
            return self.put_parts(key, payload).await;
        }
        let body = ByteStream::from(payload.into_bytes());
        let sent = self.retrying.put_object().bucket(&self.bucket).key(key).body(body).send().await;
        Answer::of(sent, "put", &self.url, key)?.done("put", &self.url, key).map(|_| ())
    }

    /// Writes a small object if the condition holds. Sent once.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unknown`] if it may have been done.
    pub async fn put_if(&self, key: &str, bytes: Bytes, condition: Condition<'_>) -> Result<Put, StoreError> {
        let (operation, request) = match condition {
            Condition::Absent => ("create", self.once.put_object().if_none_match("*")),
            Condition::Matches(etag) => ("replace", self.once.put_object().if_match(etag)),
        };
        let sent = request.bucket(&self.bucket).key(key).body(ByteStream::from(bytes)).send().await;
        match Answer::of(sent, operation, &self.url, key)? {
            Answer::Done(_) => Ok(Put::Written),
            // A match with an object that is gone does not hold either.
            Answer::Refused(_) | Answer::Absent => Ok(Put::Refused),
        }
    }

    /// All objects whose key begins with `prefix`, sorted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        Ok(self.pages(prefix, None).await?.objects)
    }

    /// What lies directly below the folder `prefix` (empty, or ending with `/`).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_folder(&self, prefix: &str) -> Result<Folder, StoreError> {
        self.pages(prefix, Some("/")).await
    }

    async fn pages(&self, prefix: &str, delimiter: Option<&str>) -> Result<Folder, StoreError> {
        let mut found = Folder::default();
        let mut token = None;
        loop {
            let request = self.retrying.list_objects_v2().bucket(&self.bucket).prefix(prefix);
            let request = request.set_delimiter(delimiter.map(str::to_owned)).set_continuation_token(token);
            let sent = request.send().await;
            let page = Answer::of(sent, "list", &self.url, prefix)?.done("list", &self.url, prefix)?;
            for object in page.contents() {
                if let Some(key) = object.key() {
                    found.objects.push(Listed { key: key.to_owned(), size: size(object.size()) });
                }
            }
            let folders = page.common_prefixes().iter().filter_map(|p| p.prefix()?.strip_prefix(prefix));
            found.folders.extend(folders.map(|name| name.trim_end_matches('/').to_owned()));
            token = page.next_continuation_token().map(str::to_owned);
            if !page.is_truncated().unwrap_or(false) || token.is_none() {
                break;
            }
        }
        found.objects.sort();
        found.folders.sort();
        Ok(found)
    }

    /// Deletes objects; those that are absent count as deleted.
    ///
    /// # Errors
    /// [`StoreError`] naming the first that could not be deleted; others may be gone.
    pub async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for keys in keys.chunks(DELETE_KEYS) {
            let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(key).build());
            let objects = objects.collect::<Result<Vec<_>, _>>();
            let what = objects.and_then(|o| Delete::builder().set_objects(Some(o)).quiet(true).build());
            let what =
                what.map_err(|e| self.error(StoreErrorKind::Invalid, "delete", &keys[0], e.to_string()))?;
            let sent = self.retrying.delete_objects().bucket(&self.bucket).delete(what).send().await;
            let done =
                Answer::of(sent, "delete", &self.url, &keys[0])?.done("delete", &self.url, &keys[0])?;
            if let Some(error) = done.errors().iter().find(|e| e.code() != Some("NoSuchKey")) {
                let kind = match error.code() {
                    Some("AccessDenied") => StoreErrorKind::Denied,
                    _ => StoreErrorKind::Unknown,
                };
                let message = error.message().or(error.code()).unwrap_or("no reason was given").to_owned();
                return Err(self.error(kind, "delete", error.key().unwrap_or_default(), message));
            }
        }
        Ok(())
    }
}

fn size(length: Option<i64>) -> u64 {
    length.and_then(|l| u64::try_from(l).ok()).unwrap_or(0)
}
