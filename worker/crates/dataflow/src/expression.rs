//! The contract of an expression over rows. What evaluates it is the planner's concern.

use std::fmt;

use arrow_array::{ArrayRef, RecordBatch};
use weir_protocol::Failure;

/// An expression that gives one value per row.
pub trait Expression: fmt::Debug + Send + Sync {
    /// Evaluates over a batch; the array has the batch's length.
    ///
    /// # Errors
    /// What the data made impossible (overflow, a cast), with the expression in the message.
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, Failure>;
}
