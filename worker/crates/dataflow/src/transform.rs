//! The contract of a transform: the logic of one dataflow node in one subtask.

use weir_protocol::{Failure, KeyGroupRange};
use weir_state::StateTable;

use crate::{Chunk, Watermark};

/// Where a transform's output goes: the next transform of the chain by a direct call, or the
/// queues of the vertex's edges.
pub trait Emit {
    /// Passes rows on.
    ///
    /// # Errors
    /// Those of the transforms further on.
    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure>;

    /// Passes the watermark on.
    ///
    /// # Errors
    /// Those of the transforms further on.
    fn watermark(&mut self, watermark: Watermark) -> Result<(), Failure>;

    /// Whether there is room for another chunk. A transform that makes many chunks of one input
    /// stops when there is not, and is resumed.
    fn ready(&self) -> bool;
}

/// Whether a transform has given all output of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// All is given; the next input may come.
    Done,
    /// There is more: call [`Transform::resume`] when the output is ready. No other input comes
    /// before that.
    More,
}

/// The logic of one dataflow node in one subtask.
///
/// # Contract
/// Synchronous, never blocks, holds no clock. The engine calls it from one thread. State that must
/// survive is in `tables` and `lists` only, and the engine freezes both at a barrier before the
/// barrier goes on.
pub trait Transform: Send {
    /// Takes rows of an input.
    ///
    /// # Errors
    /// End the execution.
    fn process(&mut self, input: u32, chunk: Chunk, out: &mut dyn Emit) -> Result<Flow, Failure>;

    /// Takes a watermark: the smallest over all inputs that are not idle, higher than the last one.
    /// What it makes due is given before the watermark is passed on.
    ///
    /// # Errors
    /// End the execution.
    fn watermark(&mut self, watermark: Watermark, out: &mut dyn Emit) -> Result<Flow, Failure> {
        out.watermark(watermark)?;
        Ok(Flow::Done)
    }

    /// Tells the processing time, in milliseconds since the Unix epoch: called before each chunk and
    /// watermark, and at least once a second. For state that expires; a transform reads no clock.
    fn tick(&mut self, _now_ms: i64) {}

    /// Goes on after [`Flow::More`].
    ///
    /// # Errors
    /// End the execution.
    fn resume(&mut self, _out: &mut dyn Emit) -> Result<Flow, Failure> {
        Ok(Flow::Done)
    }

    /// The tables of keyed state, always the same ones in the same order, as declared in the graph.
    fn tables(&mut self) -> Vec<&mut dyn StateTable> {
        Vec::new()
    }

    /// Operator state at a barrier: named lists of values.
    fn lists(&mut self) -> Vec<(String, Vec<Vec<u8>>)> {
        Vec::new()
    }

    /// Takes operator state back before the first row: the lists of *all* subtasks of the checkpoint.
    ///
    /// # Errors
    /// A value that this transform did not write.
    fn restore_list(&mut self, _name: &str, _values: Vec<Vec<u8>>) -> Result<(), Failure> {
        Ok(())
    }

    /// Rows so far that came too late for any window.
    fn late_rows(&self) -> u64 {
        0
    }
}

/// What a transform is created with.
#[derive(Debug, Clone, Copy)]
pub struct TransformContext {
    /// This subtask's number, `0 .. parallelism`.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// Number of key groups of the job.
    pub max_parallelism: u32,
    /// The key groups of this subtask.
    pub range: KeyGroupRange,
}

/// Makes a transform for each subtask.
pub trait TransformFactory: Send + Sync {
    /// Makes one.
    ///
    /// # Errors
    /// What could not be refused when the job was planned.
    fn create(&self, context: TransformContext) -> Result<Box<dyn Transform>, Failure>;
}
