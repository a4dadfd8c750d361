//! The life of a savepoint: copied, whole whatever happens to its job, found damaged, taken over, deleted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a broken assumption ends the test"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{claim, complete, completed, manifest, object};
use weir_checkpoint::JournalView;
use weir_checkpoint::layout;
use weir_checkpoint::manifest::{Wrong, read_manifest, verify_checkpoint, write_manifest};
use weir_checkpoint::savepoint::{
    Copied, Found, ImportAs, Origin, SavepointError, SavepointFolder, SavepointId, copy_checkpoint,
    copy_patiently, find_origin, import, list_savepoints,
};
use weir_checkpoint::store::{FsStore, MemoryStore, Store};
use weir_protocol::{
    Attempt, Blob, CheckpointId, CheckpointKind, Execution, JobUid, SinkHandles, StorageConfig, TransformId,
};
use weir_runtime::{SeededRandom, SystemRandom};
use weir_testing::{CrashingStore, Death, S3Server};

const NOW: u64 = 1_700_000_000_000_000;

fn at_now() -> u64 {
    NOW
}

fn id(text: &str) -> SavepointId {
    SavepointId::new(text).unwrap()
}

/// A job with two completed checkpoints, the second of them incremental; the second as it is copied.
async fn job(store: &Arc<dyn Store>) -> Copied {
    let random = SeededRandom::new(3);
    let (mut journal, _) = claim(store, 1).await;
    let a = journal.attempt();
    let first = object(store.as_ref(), &random, a, CheckpointId(1), 2).await;
    complete(store.as_ref(), &random, &mut journal, CheckpointId(1), vec![first.clone()]).await;
    let second = object(store.as_ref(), &random, a, CheckpointId(2), 2).await;
    complete(store.as_ref(), &random, &mut journal, CheckpointId(2), vec![first, second]).await;
    newest(store, "before-upgrade").await
}

async fn newest(store: &Arc<dyn Store>, name: &str) -> Copied {
    let newest = JournalView::read(store.as_ref()).await.unwrap().view.newest().unwrap();
    Copied {
        id: id(name),
        checkpoint: newest.id,
        attempt: newest.attempt,
        completed_us: newest.at_us,
        manifest: newest.manifest,
    }
}

async fn whole(folder: &SavepointFolder) {
    let (_, problems) = folder.verify().await.unwrap();
    assert_eq!(problems, vec![]);
}

/// From the copy to the deletion, with the job's own files gone in between.
async fn lives(store: Arc<dyn Store>, folder: SavepointFolder, listed: (Arc<dyn Store>, &str)) {
    let wanted = job(&store).await;
    assert_eq!(folder.read().await, Ok(None));
    assert!(matches!(folder.found().await, Err(SavepointError::Absent(_))));

    let made = copy_checkpoint(&store, &wanted, &folder, &at_now).await.unwrap();
    assert_eq!((made.checkpoint, made.objects, made.copied_us), (CheckpointId(2), 2, NOW));
    assert_eq!(folder.read().await, Ok(Some(made.clone())));
    let (list, below) = listed;
    assert_eq!(list_savepoints(&list, below).await.unwrap(), vec![Found::Whole(made.clone())]);
    whole(&folder).await;

    // Garbage collection, and even the loss of all else, does it no harm.
    for gone in [layout::DATA, layout::MANIFESTS] {
        let keys: Vec<String> = store.list(gone).await.unwrap().into_iter().map(|o| o.key).collect();
        store.delete(&keys).await.unwrap();
    }
    whole(&folder).await;
    let (_, inside) = folder.manifest().await.unwrap();
    assert_eq!(inside.objects.iter().map(|o| o.size).sum::<u64>() + made.manifest.size, made.bytes);

    // Asked for again it is there; its name is not given to anything else.
    assert_eq!(copy_checkpoint(&store, &wanted, &folder, &at_now).await, Ok(made));
    let random = SeededRandom::new(4);
    let (mut journal, _) = claim(&store, 2).await;
    complete(store.as_ref(), &random, &mut journal, CheckpointId(3), vec![]).await;
    let other = newest(&store, "before-upgrade").await;
    let taken = copy_patiently(&store, &other, &folder, Duration::ZERO, &at_now).await;
    assert!(matches!(taken, Err(SavepointError::Taken { checkpoint: CheckpointId(2), .. })), "{taken:?}");
    whole(&folder).await;

    assert_eq!(folder.delete().await, Ok(4), "two objects, the manifest, and what makes it one");
    assert_eq!(folder.delete().await, Ok(0), "deleting again is harmless");
    assert_eq!(folder.store().list("").await, Ok(vec![]));
    assert!(JournalView::read(store.as_ref()).await.unwrap().exists, "the job is as it was");
}

