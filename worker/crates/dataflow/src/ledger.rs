//! Which blocks in the store each table of this worker consists of, as of the last completed
//! checkpoint and of the one under way. Pure.

use std::collections::{BTreeMap, BTreeSet};

use weir_checkpoint::layout::{self, Origin};
use weir_protocol::{
    Blob, BlockRef, CheckpointId, ObjectRef, SinkHandles, SubtaskAck, SubtaskId, TableState, TransformId,
    TransformState,
};

use crate::restore::StoredBlocks;
use crate::snapshot::{FrozenTable, Swept};

/// A table of one subtask.
pub(crate) type TableKey = (SubtaskId, TransformId, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    durable: BTreeMap<TableKey, StoredBlocks>,
    pending: BTreeMap<TableKey, StoredBlocks>,
    in_flight: Option<CheckpointId>,
    /// The newest checkpoint that is known to be durable, or that was restored.
    completed: Option<CheckpointId>,
    /// Whether the one in flight is acknowledged in full: it may be durable without anybody here knowing.
    acknowledged: bool,
    /// The newest checkpoint that ever began here.
    newest: CheckpointId,
}

/// Operator state of one transform: named lists of values.
pub(crate) type StoredLists = Vec<(String, Vec<Blob>)>;

/// What a subtask's blocks and lists became.
pub(crate) struct Written {
    /// Per table of the subtask, in the order of [`Swept::tables`].
    pub(crate) tables: Vec<Vec<BlockRef>>,
    /// Per transform and list.
    pub(crate) lists: Vec<(TransformId, StoredLists)>,
}

impl Written {
    /// Its blocks.
    fn blocks(&mut self) -> impl Iterator<Item = &mut BlockRef> {
        let lists = self.lists.iter_mut().flat_map(|(_, lists)| lists).flat_map(|(_, values)| values);
        let listed = lists.filter_map(|value| match value {
            Blob::Block(block) => Some(block),
            Blob::Inline(_) => None,
        });
        self.tables.iter_mut().flatten().chain(listed)
    }

    /// Gives those of the objects that it has blocks in; the blocks are numbered by those from now on.
    fn renumber(&mut self, objects: &[ObjectRef]) -> Vec<ObjectRef> {
        let used: BTreeSet<u32> = self.blocks().map(|b| b.object).collect();
        let numbers: BTreeMap<u32, u32> = used.iter().copied().zip(0..).collect();
        for block in self.blocks() {
            block.object = numbers.get(&block.object).copied().unwrap_or(block.object);
        }
        used.iter().filter_map(|at| objects.get(*at as usize).cloned()).collect()
    }
}

impl Ledger {
    /// `restored`: the checkpoint that was restored, if any, and what tables inherit of it.
    pub(crate) fn new(restored: Option<CheckpointId>, inherited: BTreeMap<TableKey, StoredBlocks>) -> Self {
        Self { durable: inherited, completed: restored, ..Self::default() }
    }

    /// A new checkpoint begins; `completed` is the newest that did complete. Word of it may come more than
    /// once: from the coordinator, and by a barrier that was faster. False: this one is over already.
    pub(crate) fn begin(&mut self, id: CheckpointId, completed: Option<CheckpointId>) -> bool {
        if self.in_flight == Some(id) {
            return true;
        }
        if id <= self.newest {
            return false;
        }
        if let Some(completed) = completed {
            self.complete(completed);
        }
        self.give_up();
        self.in_flight = Some(id);
        self.newest = id;
        true
    }

    /// The checkpoint under way.
    pub(crate) fn in_flight(&self) -> Option<CheckpointId> {
        self.in_flight
    }

    /// The checkpoint that the next deltas build on.
    pub(crate) fn completed(&self) -> Option<CheckpointId> {
        self.completed
    }

    /// Whether a data object is needed by the newest durable checkpoint, or by what comes after it.
    pub(crate) fn needs(&self, key: &str) -> bool {
        let newer = |origin: Origin| self.completed.is_none_or(|completed| origin.checkpoint > completed);
        layout::origin(key).is_some_and(newer) || self.durable.values().flatten().any(|(o, _)| o.key == key)
    }

