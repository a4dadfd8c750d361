//! Every store passes one conformance suite and the probe; stores that lie are refused by the probe.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a broken assumption ends the test"
)]

use std::sync::Arc;

use weir_checkpoint::probe::{ProbeError, Promise, probe};
use weir_checkpoint::store::{FsStore, MemoryStore, Store};
use weir_runtime::SystemRandom;
use weir_testing::{RacyStore, S3Kind, S3Server, conformance};

async fn conforms(store: Arc<dyn Store>) {
    conformance::run(Arc::clone(&store)).await;
    probe(store.as_ref(), &SystemRandom).await.expect("the probe lets it pass");
    assert_eq!(store.list("probe/").await, Ok(vec![]), "the probe cleans up after itself");
}

async fn promise_broken(store: &dyn Store) -> Promise {
    match probe(store, &SystemRandom).await {
        Err(error @ ProbeError::Broken { promise, .. }) => {
            assert!(error.to_string().starts_with(store.url()), "{error}");
            promise
        }
        other => panic!("the probe must refuse {}: {other:?}", store.url()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conforms(Arc::new(MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_conform() {
    let folder = tempfile::tempdir().unwrap();
    conforms(Arc::new(FsStore::new(folder.path().join("a/b")))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versitygw_conforms() {
    let server = S3Server::start();
    conforms(Arc::new(server.store("some/prefix").await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_one_request_is_copied_in_parts() {
    let server = S3Server::start();
    let store = server.store("some/prefix").await;
    let (s3, prefix) = store.as_s3().unwrap();
    let mib = 1 << 20;
    for size in [11 * mib, 10 * mib, 10 * mib + 1] {
        let content: Vec<u8> =
            (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        store.put("from", content.clone().into()).await.unwrap();
        let (from, to) = (format!("{prefix}from"), format!("{prefix}to-{size}"));
        assert_eq!(s3.copy_by(&from, &to, 5 * mib as u64).await, Ok(true), "{size}");
        assert!(store.get(&format!("to-{size}")).await.unwrap().unwrap() == content, "{size}: changed");
    }
    assert_eq!(s3.copy_by("none", "x", 5).await, Ok(false));
    assert_eq!(store.uploads("").await, Ok(vec![]), "no upload is left over");
}

/// `cargo test --workspace --test stores minio -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds MinIO, which takes five minutes once"]
async fn minio_conforms() {
    let server = S3Server::start_kind(S3Kind::Minio);
    conforms(Arc::new(server.store("some/prefix").await)).await;
}

#[tokio::test]
async fn f5_the_probe_refuses_a_store_whose_conditions_are_not_atomic() {
    assert_eq!(promise_broken(&RacyStore::default()).await, Promise::OneCreator);
}

/// `cargo test --workspace --test stores gofakes3 -- --ignored`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds gofakes3"]
async fn f5_the_probe_refuses_gofakes3() {
    let server = S3Server::start_kind(S3Kind::Gofakes3);
    let store = server.store("x").await;
    assert_eq!(promise_broken(&store).await, Promise::OneCompletion);
}
