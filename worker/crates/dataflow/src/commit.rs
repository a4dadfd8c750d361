//! Commits: making visible what sinks prepared, from the handles of a durable checkpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_protocol::{Blob, Failure, FailureKind, SinkHandles, TransformId};

use crate::graph::Job;
use crate::{Committer, Troubles};

/// The committers of a job's sinks.
pub(crate) struct Committers {
    by_sink: BTreeMap<TransformId, (String, Box<dyn Committer>)>,
    troubles: Troubles,
}

impl Committers {
    pub(crate) fn new(job: &Job, io: &tokio::runtime::Handle, troubles: Troubles) -> Self {
        let sinks = job.graph.vertices.iter().zip(&job.nodes).filter_map(|(vertex, node)| {
            let committer = node.sink.as_ref()?.committer(io.clone())?;
            let info = vertex.transforms.last()?;
            Some((info.id, (info.name.clone(), committer)))
        });
        Self { by_sink: sinks.collect(), troubles }
    }

    /// Commits everything; what fails for now is tried again until it works.
    pub(crate) async fn commit(&self, sinks: BTreeMap<TransformId, Vec<SinkHandles>>) -> Result<(), Failure> {
        for (transform, handles) in sinks {
            let handles = plain(handles)?;
            if handles.is_empty() {
                continue;
            }
            let (name, committer) = self.by_sink.get(&transform).ok_or_else(|| {
                let text = format!(
                    "the checkpoint has output that sink {transform} must still make visible, and the job no longer has that sink; run the job as it was until it stops cleanly"
                );
                Failure::new(FailureKind::StateIncompatible, text)
            })?;
            let trouble = self.troubles.place(format!("commit of {name}"));
            let mut delay = Duration::from_millis(50);
            while let Err(failure) = committer.commit(handles.clone()).await {
                if !failure.kind.retryable() {
                    return Err(failure.at(name));
                }
                trouble.set(failure);
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(5));
            }
        }
        Ok(())
    }
}

fn plain(sinks: Vec<SinkHandles>) -> Result<Vec<Vec<u8>>, Failure> {
    sinks
        .into_iter()
        .flat_map(|s| s.handles)
        .map(|blob| match blob {
            Blob::Inline(bytes) => Ok(bytes),
            Blob::Block(_) => Err(Failure::new(FailureKind::Bug, "a sink's handle is not in the manifest")),
        })
        .collect()
}
