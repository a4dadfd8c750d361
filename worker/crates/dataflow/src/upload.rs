//! What a worker reads from and writes to the store, with patience: an unreachable store is waited
//! for until the coordinator gives the checkpoint or the execution up.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_checkpoint::manifest::{read_blocks, read_manifest, write_data};
use weir_protocol::{
    Blob, BlockRef, Failure, FailureKind, JobGraph, ManifestRef, ObjectRef, SinkHandles, SubtaskId, WorkerId,
};

use crate::Troubles;
use crate::execution::{Upload, Uploaded};
use crate::host::WorkerOptions;
use crate::restore::Restored;

/// Tries until it works or fails for another reason than the store, which is told as trouble meanwhile.
async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
    what: &str,
    troubles: &Troubles,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let trouble = troubles.place(what);
    let mut delay = Duration::from_millis(100);
    loop {
        match attempt().await {
            Err(failure) if failure.kind == FailureKind::Store => trouble.set(failure),
            decided => return decided,
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

/// Writes the data object of a checkpoint and waits for what sinks prepare.
pub(crate) async fn upload(
    options: &WorkerOptions,
    worker: WorkerId,
    upload: Upload,
    troubles: &Troubles,
) -> Result<Uploaded, Failure> {
    let object = match upload.payload {
        Some(payload) => {
            // Each try under a new name: one of unknown outcome may still arrive.
            let put = || async {
                let worker = format!("w{worker}");
                let (store, random) = (options.store.as_ref(), options.random.as_ref());
                write_data(store, random, upload.attempt, upload.id, &worker, payload.clone())
                    .await
                    .map_err(|e| Failure::new(FailureKind::Store, e.to_string()))
            };
            Some(patiently("checkpoint data", troubles, put).await?)
        }
        None => None,
    };
    let mut parts = Vec::new();
    for (mut swept, written, prepared) in upload.parts {
        let mut sinks: Vec<SinkHandles> = Vec::new();
        for (transform, handles) in prepared {
            let handles = handles.await?.into_iter().map(Blob::Inline);
            match sinks.iter_mut().find(|s| s.transform == transform) {
                Some(sink) => sink.handles.extend(handles),
                None => sinks.push(SinkHandles { transform, handles: handles.collect() }),
            }
        }
        sinks.retain(|sink| !sink.handles.is_empty());
        let durable = options.clock.now();
        swept.times.upload_us = u64::try_from(durable.since(swept.frozen_at).as_micros()).unwrap_or(u64::MAX);
        parts.push((swept, written, sinks));
    }
    Ok(Uploaded { id: upload.id, object, parts })
}

/// Reads what the subtasks here need of a checkpoint.
pub(crate) async fn restore(
    options: &WorkerOptions,
    graph: &JobGraph,
    manifest: &ManifestRef,
    mine: &[SubtaskId],
    troubles: &Troubles,
) -> Result<Restored, Failure> {
    let store = options.store.as_ref();
    let read = || async { read_manifest(store, manifest).await.map_err(Failure::from) };
    let manifest = patiently("restore", troubles, read).await?;
    let plan = Restored::plan(&manifest, graph, mine)?;
    let mut by_object: BTreeMap<&ObjectRef, Vec<BlockRef>> = BTreeMap::new();
    for (object, block) in &plan.needed {
        by_object.entry(object).or_default().push(block.clone());
    }
    let mut fetched = BTreeMap::new();
    for (object, blocks) in by_object {
        let read = || async { read_blocks(store, object, &blocks).await.map_err(Failure::from) };
        let bytes = patiently("restore", troubles, read).await?;
        let keys = blocks.iter().map(|block| (object.key.clone(), block.offset));
        fetched.extend(keys.zip(bytes));
    }
    plan.complete(fetched)
}
