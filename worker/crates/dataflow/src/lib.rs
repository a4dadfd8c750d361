//! The engine: slots, subtasks, queues, barriers, watermarks, and the contracts of transforms,
//! sources and sinks.
//!
//! It does not own: SQL (`weir-plan`), what a connector talks to (`weir-connectors`), when a
//! checkpoint is taken and when it is complete (`weir-coordinator`).

mod align;
mod chain;
mod chunk;
mod expression;
mod graph;
mod deploy;
mod encoder;
mod ledger;
mod restore;
mod output;
mod queue;
mod sink;
mod slot;
mod snapshot;
mod source;
mod source_head;
mod subtask;
#[cfg(test)]
mod topologies;
mod transform;
pub mod transforms;
mod troubles;
mod watermarks;

pub use align::{Aligned, Alignment};
pub use chunk::{Barrier, Chunk, RowKind, Watermark};
pub use expression::Expression;
pub use graph::{Job, Node, SourceNode};
pub use sink::{Committer, IoFuture, OpenSink, Sink, SinkFactory};
pub use source::{OpenSource, Poll, Source, SourceFactory, SplitState, WatermarkSpec};
pub use transform::{Emit, Flow, Transform, TransformContext, TransformFactory};
pub use transforms::calc::Calc;
pub use troubles::{Trouble, Troubles};
pub use watermarks::{Advance, Watermarks};