#[tokio::test]
async fn in_memory() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let folder = SavepointFolder::of_job(store.clone(), &id("before-upgrade"));
    lives(store.clone(), folder, (store, layout::SAVEPOINTS)).await;
}

#[tokio::test]
async fn in_files() {
    let temp = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FsStore::new(temp.path()));
    let folder = SavepointFolder::of_job(store.clone(), &id("before-upgrade"));
    lives(store.clone(), folder, (store, layout::SAVEPOINTS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_s3_and_from_files_to_s3_and_back() {
    let server = S3Server::start();
    let store: Arc<dyn Store> = Arc::new(server.store("jobs/a").await);
    let folder = SavepointFolder::of_job(store.clone(), &id("before-upgrade"));
    lives(store.clone(), folder, (store, layout::SAVEPOINTS)).await;

    let temp = tempfile::tempdir().unwrap();
    let files: Arc<dyn Store> = Arc::new(FsStore::new(temp.path().join("job")));
    let bucket: Arc<dyn Store> = Arc::new(server.store("backups").await);
    let folder = SavepointFolder::in_folder(bucket.clone(), &id("before-upgrade"));
    lives(files, folder, (bucket, "")).await;

    let store: Arc<dyn Store> = Arc::new(server.store("jobs/b").await);
    let backups: Arc<dyn Store> = Arc::new(FsStore::new(temp.path().join("backups")));
    let folder = SavepointFolder::in_folder(backups.clone(), &id("before-upgrade"));
    lives(store, folder, (backups, "")).await;
}

/// What a process that dies at any operation leaves behind is no savepoint, or a whole one; and whoever tries
/// again brings it to its end.
#[tokio::test]
async fn a_death_at_any_step_leaves_a_whole_savepoint_or_none_and_the_next_one_finishes_it() {
    let counted: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let wanted = job(&counted).await;
    let counting = Arc::new(CrashingStore::new(counted, Death::Never));
    let store: Arc<dyn Store> = counting.clone();
    let folder = SavepointFolder::of_job(store.clone(), &wanted.id);
    copy_checkpoint(&store, &wanted, &folder, &at_now).await.unwrap();
    let operations = counting.operations();
    assert!(operations > 10, "{operations} operations");
    for at in 1..=operations {
        for death in [Death::Before(at), Death::After(at)] {
            let inner: Arc<dyn Store> = Arc::new(MemoryStore::default());
            let wanted = job(&inner).await;
            let dying: Arc<dyn Store> = Arc::new(CrashingStore::new(inner.clone(), death));
            let folder = SavepointFolder::of_job(dying.clone(), &wanted.id);
            let made = copy_checkpoint(&dying, &wanted, &folder, &at_now).await;
            assert!(made.is_err_and(|e| e.is_unknown()), "{death:?}");

            let folder = SavepointFolder::of_job(inner.clone(), &wanted.id);
            if folder.read().await.unwrap().is_some() {
                whole(&folder).await;
            }
            copy_checkpoint(&inner, &wanted, &folder, &at_now).await.unwrap();
            whole(&folder).await;

            let dying: Arc<dyn Store> = Arc::new(CrashingStore::new(inner.clone(), death));
            let _ = SavepointFolder::of_job(dying, &wanted.id).delete().await;
            if folder.read().await.unwrap().is_some() {
                whole(&folder).await;
            }
            folder.delete().await.unwrap();
            assert_eq!(inner.list(layout::SAVEPOINTS).await, Ok(vec![]), "{death:?}");
        }
    }
}

#[tokio::test]
async fn damage_is_found_and_named_when_copying_and_after_and_nothing_half_stays() {
    for to_other in [false, true] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let other: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let wanted = job(&store).await;
        let folder = match to_other {
            true => SavepointFolder::in_folder(other, &wanted.id),
            false => SavepointFolder::of_job(store.clone(), &wanted.id),
        };
        let named = read_manifest(store.as_ref(), &wanted.manifest).await.unwrap().objects;
        let good = store.get(&named[1].key).await.unwrap().unwrap();
        for (what, bytes) in [
            (Wrong::Digest, Some(good.iter().map(|b| b ^ 1).collect::<Vec<u8>>())),
            (Wrong::Size { expected: good.len() as u64, found: 7 }, Some(good[..7].to_vec())),
            (Wrong::Missing, None),
        ] {
            match bytes {
                Some(bytes) => store.put(&named[1].key, bytes.into()).await.unwrap(),
                None => store.delete(&[named[1].key.clone()]).await.unwrap(),
            }
            let made = copy_patiently(&store, &wanted, &folder, Duration::ZERO, &at_now).await;
            let Err(SavepointError::Problem(problem)) = made else { panic!("{made:?}") };
            assert_eq!((problem.key, problem.what), (named[1].key.clone(), what));
            assert_eq!(folder.store().list("").await, Ok(vec![]), "what was copied is removed");
        }
        store.put(&named[1].key, good.clone().into()).await.unwrap();
        copy_patiently(&store, &wanted, &folder, Duration::ZERO, &at_now).await.unwrap();
        let mut bad = good.to_vec();
        bad[3] ^= 0x40;
        folder.store().put(&named[1].key, bad.into()).await.unwrap();
        let (_, problems) = folder.verify().await.unwrap();
        assert_eq!(problems.len(), 1);
        assert_eq!((&problems[0].key, &problems[0].what), (&named[1].key, &Wrong::Digest));
        folder.store().put("savepoint", b"weir-savepoint/1 zzz".to_vec().into()).await.unwrap();
        assert!(matches!(folder.verify().await, Err(SavepointError::Codec { .. })));
    }
}

#[tokio::test]
async fn a_jobs_folder_is_never_deleted_as_a_savepoint() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    job(&store).await;
    let before = store.list("").await;
    assert!(matches!(SavepointFolder::at(store.clone()).delete().await, Err(SavepointError::Job(_))));
    assert_eq!(store.list("").await, before);
}

