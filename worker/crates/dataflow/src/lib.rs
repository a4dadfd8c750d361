//! The engine: slots, subtasks, queues, barriers, watermarks, and the contracts of transforms,
//! sources and sinks.
//!
//! It does not own: SQL (`weir-plan`), what a connector talks to (`weir-connectors`), when a
//! checkpoint is taken and when it is complete (`weir-coordinator`).

mod align;
mod chain;
mod chunk;
mod commit;
mod deploy;
mod encoder;
mod exchange;
mod execution;
mod expression;
mod graph;
mod host;
mod ledger;
mod output;
mod queue;
mod restore;
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
mod upload;
mod watermarks;
pub mod window;

pub use align::{Aligned, Alignment};
pub use chunk::{Barrier, Chunk, RowKind, Watermark};
#[doc(hidden)]
pub use exchange::decode_frames;
pub use exchange::{Exchange, ExchangeCounters, ExchangeLimits, ExchangeOptions};
pub use expression::Expression;
pub use graph::{Job, Node, SourceNode};
pub use host::{PlanJob, Scratch, WorkerEnd, WorkerInput, WorkerOptions, WorkerOutput, run_worker};
pub use sink::{Committer, IoFuture, OpenSink, Sink, SinkFactory};
pub use source::{OpenSource, Poll, Source, SourceFactory, SplitState, WatermarkSpec};
pub use transform::{Emit, Flow, Transform, TransformContext, TransformFactory};
pub use transforms::aggregate::Aggregate;
pub use transforms::aggregate_call::{AggregateCall, AggregateFunction, AggregateSpec};
pub use transforms::calc::Calc;
pub use transforms::window_aggregate::WindowAggregate;
pub use transforms::window_assign::WindowAssign;
pub use troubles::{Trouble, Troubles};
pub use watermarks::{Advance, Watermarks};
