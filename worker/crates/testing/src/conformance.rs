//! What every store must do. Each implementation runs all of it, over a folder that is empty.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::stream;
use weir_checkpoint::store::{Below, Payload, Put, Store, StoreError, StoreErrorKind};

const RACERS: usize = 50;
const ROUNDS: usize = 5;

/// Runs every check of the suite.
///
/// # Panics
/// With what the store did and should not have done.
pub async fn run(store: Arc<dyn Store>) {
    reads_give_what_was_written(store.as_ref()).await;
    ranges_are_exact_or_an_error(store.as_ref()).await;
    large_payloads_come_back_whole(store.as_ref()).await;
    pieces_make_one_object_or_none(store.as_ref()).await;
    copies_are_objects_of_their_own(store.as_ref()).await;
    a_folder_is_a_store_of_its_own(&store).await;
    listings_show_everything_once(store.as_ref()).await;
    deleting_forgets(store.as_ref()).await;
    bad_keys_are_refused_everywhere(store.as_ref()).await;
    replacing_needs_the_version(store.as_ref()).await;
    of_racing_creators_one_wins(&store).await;
    of_racing_replacers_one_wins(&store).await;
    creators_and_deleters_of_one_folder_do_not_disturb_each_other(&store).await;
}

async fn reads_give_what_was_written(store: &dyn Store) {
    assert_eq!(store.get("rw/a").await, Ok(None));
    assert_eq!(store.head("rw/a").await, Ok(None));
    assert_eq!(store.get_range("rw/a", 0, 1).await, Ok(None));
    for (i, content) in [&b""[..], b"x", &[0, 255, 10, 13]].into_iter().enumerate() {
        let (new, own) = (format!("rw/new-{i}"), format!("rw/own-{i}"));
        assert_eq!(store.put_new(&new, Bytes::copy_from_slice(content)).await, Ok(Put::Written));
        assert_eq!(store.put(&own, Payload::from(content.to_vec())).await, Ok(()));
        for key in [&new, &own] {
            assert_eq!(store.get(key).await.unwrap().as_deref(), Some(content), "{key}");
            assert_eq!(store.head(key).await, Ok(Some(content.len() as u64)), "{key}");
        }
        assert_eq!(store.put_new(&own, Bytes::from_static(b"other")).await, Ok(Put::Refused), "{own}");
        assert_eq!(
            store.get(&own).await.unwrap().as_deref(),
            Some(content),
            "a refused create changes nothing"
        );
    }
}

async fn ranges_are_exact_or_an_error(store: &dyn Store) {
    store.put("range/x", Payload::from(b"0123456789".to_vec())).await.unwrap();
    for (offset, length) in [(0, 10), (0, 1), (9, 1), (3, 4), (5, 0)] {
        let found = store.get_range("range/x", offset, length).await.unwrap().unwrap();
        assert_eq!(found, b"0123456789"[offset as usize..(offset + length) as usize], "{offset}+{length}");
    }
    for (offset, length) in [(0, 11), (10, 1), (9, 2), (100, 5)] {
        let error = store.get_range("range/x", offset, length).await.expect_err("a range past the end");
        assert_eq!(error.kind, StoreErrorKind::Failed, "{offset}+{length}: {error}");
    }
}

async fn large_payloads_come_back_whole(store: &dyn Store) {
    // Above the size from which S3 takes parts; not a multiple of it; in uneven pieces.
    let size = (16 << 20) * 2 + 12_345;
    let all: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut rest = Bytes::from(all.clone());
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        chunks.push(rest.split_to(rest.len().min(3_000_001)));
    }
    store.put("large/x", Payload::new(chunks)).await.unwrap();
    assert_eq!(store.head("large/x").await, Ok(Some(size as u64)));
    assert!(store.get("large/x").await.unwrap().unwrap() == all, "the content came back changed");
    assert_eq!(store.uploads("large/").await, Ok(vec![]), "no upload is left over");
    let range = store.get_range("large/x", 20_000_000, 1000).await.unwrap().unwrap();
    assert_eq!(range, all[20_000_000..20_001_000]);
}

async fn pieces_make_one_object_or_none(store: &dyn Store) {
    let sizes = [0, 1, 3_000_001, 16 << 20, (16 << 20) + 5, (16 << 20) * 2];
    for size in sizes {
        let all: Bytes = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut rest = all.clone();
        let mut pieces = vec![Ok(Bytes::new())];
        while !rest.is_empty() {
            pieces.push(Ok(rest.split_to(rest.len().min(5_000_003))));
        }
        let key = format!("pieces/{size}");
        store.put_pieces(&key, Box::pin(stream::iter(pieces))).await.unwrap();
        assert!(store.get(&key).await.unwrap().unwrap() == all, "{size} bytes came back changed");
    }
    for before in [0, 20 << 20] {
        let broken = StoreError::new(StoreErrorKind::Failed, "read", "elsewhere", "x", "broken by the test");
        let pieces =
            vec![Ok(Bytes::from(vec![7; before])), Err(broken.clone()), Ok(Bytes::from_static(b"z"))];
        let done = store.put_pieces("pieces/broken", Box::pin(stream::iter(pieces))).await;
        assert_eq!(done, Err(broken));
        assert_eq!(store.head("pieces/broken").await, Ok(None), "an error among the pieces: no object");
    }
    assert_eq!(store.uploads("pieces/").await, Ok(vec![]), "no upload is left over");
    let keys: Vec<String> = store.list("pieces/").await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys.len(), sizes.len(), "{keys:?}");
    store.delete(&keys).await.unwrap();
}

