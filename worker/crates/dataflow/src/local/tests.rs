//! Copies that are gone, changed, too many or can't be written are no copies; nothing else comes of it.

use std::time::Duration;

use weir_runtime::SystemRandom;

use super::*;

fn job() -> JobUid {
    JobUid::new("j1").unwrap()
}

async fn open(folder: PathBuf, limit: u64) -> Option<LocalCopies> {
    LocalCopies::open(&Scratch { folder, limit }, &job(), &SystemRandom, 1 << 20).await
}

fn object(key: &str) -> ObjectRef {
    ObjectRef { key: key.to_owned(), size: 0, digest: String::new() }
}

fn block(offset: u64, bytes: &[u8]) -> BlockRef {
    let crc = crc32fast::hash(bytes);
    BlockRef { object: 0, offset, length: bytes.len() as u64, crc, rows: 1 }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time");
}

/// The files of all copies, once so many are complete.
async fn files(copies: &LocalCopies, count: usize) -> Vec<PathBuf> {
    let found = || -> Vec<PathBuf> {
        let entries = fs::read_dir(copies.0.folder.path()).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    };
    until(|| copies.0.lock().complete() && found().len() == count).await;
    found()
}

#[tokio::test]
async fn what_was_kept_is_read_and_what_is_not_wanted_goes() {
    let temp = tempfile::tempdir().unwrap();
    let copies = open(temp.path().to_owned(), 1000).await.unwrap();
    let payload = Payload::new(vec!["head".into(), "first".into(), "second".into()]);
    copies.keep_object(&object("whole"), &payload);
    let (first, second) = (block(4, b"first"), block(9, b"second"));
    copies.keep_blocks(&object("some"), std::slice::from_ref(&second), &["second".into()]);
    files(&copies, 2).await;
    let both = [second.clone(), first.clone()];
    let found = copies.read(&object("whole"), &both).await;
    assert_eq!(found, [Some("second".into()), Some("first".into())]);
    assert_eq!(copies.read(&object("some"), &both).await, [Some("second".into()), None]);
    copies.retain(|key| key == "some");
    files(&copies, 1).await;
    assert_eq!(copies.read(&object("whole"), &both).await, [None, None]);
    assert_eq!(copies.unusable(), 0);
    drop(copies);
    until(|| fs::read_dir(temp.path().join("j1")).unwrap().count() == 0).await;
}

#[tokio::test]
async fn a_copy_that_is_gone_or_changed_is_not_used() {
    let temp = tempfile::tempdir().unwrap();
    let copies = open(temp.path().to_owned(), 1000).await.unwrap();
    let rows = block(0, b"rows");
    for spoiled in [None, Some("r0ws"), Some("ro")] {
        copies.keep_object(&object("a"), &Payload::from(b"rows".to_vec()));
        let files = files(&copies, 1).await;
        match spoiled {
            None => fs::remove_file(&files[0]).unwrap(),
            Some(content) => fs::write(&files[0], content).unwrap(),
        }
        assert_eq!(copies.read(&object("a"), std::slice::from_ref(&rows)).await, [None]);
        assert_eq!(copies.read(&object("a"), std::slice::from_ref(&rows)).await, [None]);
    }
    assert_eq!(copies.unusable(), 3, "each is found out once");
}

#[tokio::test]
async fn a_disk_that_can_not_be_written_keeps_nothing_and_stops_nothing() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("file"), "").unwrap();
    assert!(open(temp.path().join("file"), 1000).await.is_none());
    let copies = open(temp.path().to_owned(), 1000).await.unwrap();
    fs::remove_dir_all(copies.0.folder.path()).unwrap();
    copies.keep_object(&object("a"), &Payload::from(b"rows".to_vec()));
    until(|| copies.0.told.load(Ordering::Relaxed)).await;
    fs::create_dir(copies.0.folder.path()).unwrap();
    copies.keep_object(&object("b"), &Payload::from(b"rows".to_vec()));
    files(&copies, 1).await;
    assert_eq!(copies.read(&object("a"), &[block(0, b"rows")]).await, [None]);
    assert_eq!(copies.read(&object("b"), &[block(0, b"rows")]).await, [Some("rows".into())]);
}
