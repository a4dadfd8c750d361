//! Files on S3: reading ranges, and writing by uploads in parts that are completed at the commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use weir_checkpoint::store::s3::{Completed, Part, S3, S3Options};
use weir_checkpoint::{StoreError, StoreErrorKind};
use weir_protocol::{Failure, FailureKind};

use super::files::{FileInfo, Files, Later, ReadError, is_hidden};
use super::writer::{Step, Target, WriteError};

/// A bucket with a file or folder in it.
#[derive(Debug, Clone)]
pub(super) struct S3Place {
    pub(super) options: S3Options,
    /// Key of the file or folder, without slash at the end; empty: the whole bucket.
    pub(super) root: String,
}

/// A connection that is made when it is first needed.
#[derive(Clone, Default)]
struct Lazy(Arc<OnceCell<S3>>);

impl Lazy {
    async fn get(&self, options: &S3Options) -> &S3 {
        self.0.get_or_init(|| S3::connect(options.clone())).await
    }
}

impl S3Place {
    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.options.bucket)
    }

    fn key<'a>(&self, url: &'a str) -> Result<&'a str, ReadError> {
        let key = url.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(self.options.bucket.as_str()));
        key.and_then(|rest| rest.strip_prefix('/')).ok_or_else(|| {
            ReadError::Final(format!("{url}: the file is not in the table's bucket {}", self.options.bucket))
        })
    }

    /// Whether a key is one of the table's files.
    fn contains(&self, key: &str) -> bool {
        let below = match key.strip_prefix(self.root.as_str()) {
            Some("") => return true,
            Some(rest) if self.root.is_empty() => rest,
            Some(rest) => match rest.strip_prefix('/') {
                Some(rest) => rest,
                None => return false,
            },
            None => return false,
        };
        !below.is_empty() && !below.ends_with('/') && !below.split('/').any(is_hidden)
    }
}

/// Files to read.
pub(super) struct S3Files {
    place: S3Place,
    s3: Lazy,
    /// Files of the listings so far: an object that has its size still is not asked for its tag.
    seen: Mutex<HashMap<String, FileInfo>>,
}

/// Objects that are asked for their tags at a time.
const HEADS_AT_A_TIME: usize = 16;

impl S3Files {
    pub(super) fn new(place: S3Place) -> Self {
        Self { place, s3: Lazy::default(), seen: Mutex::default() }
    }

    async fn head(&self, key: &str) -> Result<Option<FileInfo>, ReadError> {
        let head = self.s3.get(&self.place.options).await.head(key).await.map_err(read_error)?;
        Ok(head.map(|h| FileInfo { path: self.place.url(key), size: h.size, version: h.etag }))
    }

    fn seen(&self, key: &str, size: u64) -> Option<FileInfo> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(key).filter(|f| f.size == size).cloned()
    }

    async fn list_all(&self) -> Result<Vec<FileInfo>, ReadError> {
        let objects =
            self.s3.get(&self.place.options).await.list(&self.place.root).await.map_err(read_error)?;
        let objects = objects.into_iter().filter(|o| self.place.contains(&o.key));
        let infos = stream::iter(objects).map(|object| async move {
            match self.seen(&object.key, object.size) {
                Some(info) => Ok::<_, ReadError>(Some((object.key, info))),
                None => Ok(self.head(&object.key).await?.map(|info| (object.key, info))),
            }
        });
        let infos: Vec<_> = infos.buffered(HEADS_AT_A_TIME).try_collect().await?;
        let mut files = Vec::new();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, info) in infos.into_iter().flatten() {
            files.push(info.clone());
            seen.insert(key, info);
        }
        Ok(files)
    }
}

impl Files for S3Files {
    fn list(&self) -> Later<'_, Vec<FileInfo>> {
        Box::pin(self.list_all())
    }

    fn info<'a>(&'a self, path: &'a str) -> Later<'a, Option<FileInfo>> {
        Box::pin(async move { self.head(self.place.key(path)?).await })
    }

    fn read<'a>(&'a self, path: &'a str, start: u64, length: usize) -> Later<'a, Bytes> {
        Box::pin(async move {
            let s3 = self.s3.get(&self.place.options).await;
            let bytes =
                s3.get_range(self.place.key(path)?, start, length as u64).await.map_err(read_error)?;
            bytes.ok_or_else(|| ReadError::Final(format!("{path}: the file is gone")))
        })
    }
}

fn read_error(error: StoreError) -> ReadError {
    match error.kind {
        StoreErrorKind::Unknown => ReadError::Passing(error.to_string()),
        _ => ReadError::Final(error.to_string()),
    }
}

/// Bytes of a part; S3 takes no smaller ones but the last, and at most 10,000 of them.
const PART_BYTES: usize = 8 << 20;

/// What completing an upload needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Uploaded {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) parts: Vec<Part>,
}

/// Writes files as uploads in parts. Nothing of them is visible before they are completed.
pub(super) struct S3Target {
    place: S3Place,
    s3: Lazy,
    key: String,
    upload: Option<String>,
    parts: Vec<Part>,
    /// Bytes that are in no part yet.
    buffer: BytesMut,
    /// Bytes of the file that came so far.
    received: u64,
}

impl S3Target {
    pub(super) fn new(place: S3Place) -> Self {
        Self {
            place,
            s3: Lazy::default(),
            key: String::new(),
            upload: None,
            parts: Vec::new(),
            buffer: BytesMut::new(),
            received: 0,
        }
    }