async fn copies_are_objects_of_their_own(store: &dyn Store) {
    assert_eq!(store.copy("copy/none", "copy/b").await, Ok(false));
    assert_eq!(store.head("copy/b").await, Ok(None), "a copy of nothing is nothing");
    let large = vec![9; (16 << 20) + 77];
    for (name, content) in [("empty", &b""[..]), ("small", b"0123"), ("large", &large)] {
        let (from, to) = (format!("copy/{name}"), format!("copy/to/deep/{name}"));
        store.put(&from, Payload::from(content.to_vec())).await.unwrap();
        assert_eq!(store.copy(&from, &to).await, Ok(true), "{name}");
        assert_eq!(store.copy(&from, &to).await, Ok(true), "{name}: copying again is harmless");
        store.delete(&[from]).await.unwrap();
        assert_eq!(store.head(&to).await, Ok(Some(content.len() as u64)));
        assert!(store.get(&to).await.unwrap().unwrap() == content, "{name}: the copy outlives what it is of");
    }
    for (from, to) in [("../x", "copy/y"), ("copy/x", "../y"), ("", "copy/y"), ("copy/x", ".tmp/y")] {
        let kind = store.copy(from, to).await.map_err(|e| e.kind);
        assert_eq!(kind, Err(StoreErrorKind::Invalid), "{from:?} to {to:?}");
    }
}

async fn a_folder_is_a_store_of_its_own(store: &Arc<dyn Store>) {
    let below = Below::new(Arc::clone(store), "below/x");
    assert!(below.url().starts_with(store.url()) && below.url().ends_with("/below/x"), "{}", below.url());
    store.put("below/y", Payload::from(vec![1])).await.unwrap();
    below.put("data/a", Payload::from(vec![2, 3])).await.unwrap();
    assert_eq!(below.put_new("data/a", Bytes::new()).await, Ok(Put::Refused));
    assert_eq!(below.copy("data/a", "data/b").await, Ok(true));
    assert_eq!(store.get("below/x/data/b").await.unwrap().unwrap(), vec![2, 3]);
    let keys: Vec<String> = below.list("").await.unwrap().into_iter().map(|o| o.key).collect();
    assert_eq!(keys, ["data/a", "data/b"]);
    assert_eq!(below.list_folder("").await.unwrap().folders, ["data"]);
    assert_eq!(below.get("../y").await.map_err(|e| e.kind), Err(StoreErrorKind::Invalid));
    below.delete(&keys).await.unwrap();
    assert_eq!(store.list("below/").await.unwrap().len(), 1, "what is beside the folder stays");
}

async fn listings_show_everything_once(store: &dyn Store) {
    let keys: Vec<String> = (0..1_050).map(|i| format!("list/d{}/k{i:04}", i % 3)).collect();
    for keys in keys.chunks(50) {
        for done in join_all(keys.iter().map(|k| store.put(k, Payload::from(k.clone().into_bytes())))).await {
            done.unwrap();
        }
    }
    store.put("list/top", Payload::from(vec![7])).await.unwrap();
    let listed = store.list("list/").await.unwrap();
    let mut expected: Vec<(String, u64)> = keys.iter().map(|k| (k.clone(), k.len() as u64)).collect();
    expected.push(("list/top".to_owned(), 1));
    expected.sort();
    assert_eq!(listed.into_iter().map(|o| (o.key, o.size)).collect::<Vec<_>>(), expected);
    let folder = store.list_folder("list/").await.unwrap();
    assert_eq!(folder.folders, ["d0", "d1", "d2"]);
    assert_eq!(folder.objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["list/top"]);
    assert_eq!(store.list("nothing/here/").await, Ok(vec![]));
    store.delete(&keys).await.unwrap();
    assert_eq!(store.list("list/").await.unwrap().len(), 1, "1,050 keys are deleted by one call");
}

async fn deleting_forgets(store: &dyn Store) {
    let key = "del/x".to_owned();
    store.put_new(&key, Bytes::from_static(b"1")).await.unwrap();
    store.delete(&[key.clone(), "del/never".to_owned()]).await.unwrap();
    assert_eq!(store.get(&key).await, Ok(None));
    assert_eq!(store.list("del/").await, Ok(vec![]));
    assert_eq!(store.put_new(&key, Bytes::from_static(b"2")).await, Ok(Put::Written), "deleted is absent");
    store.delete(&[]).await.unwrap();
}

