//! The contract of a source. The engine owns the loop; a source only answers.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_protocol::Failure;

use crate::expression::Expression;

/// What a source offers when it is asked for rows.
#[derive(Debug)]
pub enum Poll {
    /// Rows of one split, in the split's order.
    Batch {
        /// Position of the split in what [`Source::snapshot`] returns.
        split: usize,
        /// Rows of the source's schema.
        rows: RecordBatch,
    },
    /// The splits that are being read from now on, side by side: these hold the watermark back,
    /// even before their first row; those that wait for their turn or ended do not. To be said
    /// before the first batch and whenever the set changes.
    Reading(Vec<usize>),
    /// Nothing now. The source calls the waker it was opened with when that changes (also from
    /// another thread); being asked earlier is harmless.
    Pending,
    /// All splits came to their ends and no more will be found.
    Exhausted,
}

/// A unit of source work with its position, as it goes into a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitState {
    /// Unique within the source table over the job's life, such as a file's path.
    pub id: String,
    /// Whether the split was read to its end.
    pub ended: bool,
    /// The source's own description of the position.
    pub position: Vec<u8>,
}

impl SplitState {
    /// The bytes that go into a checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.ended)];
        bytes.extend_from_slice(&(self.id.len() as u32).to_le_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.position);
        bytes
    }

    /// Reads what [`SplitState::encode`] wrote; `None` if it did not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (ended, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (id, position) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some(Self {
            id: String::from_utf8(id.to_vec()).ok()?,
            ended: (*ended <= 1).then_some(*ended == 1)?,
            position: position.to_vec(),
        })
    }
}

/// One subtask of a source.
///
/// # Contract
/// - Nothing here blocks: I/O is done by tasks that the source spawned on [`OpenSource::io`].
/// - `snapshot` returns *every* split of this subtask, idle and ended ones too, with the position
///   right after the last batch that `poll_batch` returned.
/// - A split keeps its position in the list for as long as the subtask lives.
/// - Rows that follow a restore are exactly those that would have followed the snapshot.
pub trait Source: Send {
    /// Offers the next rows.
    ///
    /// # Errors
    /// Ends the execution. What may pass by itself (an unreachable store) is retried by the source
    /// and reported through [`OpenSource::troubles`] meanwhile.
    fn poll_batch(&mut self) -> Result<Poll, Failure>;

    /// The whole split map of this subtask.
    fn snapshot(&mut self) -> Vec<SplitState>;

    /// Number of records so far that could not be decoded and were skipped or dead-lettered.
    fn bad_records(&self) -> u64 {
        0
    }

    /// A checkpoint with this subtask's snapshot is durable: what it covers may be acknowledged.
    fn checkpoint_complete(&mut self) {}
}

/// What a source subtask is opened with.
#[derive(Clone)]
pub struct OpenSource {
    /// This subtask's number, `0 .. parallelism`.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// All splits of the *whole* source in the checkpoint that is restored, from all subtasks, in
    /// the order of their ids; `None` when the job starts fresh. A source picks its own by a pure
    /// function of this list, `index` and `parallelism`, so that each split has one owner.
    pub restored: Option<Arc<Vec<SplitState>>>,
    /// To be called when `Pending` is over.
    pub waker: Waker,
    /// Where I/O is done.
    pub io: tokio::runtime::Handle,
    /// Where trouble that is being waited out is told.
    pub troubles: crate::Troubles,
}

/// Makes the subtasks of a source table.
pub trait SourceFactory: Send + Sync {
    /// The rows that are produced, after projection and filters were taken over.
    fn schema(&self) -> SchemaRef;

    /// Whether all splits come to an end.
    fn bounded(&self) -> bool;

    /// Opens a subtask.
    ///
    /// # Errors
    /// Options that can't be met, or splits that this source did not write.
    fn open(&self, context: OpenSource) -> Result<Box<dyn Source>, Failure>;
}

/// How watermarks come out of a source's rows.
#[derive(Clone)]
pub struct WatermarkSpec {
    /// Gives the watermark of each row, a `Timestamp(Millisecond, _)`; nulls are passed over.
    pub expression: Arc<dyn Expression>,
    /// A split without rows for this long does not hold the watermark back; `None`: for ever.
    pub idle_timeout: Option<Duration>,
}
