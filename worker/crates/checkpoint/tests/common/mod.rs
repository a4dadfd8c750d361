//! Small jobs for tests: claims, manifests and data objects.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::sync::Arc;

use bytes::Bytes;
use weir_checkpoint::journal::{ClaimError, Claimed, Journal, Start};
use weir_checkpoint::manifest::{Manifest, Part, write_data, write_manifest};
use weir_checkpoint::segment::{BlockContent, BlockOwner, SegmentWriter};
use weir_checkpoint::store::Store;
use weir_checkpoint::{Body, ClaimWanted, Counters};
use weir_protocol::{
    Attempt, Blob, CheckpointId, CheckpointKind, Execution, JobGraph, JobUid, KeyGroupRange, ManifestRef,
    ObjectRef, PhaseTimes, SinkHandles, StateTableInfo, SubtaskId, TableState, TransformId, TransformInfo,
    TransformState, Vertex, VertexId,
};
use weir_runtime::{Random, SeededRandom, SystemClock};

pub fn wanted() -> ClaimWanted {
    ClaimWanted { spec: "spec".into(), start: Start::Continue, restore_from: None, patience: None }
}

pub async fn claim_as(
    store: &Arc<dyn Store>,
    seed: u64,
    wanted: ClaimWanted,
) -> Result<(Journal, Claimed), ClaimError> {
    let clock = Arc::new(SystemClock::default());
    Journal::claim(Arc::clone(store), clock, Arc::new(SeededRandom::new(seed)), wanted).await
}

pub async fn claim(store: &Arc<dyn Store>, seed: u64) -> (Journal, Claimed) {
    claim_as(store, seed, wanted()).await.expect("a claim")
}

pub fn completed(id: CheckpointId, manifest: ManifestRef, commits: bool) -> Body {
    let (reason, counters) = (CheckpointKind::Periodic, Counters { completed: id.0, ..Counters::default() });
    Body::Checkpoint { id, reason, manifest, commits, counters }
}

/// A record of a checkpoint whose manifest is not there.
pub fn hollow(id: u64) -> Body {
    let key = format!("manifest/a000001/c{id:06}-x");
    completed(CheckpointId(id), ManifestRef { key, size: 1, digest: "0".repeat(64) }, true)
}

/// A manifest of one vertex with so many subtasks, in which subtask i has a block in each of `objects`.
pub fn manifest(attempt: Attempt, id: CheckpointId, subtasks: u32, objects: Vec<Object>) -> Manifest {
    let vertex = VertexId(7);
    let transform = TransformId(7);
    let info = StateTableInfo { name: "counts".into(), schema: "BIGINT -> BIGINT".into() };
    let parts: Vec<Part> = (0..subtasks)
        .map(|index| Part {
            subtask: SubtaskId { vertex, index },
            state: vec![TransformState {
                transform,
                tables: vec![TableState {
                    info: info.clone(),
                    range: KeyGroupRange::of_subtask(index, 32_768, subtasks),
                    blocks: (0..)
                        .zip(&objects)
                        .filter_map(|(at, o)| {
                            let mut block = o.blocks.get(index as usize)?.clone();
                            block.object = at;
                            Some(block)
                        })
                        .collect(),
                }],
                lists: vec![("splits".into(), vec![Blob::Inline(vec![index as u8; 40])])],
            }],
            sinks: vec![SinkHandles { transform, handles: vec![] }],
            times: PhaseTimes::default(),
            new_bytes: 10,
            full_bytes: 20,
        })
        .collect();
    Manifest {
        job: JobUid::new("job").unwrap(),
        attempt,
        execution: Execution(1),
        id,
        reason: CheckpointKind::Periodic,
        triggered_us: 1,
        max_parallelism: 32_768,
        graph: JobGraph {
            vertices: vec![Vertex {
                id: vertex,
                name: "counts".into(),
                parallelism: subtasks,
                source: true,
                sink: true,
                transforms: vec![TransformInfo {
                    id: transform,
                    name: "GroupBy".into(),
                    detail: String::new(),
                    tables: vec![info],
                }],
            }],
            edges: vec![],
        },
        parts,
        parallelism: None,
        objects: objects.into_iter().map(|o| o.object).collect(),
    }
}

#[derive(Debug, Clone)]
pub struct Object {
    pub object: ObjectRef,
    pub blocks: Vec<weir_protocol::BlockRef>,
}

/// A data object with a block per subtask.
pub async fn object(
    store: &dyn Store,
    random: &dyn Random,
    attempt: Attempt,
    id: CheckpointId,
    subtasks: u32,
) -> Object {
    let mut writer = SegmentWriter::default();
    let blocks = (0..subtasks).map(|index| {
        let content = BlockContent::Table {
            name: "counts".into(),
            range: KeyGroupRange::of_subtask(index, 32_768, subtasks),
        };
        let subtask = SubtaskId { vertex: VertexId(7), index };
        let owner = BlockOwner { subtask, transform: TransformId(7), content };
        writer.push(owner, Bytes::from(format!("{index} {} {}", id, random.nonce())), 1)
    });
    let blocks = blocks.collect();
    let object = write_data(store, random, attempt, id, "w1", writer.finish()).await.expect("written");
    Object { object, blocks }
}

pub async fn complete(
    store: &dyn Store,
    random: &dyn Random,
    journal: &mut Journal,
    id: CheckpointId,
    objects: Vec<Object>,
) -> ManifestRef {
    let manifest = manifest(journal.attempt(), id, 2, objects);
    let written = write_manifest(store, random, &manifest).await.expect("written");
    journal.append(completed(id, written.clone(), false)).await.expect("durable");
    written
}
