//! Bytes for every decoder of a file in a store: as they are, and as the body of a file whose outer form is right, for
//! checksums would keep nearly everything away from what lies behind them. Used by the fuzz target and by a test
//! that needs no fuzzer.

use bytes::Bytes;
use weir_checkpoint::journal::{decode_boundary, decode_record};
use weir_checkpoint::manifest::decode_manifest;
use weir_checkpoint::savepoint::decode_savepoint;
use weir_checkpoint::segment::SegmentReader;

/// How many decoders took the bytes, or a file with them as its body.
pub(crate) fn feed(bytes: &[u8]) -> usize {
    let framed = ["record", "boundary", "savepoint"].map(|kind| framed(kind, bytes));
    let made = framed.iter().map(Vec::as_slice).map(raw).sum::<usize>();
    raw(bytes) + made + raw(&manifest(bytes)) + raw(&segment(bytes))
}

/// As they are.
fn raw(bytes: &[u8]) -> usize {
    let taken = [
        decode_record(bytes).is_ok(),
        decode_boundary(bytes).is_ok(),
        decode_savepoint(bytes).is_ok(),
        decode_manifest(bytes).is_ok(),
        blocks(bytes),
    ];
    taken.into_iter().filter(|taken| *taken).count()
}

fn blocks(bytes: &[u8]) -> bool {
    let Ok(reader) = SegmentReader::open(Bytes::copy_from_slice(bytes)) else { return false };
    reader.index().iter().all(|entry| reader.block(entry).is_ok())
}

fn framed(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("weir-{kind}/1 {:08x} {}\n", crc32fast::hash(body), body.len());
    [head.as_bytes(), body].concat()
}

fn manifest(json: &[u8]) -> Vec<u8> {
    let head = format!("weir-manifest/1 {} {}\n", json.len(), blake3::hash(json).to_hex());
    [head.as_bytes(), &lz4_flex::block::compress(json)].concat()
}

/// The body is the index, behind no block.
fn segment(index: &[u8]) -> Vec<u8> {
    let head = b"WEIRSEG1";
    let (start, crc) = (head.len() as u64, crc32fast::hash(index));
    [&head[..], index, &start.to_le_bytes(), &crc.to_le_bytes(), b"1GESRIEW"].concat()
}
