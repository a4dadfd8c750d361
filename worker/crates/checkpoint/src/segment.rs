//! The container of a data object: blocks one after the other, an index at the tail.
//!
//! ```text
//! "WEIRSEG1" | block … block | index (JSON) | offset of the index u64 | CRC-32 of the index u32 | "1GESRIEW"
//! ```
//! Numbers are little-endian. Blocks lie without gaps, so that every byte of the file is under a checksum.
//! It owns where blocks lie and whose they are, not what is in them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use weir_protocol::{BlockRef, KeyGroupRange, SubtaskId, TransformId};

use crate::store::Payload;

const HEAD: &[u8; 8] = b"WEIRSEG1";
const TAIL: &[u8; 8] = b"1GESRIEW";
const TAIL_BYTES: usize = 8 + 4 + 8;

/// Whose a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockOwner {
    /// The subtask that wrote it.
    pub subtask: SubtaskId,
    /// The transform.
    pub transform: TransformId,
    /// What of the transform.
    pub content: BlockContent,
}

/// What a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockContent {
    /// Rows of a keyed table.
    Table {
        /// The table.
        name: String,
        /// Key groups that the block may have rows of.
        range: KeyGroupRange,
    },
    /// An element of operator state.
    List {
        /// The list.
        name: String,
    },
    /// What a sink has prepared.
    Sink,
}

/// An entry of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Whose the block is.
    #[serde(flatten)]
    pub owner: BlockOwner,
    /// First byte within the file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32 (IEEE) of the bytes.
    pub crc: u32,
    /// Number of rows.
    pub rows: u64,
}

/// Why bytes are not a segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The marks at head and tail are not there: truncated, or something else.
    #[error("not a data object of this program, or cut off")]
    Marks,
    /// The index does not match its checksum or says what can't be.
    #[error("the index is damaged: {0}")]
    Index(String),
    /// A block does not match its checksum.
    #[error("the block at {offset} does not match its checksum")]
    Block {
        /// First byte.
        offset: u64,
    },
}

/// Collects blocks into a segment. Blocks are kept as they are given, not copied.
///
/// ```
/// # use weir_checkpoint::segment::{BlockContent, BlockOwner, SegmentReader, SegmentWriter};
/// # use weir_protocol::{SubtaskId, TransformId, VertexId};
/// let owner = BlockOwner {
///     subtask: SubtaskId { vertex: VertexId(7), index: 0 },
///     transform: TransformId(7),
///     content: BlockContent::Sink,
/// };
/// let mut writer = SegmentWriter::default();
/// let block = writer.push(owner, b"rows".to_vec(), 2);
/// let bytes = writer.finish().into_bytes();
/// let reader = SegmentReader::open(bytes).unwrap();
/// assert_eq!(reader.block(&reader.index()[0]).unwrap(), "rows");
/// assert_eq!(reader.index()[0].offset, block.offset);
/// ```
#[derive(Debug)]
pub struct SegmentWriter {
    chunks: Vec<Bytes>,
    index: Vec<IndexEntry>,
    len: u64,
}

impl Default for SegmentWriter {
    fn default() -> Self {
        Self { chunks: vec![Bytes::from_static(HEAD)], index: Vec::new(), len: HEAD.len() as u64 }
    }
}

impl SegmentWriter {
    /// Adds a block of so many rows; gives where it lies, in an object whose position is 0.
    pub fn push(&mut self, owner: BlockOwner, block: impl Into<Payload>, rows: u64) -> BlockRef {
        let block = block.into();
        let mut hasher = crc32fast::Hasher::new();
        block.chunks().iter().for_each(|chunk| hasher.update(chunk));
        let (offset, length, crc) = (self.len, block.len(), hasher.finalize());
        self.index.push(IndexEntry { owner, offset, length, crc, rows });
        self.chunks.extend(block.into_chunks());
        self.len += length;
        BlockRef { object: 0, offset, length, crc, rows }
    }

    /// Whether it has no block yet.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes so far, without the index.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The whole, to be written with [`crate::manifest::write_data`].
    pub fn finish(self) -> Payload {
        let index = serde_json::to_vec(&self.index).expect("plain data with string keys has a JSON form");
        let crc = crc32fast::hash(&index);
        let mut tail = Vec::with_capacity(TAIL_BYTES);
        tail.extend_from_slice(&self.len.to_le_bytes());
        tail.extend_from_slice(&crc.to_le_bytes());
        tail.extend_from_slice(TAIL);
        let mut chunks = self.chunks;
        chunks.push(Bytes::from(index));
        chunks.push(Bytes::from(tail));
        Payload::new(chunks)
    }
}

/// A segment whose index is checked; blocks are checked as they are taken.
#[derive(Debug, Clone)]
pub struct SegmentReader {
    bytes: Bytes,
    index: Vec<IndexEntry>,
}

impl SegmentReader {
    /// Opens a whole segment.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn open(bytes: Bytes) -> Result<Self, SegmentError> {
        let size = bytes.len();
        if size < HEAD.len() + TAIL_BYTES || !bytes.starts_with(HEAD) || !bytes.ends_with(TAIL) {
            return Err(SegmentError::Marks);
        }
        let tail = &bytes[size - TAIL_BYTES..];
        let (start, crc) = numbers(tail).ok_or(SegmentError::Marks)?;
        let start = usize::try_from(start).ok().filter(|s| (HEAD.len()..=size - TAIL_BYTES).contains(s));
        let start = start.ok_or_else(|| SegmentError::Index("it lies outside the file".to_owned()))?;
        let index = &bytes[start..size - TAIL_BYTES];
        if crc32fast::hash(index) != crc {
            return Err(SegmentError::Index("checksum mismatch".to_owned()));
        }
        let index: Vec<IndexEntry> =
            serde_json::from_slice(index).map_err(|e| SegmentError::Index(e.to_string()))?;
        let mut at = HEAD.len() as u64;
        for entry in &index {
            if entry.offset != at {
                return Err(SegmentError::Index(format!(
                    "a block at {} follows one that ends at {at}",
                    entry.offset
                )));
            }
            at = at
                .checked_add(entry.length)
                .ok_or_else(|| SegmentError::Index("lengths overflow".to_owned()))?;
        }
        if at != start as u64 {
            return Err(SegmentError::Index(format!("blocks end at {at}, but the index begins at {start}")));
        }
        Ok(Self { bytes, index })
    }

    /// The blocks, in the order in which they lie.
    pub fn index(&self) -> &[IndexEntry] {
        &self.index
    }

    /// The bytes of a block.
    ///
    /// # Errors
    /// [`SegmentError::Block`] if they do not match their checksum.
    pub fn block(&self, entry: &IndexEntry) -> Result<Bytes, SegmentError> {
        let wrong = SegmentError::Block { offset: entry.offset };
        let Some(end) = entry.offset.checked_add(entry.length).filter(|end| *end <= self.bytes.len() as u64)
        else {
            return Err(wrong);
        };
        let block = self.bytes.slice(entry.offset as usize..end as usize);
        if crc32fast::hash(&block) == entry.crc { Ok(block) } else { Err(wrong) }
    }
}

fn numbers(tail: &[u8]) -> Option<(u64, u32)> {
    let (start, rest) = tail.split_first_chunk::<8>()?;
    let (crc, _) = rest.split_first_chunk::<4>()?;
    Some((u64::from_le_bytes(*start), u32::from_le_bytes(*crc)))
}
