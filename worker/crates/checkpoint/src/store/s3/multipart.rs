//! Uploads in parts: what is large, and what becomes visible only when it is completed.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use super::answer::Answer;
use super::{S3, StoreErrorKind};
use crate::store::{Payload, Pieces, StoreError, StoreFuture, Upload};

/// Bytes of a part; the least that S3 takes for all but the last is 5 MiB, and at most 10,000 parts.
pub const PART_BYTES: usize = 16 * 1024 * 1024;

/// Parts that are sent at a time.
pub(super) const PARTS_AT_A_TIME: usize = 4;

/// A part that was uploaded: what completing the upload needs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// From 1, without gaps.
    pub number: i32,
    /// As the server gave it.
    pub etag: String,
    /// CRC-32 of the part, base64, as the server confirmed it.
    pub crc32: Option<String>,
}

/// How completing an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// The object is there, by this call.
    Written,
    /// The key was there already; perhaps by an earlier call: compare size and checksum.
    Exists,
    /// There is no such upload (any more): completed by an earlier call, or aborted. Look for the object.
    Gone,
}

impl S3 {
    /// Begins an upload whose parts carry CRC-32 checksums; gives its id.
    ///
    /// # Errors
    /// [`StoreError`]. After an unclear answer an upload may be left; nothing refers to it.
    pub async fn create_multipart(&self, key: &str) -> Result<String, StoreError> {
        let request = self.retrying.create_multipart_upload().bucket(&self.bucket).key(key);
        let sent = request.checksum_algorithm(ChecksumAlgorithm::Crc32).send().await;
        let done = Answer::of(sent, "begin upload", &self.url, key)?.done("begin upload", &self.url, key)?;
        let without = || "the server gave no upload id".to_owned();
        done.upload_id()
            .map(str::to_owned)
            .ok_or_else(|| self.error(StoreErrorKind::Failed, "begin upload", key, without()))
    }