fn as_new(attempt: u64) -> ImportAs {
    ImportAs { job: JobUid::new("new").unwrap(), attempt: Attempt(attempt), id: CheckpointId(1), at_us: NOW }
}

#[tokio::test]
async fn what_is_taken_over_is_the_new_jobs_own_and_brings_no_commits_along() {
    let old: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let random = SeededRandom::new(5);
    let (mut journal, _) = claim(&old, 1).await;
    let o = object(old.as_ref(), &random, journal.attempt(), CheckpointId(1), 2).await;
    let mut with_commits = manifest(journal.attempt(), CheckpointId(1), 2, vec![o]);
    let handles = vec![Blob::Inline(b"a file that the old job will make visible".to_vec())];
    with_commits.parts[0].sinks = vec![SinkHandles { transform: TransformId(7), handles }];
    let written = write_manifest(old.as_ref(), &random, &with_commits).await.unwrap();
    journal.append(completed(CheckpointId(1), written, true)).await.unwrap();
    let wanted = newest(&old, "s").await;
    let folder = SavepointFolder::of_job(old.clone(), &wanted.id);
    copy_checkpoint(&old, &wanted, &folder, &at_now).await.unwrap();

    let origin = Origin {
        store: folder.store().clone(),
        manifest: wanted.manifest.clone(),
        checkpoint: wanted.checkpoint,
        name: "s".to_owned(),
    };
    let new: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let first = import(&origin, &new, &random, &as_new(1)).await.unwrap();
    let again = import(&origin, &new, &random, &as_new(2)).await.unwrap();
    assert_ne!(first.manifest.key, again.manifest.key, "each try has names of its own");
    folder.delete().await.unwrap();
    for (imported, attempt) in [(first, 1), (again, 2)] {
        assert_eq!(verify_checkpoint(new.as_ref(), &imported.manifest).await, vec![]);
        let own = read_manifest(new.as_ref(), &imported.manifest).await.unwrap();
        assert_eq!((own.job.as_str(), own.id, own.execution), ("new", CheckpointId(1), Execution(0)));
        assert_eq!((own.attempt, own.reason), (Attempt(attempt), CheckpointKind::Import));
        assert_eq!(own.parts[0].state, with_commits.parts[0].state);
        assert!(own.parts.iter().flat_map(|p| &p.sinks).all(|s| s.handles.is_empty()));
        let origins = own.objects.iter().map(|o| layout::origin(&o.key).unwrap());
        assert!(
            origins.into_iter().all(|o| (o.attempt, o.checkpoint) == (Attempt(attempt), CheckpointId(1)))
        );
    }
}

