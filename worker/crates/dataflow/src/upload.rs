//! What a worker reads from and writes to the store, with patience: an unreachable store is waited
//! for until the coordinator gives the checkpoint or the execution up.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, oneshot};
use weir_checkpoint::manifest::{read_manifest, write_data};
use weir_protocol::{
    Attempt, Blob, CheckpointId, Failure, FailureKind, JobGraph, ManifestRef, ObjectRef, SinkHandles,
    SubtaskId, WorkerId,
};

use crate::Troubles;
use crate::accounting::micros;
use crate::encoder::NewObject;
use crate::execution::Prepared;
use crate::host::WorkerOptions;
use crate::ledger::Written;
use crate::local::LocalCopies;
use crate::restore::{Read, Reader, Restored};
use crate::sizes::Sizes;
use crate::snapshot::Swept;

/// Objects of one checkpoint that are written at a time.
const OBJECTS_AT_A_TIME: usize = 2;

/// Where a worker keeps state.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) options: WorkerOptions,
    pub(crate) sizes: Sizes,
    pub(crate) local: Option<LocalCopies>,
    pub(crate) troubles: Troubles,
}

/// A subtask's part in a checkpoint, with what its sinks prepared.
pub(crate) struct Part {
    pub(crate) swept: Swept,
    pub(crate) written: Written,
    pub(crate) prepared: Vec<Prepared>,
}

/// A checkpoint that goes out.
pub(crate) struct Upload {
    pub(crate) worker: WorkerId,
    pub(crate) attempt: Attempt,
    pub(crate) id: CheckpointId,
    /// Its objects as they get full, in order; closed after the last.
    pub(crate) objects: mpsc::UnboundedReceiver<NewObject>,
    /// Comes when all objects are there.
    pub(crate) rest: oneshot::Receiver<Rest>,
}

/// All of a checkpoint but its objects.
pub(crate) struct Rest {
    /// How many objects there are.
    pub(crate) objects: u32,
    pub(crate) parts: Vec<Part>,
}

/// An upload that is done.
pub(crate) struct Uploaded {
    pub(crate) id: CheckpointId,
    /// In the order of the encoder.
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) parts: Vec<(Swept, Written, Vec<SinkHandles>)>,
}

/// Tries until it works or fails for another reason than the store, which is told as trouble meanwhile.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
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

impl Places {
    /// Writes the data objects of a checkpoint as they come, and waits for what sinks prepare.
    pub(crate) async fn upload(&self, mut upload: Upload) -> Result<Uploaded, Failure> {
        let (worker, attempt, id) = (upload.worker, upload.attempt, upload.id);
        let objects = stream::poll_fn(|context| upload.objects.poll_recv(context));
        let write = |object| -> BoxFuture<'_, Result<ObjectRef, Failure>> {
            Box::pin(self.write(worker, attempt, id, object))
        };
        let objects: Vec<ObjectRef> = objects.map(write).buffered(OBJECTS_AT_A_TIME).try_collect().await?;
        let broken_off = |_| Failure::new(FailureKind::Worker, "the checkpoint was given up");
        let rest = upload.rest.await.map_err(broken_off)?;
        if objects.len() != rest.objects as usize {
            let text = format!("of {} objects {} were written", rest.objects, objects.len());
            return Err(Failure::new(FailureKind::Bug, text));
        }
        let mut parts = Vec::new();
        for Part { mut swept, written, prepared } in rest.parts {
            let mut sinks: Vec<SinkHandles> = Vec::new();
            for (transform, handles) in prepared {
                let handles = handles.await?.into_iter().map(Blob::Inline);
                match sinks.iter_mut().find(|s| s.transform == transform) {
                    Some(sink) => sink.handles.extend(handles),
                    None => sinks.push(SinkHandles { transform, handles: handles.collect() }),
                }
            }
            sinks.retain(|sink| !sink.handles.is_empty());
            swept.times.upload_us = micros(self.options.clock.now().since(swept.frozen_at));
            parts.push((swept, written, sinks));
        }
        Ok(Uploaded { id, objects, parts })
    }

    async fn write(
        &self,
        worker: WorkerId,
        attempt: Attempt,
        id: CheckpointId,
        object: NewObject,
    ) -> Result<ObjectRef, Failure> {
        let (worker, payload) = (format!("w{worker}"), &object.payload);
        // Each try under a new name: one of unknown outcome may still arrive.
        let put = || async {
            let (store, random) = (self.options.store.as_ref(), self.options.random.as_ref());
            write_data(store, random, attempt, id, &worker, payload.clone())
                .await
                .map_err(|e| Failure::new(FailureKind::Store, e.to_string()))
        };
        let written = patiently("checkpoint data", &self.troubles, put).await?;
        if let Some(local) = &self.local {
            local.keep_object(&written, payload);
        }
        Ok(written)
    }

    /// Finds out what the subtasks here need of a checkpoint; gives what is to be read for their tables, and by
    /// what.
    pub(crate) async fn restore(
        &self,
        graph: &JobGraph,
        manifest: &ManifestRef,
        mine: &[SubtaskId],
    ) -> Result<(Restored, Vec<Read>, Reader), Failure> {
        let options = &self.options;
        let reader = Reader {
            store: options.store.clone(),
            local: self.local.clone(),
            troubles: self.troubles.clone(),
            clock: options.clock.clone(),
            ahead: self.sizes.ahead,
            since: options.clock.now(),
        };
        let read = || async { read_manifest(options.store.as_ref(), manifest).await.map_err(Failure::from) };
        let manifest = patiently("restore", &self.troubles, read).await?;
        let plan = Restored::plan(&manifest, graph, mine)?;
        if let Some(local) = &self.local {
            local.retain(|key| plan.objects.contains(key));
        }
        let lists = reader.lists(&plan.lists).await?;
        let (restored, reads) = plan.complete(lists)?;
        Ok((restored, reads, reader))
    }
}
