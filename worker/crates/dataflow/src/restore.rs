//! What the subtasks of a new execution take from a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use weir_checkpoint::Manifest;
use weir_protocol::{
    Blob, BlockRef, CheckpointId, Failure, FailureKind, JobGraph, KeyGroupRange, ObjectRef, SubtaskId,
    TransformId,
};

use crate::{SplitState, Transform};

/// A table's blocks where they are in the store, in the order in which they apply.
pub(crate) type StoredBlocks = Vec<(ObjectRef, BlockRef)>;

/// A table of one subtask.
#[derive(Debug, Default)]
struct TableBlocks {
    /// Positions in [`Restored::fetched`], each with the key groups to be taken from it.
    blocks: Vec<((String, u64), KeyGroupRange)>,
    /// If the table is that of one former subtask with the same key groups: what the next deltas
    /// build on.
    inherited: Option<StoredBlocks>,
}

/// The state for the subtasks of one worker.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Lists of all former subtasks together.
    lists: BTreeMap<TransformId, BTreeMap<String, Vec<Vec<u8>>>>,
    tables: BTreeMap<(SubtaskId, TransformId, String), TableBlocks>,
    /// Bytes of blocks, by object and offset.
    fetched: BTreeMap<(String, u64), Bytes>,
    /// The checkpoint; `None`: a start without state.
    checkpoint: Option<CheckpointId>,
}

/// What has to be read before [`Restored`] is complete.
pub(crate) struct Plan {
    restored: Restored,
    /// List blocks: transform, list, position in it.
    list_blocks: Vec<(TransformId, String, usize, ObjectRef, BlockRef)>,
    /// Every block that is needed, once.
    pub(crate) needed: Vec<(ObjectRef, BlockRef)>,
}

impl Restored {
    /// A start without state.
    pub(crate) fn fresh() -> Self {
        Self::default()
    }

    /// Works out what the subtasks `mine` of the graph need of a checkpoint.
    pub(crate) fn plan(manifest: &Manifest, graph: &JobGraph, mine: &[SubtaskId]) -> Result<Plan, Failure> {
        check_fits(manifest, graph)?;
        let restored = Self { checkpoint: Some(manifest.id), ..Self::default() };
        let mut plan = Plan { restored, list_blocks: Vec::new(), needed: Vec::new() };
        plan.take_lists(manifest)?;
        for id in mine {
            let Some(vertex) = graph.vertex(id.vertex) else { continue };
            let range = KeyGroupRange::of_subtask(id.index, manifest.max_parallelism, vertex.parallelism);
            for transform in &vertex.transforms {
                plan.take_tables(manifest, *id, transform.id, range)?;
            }
        }
        let mut seen = BTreeSet::new();
        plan.needed.retain(|(object, block)| seen.insert((object.key.clone(), block.offset)));
        Ok(plan)
    }

    /// Puts a subtask's part into a transform.
    pub(crate) fn fill(
        &self,
        subtask: SubtaskId,
        id: TransformId,
        transform: &mut dyn Transform,
    ) -> Result<(), Failure> {
        for table in transform.tables() {
            let name = table.info().name;
            let Some(blocks) = self.tables.get(&(subtask, id, name)) else { continue };
            for (key, range) in &blocks.blocks {
                let bytes = self.fetched.get(key).ok_or_else(|| unreadable("a block was not fetched"))?;
                table.restore(bytes, *range).map_err(|e| unreadable(e.to_string()))?;
            }
        }
        for (name, values) in self.lists.get(&id).into_iter().flatten() {
            transform.restore_list(name, values.clone())?;
        }
        Ok(())
    }

    /// All splits of a source by id; `None` if the job starts fresh.
    pub(crate) fn splits(
        &self,
        source: TransformId,
        list: &str,
    ) -> Result<Option<Arc<Vec<SplitState>>>, Failure> {
        if self.checkpoint.is_none() {
            return Ok(None);
        }
        let values = self.lists.get(&source).and_then(|l| l.get(list)).map_or(&[][..], Vec::as_slice);
        let mut splits = values
            .iter()
            .map(|v| SplitState::decode(v).ok_or_else(|| unreadable("a split that cannot be decoded")))
            .collect::<Result<Vec<_>, _>>()?;
        splits.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Some(Arc::new(splits)))
    }

    /// The checkpoint that is restored.
    pub(crate) fn checkpoint(&self) -> Option<CheckpointId> {
        self.checkpoint
    }

    /// What the next delta of a table builds on, if it may be a delta.
    pub(crate) fn inherited(&self) -> BTreeMap<(SubtaskId, TransformId, String), StoredBlocks> {
        self.tables.iter().filter_map(|(key, table)| Some((key.clone(), table.inherited.clone()?))).collect()
    }

    /// How many deltas a table already has behind its base; `None`: the next must be a base.
    pub(crate) fn deltas(&self, subtask: SubtaskId, transform: TransformId, table: &str) -> Option<u32> {
        let inherited = self.tables.get(&(subtask, transform, table.to_owned()))?.inherited.as_ref()?;
        // Each checkpoint has an object of its own, so objects count checkpoints.
        let objects: BTreeSet<&str> = inherited.iter().map(|(o, _)| o.key.as_str()).collect();
        u32::try_from(objects.len()).ok()?.checked_sub(1)
    }
}