    /// Sends the first `length` bytes of the buffer as the next part.
    async fn send_part(&mut self, length: usize) -> Result<(), WriteError> {
        let s3 = self.s3.get(&self.place.options).await;
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let upload = s3.create_multipart(&self.key).await.map_err(passing)?;
                self.upload.insert(upload).clone()
            }
        };
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let bytes = Bytes::copy_from_slice(&self.buffer[..length]);
        let part = s3.upload_part(&self.key, &upload, number, bytes).await.map_err(|e| match e.kind {
            // The upload is gone, with the parts that were sent.
            StoreErrorKind::Failed => WriteError::Final(e.to_string()),
            _ => passing(e),
        })?;
        self.parts.push(part);
        drop(self.buffer.split_to(length));
        Ok(())
    }
}

fn passing(error: StoreError) -> WriteError {
    WriteError::Passing(error.to_string())
}

impl Target for S3Target {
    type Finished = Uploaded;

    fn create<'a>(&'a mut self, name: &'a str) -> Step<'a, ()> {
        let slash = if self.place.root.is_empty() { "" } else { "/" };
        self.key = format!("{}{slash}{name}", self.place.root);
        self.upload = None;
        self.parts.clear();
        self.buffer.clear();
        self.received = 0;
        Box::pin(async { Ok(()) })
    }

    fn write<'a>(&'a mut self, offset: u64, bytes: &'a Bytes) -> Step<'a, ()> {
        // Another try of the same bytes finds them in the buffer.
        if offset == self.received {
            self.buffer.extend_from_slice(bytes);
            self.received += bytes.len() as u64;
        }
        Box::pin(async {
            while self.buffer.len() >= PART_BYTES {
                self.send_part(PART_BYTES).await?;
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> Step<'_, Uploaded> {
        Box::pin(async {
            if !self.buffer.is_empty() || self.parts.is_empty() {
                self.send_part(self.buffer.len()).await?;
            }
            Ok(Uploaded {
                bucket: self.place.options.bucket.clone(),
                key: std::mem::take(&mut self.key),
                upload: self.upload.take().unwrap_or_default(),
                parts: std::mem::take(&mut self.parts),
            })
        })
    }

    /// Parts are durable when they are acknowledged.
    fn prepare(&mut self) -> Step<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Completes uploads.
pub(super) async fn commit(place: &S3Place, files: Vec<(Uploaded, u64)>) -> Result<(), Failure> {
    let s3 = Lazy::default();
    for (file, size) in files {
        if file.bucket != place.options.bucket {
            let message = format!(
                "a checkpoint has a file for bucket {}, but the table is in bucket {}: commit it with the old path first",
                file.bucket, place.options.bucket
            );
            return Err(Failure::new(FailureKind::Config, message));
        }
        complete(s3.get(&place.options).await, &file, size).await?;
    }
    Ok(())
}

async fn complete(s3: &S3, file: &Uploaded, size: u64) -> Result<(), Failure> {
    let failed = |e: StoreError| Failure::new(FailureKind::Sink, e.to_string());
    let outcome = s3.complete_multipart(&file.key, &file.upload, &file.parts).await.map_err(failed)?;
    if outcome == Completed::Written {
        return Ok(());
    }
    // Completed before, or lost: the object tells.
    let lost = |why: String| {
        let message = format!("s3://{}/{}: {why}", file.bucket, file.key);
        Err(Failure::new(FailureKind::SinkDataLost, message))
    };
    match s3.head(&file.key).await.map_err(failed)? {
        None => lost("neither this object nor the upload that it is made of is there: rows of a completed checkpoint are lost, or somebody took the object away before its commit was recorded".to_owned()),
        Some(head) if head.size != size => {
            lost(format!("the object has {} bytes, but the checkpoint's has {size}: somebody changed it", head.size))
        }
        Some(head) => match (head.crc32.as_deref(), crc_of(&file.parts)) {
            // Not every server tells both; the name holds a number that nobody else has.
            (Some(found), Some(expected)) if found != expected => {
                lost(format!("the object has the checksum {found}, but the checkpoint's has {expected}: somebody changed it"))
            }
            _ => Ok(()),
        },
    }
}

/// The checksum of an object in parts: that of its parts' checksums, with their number.
fn crc_of(parts: &[Part]) -> Option<String> {
    let engine = base64::prelude::BASE64_STANDARD;
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(&engine.decode(part.crc32.as_deref()?).ok()?);
    }
    Some(format!("{}-{}", engine.encode(hasher.finalize().to_be_bytes()), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_folder_are_the_tables_and_hidden_ones_are_not() {
        let place = |root: &str| S3Place {
            options: S3Options {
                bucket: "b".into(),
                endpoint: None,
                region: None,
                path_style: true,
                credentials: None,
            },
            root: root.into(),
        };
        for key in ["in/a.json", "in/x/b.json", "in"] {
            assert!(place("in").contains(key), "{key}");
        }
        for key in ["in/", "input/a.json", "in/.a", "in/_tmp/a", "x/in/a", "in/x/"] {
            assert!(!place("in").contains(key), "{key}");
        }
        assert!(place("").contains("a.json") && !place("").contains(".a"));
        assert_eq!(place("in").key("s3://b/in/a").unwrap(), "in/a");
        assert!(place("in").key("s3://bb/in/a").is_err());
    }
}
