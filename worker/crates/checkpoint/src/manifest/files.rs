//! Manifests and data objects in the store: written once, and believed only after a check.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use weir_protocol::{Attempt, BlockRef, CheckpointId, Failure, FailureKind, ManifestRef, ObjectRef};
use weir_runtime::Random;

use super::Manifest;
use super::codec::{decode_manifest, encode_manifest};
use crate::frame::CodecError;
use crate::layout;
use crate::store::{Payload, Pieces, Store, StoreError, StoreErrorKind};

/// Objects that are looked at or read at a time.
const AT_A_TIME: usize = 16;
/// Blocks with a gap of at most this many bytes between them are read together.
const GAP_BYTES: u64 = 64 * 1024;
/// Blocks are read together up to this many bytes.
const READ_BYTES: u64 = 16 * 1024 * 1024;

/// Why a manifest was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It can't be encoded.
    #[error("the manifest can't be written: {0}")]
    Codec(#[from] CodecError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something in the store that is not what a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object.
    pub key: String,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Not there.
    Missing,
    /// Another length, in bytes.
    Size {
        /// As recorded.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// Other bytes.
    Digest,
    /// Other bytes within this range.
    Block {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The right bytes, but not a manifest that this program reads.
    Codec(CodecError),
    /// The store gave an error.
    Store(StoreError),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.key)?;
        match &self.what {
            Wrong::Missing => f.write_str("is not there"),
            Wrong::Size { expected, found } => write!(f, "has {found} bytes, but {expected} were written"),
            Wrong::Digest => f.write_str("does not match its digest: its content was changed"),
            Wrong::Block { offset, length } => {
                write!(f, "bytes {offset} to {} do not match their checksum", offset + length)
            }
            Wrong::Codec(why) => write!(f, "{why}"),
            Wrong::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Problem {}

impl Problem {
    pub(crate) fn new(key: &str, what: Wrong) -> Self {
        Self { key: key.to_owned(), what }
    }

    /// Whether the store, not the object, is to blame: nothing is known of the object then.
    pub fn is_store(&self) -> bool {
        matches!(self.what, Wrong::Store(_))
    }

    /// Whether trying again may help: the store gave no clear answer.
    pub fn is_unknown(&self) -> bool {
        matches!(&self.what, Wrong::Store(error) if error.is_unknown())
    }
}

/// State that can't be restored: unreadable, or (if only the store failed) not now.
impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let kind = if problem.is_store() { FailureKind::Store } else { FailureKind::StateUnreadable };
        Self::new(kind, problem.to_string())
    }
}

/// Writes a manifest under a name that nobody else uses.
///
/// # Errors
/// [`WriteError`].
pub async fn write_manifest(
    store: &dyn Store,
    random: &dyn Random,
    manifest: &Manifest,
) -> Result<ManifestRef, WriteError> {
    let bytes = encode_manifest(manifest)?;
    let key = layout::manifest(manifest.attempt, manifest.id, &random.nonce());
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let size = bytes.len() as u64;
    store.put(&key, Payload::from(bytes)).await?;
    Ok(ManifestRef { key, size, digest })
}

/// Writes a data object under a name that nobody else uses; `worker` begins the name (`[A-Za-z0-9_-]`).
///
/// # Errors
/// The store's.
pub async fn write_data(
    store: &dyn Store,
    random: &dyn Random,
    attempt: Attempt,
    checkpoint: CheckpointId,
    worker: &str,
    payload: Payload,
) -> Result<ObjectRef, StoreError> {
    let key = layout::data(attempt, checkpoint, &format!("{worker}-{}", random.nonce()));
    let mut hasher = blake3::Hasher::new();
    payload.chunks().iter().for_each(|chunk| {
        hasher.update(chunk);
    });
    let object = ObjectRef { key, size: payload.len(), digest: hasher.finalize().to_hex().to_string() };
    store.put(&object.key, payload).await?;
    Ok(object)
}

/// Reads a manifest and checks that it is the one that is meant.
///
/// # Errors
/// [`Problem`].
pub async fn read_manifest(store: &dyn Store, wanted: &ManifestRef) -> Result<Manifest, Problem> {
    let bytes = read_object(store, wanted).await?;
    decode_manifest(&bytes).map_err(|why| Problem::new(&wanted.key, Wrong::Codec(why)))
}

/// Reads an object and checks size and digest.
///
/// # Errors
/// [`Problem`].
pub async fn read_object(store: &dyn Store, object: &ObjectRef) -> Result<Bytes, Problem> {
    let problem = |what| Problem::new(&object.key, what);
    let bytes = match store.get(&object.key).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(problem(Wrong::Missing)),
        Err(error) => return Err(problem(Wrong::Store(error))),
    };
    if bytes.len() as u64 != object.size {
        return Err(problem(Wrong::Size { expected: object.size, found: bytes.len() as u64 }));
    }
    if blake3::hash(&bytes).to_hex().as_str() != object.digest {
        return Err(problem(Wrong::Digest));
    }
    Ok(bytes)
}