    /// The checkpoint that is acknowledged in full and not known to be durable.
    pub(crate) fn acknowledged(&self) -> Option<CheckpointId> {
        self.in_flight.filter(|_| self.acknowledged)
    }

    /// The newest checkpoint that ever began here.
    pub(crate) fn newest(&self) -> CheckpointId {
        self.newest
    }

    /// All subtasks here have acknowledged the checkpoint under way.
    pub(crate) fn all_acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// A checkpoint is durable: deltas build on it from now on.
    pub(crate) fn complete(&mut self, id: CheckpointId) {
        if self.in_flight == Some(id) {
            self.durable.append(&mut self.pending);
            self.completed = Some(id);
            self.give_up();
        }
    }

    /// A checkpoint will not be durable: nothing builds on it.
    pub(crate) fn abort(&mut self, id: CheckpointId) {
        if self.in_flight == Some(id) {
            self.give_up();
        }
        self.newest = self.newest.max(id);
    }

    fn give_up(&mut self) {
        self.pending.clear();
        self.in_flight = None;
        self.acknowledged = false;
    }

    /// Makes a subtask's acknowledgement. Block references in `written` are positions in `objects`, those that
    /// were uploaded for this checkpoint.
    pub(crate) fn acknowledge(
        &mut self,
        swept: &Swept,
        mut written: Written,
        objects: &[ObjectRef],
        range: weir_protocol::KeyGroupRange,
        sinks: Vec<SinkHandles>,
    ) -> SubtaskAck {
        let new = written.renumber(objects);
        let new_objects = new.len() as u32;
        let mut objects = new.clone();
        let mut new_bytes = 0;
        let mut full_bytes = 0;
        let mut state: BTreeMap<TransformId, TransformState> = BTreeMap::new();
        fn of(state: &mut BTreeMap<TransformId, TransformState>, id: TransformId) -> &mut TransformState {
            state.entry(id).or_insert_with(|| TransformState {
                transform: id,
                tables: Vec::new(),
                lists: Vec::new(),
            })
        }
        for (table, blocks) in swept.tables.iter().zip(written.tables) {
            new_bytes += blocks.iter().map(|b| b.length).sum::<u64>();
            let chain = self.extend(swept.subtask, table, blocks, &new);
            full_bytes += chain.iter().map(|(_, b)| b.length).sum::<u64>();
            let blocks = chain
                .iter()
                .map(|(o, b)| BlockRef { object: position(&mut objects, o), ..b.clone() })
                .collect();
            of(&mut state, table.transform).tables.push(TableState {
                info: table.info.clone(),
                range,
                blocks,
            });
        }
        for (transform, lists) in written.lists {
            for blob in lists.iter().flat_map(|(_, values)| values) {
                if let Blob::Block(block) = blob {
                    new_bytes += block.length;
                    full_bytes += block.length;
                }
            }
            of(&mut state, transform).lists = lists;
        }
        SubtaskAck {
            subtask: swept.subtask,
            objects,
            new_objects,
            state: state.into_values().collect(),
            sinks,
            times: swept.times,
            new_bytes,
            full_bytes,
        }
    }

    fn extend(
        &mut self,
        subtask: SubtaskId,
        table: &FrozenTable,
        blocks: Vec<BlockRef>,
        objects: &[ObjectRef],
    ) -> StoredBlocks {
        let key = (subtask, table.transform, table.info.name.clone());
        let mut chain =
            if table.full { Vec::new() } else { self.durable.get(&key).cloned().unwrap_or_default() };
        chain.extend(blocks.into_iter().filter_map(|b| Some((objects.get(b.object as usize)?.clone(), b))));
        self.pending.insert(key, chain.clone());
        chain
    }
}

