//! The job graph with its code: what the planner hands to the engine.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use weir_protocol::JobGraph;

use crate::{Calc, SinkFactory, SourceFactory, TransformFactory, WatermarkSpec};

/// What feeds the chain of a source vertex.
#[derive(Clone)]
pub struct SourceNode {
    /// Makes the source's subtasks.
    pub factory: Arc<dyn SourceFactory>,
    /// Computed columns and filters that come before the watermark is taken, if any.
    pub calc: Option<Arc<Calc>>,
    /// Event time, if the table declares it; computed on the rows that `calc` gives.
    pub watermark: Option<WatermarkSpec>,
}

/// The code of one vertex. The transforms of the vertex in the graph are, in order: the source (with
/// its calc) if there is one, `transforms`, the sink if there is one.
#[derive(Clone)]
pub struct Node {
    /// First in the chain.
    pub source: Option<SourceNode>,
    /// In the middle.
    pub transforms: Vec<Arc<dyn TransformFactory>>,
    /// Last in the chain.
    pub sink: Option<Arc<dyn SinkFactory>>,
}

/// A planned job.
#[derive(Clone)]
pub struct Job {
    /// The graph as data.
    pub graph: JobGraph,
    /// The code of each vertex, in the order of `graph.vertices`.
    pub nodes: Vec<Node>,
    /// The rows of each edge, in the order of `graph.edges`.
    pub schemas: Vec<SchemaRef>,
}

impl Job {
    /// Whether the job ends by itself: all its sources do.
    pub fn bounded(&self) -> bool {
        self.nodes.iter().filter_map(|n| n.source.as_ref()).all(|s| s.factory.bounded())
    }
}