/// What became of a digest while its object was read by [`pieces`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Checked(Arc<Mutex<Option<Problem>>>);

impl Checked {
    /// What was wrong, as far as the object was read.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Problem) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
    }
}

/// The content of an object, read a part at a time, with what is said of it when it was read to its end. Content
/// that is wrong ends in an error, so that whoever stores the pieces stores nothing.
pub(crate) fn pieces<'a>(store: &'a dyn Store, object: &'a ObjectRef) -> (Pieces<'a>, Checked) {
    let checked = Checked::default();
    let said = checked.clone();
    let stream = stream::try_unfold((0, blake3::Hasher::new()), move |(at, mut hasher)| {
        let said = said.clone();
        async move {
            let wrong = |problem: Problem| {
                let what = problem.to_string();
                said.set(problem);
                StoreError::new(StoreErrorKind::Failed, "read", store.url(), &object.key, what)
            };
            if at == object.size {
                return match hasher.finalize().to_hex().as_str() == object.digest {
                    true => Ok(None),
                    false => Err(wrong(Problem::new(&object.key, Wrong::Digest))),
                };
            }
            let length = READ_BYTES.min(object.size - at);
            let bytes = read_range(store, object, at, length).await.map_err(wrong)?;
            hasher.update(&bytes);
            Ok(Some((bytes, (at + length, hasher))))
        }
    });
    (Box::pin(stream), checked)
}

/// Reads an object a part at a time and checks its content, also that it is not longer than it should be.
///
/// # Errors
/// [`Problem`].
pub async fn check_object(store: &dyn Store, object: &ObjectRef) -> Result<(), Problem> {
    if let Some(problem) = check_one(store, object).await {
        return Err(problem);
    }
    let (mut pieces, checked) = pieces(store, object);
    while pieces.next().await.is_some_and(|piece| piece.is_ok()) {}
    drop(pieces);
    checked.problem().map_or(Ok(()), Err)
}

/// Reads blocks of one object, each checked, in the order given. Blocks that lie close together are read
/// with one request; an object of which most is needed is read whole, and then checked to the last bit.
///
/// # Errors
/// The first [`Problem`].
pub async fn read_blocks(
    store: &dyn Store,
    object: &ObjectRef,
    blocks: &[BlockRef],
) -> Result<Vec<Bytes>, Problem> {
    let needed: u64 = blocks.iter().map(|block| block.length).sum();
    if object.size <= READ_BYTES && needed.saturating_mul(2) >= object.size {
        let bytes = read_object(store, object).await?;
        return blocks.iter().map(|block| checked(object, block, &bytes, 0)).collect();
    }
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|i| (blocks[*i].offset, blocks[*i].length));
    let mut found = vec![Bytes::new(); blocks.len()];
    let mut rest = order.as_slice();
    while let Some((&first, _)) = rest.split_first() {
        let (together, start, end) = together(blocks, rest, first);
        let bytes = read_range(store, object, start, end - start).await?;
        for &i in &rest[..together] {
            found[i] = checked(object, &blocks[i], &bytes, start)?;
        }
        rest = &rest[together..];
    }
    Ok(found)
}

/// A block of an object of which `bytes` was read, from `start` on.
fn checked(object: &ObjectRef, block: &BlockRef, bytes: &Bytes, start: u64) -> Result<Bytes, Problem> {
    let from = block.offset.saturating_sub(start);
    let range = from as usize..from.saturating_add(block.length) as usize;
    let found = bytes.get(range.clone()).is_some_and(|found| crc32fast::hash(found) == block.crc);
    if !found {
        let what = Wrong::Block { offset: block.offset, length: block.length };
        return Err(Problem::new(&object.key, what));
    }
    Ok(bytes.slice(range))
}