async fn bad_keys_are_refused_everywhere(store: &dyn Store) {
    for key in ["", "/x", "x/", "a//b", "../x", "a/../x", ".x", "a/.tmp/x", "a b", "a\nb", "ä"] {
        let kind = |e: weir_checkpoint::StoreError| e.kind;
        let invalid = Err(StoreErrorKind::Invalid);
        assert_eq!(store.get(key).await.map(|_| ()).map_err(kind), invalid, "get {key:?}");
        assert_eq!(store.put_new(key, Bytes::new()).await.map(|_| ()).map_err(kind), invalid, "{key:?}");
        assert_eq!(store.put(key, Payload::default()).await.map_err(kind), invalid, "put {key:?}");
        assert_eq!(store.delete(&[key.to_owned()]).await.map_err(kind), invalid, "delete {key:?}");
    }
    for prefix in ["/", "x", "../", "a//"] {
        let kind = store.list(prefix).await.map(|_| ()).map_err(|e| e.kind);
        assert_eq!(kind, Err(StoreErrorKind::Invalid), "list {prefix:?}");
    }
}

async fn replacing_needs_the_version(store: &dyn Store) {
    let key = "cas/x";
    assert_eq!(store.get_versioned(key).await, Ok(None));
    assert_eq!(store.replace(key, None, Bytes::from_static(b"1")).await, Ok(Put::Written));
    assert_eq!(store.replace(key, None, Bytes::from_static(b"2")).await, Ok(Put::Refused));
    let (bytes, first) = store.get_versioned(key).await.unwrap().unwrap();
    assert_eq!(bytes, "1");
    assert_eq!(store.replace(key, Some(&first), Bytes::from_static(b"2")).await, Ok(Put::Written));
    assert_eq!(store.replace(key, Some(&first), Bytes::from_static(b"3")).await, Ok(Put::Refused));
    assert_eq!(store.get(key).await.unwrap().unwrap(), "2");
    store.delete(&[key.to_owned()]).await.unwrap();
    assert_eq!(store.replace(key, Some(&first), Bytes::from_static(b"4")).await, Ok(Put::Refused));
    assert_eq!(store.get(key).await, Ok(None), "a version of what is gone matches nothing");
}

async fn of_racing_creators_one_wins(store: &Arc<dyn Store>) {
    for round in 0..ROUNDS {
        let key = format!("race/create-{round}");
        let results = race(store, |store, racer| {
            let key = key.clone();
            async move { store.put_new(&key, Bytes::from(format!("racer {racer}"))).await }
        })
        .await;
        one_won(store.as_ref(), &key, &results).await;
    }
}

async fn of_racing_replacers_one_wins(store: &Arc<dyn Store>) {
    for round in 0..ROUNDS {
        let key = format!("race/replace-{round}");
        store.replace(&key, None, Bytes::from_static(b"start")).await.unwrap();
        let (_, version) = store.get_versioned(&key).await.unwrap().unwrap();
        let results = race(store, |store, racer| {
            let (key, version) = (key.clone(), version.clone());
            async move { store.replace(&key, Some(&version), Bytes::from(format!("racer {racer}"))).await }
        })
        .await;
        one_won(store.as_ref(), &key, &results).await;
    }
}

/// An unclear answer may be that of the winner; a second success never.
async fn one_won(store: &dyn Store, key: &str, results: &[Result<Put, weir_checkpoint::StoreError>]) {
    let winners: Vec<usize> = (0..results.len()).filter(|i| results[*i] == Ok(Put::Written)).collect();
    let found = store.get(key).await.unwrap().unwrap();
    let unclear = results.iter().enumerate().find(|(i, r)| r.is_err() && found == format!("racer {i}"));
    match (winners.as_slice(), unclear) {
        ([winner], _) => assert_eq!(found, format!("racer {winner}"), "{key}: what is there is the winner's"),
        ([], Some(_)) => {}
        _ => panic!("{key}: {} of {} succeeded: {results:?}", winners.len(), results.len()),
    }
}

async fn race<T, F>(store: &Arc<dyn Store>, go: impl Fn(Arc<dyn Store>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..RACERS).map(|racer| tokio::spawn(go(Arc::clone(store), racer))).collect();
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

/// Folders of files and of some servers come and go with what is in them.
async fn creators_and_deleters_of_one_folder_do_not_disturb_each_other(store: &Arc<dyn Store>) {
    race(store, |store, racer| async move {
        for round in 0..4 {
            let key = format!("busy/folder/in/a/folder/{racer}-{round}");
            let mut tries = 0;
            while let Err(error) = store.put(&key, Payload::from(vec![1])).await {
                tries += 1;
                assert!(error.is_unknown() && tries < 20, "{error}");
            }
            assert_eq!(store.head(&key).await, Ok(Some(1)), "{key}");
            store.delete(&[key]).await.unwrap();
        }
    })
    .await;
    assert_eq!(store.list("busy/").await, Ok(vec![]));
}
