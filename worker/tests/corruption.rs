//! Damage to what a stopped job left in its storage: a flipped bit, a cut, a deletion, of every
//! object that the next start relies on. It is found and named; nothing is restored from it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use support::nexmark::{BIDS, EVENTS, tables};
use support::place::{DONE, Place, copy_folder};
use support::rows::{Rows, differences, differences_at_least_once, read, row, rows};
use support::time::{SECOND, format, windows};
use support::{LONG, Rng, seed};

#[derive(Debug, Clone, Copy)]
enum Damage {
    FlippedBit,
    Cut,
    Deleted,
}

impl Damage {
    const ALL: [Self; 3] = [Self::FlippedBit, Self::Cut, Self::Deleted];

    fn apply(self, path: &Path, random: &mut Rng) {
        let mut bytes = fs::read(path).unwrap();
        let at = random.below(bytes.len() as u64) as usize;
        match self {
            Self::FlippedBit => {
                bytes[at] ^= 1 << random.below(8);
                fs::write(path, bytes).unwrap();
            }
            Self::Cut => fs::write(path, &bytes[..at]).unwrap(),
            Self::Deleted => fs::remove_file(path).unwrap(),
        }
    }
}

fn place() -> Place {
    let sql = tables(EVENTS, Some(10_000))
        + "CREATE TABLE counts (s TIMESTAMP(3), auction BIGINT, n BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}/counts', 'format' = 'json');
INSERT INTO counts SELECT window_start, auction, COUNT(*)
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND)) GROUP BY window_start, window_end, auction;";
    Place::new("damaged", &sql, &[])
}

/// Every object that the newest checkpoint consists of, and the records of the journal, below the
/// job's folder.
fn objects(place: &Place) -> Vec<String> {
    let journal = place.journal();
    let newest = journal.newest().expect("a checkpoint");
    let bytes = fs::read(place.state().join(&newest.manifest.key)).expect("its manifest");
    let manifest = weir_checkpoint::manifest::decode_manifest(&bytes).expect("a manifest");
    let mut keys = vec![newest.manifest.key];
    keys.extend(manifest.objects.into_iter().map(|o| o.key));
    keys.extend(journal.records().iter().map(|r| weir_checkpoint::layout::record(r.slot)));
    keys
}

/// What a message calls the object: its key, or the slot of a record.
fn names(message: &str, key: &str) -> bool {
    let slot = weir_checkpoint::layout::record_slot(key).map(|s| format!("slot {s} "));
    message.contains(key) || slot.is_some_and(|slot| message.replace([':', ',', '\n'], " ").contains(&slot))
}

/// What the job gives, computed apart from it.
fn expected() -> Rows {
    let mut counts = BTreeMap::<(i64, i64), i64>::new();
    for bid in BIDS.iter() {
        for window in windows(bid.at, 2 * SECOND, 2 * SECOND) {
            *counts.entry((window, bid.auction)).or_default() += 1;
        }
    }
    rows(counts.iter().map(|((start, auction), n)| {
        row([("s", json!(format(*start))), ("auction", json!(auction)), ("n", json!(n))])
    }))
}

#[test]
fn damage_of_any_object_is_found_and_named() {
    let seed = seed();
    eprintln!("WEIR_SEED={seed}");
    let mut random = Rng::new(seed);
    let place = place();
    assert!(place.stop_after(6, &["checkpoint.interval=200ms"]), "it ended before it was stopped");
    let keys = objects(&place);
    let tail = weir_checkpoint::layout::record(place.journal().records().last().unwrap().slot);
    let (state, kept) = (place.state(), place.path("kept"));
    copy_folder(&state, &kept);
    let before = read(&place.out("counts"));
    let mut wrong = Vec::new();
    for key in &keys {
        for damage in Damage::ALL {
            // Without its last record a journal is a shorter journal: see below.
            if *key == tail && matches!(damage, Damage::Deleted) {
                continue;
            }
            fs::remove_dir_all(&state).unwrap();
            copy_folder(&kept, &state);
            damage.apply(&state.join(key), &mut random);
            let verify = place.weir(&["checkpoints", "verify", "job.yaml"]).output().unwrap();
            let said = String::from_utf8_lossy(&verify.stdout) + String::from_utf8_lossy(&verify.stderr);
            if verify.status.success() || !names(&said, key) {
                wrong.push(format!("{key}, {damage:?}: verify gives {:?}: {said}", verify.status.code()));
            }
            let mut run = place.start(&[]);
            let code = run.wait(LONG);
            if code == DONE || !names(&run.log(), key) {
                wrong.push(format!("{key}, {damage:?}: run gives {code}: {}", run.log()));
            }
            if read(&place.out("counts")) != before {
                wrong.push(format!("{key}, {damage:?}: the output was changed"));
            }
        }
    }
    eprintln!("{} objects, {} damages each", keys.len(), Damage::ALL.len());
    assert!(wrong.is_empty(), "WEIR_SEED={seed}: {}", wrong.join("\n"));

    // The last record only says that the job was stopped: without it, it goes on all the same.
    fs::remove_dir_all(&state).unwrap();
    copy_folder(&kept, &state);
    fs::remove_file(state.join(tail)).unwrap();
    place.finish(&[]);
    if let Some(differences) = differences(&read(&place.out("counts")), &expected()) {
        panic!("{differences}");
    }
}

#[test]
fn a_user_may_permit_to_go_on_from_the_checkpoint_before() {
    let seed = seed();
    eprintln!("WEIR_SEED={seed}");
    let mut random = Rng::new(seed);
    let place = place();
    assert!(place.stop_after(6, &["checkpoint.interval=200ms"]), "it ended before it was stopped");
    let newest = place.journal().newest().expect("a checkpoint");
    Damage::FlippedBit.apply(&place.state().join(&newest.manifest.key), &mut random);
    let mut run = place.start(&["recovery.onUnreadable=Previous"]);
    assert_eq!(run.wait(LONG), DONE, "{}", run.log());
    let (id, log) = (newest.id, run.log());
    assert!(
        log.contains(&newest.manifest.key) && log.contains("go back to checkpoint"),
        "checkpoint {id}: {log}"
    );
    // What the lost checkpoint had committed is there, and comes once more; nothing is missing.
    if let Some(differences) = differences_at_least_once(&read(&place.out("counts")), &expected()) {
        panic!("WEIR_SEED={seed}: {differences}");
    }
}
