//! A checkpoint under way: who has acknowledged, and what it will consist of.

use std::collections::{BTreeMap, BTreeSet};

use weir_checkpoint::{Manifest, Parallelism, Part};
use weir_protocol::{
    Attempt, Blob, BlockRef, CheckpointId, CheckpointKind, Execution, Failure, FailureKind, JobGraph, JobUid,
    ManifestRef, ObjectRef, SinkHandles, SubtaskAck, SubtaskId,
};
use weir_runtime::Timestamp;

use crate::options::Options;
use crate::state::Layout;
use crate::status::CheckpointStatus;

/// A checkpoint from its trigger until its record is given to the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InFlight {
    pub(crate) id: CheckpointId,
    pub(crate) reason: CheckpointKind,
    pub(crate) triggered: Timestamp,
    pub(crate) deadline: Timestamp,
    /// The parallelism of whatever execution goes on from here.
    pub(crate) next: u32,
    /// Subtasks that have not acknowledged.
    pub(crate) missing: BTreeSet<SubtaskId>,
    pub(crate) acks: BTreeMap<SubtaskId, SubtaskAck>,
    /// Set when all have acknowledged.
    pub(crate) storing: Option<Storing>,
    pub(crate) report: CheckpointStatus,
}

/// What is left to do before a checkpoint can be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storing {
    /// From the manifest.
    pub(crate) sinks: Vec<(SubtaskId, SinkHandles)>,
    pub(crate) manifest: Option<ManifestRef>,
    pub(crate) verified: bool,
}

/// A checkpoint whose record is on its way: it can't be aborted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recording {
    pub(crate) id: CheckpointId,
    pub(crate) execution: Execution,
    pub(crate) reason: CheckpointKind,
    pub(crate) triggered: Timestamp,
    pub(crate) manifest: ManifestRef,
    pub(crate) sinks: Vec<(SubtaskId, SinkHandles)>,
    pub(crate) report: CheckpointStatus,
}

/// Puts together what a checkpoint consists of, from one acknowledgement per subtask.
///
/// # Errors
/// A subtask that refers to an object it did not list, or two that disagree about one object.
pub(crate) fn assemble(
    options: &Options,
    layout: &Layout,
    attempt: Attempt,
    execution: Execution,
    flight: &InFlight,
) -> Result<Manifest, (SubtaskId, Failure)> {
    let job: JobUid = options.config.uid.clone();
    let mut objects = Objects::default();
    let mut parts = Vec::with_capacity(flight.acks.len());
    for subtask in layout.graph.subtasks() {
        let Some(ack) = flight.acks.get(&subtask) else {
            return Err((subtask, bug("it did not acknowledge")));
        };
        parts.push(objects.part(ack).map_err(|failure| (subtask, failure))?);
    }
    Ok(Manifest {
        job,
        attempt,
        execution,
        id: flight.id,
        reason: flight.reason,
        triggered_us: flight.triggered.0,
        max_parallelism: options.config.max_parallelism,
        graph: JobGraph::clone(&layout.graph),
        parallelism: Some(Parallelism { asked: options.config.parallelism, next: flight.next }),
        objects: objects.list,
        parts,
    })
}

/// The objects that were uploaded for this checkpoint, each once.
pub(crate) fn new_objects(flight: &InFlight) -> Vec<ObjectRef> {
    let new = flight.acks.values().flat_map(|ack| ack.objects.iter().take(ack.new_objects as usize));
    new.cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the sinks of a checkpoint prepared, subtask by subtask.
pub(crate) fn prepared(manifest: &Manifest) -> Vec<(SubtaskId, SinkHandles)> {
    let parts = manifest.parts.iter();
    let all = parts.flat_map(|part| part.sinks.iter().map(|sink| (part.subtask, sink.clone())));
    all.filter(|(_, sink)| !sink.handles.is_empty()).collect()
}

/// The list of a manifest's objects, and where each one is in it.
#[derive(Default)]
struct Objects {
    list: Vec<ObjectRef>,
    by_key: BTreeMap<String, u32>,
}

impl Objects {
    fn part(&mut self, ack: &SubtaskAck) -> Result<Part, Failure> {
        let places = ack.objects.iter().map(|o| self.add(o)).collect::<Result<Vec<_>, _>>()?;
        let mut state = ack.state.clone();
        for transform in &mut state {
            let mut blocks = transform.tables.iter_mut().flat_map(|table| table.blocks.iter_mut());
            blocks.try_for_each(|block| moved(block, &places))?;
            let mut blobs = transform.lists.iter_mut().flat_map(|(_, blobs)| blobs.iter_mut());
            blobs.try_for_each(|blob| moved_blob(blob, &places))?;
        }
        let mut sinks = ack.sinks.clone();
        let mut handles = sinks.iter_mut().flat_map(|sink| sink.handles.iter_mut());
        handles.try_for_each(|blob| moved_blob(blob, &places))?;
        Ok(Part {
            subtask: ack.subtask,
            state,
            sinks,
            times: ack.times,
            new_bytes: ack.new_bytes,
            full_bytes: ack.full_bytes,
        })
    }

    fn add(&mut self, object: &ObjectRef) -> Result<u32, Failure> {
        if let Some(&place) = self.by_key.get(&object.key) {
            return match self.list.get(place as usize) {
                Some(known) if known == object => Ok(place),
                _ => Err(bug(format!("it gives another size or digest for object {}", object.key))),
            };
        }
        let place = u32::try_from(self.list.len()).map_err(|_| bug("it refers to too many objects"))?;
        self.list.push(object.clone());
        self.by_key.insert(object.key.clone(), place);
        Ok(place)
    }
}

fn moved(block: &mut BlockRef, places: &[u32]) -> Result<(), Failure> {
    let place = places.get(block.object as usize);
    block.object =
        *place.ok_or_else(|| bug(format!("it refers to object {} of {}", block.object, places.len())))?;
    Ok(())
}

fn moved_blob(blob: &mut Blob, places: &[u32]) -> Result<(), Failure> {
    match blob {
        Blob::Inline(_) => Ok(()),
        Blob::Block(block) => moved(block, places),
    }
}

fn bug(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Bug, message)
}