    /// Uploads a part; the same number again replaces it. `number` counts from 1.
    ///
    /// # Errors
    /// [`StoreErrorKind::Failed`] if there is no such upload (any more).
    pub async fn upload_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        bytes: Bytes,
    ) -> Result<Part, StoreError> {
        let request = self.retrying.upload_part().bucket(&self.bucket).key(key).upload_id(upload);
        let request = request.part_number(number).checksum_algorithm(ChecksumAlgorithm::Crc32);
        let sent = request.body(ByteStream::from(bytes)).send().await;
        let done = Answer::of(sent, "upload part", &self.url, key)?.done("upload part", &self.url, key)?;
        Ok(Part {
            number,
            etag: done.e_tag().unwrap_or_default().to_owned(),
            crc32: done.checksum_crc32().map(str::to_owned),
        })
    }

    /// Makes the object visible, if the key is absent. Sent once.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unknown`] if it may have been done.
    pub async fn complete_multipart(
        &self,
        key: &str,
        upload: &str,
        parts: &[Part],
    ) -> Result<Completed, StoreError> {
        let request = self.once.complete_multipart_upload().bucket(&self.bucket).key(key);
        let request = request.upload_id(upload).multipart_upload(list_of(parts)).if_none_match("*");
        match Answer::of(request.send().await, "complete upload", &self.url, key)? {
            Answer::Done(_) => Ok(Completed::Written),
            Answer::Refused(_) => Ok(Completed::Exists),
            Answer::Absent => Ok(Completed::Gone),
        }
    }

    /// Gives an upload up; one that is gone counts as given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn abort_multipart(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let request = self.retrying.abort_multipart_upload().bucket(&self.bucket).key(key);
        match Answer::of(request.upload_id(upload).send().await, "abort upload", &self.url, key)? {
            Answer::Done(_) | Answer::Absent => Ok(()),
            Answer::Refused(why) => Err(self.error(StoreErrorKind::Failed, "abort upload", key, why)),
        }
    }

    /// Unfinished uploads whose key begins with `prefix`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, StoreError> {
        let mut uploads = Vec::new();
        let (mut key, mut id) = (None, None);
        loop {
            let request = self.retrying.list_multipart_uploads().bucket(&self.bucket).prefix(prefix);
            let sent = request.set_key_marker(key).set_upload_id_marker(id).send().await;
            let page = Answer::of(sent, "list uploads", &self.url, prefix)?;
            let page = page.done("list uploads", &self.url, prefix)?;
            uploads.extend(
                page.uploads()
                    .iter()
                    .filter_map(|u| Some(Upload { key: u.key()?.to_owned(), id: u.upload_id()?.to_owned() })),
            );
            (key, id) =
                (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            if !page.is_truncated().unwrap_or(false) || key.is_none() {
                return Ok(uploads);
            }
        }
    }

    /// Writes a large object under a name of its own. No condition: servers answer a condition on a large
    /// body before they have read it, and the client sees a reset.
    pub(super) async fn put_parts(&self, key: &str, payload: Payload) -> Result<(), StoreError> {
        let upload = self.create_multipart(key).await?;
        let send = |(number, part): (i32, Payload)| -> StoreFuture<'_, Part> {
            let upload = &upload;
            Box::pin(async move { self.upload_part(key, upload, number, part.into_bytes()).await })
        };
        let sends: Vec<_> = (1..).zip(payload.split(PART_BYTES)).map(send).collect();
        let sent = stream::iter(sends).buffered(PARTS_AT_A_TIME).try_collect::<Vec<_>>().await;
        self.end_upload(key, &upload, sent).await
    }

    /// As [`S3::put`], with pieces that come one after the other.
    ///
    /// # Errors
    /// As [`S3::put`]; the first error among the pieces, and no object then.
    pub async fn put_pieces(&self, key: &str, pieces: Pieces<'_>) -> Result<(), StoreError> {
        let mut regroup = Regroup { pieces, left: Bytes::new() };
        let first = regroup.next().await?;
        if first.len() < PART_BYTES as u64 {
            return self.put(key, first).await;
        }
        let upload = self.create_multipart(key).await?;
        let parts = regroup.numbered(first);
        let send = |(number, part): (i32, Payload)| -> StoreFuture<'_, Part> {
            let upload = &upload;
            Box::pin(async move { self.upload_part(key, upload, number, part.into_bytes()).await })
        };
        let sent = parts.map_ok(send).try_buffered(PARTS_AT_A_TIME).try_collect::<Vec<_>>().await;
        self.end_upload(key, &upload, sent).await
    }

    /// Completes an own upload, or gives it up if a part is missing.
    pub(super) async fn end_upload(
        &self,
        key: &str,
        upload: &str,
        sent: Result<Vec<Part>, StoreError>,
    ) -> Result<(), StoreError> {
        let completed = match sent {
            Ok(parts) => self.complete_own(key, upload, &parts).await,
            Err(error) => Err(error),
        };
        if completed.is_err() {
            // Best effort; what stays is aborted once the attempt is fenced.
            let _ = self.abort_multipart(key, upload).await;
        }
        completed
    }

    async fn complete_own(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), StoreError> {
        let request = self.retrying.complete_multipart_upload().bucket(&self.bucket).key(key);
        let sent = request.upload_id(upload).multipart_upload(list_of(parts)).send().await;
        match Answer::of(sent, "complete upload", &self.url, key)? {
            Answer::Done(_) => Ok(()),
            // A try before this one may have done it; the name is ours alone.
            Answer::Absent if self.head(key).await?.is_some() => Ok(()),
            Answer::Absent => {
                let why = "the upload is gone".to_owned();
                Err(self.error(StoreErrorKind::Failed, "complete upload", key, why))
            }
            Answer::Refused(why) => Err(self.error(StoreErrorKind::Failed, "complete upload", key, why)),
        }
    }
}

/// Pieces of any size, regrouped into parts.
struct Regroup<'a> {
    pieces: Pieces<'a>,
    /// What is over from the piece before.
    left: Bytes,
}

impl<'a> Regroup<'a> {
    /// All parts with their numbers, from the first, that was taken before.
    fn numbered(self, first: Payload) -> BoxStream<'a, Result<(i32, Payload), StoreError>> {
        let next = |(first, number, mut regroup): (Option<Payload>, i32, Self)| async move {
            let part = match first {
                Some(first) => first,
                None => regroup.next().await?,
            };
            Ok((!part.is_empty()).then_some(((number, part), (None, number + 1, regroup))))
        };
        Box::pin(stream::try_unfold((Some(first), 1, self), next))
    }

    /// The next [`PART_BYTES`], or what is left. Empty: the end.
    async fn next(&mut self) -> Result<Payload, StoreError> {
        let (mut part, mut room) = (Vec::new(), PART_BYTES);
        while room > 0 {
            if self.left.is_empty() {
                match self.pieces.try_next().await? {
                    Some(piece) => self.left = piece,
                    None => break,
                }
            }
            let taken = self.left.split_to(self.left.len().min(room));
            room -= taken.len();
            part.push(taken);
        }
        Ok(Payload::new(part))
    }
}

fn list_of(parts: &[Part]) -> CompletedMultipartUpload {
    let parts = parts.iter().map(|part| {
        CompletedPart::builder()
            .part_number(part.number)
            .e_tag(&part.etag)
            .set_checksum_crc32(part.crc32.clone())
            .build()
    });
    CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build()
}