fn position(objects: &mut Vec<ObjectRef>, object: &ObjectRef) -> u32 {
    let at = objects.iter().position(|o| o == object).unwrap_or_else(|| {
        objects.push(object.clone());
        objects.len() - 1
    });
    at as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::{KeyGroupRange, PhaseTimes, StateTableInfo, VertexId};

    const SUBTASK: SubtaskId = SubtaskId { vertex: VertexId(1), index: 0 };
    const RANGE: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

    fn object(key: &str) -> ObjectRef {
        ObjectRef { key: key.to_owned(), size: 10, digest: String::new() }
    }

    fn swept(id: u64, completed: Option<u64>, full: bool) -> Swept {
        let info = StateTableInfo { name: "t".to_owned(), schema: String::new() };
        Swept {
            subtask: SUBTASK,
            id: CheckpointId(id),
            completed: completed.map(CheckpointId),
            tables: vec![FrozenTable { transform: TransformId(2), info, full }],
            lists: Vec::new(),
            times: PhaseTimes::default(),
            frozen_at: weir_runtime::Timestamp(0),
        }
    }

    fn block(object: u32, offset: u64) -> BlockRef {
        BlockRef { object, offset, length: 1, crc: 0, rows: 1 }
    }

    fn keys(ack: &SubtaskAck) -> Vec<String> {
        let key = |b: &BlockRef| ack.objects[b.object as usize].key.clone();
        ack.state[0].tables[0].blocks.iter().map(key).collect()
    }

    fn ack(ledger: &mut Ledger, id: u64, completed: Option<u64>, full: bool, blocks: u64) -> Vec<String> {
        assert!(ledger.begin(CheckpointId(id), completed.map(CheckpointId)));
        let swept = swept(id, completed, full);
        let written = Written { tables: vec![(0..blocks).map(|b| block(0, b)).collect()], lists: Vec::new() };
        let objects = [object(&format!("c{id}"))];
        let ack = ledger.acknowledge(&swept, written, &objects, RANGE, Vec::new());
        assert_eq!(ack.new_bytes, blocks);
        keys(&ack)
    }

    #[test]
    fn of_the_new_objects_a_subtask_names_those_that_it_has_blocks_in() {
        let mut ledger = Ledger::default();
        assert!(ledger.begin(CheckpointId(1), None));
        let key = |n: u32| format!("data/a000001/c000001/{n}");
        let objects: Vec<ObjectRef> = (0..4).map(|n| object(&key(n))).collect();
        let list = vec![("l".to_owned(), vec![Blob::Block(block(3, 7)), Blob::Inline(vec![1])])];
        let written = Written {
            tables: vec![vec![block(1, 0), block(1, 1), block(3, 0)]],
            lists: vec![(TransformId(2), list)],
        };
        let ack = ledger.acknowledge(&swept(1, None, true), written, &objects, RANGE, Vec::new());
        assert_eq!(ack.objects, [objects[1].clone(), objects[3].clone()]);
        assert_eq!(ack.new_objects, 2);
        assert_eq!(keys(&ack), [key(1), key(1), key(3)]);
        let list = &ack.state[0].lists[0].1[0];
        assert_eq!(*list, Blob::Block(block(1, 7)), "its second object");
        // What is needed on this machine: all that is not known to be over, then what the table consists of.
        assert!(ledger.needs(&key(0)) && ledger.needs(&key(1)));
        ledger.complete(CheckpointId(1));
        assert_eq!([0, 1, 3].map(|n| ledger.needs(&key(n))), [false, true, true]);
        assert!(ledger.needs("data/a000001/c000002/0") && !ledger.needs("savepoints/s/0"));
    }

    #[test]
    fn a_delta_builds_on_the_last_completed_checkpoint_only() {
        let mut ledger = Ledger::default();
        assert_eq!(ack(&mut ledger, 1, None, true, 2), ["c1", "c1"]);
        assert_eq!(ack(&mut ledger, 2, Some(1), false, 1), ["c1", "c1", "c2"]);
        // Checkpoint 2 did not complete: its blocks are not built upon.
        assert_eq!(ack(&mut ledger, 3, Some(1), false, 1), ["c1", "c1", "c3"]);
        assert_eq!(ack(&mut ledger, 4, Some(3), false, 0), ["c1", "c1", "c3"]);
        assert_eq!(ack(&mut ledger, 5, Some(4), true, 1), ["c5"]);
    }
}
