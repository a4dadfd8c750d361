//! What flows: rows with a kind each, watermarks, barriers.

use std::fmt;

use arrow_array::{RecordBatch, UInt8Array};
use weir_protocol::{CheckpointId, CheckpointKind, CheckpointMode};

/// How a row changes the result so far, as in Flink. Stored as a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`: a new row.
    Insert = 0,
    /// `-U`: the old form of a row that changes.
    UpdateBefore = 1,
    /// `+U`: the new form of a row that changes.
    UpdateAfter = 2,
    /// `-D`: a row that is no more.
    Delete = 3,
}

impl RowKind {
    /// The kind that a stored byte stands for.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Insert),
            1 => Some(Self::UpdateBefore),
            2 => Some(Self::UpdateAfter),
            3 => Some(Self::Delete),
            _ => None,
        }
    }

    /// Whether the row adds to the result (`+I`, `+U`) rather than taking away from it.
    pub const fn adds(self) -> bool {
        matches!(self, Self::Insert | Self::UpdateAfter)
    }

    /// Flink's short form.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Insert => "+I",
            Self::UpdateBefore => "-U",
            Self::UpdateAfter => "+U",
            Self::Delete => "-D",
        }
    }
}

/// A batch of rows. `kinds`, if there, has one [`RowKind`] byte per row and no nulls; if not, every
/// row is an insert.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The columns.
    pub rows: RecordBatch,
    /// The kind of each row.
    pub kinds: Option<UInt8Array>,
}

impl Chunk {
    /// Rows that are all inserts.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, kinds: None }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of a row.
    pub fn kind(&self, row: usize) -> RowKind {
        self.kinds.as_ref().and_then(|k| RowKind::from_byte(k.value(row))).unwrap_or(RowKind::Insert)
    }

    /// Some of the rows, without a copy.
    pub(crate) fn slice(&self, first: usize, rows: usize) -> Self {
        Self { rows: self.rows.slice(first, rows), kinds: self.kinds.as_ref().map(|k| k.slice(first, rows)) }
    }

    /// Memory of the rows in bytes, for the accounting of queues. Slices count as what they show.
    pub fn bytes(&self) -> usize {
        let sliced = |a: &arrow_array::ArrayRef| {
            a.to_data().get_slice_memory_size().unwrap_or_else(|_| a.get_array_memory_size())
        };
        self.rows.columns().iter().map(sliced).sum::<usize>()
            + self.kinds.as_ref().map_or(0, |k| k.values().len())
    }
}

/// Event time up to which rows have been seen, in milliseconds since the Unix epoch: no row with a
/// time `<=` this is expected any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watermark(pub i64);

impl Watermark {
    /// Before the first row.
    pub const MIN: Self = Self(i64::MIN);
    /// After the last row of an input that ended.
    pub const MAX: Self = Self(i64::MAX);
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("none"),
            Self::MAX => f.write_str("end"),
            Self(ms) => ms.fmt(f),
        }
    }
}

/// The cut of a checkpoint, flowing with the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint.
    pub id: CheckpointId,
    /// Why it is taken.
    pub kind: CheckpointKind,
    /// Whether inputs wait for each other.
    pub mode: CheckpointMode,
    /// The newest completed checkpoint of this execution at the trigger.
    pub completed: Option<CheckpointId>,
    /// The coordinator's clock at the trigger, microseconds since the Unix epoch.
    pub triggered_us: u64,
}