impl Plan {
    /// Adds what was read.
    pub(crate) fn complete(mut self, fetched: BTreeMap<(String, u64), Bytes>) -> Result<Restored, Failure> {
        for (transform, list, at, object, block) in self.list_blocks {
            let bytes = fetched
                .get(&(object.key, block.offset))
                .ok_or_else(|| unreadable("a block of operator state was not fetched"))?;
            if let Some(value) = self
                .restored
                .lists
                .get_mut(&transform)
                .and_then(|l| l.get_mut(&list))
                .and_then(|l| l.get_mut(at))
            {
                *value = bytes.to_vec();
            }
        }
        self.restored.fetched = fetched;
        Ok(self.restored)
    }

    fn take_lists(&mut self, manifest: &Manifest) -> Result<(), Failure> {
        for state in manifest.parts.iter().flat_map(|p| &p.state) {
            for (name, values) in &state.lists {
                let all =
                    self.restored.lists.entry(state.transform).or_default().entry(name.clone()).or_default();
                for value in values {
                    match value {
                        Blob::Inline(bytes) => all.push(bytes.clone()),
                        Blob::Block(block) => {
                            let object = object(manifest, block)?;
                            self.list_blocks.push((
                                state.transform,
                                name.clone(),
                                all.len(),
                                object.clone(),
                                block.clone(),
                            ));
                            self.needed.push((object, block.clone()));
                            all.push(Vec::new());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn take_tables(
        &mut self,
        manifest: &Manifest,
        subtask: SubtaskId,
        transform: TransformId,
        range: KeyGroupRange,
    ) -> Result<(), Failure> {
        let former = manifest
            .parts
            .iter()
            .flat_map(|p| &p.state)
            .filter(|s| s.transform == transform)
            .flat_map(|s| &s.tables)
            .filter(|t| t.range.overlaps(range));
        for table in former {
            let stored = table
                .blocks
                .iter()
                .map(|b| Ok((object(manifest, b)?, b.clone())))
                .collect::<Result<StoredBlocks, Failure>>()?;
            let mine = self.restored.tables.entry((subtask, transform, table.info.name.clone())).or_default();
            // Of what another subtask wrote only its own key groups count: a tombstone of one
            // former subtask must not take away rows of another.
            let shared = table.range.intersection(range);
            mine.blocks.extend(stored.iter().map(|(o, b)| ((o.key.clone(), b.offset), shared)));
            self.needed.extend(stored.iter().cloned());
            mine.inherited = (table.range == range && !stored.is_empty()).then_some(stored);
        }
        Ok(())
    }
}

/// State without an owner would be lost, and state of another form would be misread: both are
/// refused before anything runs.
fn check_fits(manifest: &Manifest, graph: &JobGraph) -> Result<(), Failure> {
    let incompatible = |text: String| Err(Failure::new(FailureKind::StateIncompatible, text));
    let now: BTreeMap<TransformId, _> =
        graph.vertices.iter().flat_map(|v| &v.transforms).map(|t| (t.id, t)).collect();
    for state in manifest.parts.iter().flat_map(|p| &p.state) {
        let before =
            manifest.graph.vertices.iter().flat_map(|v| &v.transforms).find(|t| t.id == state.transform);
        let name = before.map_or("?", |t| t.name.as_str());
        let holds = state.tables.iter().any(|t| !t.blocks.is_empty())
            || state.lists.iter().any(|(_, l)| !l.is_empty());
        let Some(transform) = now.get(&state.transform) else {
            if holds {
                return incompatible(format!(
                    "checkpoint {} holds state of {name} ({}), which the job no longer has; run the job as it was, or start afresh",
                    manifest.id, state.transform
                ));
            }
            continue;
        };
        for table in &state.tables {
            match transform.tables.iter().find(|t| t.name == table.info.name) {
                Some(info) if *info == table.info => {}
                Some(info) => {
                    return incompatible(format!(
                        "table {} of {name} ({}) is stored as [{}] in checkpoint {}, and the job now needs [{}]",
                        info.name, state.transform, table.info.schema, manifest.id, info.schema
                    ));
                }
                None => {
                    return incompatible(format!(
                        "checkpoint {} holds table {} of {name} ({}), which the job no longer has",
                        manifest.id, table.info.name, state.transform
                    ));
                }
            }
        }
    }
    Ok(())
}

fn object(manifest: &Manifest, block: &BlockRef) -> Result<ObjectRef, Failure> {
    manifest.objects.get(block.object as usize).cloned().ok_or_else(|| {
        unreadable(format!(
            "manifest of checkpoint {}: object {} of a block is not listed",
            manifest.id, block.object
        ))
    })
}

fn unreadable(reason: impl Into<String>) -> Failure {
    Failure::new(FailureKind::StateUnreadable, reason)
}
