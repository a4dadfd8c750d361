//! Decoders of files in a store meet anything and refuse it; none of them panics. The same feed as that of the fuzz
//! target, from good files that are spoilt.

mod common;
#[path = "../fuzz/feed.rs"]
mod feed;

use weir_checkpoint::journal::{Boundary, encode_boundary, encode_record};
use weir_checkpoint::manifest::encode_manifest;
use weir_checkpoint::{Body, Counters, Record, Restore, Slot};
use weir_protocol::{Attempt, CheckpointId};
use weir_runtime::{Random, SeededRandom};

fn record() -> Record {
    Record {
        slot: Slot(1),
        previous: String::new(),
        attempt: Attempt(1),
        nonce: "n".to_owned(),
        at_us: 1,
        body: Body::Claim {
            spec: "s".to_owned(),
            restore: Restore::Genesis { restore_from: None },
            counters: Counters::default(),
        },
    }
}

/// Good files, and bodies that are good behind a right outer form.
fn good() -> Vec<Vec<u8>> {
    let manifest = common::manifest(Attempt(1), CheckpointId(1), 2, Vec::new());
    let boundary = Boundary { slot: Slot(3), nonce: "n".to_owned() };
    vec![
        encode_record(&record()).unwrap().to_vec(),
        encode_boundary(&boundary).unwrap().to_vec(),
        encode_manifest(&manifest).unwrap().to_vec(),
        serde_json::to_vec(&record()).unwrap(),
        serde_json::to_vec(&boundary).unwrap(),
        serde_json::to_vec(&manifest).unwrap(),
        b"[]".to_vec(),
    ]
}

#[test]
fn the_feed_reaches_what_lies_behind_checksums() {
    for bytes in good() {
        assert_eq!(feed::feed(&bytes), 1, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn spoilt_files_are_refused_or_read_and_nothing_panics() {
    for (number, bytes) in good().into_iter().enumerate() {
        let random = SeededRandom::new(number as u64);
        for _ in 0..2_000 {
            feed::feed(&spoilt(&bytes, &random));
        }
    }
}

/// A few changes, anywhere: bytes that are others, gone, or there twice.
fn spoilt(bytes: &[u8], random: &dyn Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.next_u64() % 3 {
        let at = (random.next_u64() % (bytes.len() as u64 + 1)) as usize;
        let to = (at + (random.next_u64() % 8) as usize).min(bytes.len());
        match random.next_u64() % 4 {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to)),
            2 => bytes.extend_from_within(at..to),
            _ => bytes[at..to].iter_mut().for_each(|byte| *byte = random.next_u64() as u8),
        }
    }
    bytes
}
