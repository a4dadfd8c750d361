//! Turns the rows that slots sweep out into the blocks of a data object, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;

use arrow_select::concat::concat_batches;
use bytes::Bytes;
use tokio::sync::mpsc;
use weir_protocol::{CheckpointId, Failure, FailureKind, SubtaskId};
use weir_state::{Part, encode_part};

use crate::queue::SlotWaker;
use crate::snapshot::{Collected, Swept};

/// Rows per block: large enough to compress well, small enough to be read and filtered in pieces.
const BLOCK_ROWS: usize = 64 * 1024;

/// A block of a table, encoded.
pub(crate) struct Block {
    pub(crate) subtask: SubtaskId,
    /// Position in [`Swept::tables`] of the subtask.
    pub(crate) table: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: Bytes,
}

/// What all subtasks of this worker put into a checkpoint.
pub(crate) struct Encoded {
    pub(crate) id: CheckpointId,
    pub(crate) blocks: Vec<Block>,
    pub(crate) subtasks: Vec<Swept>,
}

/// Collects and encodes until all senders are gone.
pub(crate) struct Encoder {
    /// How many subtasks take part here.
    pub(crate) subtasks: usize,
    pub(crate) input: std_mpsc::Receiver<Collected>,
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) wakers: Vec<Arc<SlotWaker>>,
    pub(crate) output: mpsc::UnboundedSender<Result<Encoded, (CheckpointId, Failure)>>,
}

/// The checkpoint that is being collected.
struct Current {
    id: CheckpointId,
    open: BTreeMap<(SubtaskId, u32), Vec<Part>>,
    blocks: Vec<Block>,
    subtasks: Vec<Swept>,
    failed: bool,
}

impl Current {
    fn new(id: CheckpointId) -> Self {
        Self { id, open: BTreeMap::new(), blocks: Vec::new(), subtasks: Vec::new(), failed: false }
    }

    fn add(&mut self, subtask: SubtaskId, table: u32, part: Part) -> Result<(), Failure> {
        let parts = self.open.entry((subtask, table)).or_default();
        parts.push(part);
        if parts.iter().map(|p| p.rows.num_rows()).sum::<usize>() >= BLOCK_ROWS {
            let parts = std::mem::take(parts);
            self.close(subtask, table, parts)?;
        }
        Ok(())
    }

    fn close(&mut self, subtask: SubtaskId, table: u32, parts: Vec<Part>) -> Result<(), Failure> {
        let Some(first) = parts.first() else { return Ok(()) };
        let bug = |e: String| Failure::new(FailureKind::Bug, format!("encoding state: {e}"));
        let rows = concat_batches(&first.rows.schema(), parts.iter().map(|p| &p.rows))
            .map_err(|e| bug(e.to_string()))?;
        let count = rows.num_rows() as u64;
        let part = Part { rows, starts_base: first.starts_base };
        let bytes = encode_part(part).map_err(|e| bug(e.to_string()))?;
        self.blocks.push(Block { subtask, table, rows: count, bytes });
        Ok(())
    }

    fn finish_subtask(&mut self, swept: Swept) -> Result<(), Failure> {
        let subtask = swept.subtask;
        let open: Vec<_> = self.open.keys().filter(|(s, _)| *s == subtask).copied().collect();
        for key in open {
            let parts = self.open.remove(&key).unwrap_or_default();
            self.close(key.0, key.1, parts)?;
        }
        self.subtasks.push(swept);
        Ok(())
    }
}

impl Encoder {
    pub(crate) fn run(self) {
        let mut current = Current::new(CheckpointId(0));
        while let Ok(collected) = self.input.recv() {
            let id = match &collected {
                Collected::Part { id, .. } => *id,
                Collected::Swept(swept) => swept.id,
            };
            if id > current.id {
                // What came before was given up, or all of it has gone out.
                current = Current::new(id);
            }
            if id == current.id && !current.failed {
                self.take(&mut current, collected);
            }
            let waiting = self.waiting.fetch_sub(1, Ordering::AcqRel);
            if waiting.is_multiple_of(8) {
                self.wakers.iter().for_each(|w| w.signal());
            }
        }
    }

    fn take(&self, current: &mut Current, collected: Collected) {
        let done = match collected {
            Collected::Part { subtask, table, part, .. } => current.add(subtask, table, part),
            Collected::Swept(swept) => current.finish_subtask(*swept),
        };
        let result = match done {
            Err(failure) => {
                current.failed = true;
                Err((current.id, failure))
            }
            Ok(()) if current.subtasks.len() == self.subtasks => {
                let whole = std::mem::replace(current, Current::new(current.id));
                Ok(Encoded { id: whole.id, blocks: whole.blocks, subtasks: whole.subtasks })
            }
            Ok(()) => return,
        };
        // The worker is gone only when the execution is torn down.
        let _ = self.output.send(result);
    }
}
