//! Copies that the server makes by itself.

use futures::{StreamExt, TryStreamExt, stream};

use super::answer::Answer;
use super::multipart::PARTS_AT_A_TIME;
use super::{Part, S3, StoreErrorKind};
use crate::store::{StoreError, StoreFuture};

/// Up to this size an object is copied by one request; S3 allows 5 GiB, but an answer must come in time.
const WHOLE_BYTES: u64 = 256 * 1024 * 1024;

impl S3 {
    /// Copies an object within the bucket to a name that nobody else uses; `false` if there is no such object.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn copy(&self, from: &str, to: &str) -> Result<bool, StoreError> {
        self.copy_by(from, to, WHOLE_BYTES).await
    }

    /// As [`S3::copy`], in parts of `whole` bytes if the object is larger (at least 5 MiB, a limit of S3).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn copy_by(&self, from: &str, to: &str, whole: u64) -> Result<bool, StoreError> {
        let Some(head) = self.head(from).await? else { return Ok(false) };
        if head.size > whole {
            return self.copy_parts(from, to, head.size, whole).await.map(|()| true);
        }
        let request = self.client().copy_object().bucket(self.bucket()).key(to);
        let sent = request.copy_source(self.source(from)).send().await;
        match Answer::of(sent, "copy", self.url(), from)? {
            Answer::Done(_) => Ok(true),
            Answer::Absent => Ok(false),
            Answer::Refused(why) => Err(self.error(StoreErrorKind::Failed, "copy", from, why)),
        }
    }

    async fn copy_parts(&self, from: &str, to: &str, size: u64, part: u64) -> Result<(), StoreError> {
        let upload = self.create_copy(to).await?;
        let starts = (0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX));
        let copy = |(number, start): (i32, u64)| -> StoreFuture<'_, Part> {
            let last = start.saturating_add(part).min(size) - 1;
            let upload = &upload;
            Box::pin(async move { self.copy_part(from, to, upload, number, (start, last)).await })
        };
        let copies: Vec<_> = (1..).zip(starts).map(copy).collect();
        let sent = stream::iter(copies).buffered(PARTS_AT_A_TIME).try_collect::<Vec<_>>().await;
        self.end_upload(to, &upload, sent).await
    }

    /// Begins an upload without checksums of its own: not every server gives them for a part that it copies.
    async fn create_copy(&self, to: &str) -> Result<String, StoreError> {
        let sent = self.client().create_multipart_upload().bucket(self.bucket()).key(to).send().await;
        let done = Answer::of(sent, "begin upload", self.url(), to)?.done("begin upload", self.url(), to)?;
        let without = || "the server gave no upload id".to_owned();
        done.upload_id()
            .map(str::to_owned)
            .ok_or_else(|| self.error(StoreErrorKind::Failed, "begin upload", to, without()))
    }

    async fn copy_part(
        &self,
        from: &str,
        to: &str,
        upload: &str,
        number: i32,
        (first, last): (u64, u64),
    ) -> Result<Part, StoreError> {
        let request = self.client().upload_part_copy().bucket(self.bucket()).key(to).upload_id(upload);
        let request = request.copy_source(self.source(from)).part_number(number);
        let sent = request.copy_source_range(format!("bytes={first}-{last}")).send().await;
        let done = Answer::of(sent, "copy part", self.url(), from)?.done("copy part", self.url(), from)?;
        let part = done.copy_part_result();
        Ok(Part {
            number,
            etag: part.and_then(|p| p.e_tag()).unwrap_or_default().to_owned(),
            crc32: part.and_then(|p| p.checksum_crc32()).map(str::to_owned),
        })
    }

    /// Keys and buckets of ours need no escaping.
    fn source(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket())
    }
}
