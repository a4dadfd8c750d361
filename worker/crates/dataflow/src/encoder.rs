//! Turns the rows that slots sweep out into data objects, on a thread of its own: each goes out as soon as it
//! is full, so that memory does not grow with the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use weir_checkpoint::Payload;
use weir_checkpoint::segment::{BlockContent, BlockOwner, SegmentWriter};
use weir_protocol::{
    Blob, BlockRef, CheckpointId, Failure, FailureKind, KeyGroupRange, StateTableInfo, SubtaskId, TransformId,
};
use weir_state::{Part, encode_parts};

use crate::ledger::{StoredLists, Written};
use crate::queue::SlotWaker;
use crate::sizes::{Sizes, units};
use crate::slot::Waiting;
use crate::snapshot::{Collected, FrozenLists, Swept};

/// Rows per block: large enough to compress well, small enough to be read and filtered in pieces.
const BLOCK_ROWS: usize = 64 * 1024;

/// Values of operator state up to this size travel in the acknowledgement.
const INLINE_BYTES: usize = 4096;

/// What comes out for a checkpoint.
pub(crate) struct Encoded {
    pub(crate) id: CheckpointId,
    /// The newest completed checkpoint, as the barrier said.
    pub(crate) completed: Option<CheckpointId>,
    pub(crate) piece: Piece,
}

/// Objects come in the order of their numbers, then the whole.
pub(crate) enum Piece {
    /// The next data object.
    Object(NewObject),
    /// What all subtasks of this worker put into the checkpoint.
    Whole(Whole),
}

/// All of a checkpoint but its objects.
pub(crate) struct Whole {
    /// How many objects there are.
    pub(crate) objects: u32,
    pub(crate) subtasks: Vec<(Swept, Written)>,
}

/// A data object that is to be written.
pub(crate) struct NewObject {
    pub(crate) payload: Payload,
    /// The memory that it takes, until it is dropped.
    pub(crate) _held: OwnedSemaphorePermit,
}

/// What an encoder sends.
pub(crate) type EncodedOrNot = Result<Encoded, (CheckpointId, Failure)>;

/// Collects and encodes until all senders are gone.
pub(crate) struct Encoder {
    /// The subtasks that take part here, with their key groups.
    pub(crate) ranges: BTreeMap<SubtaskId, KeyGroupRange>,
    pub(crate) input: std_mpsc::Receiver<Collected>,
    pub(crate) waiting: Waiting,
    pub(crate) wakers: Vec<Arc<SlotWaker>>,
    pub(crate) output: mpsc::UnboundedSender<EncodedOrNot>,
    pub(crate) sizes: Sizes,
    /// Memory for objects that are on their way out.
    pub(crate) room: Arc<Semaphore>,
    /// For waiting for room.
    pub(crate) io: tokio::runtime::Handle,
}

/// A table of a subtask, as its number in [`Swept::tables`].
type TableOf = (SubtaskId, u32);

/// Rows that are not enough for a block yet.
#[derive(Default)]
struct Open {
    table: Option<(TransformId, StateTableInfo)>,
    parts: Vec<Part>,
    rows: usize,
    bytes: u64,
}

/// The checkpoint that is being collected.
struct Current {
    id: CheckpointId,
    completed: Option<CheckpointId>,
    open: BTreeMap<TableOf, Open>,
    /// The object in the making, and its number.
    object: SegmentWriter,
    number: u32,
    blocks: BTreeMap<TableOf, Vec<BlockRef>>,
    subtasks: Vec<(Swept, Written)>,
    failed: bool,
}

impl Current {
    fn new((id, completed): (CheckpointId, Option<CheckpointId>)) -> Self {
        Self {
            id,
            completed,
            open: BTreeMap::new(),
            object: SegmentWriter::default(),
            number: 0,
            blocks: BTreeMap::new(),
            subtasks: Vec::new(),
            failed: false,
        }
    }

    fn encoded(&self, piece: Piece) -> EncodedOrNot {
        Ok(Encoded { id: self.id, completed: self.completed, piece })
    }
}

impl Encoder {
    pub(crate) fn run(self) {
        let mut current = Current::new((CheckpointId(0), None));
        while let Ok(collected) = self.input.recv() {
            let (id, completed) = collected.of();
            let bytes = collected.bytes();
            if id > current.id {
                // What came before was given up, or all of it has gone out.
                current = Current::new((id, completed));
            }
            // Without anybody to send to the execution is over: nothing is worth encoding.
            if id == current.id && !current.failed && !self.output.is_closed() {
                self.take(&mut current, collected);
            }
            if self.waiting.encoded(bytes) {
                self.wakers.iter().for_each(|w| w.signal());
            }
        }
    }