/// How many blocks from the first of `order` on are read together, and the range that holds them.
fn together(blocks: &[BlockRef], order: &[usize], first: usize) -> (usize, u64, u64) {
    let start = blocks[first].offset;
    let mut end = start.saturating_add(blocks[first].length);
    let mut count = 1;
    for &i in &order[1..] {
        let block_end = blocks[i].offset.saturating_add(blocks[i].length);
        if blocks[i].offset > end.saturating_add(GAP_BYTES) || block_end.saturating_sub(start) > READ_BYTES {
            break;
        }
        end = end.max(block_end);
        count += 1;
    }
    (count, start, end)
}

async fn read_range(
    store: &dyn Store,
    object: &ObjectRef,
    start: u64,
    length: u64,
) -> Result<Bytes, Problem> {
    let problem = |what| Err(Problem::new(&object.key, what));
    match store.get_range(&object.key, start, length).await {
        Ok(Some(bytes)) if bytes.len() as u64 == length => Ok(bytes),
        Ok(Some(bytes)) => problem(Wrong::Size { expected: length, found: bytes.len() as u64 }),
        Ok(None) => problem(Wrong::Missing),
        // The object may be shorter than it was: say so.
        Err(error) if error.kind == StoreErrorKind::Failed => match store.head(&object.key).await {
            Ok(Some(size)) if size != object.size => {
                problem(Wrong::Size { expected: object.size, found: size })
            }
            _ => problem(Wrong::Store(error)),
        },
        Err(error) => problem(Wrong::Store(error)),
    }
}

/// Checks that objects are there with the right size, without reading them. Gives every problem, by key.
pub async fn check_present(store: &dyn Store, objects: &[ObjectRef]) -> Vec<Problem> {
    // Boxed with their lifetime named, so that what waits for them can move between threads.
    let check = |object| -> BoxFuture<'_, Option<Problem>> { Box::pin(check_one(store, object)) };
    let checks: Vec<_> = objects.iter().map(check).collect();
    stream::iter(checks).buffered(AT_A_TIME).filter_map(std::future::ready).collect().await
}

async fn check_one(store: &dyn Store, object: &ObjectRef) -> Option<Problem> {
    let what = match store.head(&object.key).await {
        Ok(Some(size)) if size == object.size => return None,
        Ok(Some(found)) => Wrong::Size { expected: object.size, found },
        Ok(None) => Wrong::Missing,
        Err(error) => Wrong::Store(error),
    };
    Some(Problem::new(&object.key, what))
}

/// Reads everything that a checkpoint consists of and checks it: manifest, sizes, digests, and the checksum of
/// each block. Gives every problem that was found.
pub async fn verify_checkpoint(store: &dyn Store, manifest: &ManifestRef) -> Vec<Problem> {
    let manifest = match read_manifest(store, manifest).await {
        Ok(manifest) => manifest,
        Err(problem) => return vec![problem],
    };
    let mut blocks: BTreeMap<u32, Vec<&BlockRef>> = BTreeMap::new();
    for block in manifest.parts.iter().flat_map(super::Part::blocks) {
        blocks.entry(block.object).or_default().push(block);
    }
    let check = |(object, at): (_, u32)| -> BoxFuture<'_, Vec<Problem>> {
        let blocks = blocks.get(&at).map_or(&[][..], Vec::as_slice);
        Box::pin(verify_object(store, object, blocks))
    };
    let checks: Vec<_> = manifest.objects.iter().zip(0..).map(check).collect();
    let found: Vec<Vec<Problem>> = stream::iter(checks).buffered(4).collect().await;
    found.into_iter().flatten().collect()
}

async fn verify_object(store: &dyn Store, object: &ObjectRef, blocks: &[&BlockRef]) -> Vec<Problem> {
    let bytes = match read_object(store, object).await {
        Ok(bytes) => bytes,
        Err(problem) => return vec![problem],
    };
    blocks.iter().filter_map(|block| checked(object, block, &bytes, 0).err()).collect()
}
