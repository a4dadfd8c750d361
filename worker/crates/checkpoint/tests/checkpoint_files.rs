//! Manifests and data objects: what is damaged is noticed and named, whatever the damage.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a broken assumption ends the test"
)]

mod common;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::{claim, hollow, manifest, object};
use proptest::prelude::*;
use weir_checkpoint::manifest::{
    Wrong, check_present, decode_manifest, encode_manifest, read_blocks, read_manifest, verify_checkpoint,
    write_manifest,
};
use weir_checkpoint::segment::SegmentReader;
use weir_checkpoint::store::{FsStore, MemoryStore, Store};
use weir_protocol::{Attempt, BlockRef, CheckpointId, Failure, FailureKind, ObjectRef};
use weir_runtime::SeededRandom;

const A: Attempt = Attempt(1);
const C: CheckpointId = CheckpointId(1);

async fn damage(store: &dyn Store, key: &str, how: impl Fn(&mut Vec<u8>)) {
    let mut bytes = store.get(key).await.unwrap().unwrap().to_vec();
    how(&mut bytes);
    store.put(key, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn every_damaged_object_of_a_checkpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Store>; 2] =
        [Arc::new(MemoryStore::default()), Arc::new(FsStore::new(folder.path()))];
    for store in stores {
        let store = store.as_ref();
        let random = SeededRandom::new(1);
        let mut objects = Vec::new();
        for _ in 0..4 {
            objects.push(object(store, &random, A, C, 3).await);
        }
        let keys: Vec<String> = objects.iter().map(|o| o.object.key.clone()).collect();
        let refs: Vec<ObjectRef> = objects.iter().map(|o| o.object.clone()).collect();
        let manifest = manifest(A, C, 3, objects);
        let written = write_manifest(store, &random, &manifest).await.unwrap();
        assert_eq!(read_manifest(store, &written).await, Ok(manifest.clone()));
        assert_eq!(verify_checkpoint(store, &written).await, vec![]);
        assert_eq!(check_present(store, &refs).await, vec![]);

        damage(store, &keys[0], |b| b[20] ^= 4).await;
        damage(store, &keys[1], |b| b.truncate(30)).await;
        store.delete(&keys[2..3]).await.unwrap();
        let found = verify_checkpoint(store, &written).await;
        let what: Vec<_> = found.iter().map(|p| (p.key.clone(), p.what.clone())).collect();
        let size = refs[1].size;
        assert_eq!(
            what,
            [
                (keys[0].clone(), Wrong::Digest),
                (keys[1].clone(), Wrong::Size { expected: size, found: 30 }),
                (keys[2].clone(), Wrong::Missing),
            ]
        );
        assert_eq!(check_present(store, &refs).await.len(), 2, "a look does not see a flipped bit");

        // Restoring blocks notices each of them too.
        for (at, object) in refs.iter().enumerate() {
            let blocks: Vec<BlockRef> = manifest
                .parts
                .iter()
                .flat_map(|p| p.blocks())
                .filter(|b| b.object as usize == at)
                .cloned()
                .collect();
            let read = read_blocks(store, object, &blocks).await;
            assert_eq!(read.is_ok(), at == 3, "{at}: {read:?}");
            if let Err(problem) = read {
                let failure = Failure::from(problem);
                assert_eq!(failure.kind, FailureKind::StateUnreadable);
                assert!(failure.message.contains(&object.key), "{failure}");
            }
        }
        for how in [|b: &mut Vec<u8>| b[100] ^= 1, |b: &mut Vec<u8>| b.truncate(90)] {
            damage(store, &written.key, how).await;
            let found = verify_checkpoint(store, &written).await;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].key, written.key);
        }
    }
}

#[tokio::test]
async fn blocks_come_back_in_the_order_asked_for() {
    let store = MemoryStore::default();
    let object = object(&store, &SeededRandom::new(2), A, C, 9).await;
    let reader = SegmentReader::open(store.get(&object.object.key).await.unwrap().unwrap()).unwrap();
    let mut blocks = object.blocks.clone();
    blocks.rotate_left(4);
    blocks.push(blocks[2].clone());
    let read = read_blocks(&store, &object.object, &blocks).await.unwrap();
    for (block, bytes) in blocks.iter().zip(&read) {
        let entry = reader.index().iter().find(|e| e.offset == block.offset).unwrap();
        assert_eq!(reader.block(entry).unwrap(), bytes);
    }
    assert_eq!(read_blocks(&store, &object.object, &[]).await, Ok(vec![]));
    let mut wrong = blocks[0].clone();
    wrong.offset = u64::MAX - 1;
    assert!(read_blocks(&store, &object.object, &[wrong]).await.is_err(), "no overflow, no panic");
}

