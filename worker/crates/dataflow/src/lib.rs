//! The engine: slots, subtasks, queues, barriers, watermarks, and the contracts of transforms,
//! sources and sinks.
//!
//! It does not own: SQL (`weir-plan`), what a connector talks to (`weir-connectors`), when a
//! checkpoint is taken and when it is complete (`weir-coordinator`).

mod chunk;
mod expression;
mod graph;
mod sink;
mod source;
mod transform;
pub mod transforms;
mod troubles;
pub mod window;

pub use chunk::{Barrier, Chunk, RowKind, Watermark};
pub use expression::Expression;
pub use graph::{Job, Node, SourceNode};
pub use sink::{Committer, IoFuture, OpenSink, Sink, SinkFactory};
pub use source::{OpenSource, Poll, Source, SourceFactory, SplitState, WatermarkSpec};
pub use transform::{Emit, Flow, Transform, TransformContext, TransformFactory};
pub use transforms::aggregate::Aggregate;
pub use transforms::aggregate_call::{AggregateCall, AggregateFunction, AggregateSpec};
pub use transforms::calc::Calc;
pub use transforms::window_aggregate::WindowAggregate;
pub use transforms::window_assign::WindowAssign;
pub use troubles::{Trouble, Troubles};
