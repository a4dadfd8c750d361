//! Checkpoints on their way to the store, one task each.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use weir_protocol::{CheckpointId, Stamp, WorkerId};

use super::Done;
use crate::encoder::NewObject;
use crate::upload::{Places, Rest, Upload};

/// Checkpoints that go out.
pub(super) type Uploads = BTreeMap<CheckpointId, Uploading>;

/// A checkpoint that goes out. Dropped: it is given up.
pub(super) struct Uploading {
    /// There until all objects came.
    open: Option<(mpsc::UnboundedSender<NewObject>, oneshot::Sender<Rest>)>,
    task: JoinHandle<()>,
}

impl Uploading {
    pub(super) fn begin(
        io: &tokio::runtime::Handle,
        places: Places,
        worker: WorkerId,
        stamp: &Stamp,
        id: CheckpointId,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        let ((objects, objects_in), (rest, rest_in)) = (mpsc::unbounded_channel(), oneshot::channel());
        let attempt = stamp.attempt;
        let (upload, stamp) =
            (Upload { worker, attempt, id, objects: objects_in, rest: rest_in }, stamp.clone());
        let task = io.spawn(async move {
            let result = places.upload(upload).await.map_err(|failure| (id, failure));
            let _ = done.send(Done::Uploaded(stamp, result));
        });
        Self { open: Some((objects, rest)), task }
    }

    pub(super) fn object(&self, object: NewObject) {
        if let Some((objects, _)) = &self.open {
            // If the upload ended early it has told why.
            let _ = objects.send(object);
        }
    }

    /// No more objects come.
    pub(super) fn rest(&mut self, rest: Rest) {
        if let Some((_, told)) = self.open.take() {
            let _ = told.send(rest);
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        // Nothing names what it wrote so far; garbage collection will find it.
        self.task.abort();
    }
}