#[tokio::test]
async fn a_manifest_names_only_data_objects_of_its_job_and_blocks_within_them() {
    let store = MemoryStore::default();
    let good = manifest(A, C, 2, vec![object(&store, &SeededRandom::new(3), A, C, 2).await]);
    assert_eq!(decode_manifest(&encode_manifest(&good).unwrap()), Ok(good.clone()));
    for (change, part) in [
        ("../other/data/a000001/c000001/x", "begins with a dot"),
        ("journal/00000000000000000001.rec", "not the key of a data object"),
        ("/etc/passwd", "not a key"),
        ("manifest/a000001/c000001-x", "not the key of a data object"),
    ] {
        let mut bad = good.clone();
        bad.objects[0].key = change.to_owned();
        assert!(encode_manifest(&bad).unwrap_err().to_string().contains(part), "{change}");
    }
    let mut bad = good.clone();
    bad.objects[0].size = 10;
    assert!(encode_manifest(&bad).unwrap_err().to_string().contains("does not lie in"));
    let mut bad = good.clone();
    bad.parts.pop();
    assert!(encode_manifest(&bad).unwrap_err().to_string().contains("has no part"));
    let mut bad = good.clone();
    bad.parts[1] = bad.parts[0].clone();
    assert!(encode_manifest(&bad).unwrap_err().to_string().contains("two parts"));
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn segment_bytes() -> Bytes {
    block_on(async {
        let store = MemoryStore::default();
        let object = object(&store, &SeededRandom::new(4), A, C, 5).await;
        store.get(&object.object.key).await.unwrap().unwrap()
    })
}

fn manifest_bytes() -> Bytes {
    block_on(async {
        let store = MemoryStore::default();
        let object = object(&store, &SeededRandom::new(4), A, C, 5).await;
        encode_manifest(&manifest(A, C, 5, vec![object])).unwrap()
    })
}

/// What a damaged file was: a change of bytes, a cut, or something put in.
fn damaged(bytes: &[u8], edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for (at, kind, value) in edits {
        if out.is_empty() {
            break;
        }
        let at = at.index(out.len());
        match kind % 4 {
            0 => out[at] ^= (*value).max(1),
            1 => out.truncate(at),
            2 => out.insert(at, *value),
            _ => {
                out.remove(at);
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_segment_goes_unnoticed(edits in prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)) {
        let good = segment_bytes();
        let bad = damaged(&good, &edits);
        prop_assume!(bad != good);
        if let Ok(reader) = SegmentReader::open(Bytes::from(bad)) {
            let all_good = reader.index().iter().all(|entry| reader.block(entry).is_ok());
            prop_assert!(!all_good);
        }
    }

    #[test]
    fn no_damage_to_a_manifest_goes_unnoticed(edits in prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)) {
        let good = manifest_bytes();
        let bad = damaged(&good, &edits);
        prop_assume!(bad != good);
        // Another packing of the same content would do no harm; another content would.
        if let Ok(read) = decode_manifest(&bad) {
            prop_assert_eq!(read, decode_manifest(&good).unwrap());
        }
    }

    #[test]
    fn garbage_is_never_taken_for_a_file(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode_manifest(&bytes).is_err());
        prop_assert!(weir_checkpoint::journal::decode_record(&bytes).is_err());
        prop_assert!(weir_checkpoint::journal::decode_boundary(&bytes).is_err());
        prop_assert!(SegmentReader::open(Bytes::from(bytes)).is_err());
    }
}

/// `cargo test --release -p weir-checkpoint --test checkpoint_files measure -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn measure() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store: Arc<dyn Store> = Arc::new(FsStore::new(folder.path()));
    let (mut journal, _) = claim(&store, 1).await;
    let mut times: Vec<u128> = Vec::new();
    for id in 1..=500 {
        let start = Instant::now();
        journal.append(hollow(id)).await.unwrap();
        times.push(start.elapsed().as_micros());
    }
    times.sort_unstable();
    println!("append on files: p50 {} us, p90 {} us, p99 {} us", times[250], times[450], times[495]);
    let start = Instant::now();
    claim(&store, 2).await;
    println!("claim over {} records: {} us", journal.view().records().len(), start.elapsed().as_micros());

    let memory = MemoryStore::default();
    let random = SeededRandom::new(5);
    let mut objects = Vec::new();
    for _ in 0..5 {
        objects.push(object(&memory, &random, A, C, 10_000).await);
    }
    let manifest = manifest(A, C, 10_000, objects);
    let json = serde_json::to_vec(&manifest).unwrap().len();
    let mut best = [u128::MAX; 2];
    let mut size = 0;
    for _ in 0..5 {
        let start = Instant::now();
        let bytes = encode_manifest(&manifest).unwrap();
        best[0] = best[0].min(start.elapsed().as_micros());
        let start = Instant::now();
        assert_eq!(decode_manifest(&bytes).unwrap(), manifest);
        best[1] = best[1].min(start.elapsed().as_micros());
        size = bytes.len();
    }
    let [encode, decode] = best;
    println!(
        "10,000 subtasks, 5 blocks each: {json} bytes of JSON, {size} stored, encode {encode} us, decode {decode} us"
    );
}
