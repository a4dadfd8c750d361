//! What the subtasks of a new execution take from a checkpoint: worked out from its manifest, then read a
//! bounded piece at a time while tables fill.

mod feed;
mod order;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use weir_checkpoint::Manifest;
use weir_checkpoint::layout::{self, FileKind};
use weir_protocol::{
    Blob, BlockRef, CheckpointId, Failure, FailureKind, JobGraph, KeyGroupRange, ObjectRef, SubtaskId,
    TransformId,
};

use crate::subtask::Subtask;
use crate::{SplitState, Transform};
use feed::{Fed, Feed};

pub(crate) use order::{Read, Target, Wanted};
pub(crate) use reader::{Reader, Reading};

/// A table's blocks where they are in the store, in the order in which they apply.
pub(crate) type StoredBlocks = Vec<(ObjectRef, BlockRef)>;

/// The state for the subtasks of one worker.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Lists of all former subtasks together.
    lists: BTreeMap<TransformId, BTreeMap<String, Vec<Vec<u8>>>>,
    /// What the next deltas of each table build on: there if the table is that of one former subtask with
    /// the same key groups.
    inherited: BTreeMap<(SubtaskId, TransformId, String), StoredBlocks>,
    /// Where the blocks of each slot's tables come in; taken once.
    feeds: Mutex<BTreeMap<u32, Feed>>,
    /// The checkpoint; `None`: a start without state.
    checkpoint: Option<CheckpointId>,
}

/// What has to be read for a [`Restored`].
pub(crate) struct Plan {
    restored: Restored,
    /// List blocks: transform, list, position in it.
    list_blocks: Vec<(TransformId, String, usize)>,
    /// What is to be read at once, each block as often as it is needed: the blocks of `list_blocks`.
    pub(crate) lists: Vec<(ObjectRef, BlockRef)>,
    wanted: BTreeMap<(String, u64), Wanted>,
    /// For each former table the keys of its objects in the order in which they apply.
    sequences: Vec<Vec<String>>,
    /// Every object of the checkpoint.
    pub(crate) objects: BTreeSet<String>,
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
        let mut plan = Plan {
            restored,
            list_blocks: Vec::new(),
            lists: Vec::new(),
            wanted: BTreeMap::new(),
            sequences: Vec::new(),
            objects: manifest.objects.iter().map(|o| o.key.clone()).collect(),
        };
        plan.take_lists(manifest)?;
        for id in mine {
            let Some(vertex) = graph.vertex(id.vertex) else { continue };
            let range = KeyGroupRange::of_subtask(id.index, manifest.max_parallelism, vertex.parallelism);
            for transform in &vertex.transforms {
                plan.take_tables(manifest, *id, transform.id, range)?;
            }
        }
        Ok(plan)
    }

    /// Puts operator state into a transform.
    ///
    /// # Errors
    /// A value that the transform did not write.
    pub(crate) fn restore_lists(
        &self,
        id: TransformId,
        transform: &mut dyn Transform,
    ) -> Result<(), Failure> {
        for (name, values) in self.lists.get(&id).into_iter().flatten() {
            transform.restore_list(name, values.clone())?;
        }
        Ok(())
    }

    /// Fills the tables of the subtasks of a slot, as their blocks come in. Waits for them: for the slot's own
    /// thread, before its first turn.
    ///
    /// # Errors
    /// What can't be read; or the execution is over.
    pub(crate) fn fill(
        &self,
        slot: u32,
        subtasks: &mut [Subtask],
    ) -> Result<(), (Option<SubtaskId>, Failure)> {
        let feed = self.feeds.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
        let Some(feed) = feed else { return Ok(()) };
        loop {
            match feed.next() {
                Fed::Block(Target { subtask, transform, table, range }, bytes) => {
                    let found = subtasks.iter_mut().find(|s| s.id == subtask);
                    // A table that the graph has and the code has not would be a fault of the planner.
                    let table = found.and_then(|s| s.table(transform, &table)).ok_or_else(|| {
                        let text = format!("transform {transform} has no table {table}");
                        (Some(subtask), Failure::new(FailureKind::Bug, text))
                    })?;
                    table
                        .restore(&bytes, range)
                        .map_err(|e| (Some(subtask), unreadable(e.to_string()).at(transform.to_string())))?;
                }
                Fed::End => return Ok(()),
                Fed::Failed(failure) => return Err((None, failure)),
            }
        }
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
        self.inherited.clone()
    }

    /// How many deltas a table already has behind its base; `None`: the next must be a base.
    pub(crate) fn deltas(&self, subtask: SubtaskId, transform: TransformId, table: &str) -> Option<u32> {
        let inherited = self.inherited.get(&(subtask, transform, table.to_owned()))?;
        let checkpoints: BTreeSet<_> = inherited.iter().filter_map(|(o, _)| layout::origin(&o.key)).collect();
        u32::try_from(checkpoints.len()).ok()?.checked_sub(1)
    }
}

impl Plan {
    /// Adds the blocks of lists that were read; gives what is to be read for the tables, in this order.
    ///
    /// # Errors
    /// A checkpoint whose tables don't agree on the order of its objects.
    pub(crate) fn complete(mut self, lists: Vec<Bytes>) -> Result<(Restored, Vec<Read>), Failure> {
        for ((transform, list, at), bytes) in self.list_blocks.into_iter().zip(lists) {
            let values = self.restored.lists.get_mut(&transform).and_then(|l| l.get_mut(&list));
            if let Some(value) = values.and_then(|v| v.get_mut(at)) {
                *value = bytes.to_vec();
            }
        }
        let reads = order::reads(self.wanted, &self.sequences)
            .ok_or_else(|| unreadable("the blocks of its tables have no common order"))?;
        Ok((self.restored, reads))
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
                            self.list_blocks.push((state.transform, name.clone(), all.len()));
                            self.lists.push((object, block.clone()));
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
            // Of what another subtask wrote only its own key groups count: a tombstone of one
            // former subtask must not take away rows of another.
            let shared = table.range.intersection(range);
            let name = &table.info.name;
            let target = Target { subtask, transform, table: name.as_str().into(), range: shared };
            let mut sequence: Vec<String> = stored.iter().map(|(o, _)| o.key.clone()).collect();
            sequence.dedup();
            self.sequences.push(sequence);
            for (object, block) in &stored {
                let wanted = self.wanted.entry((object.key.clone(), block.offset));
                let wanted = wanted.or_insert_with(|| Wanted::new(object.clone(), block.clone()));
                wanted.targets.push(target.clone());
            }
            // What a savepoint holds is its owner's, who may delete it: nothing builds on that.
            let own = |(o, _): &(ObjectRef, BlockRef)| {
                layout::origin(&o.key).is_some_and(|origin| origin.kind == FileKind::Data)
            };
            let key = (subtask, transform, name.clone());
            if table.range == range && !stored.is_empty() && stored.iter().all(own) {
                self.restored.inherited.insert(key, stored);
            }
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
