//! Which blocks in the store each table of this worker consists of, as of the last completed
//! checkpoint and of the one under way. Pure.

use std::collections::BTreeMap;

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

    /// Makes a subtask's acknowledgement. Block references in `written` point to `object`.
    pub(crate) fn acknowledge(
        &mut self,
        swept: &Swept,
        written: Written,
        object: Option<&ObjectRef>,
        range: weir_protocol::KeyGroupRange,
        sinks: Vec<SinkHandles>,
    ) -> SubtaskAck {
        let mut objects: Vec<ObjectRef> = Vec::new();
        let used = written.tables.iter().any(|t| !t.is_empty())
            || written
                .lists
                .iter()
                .flat_map(|(_, l)| l)
                .any(|(_, v)| v.iter().any(|b| matches!(b, Blob::Block(_))));
        if used {
            objects.extend(object.cloned());
        }
        let new_objects = objects.len() as u32;
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
        for (table, new) in swept.tables.iter().zip(written.tables) {
            new_bytes += new.iter().map(|b| b.length).sum::<u64>();
            let chain = self.extend(swept.subtask, table, new, object);
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
        new: Vec<BlockRef>,
        object: Option<&ObjectRef>,
    ) -> StoredBlocks {
        let key = (subtask, table.transform, table.info.name.clone());
        let mut chain =
            if table.full { Vec::new() } else { self.durable.get(&key).cloned().unwrap_or_default() };
        if let Some(object) = object {
            chain.extend(new.into_iter().map(|block| (object.clone(), block)));
        }
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

    fn ack(ledger: &mut Ledger, id: u64, completed: Option<u64>, full: bool, blocks: u64) -> Vec<String> {
        assert!(ledger.begin(CheckpointId(id), completed.map(CheckpointId)));
        let info = StateTableInfo { name: "t".to_owned(), schema: String::new() };
        let swept = Swept {
            subtask: SUBTASK,
            id: CheckpointId(id),
            completed: completed.map(CheckpointId),
            tables: vec![FrozenTable { transform: TransformId(2), info, full }],
            lists: Vec::new(),
            times: PhaseTimes::default(),
            frozen_at: weir_runtime::Timestamp(0),
        };
        let new =
            (0..blocks).map(|b| BlockRef { object: 0, offset: b, length: 1, crc: 0, rows: 1 }).collect();
        let written = Written { tables: vec![new], lists: Vec::new() };
        let object = object(&format!("c{id}"));
        let ack = ledger.acknowledge(&swept, written, Some(&object), RANGE, Vec::new());
        assert_eq!(ack.new_bytes, blocks);
        ack.state[0].tables[0].blocks.iter().map(|b| ack.objects[b.object as usize].key.clone()).collect()
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
