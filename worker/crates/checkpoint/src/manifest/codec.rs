//! The bytes of a manifest: a header line, then LZ4-compressed JSON.
//!
//! `weir-manifest/1 <length of the JSON> <BLAKE3 of the JSON>\n<LZ4 block>`

use std::collections::BTreeSet;

use bytes::Bytes;
use weir_protocol::{Blob, BlockRef};

use super::{Manifest, Part};
use crate::frame::{CodecError, Frame};
use crate::layout;

/// The most bytes that a manifest may have, before compression.
pub const MAX_MANIFEST_BYTES: usize = 256 * 1024 * 1024;

const FRAME: Frame = Frame { kind: "manifest", version: 1, limit: MAX_MANIFEST_BYTES };

/// The bytes of a manifest.
///
/// # Errors
/// [`CodecError::TooLarge`], or [`CodecError::Body`] if the manifest contradicts itself.
pub fn encode_manifest(manifest: &Manifest) -> Result<Bytes, CodecError> {
    check(manifest).map_err(CodecError::Body)?;
    let json = serde_json::to_vec(manifest).map_err(|e| CodecError::Body(e.to_string()))?;
    if json.len() > MAX_MANIFEST_BYTES {
        return Err(CodecError::TooLarge { size: json.len() as u64, limit: MAX_MANIFEST_BYTES as u64 });
    }
    let digest = blake3::hash(&json).to_hex();
    let mut out = format!("weir-manifest/{} {} {digest}\n", FRAME.version, json.len()).into_bytes();
    out.extend_from_slice(&lz4_flex::block::compress(&json));
    Ok(Bytes::from(out))
}

/// The manifest in these bytes. Every key in it is one of this job's data objects and every block lies
/// within its object.
///
/// # Errors
/// Anything that [`encode_manifest`] would not have written.
pub fn decode_manifest(bytes: &[u8]) -> Result<Manifest, CodecError> {
    let ([length, digest], packed) = FRAME.header::<2>(bytes)?;
    let said: usize = length.parse().map_err(|_| CodecError::Header(FRAME.kind))?;
    if said > MAX_MANIFEST_BYTES {
        return Err(CodecError::TooLarge { size: said as u64, limit: MAX_MANIFEST_BYTES as u64 });
    }
    // LZ4 packs at most 255 bytes into one: more is a lie that would only cost memory.
    if said / 255 > packed.len() {
        return Err(CodecError::Length { said: said as u64, found: packed.len() as u64 });
    }
    let json =
        lz4_flex::block::decompress(packed, said).map_err(|e| CodecError::Body(format!("not LZ4: {e}")))?;
    if json.len() != said {
        return Err(CodecError::Length { said: said as u64, found: json.len() as u64 });
    }
    if blake3::hash(&json).to_hex().as_str() != digest {
        return Err(CodecError::Checksum);
    }
    let manifest = serde_json::from_slice(&json).map_err(|e| CodecError::Body(e.to_string()))?;
    check(&manifest).map_err(CodecError::Body)?;
    Ok(manifest)
}

/// Says what is wrong within a manifest, if anything is.
fn check(manifest: &Manifest) -> Result<(), String> {
    let mut keys = BTreeSet::new();
    for object in &manifest.objects {
        check_object_key(&object.key)?;
        if !keys.insert(&object.key) {
            return Err(format!("object {} is listed twice", object.key));
        }
        if object.digest.len() != 64 || !object.digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("object {} has no BLAKE3 digest", object.key));
        }
    }
    let mut subtasks = BTreeSet::new();
    for part in &manifest.parts {
        if !subtasks.insert(part.subtask) {
            return Err(format!("subtask {} has two parts", part.subtask));
        }
        for block in part.blocks() {
            check_block(manifest, block).map_err(|why| format!("subtask {}: {why}", part.subtask))?;
        }
    }
    let missing = manifest.graph.subtasks().find(|s| !subtasks.contains(s));
    if let Some(missing) = missing {
        return Err(format!("subtask {missing} has no part"));
    }
    if subtasks.len() != manifest.graph.subtasks().count() {
        return Err("there is a part of a subtask that is not in the graph".to_owned());
    }
    Ok(())
}

/// A manifest may name data objects of its own job and nothing else, whoever wrote it.
fn check_object_key(key: &str) -> Result<(), String> {
    crate::store::check_key(key)?;
    match layout::origin(key) {
        Some(origin) if origin.kind == layout::FileKind::Data => Ok(()),
        _ if key.starts_with(layout::SAVEPOINTS) => Ok(()),
        _ => Err(format!("{key:?} is not the key of a data object")),
    }
}

fn check_block(manifest: &Manifest, block: &BlockRef) -> Result<(), String> {
    let Some(object) = manifest.objects.get(block.object as usize) else {
        return Err(format!("a block lies in object {}, of {}", block.object, manifest.objects.len()));
    };
    match block.offset.checked_add(block.length) {
        Some(end) if end <= object.size => Ok(()),
        _ => Err(format!(
            "a block of {} bytes from {} does not lie in {}, which has {} bytes",
            block.length, block.offset, object.key, object.size
        )),
    }
}

impl Part {
    /// Every block that the part refers to.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockRef> {
        let tables = self.state.iter().flat_map(|s| &s.tables).flat_map(|t| &t.blocks);
        let lists = self.state.iter().flat_map(|s| &s.lists).flat_map(|(_, blobs)| blobs);
        let sinks = self.sinks.iter().flat_map(|s| &s.handles);
        let blobs = lists.chain(sinks).filter_map(|b| match b {
            Blob::Block(block) => Some(block),
            Blob::Inline(_) => None,
        });
        tables.chain(blobs)
    }
}
