//! What a worker reads from and writes to the store, with patience: an unreachable store is waited
//! for until the coordinator gives the checkpoint or the execution up.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_checkpoint::{Payload, StoreError};
use weir_protocol::{Blob, Failure, FailureKind, ManifestRef, SinkHandles, SubtaskId};

use crate::Troubles;
use crate::execution::{Upload, Uploaded};
use crate::host::WorkerOptions;
use crate::restore::Restored;

/// Tries until it works or can't; what is waited for is told as trouble meanwhile.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    what: &str,
    troubles: &Troubles,
    mut attempt: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let trouble = troubles.place(what);
    let mut delay = Duration::from_millis(100);
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if !error.retryable() => return Err(error),
            Err(error) => trouble.set(Failure::new(FailureKind::Store, error.to_string())),
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

/// Writes the data object of a checkpoint and waits for what sinks prepare.
pub(crate) async fn upload(options: &WorkerOptions, upload: Upload, troubles: &Troubles) -> Result<Uploaded, Failure> {
    let object = match upload.object {
        Some((object, bytes)) => {
            let put = || options.store.put(&object.key, Payload::from(bytes.clone()));
            patiently("checkpoint data", troubles, put)
                .await
                .map_err(|e| Failure::new(FailureKind::Store, e.to_string()))?;
            Some(object)
        }
        None => None,
    };
    let mut parts = Vec::new();
    for (mut swept, written) in upload.parts {
        let mut sinks = Vec::new();
        if let Some((transform, prepared)) = swept.sink.take() {
            let handles = prepared.await?;
            if !handles.is_empty() {
                sinks.push(SinkHandles { transform, handles: handles.into_iter().map(Blob::Inline).collect() });
            }
        }
        let durable = options.clock.now();
        swept.times.upload_us = u64::try_from(durable.since(swept.frozen_at).as_micros()).unwrap_or(u64::MAX);
        parts.push((swept, written, sinks));
    }
    Ok(Uploaded { id: upload.id, object, parts })
}

/// Reads what the subtasks here need of a checkpoint.
pub(crate) async fn restore(
    options: &WorkerOptions,
    manifest: &ManifestRef,
    mine: &[SubtaskId],
    troubles: &Troubles,
) -> Result<Restored, Failure> {
    let unreadable = |e: weir_checkpoint::RestoreError| Failure::new(FailureKind::StateUnreadable, e.to_string());
    let manifest = weir_checkpoint::read_manifest(options.store.as_ref(), manifest).await.map_err(unreadable)?;
    let plan = Restored::plan(&manifest, &options.job.graph, mine)?;
    let mut fetched = BTreeMap::new();
    for (object, block) in &plan.needed {
        let bytes = weir_checkpoint::read_block(options.store.as_ref(), object, block).await.map_err(unreadable)?;
        fetched.insert((object.key.clone(), block.offset), bytes);
    }
    let _ = troubles;
    plan.complete(fetched)
}