#[tokio::test]
async fn damage_is_named_when_taking_over() {
    let old: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let wanted = job(&old).await;
    let folder = SavepointFolder::of_job(old.clone(), &wanted.id);
    copy_checkpoint(&old, &wanted, &folder, &at_now).await.unwrap();
    let key = folder.manifest().await.unwrap().1.objects[0].key.clone();
    let mut bytes = folder.store().get(&key).await.unwrap().unwrap().to_vec();
    bytes[9] ^= 2;
    folder.store().put(&key, bytes.into()).await.unwrap();
    let origin = Origin {
        store: folder.store().clone(),
        manifest: wanted.manifest,
        checkpoint: wanted.checkpoint,
        name: "s".to_owned(),
    };
    let new: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let failed = import(&origin, &new, &SystemRandom, &as_new(1)).await;
    let Err(SavepointError::Problem(problem)) = failed else { panic!("{failed:?}") };
    assert_eq!((problem.key, problem.what), (key, Wrong::Digest));
    assert_eq!(new.list(layout::MANIFESTS).await, Ok(vec![]), "nothing names what was copied");
}

#[tokio::test]
async fn what_to_start_from_is_found_by_id_and_by_url_or_it_is_said_what_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let root = format!("file://{}", temp.path().display());
    let storage = StorageConfig { url: root.clone(), endpoint: None, region: None, path_style: false };
    let store: Arc<dyn Store> = Arc::new(FsStore::new(temp.path().join("old")));
    let wanted = job(&store).await;
    let folder = SavepointFolder::of_job(store.clone(), &wanted.id);
    copy_checkpoint(&store, &wanted, &folder, &at_now).await.unwrap();
    let first = JournalView::read(store.as_ref()).await.unwrap().view.checkpoints()[0].manifest.clone();

    for (from, manifest, checkpoint) in [
        ("savepoint/before-upgrade".to_owned(), &wanted.manifest, 2),
        (format!("{root}/old/savepoints/before-upgrade"), &wanted.manifest, 2),
        (format!("{root}/old/savepoints/before-upgrade/"), &wanted.manifest, 2),
        (format!("{root}/old"), &wanted.manifest, 2),
        (format!("{root}/old/{}", first.key), &first, 1),
    ] {
        let origin = find_origin(&store, &storage, &from).await.unwrap_or_else(|e| panic!("{from}: {e}"));
        assert_eq!((&origin.manifest, origin.checkpoint), (manifest, CheckpointId(checkpoint)), "{from}");
        assert_eq!(verify_checkpoint(origin.store.as_ref(), &origin.manifest).await, vec![], "{from}");
    }
    for (from, words) in [
        ("savepoint/other".to_owned(), "holds no savepoint other; savepoints there: before-upgrade"),
        ("savepoint/../x".to_owned(), "is not the id of a savepoint"),
        (format!("{root}/nothing"), "holds neither a savepoint nor a job"),
        (format!("{root}/old/manifest/a000009/c000009-x"), "no completed checkpoint in"),
        (format!("{root}/none/manifest/a000001/c000001-x"), "no completed checkpoint in"),
        ("s3://B/x".to_owned(), "a bucket's name"),
        ("gs://bucket/x".to_owned(), "is not a kind of store"),
    ] {
        let error = find_origin(&store, &storage, &from).await.expect_err(&from);
        assert!(error.to_string().contains(words), "{from}: {error}");
        assert!(!error.is_unknown(), "{from}");
    }
}