    fn take(&self, current: &mut Current, collected: Collected) {
        let done = match collected {
            Collected::Part { subtask, transform, table, info, part, bytes, .. } => {
                self.add(current, (subtask, table), (transform, info), (part, bytes))
            }
            Collected::Swept(swept) => self.finish_subtask(current, *swept),
        };
        if let Err(failure) = done {
            current.failed = true;
            let _ = self.output.send(Err((current.id, failure)));
        } else if current.subtasks.len() == self.ranges.len() {
            self.cut(current);
            let subtasks = std::mem::take(&mut current.subtasks);
            let whole = current.encoded(Piece::Whole(Whole { objects: current.number, subtasks }));
            // The worker is gone only when the execution is torn down.
            let _ = self.output.send(whole);
        }
    }

    fn add(
        &self,
        current: &mut Current,
        of: TableOf,
        table: (TransformId, StateTableInfo),
        (part, bytes): (Part, u64),
    ) -> Result<(), Failure> {
        let open = current.open.entry(of).or_default();
        open.rows += part.rows();
        open.bytes += bytes;
        open.parts.push(part);
        open.table = Some(table);
        if open.rows >= BLOCK_ROWS || open.bytes >= self.sizes.block {
            let open = std::mem::take(open);
            self.close(current, of, open)?;
        }
        Ok(())
    }

    /// Makes a block of what is open.
    fn close(&self, current: &mut Current, of: TableOf, open: Open) -> Result<(), Failure> {
        let Some((transform, info)) = open.table else { return Ok(()) };
        let pieces = encode_parts(&open.parts)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("encoding state: {e}")))?;
        let content = BlockContent::Table { name: info.name, range: self.range(of.0) };
        let block = self.push(
            current,
            BlockOwner { subtask: of.0, transform, content },
            Payload::new(pieces),
            open.rows as u64,
        );
        current.blocks.entry(of).or_default().push(block);
        Ok(())
    }

    fn push(&self, current: &mut Current, owner: BlockOwner, block: Payload, rows: u64) -> BlockRef {
        let block = BlockRef { object: current.number, ..current.object.push(owner, block, rows) };
        if current.object.len() >= self.sizes.object {
            self.cut(current);
        }
        block
    }

    /// Sends the object in the making on its way, once there is room.
    fn cut(&self, current: &mut Current) {
        let object = std::mem::take(&mut current.object);
        if object.is_empty() {
            return;
        }
        current.number += 1;
        let payload = object.finish();
        let room = units(payload.len()).min(units(self.sizes.uploads));
        // Room comes back when an upload is done or is given up, also with the execution.
        let Ok(held) = self.io.block_on(self.room.clone().acquire_many_owned(room)) else { return };
        let _ = self.output.send(current.encoded(Piece::Object(NewObject { payload, _held: held })));
    }

    fn finish_subtask(&self, current: &mut Current, mut swept: Swept) -> Result<(), Failure> {
        let subtask = swept.subtask;
        let open: Vec<TableOf> = current.open.keys().filter(|(s, _)| *s == subtask).copied().collect();
        for of in open {
            let open = current.open.remove(&of).unwrap_or_default();
            self.close(current, of, open)?;
        }
        let lists = std::mem::take(&mut swept.lists);
        let lists = lists.into_iter().map(|l| self.store_lists(current, subtask, l)).collect();
        let tables = (0..swept.tables.len() as u32)
            .map(|table| current.blocks.remove(&(subtask, table)).unwrap_or_default())
            .collect();
        current.subtasks.push((swept, Written { tables, lists }));
        Ok(())
    }

    fn store_lists(
        &self,
        current: &mut Current,
        subtask: SubtaskId,
        lists: FrozenLists,
    ) -> (TransformId, StoredLists) {
        let transform = lists.transform;
        let mut stored = Vec::with_capacity(lists.lists.len());
        for (name, values) in lists.lists {
            let mut blobs = Vec::with_capacity(values.len());
            for value in values {
                blobs.push(if value.len() <= INLINE_BYTES {
                    Blob::Inline(value)
                } else {
                    let content = BlockContent::List { name: name.clone() };
                    let owner = BlockOwner { subtask, transform, content };
                    Blob::Block(self.push(current, owner, Payload::from(value), 0))
                });
            }
            stored.push((name, blobs));
        }
        (transform, stored)
    }

    fn range(&self, subtask: SubtaskId) -> KeyGroupRange {
        self.ranges.get(&subtask).copied().unwrap_or(KeyGroupRange { start: 0, end: 0 })
    }
}
