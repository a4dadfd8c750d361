//! The job graph as all processes see it: what runs, how often, and what flows where.
//!
//! It holds no code: a worker plans the same SQL and gets the same graph, with the transforms.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{SubtaskId, TransformId, VertexId};

/// A table of keyed state, declared by name before the job starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTableInfo {
    /// Stable within its transform.
    pub name: String,
    /// A readable description of the key and value types; differs if and only if the stored
    /// form differs.
    pub schema: String,
}

/// A transform within a vertex, in the order of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformInfo {
    /// Owner of its state.
    pub id: TransformId,
    /// For people: `Filter`, `WindowAggregate`, the table's name for sources and sinks.
    pub name: String,
    /// For people: expressions, keys, options.
    pub detail: String,
    /// The state it declares.
    pub tables: Vec<StateTableInfo>,
}

/// A node of the job graph: transforms that run as one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// The id of the first transform.
    pub id: VertexId,
    /// For people.
    pub name: String,
    /// How many subtasks.
    pub parallelism: u32,
    /// Whether its first transform is a source.
    pub source: bool,
    /// Whether its last transform is a sink.
    pub sink: bool,
    /// The chain, at least one.
    pub transforms: Vec<TransformInfo>,
}

/// How the rows of an edge find their target subtask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Partitioning {
    /// Subtask i to subtask i; both ends have the same parallelism.
    Forward,
    /// By the key group of these columns (positions in the rows of the edge).
    Hash {
        /// Positions of the key columns, in key order.
        columns: Vec<usize>,
    },
    /// Round robin by batch.
    Rebalance,
    /// Every row to every subtask.
    Broadcast,
}

/// A stream from one vertex to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Where rows come from.
    pub from: VertexId,
    /// Where they go.
    pub to: VertexId,
    /// Which input of the first transform of `to` (0 for all but joins).
    pub input: u32,
    /// How rows find their subtask.
    pub partitioning: Partitioning,
}

/// The whole graph. Vertices are in topological order: every edge goes from left to right.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobGraph {
    /// In topological order.
    pub vertices: Vec<Vertex>,
    /// In a fixed order; an edge's position is its number on the wire.
    pub edges: Vec<Edge>,
}

/// Why a graph can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two vertices or two transforms share an id.
    #[error("two transforms of the job have the id {0}")]
    Duplicate(TransformId),
    /// An edge names a vertex that is not there, or goes backwards.
    #[error("edge {0} does not go from an earlier vertex to a later one")]
    Order(usize),
    /// A forward edge between different parallelisms.
    #[error("forward edge {0} joins vertices of different parallelism")]
    Forward(usize),
    /// A vertex that nothing reaches, or a source that something reaches.
    #[error("vertex {0} must have an input exactly if it is not a source")]
    Inputs(VertexId),
    /// A vertex without transforms or with parallelism 0.
    #[error("vertex {0} is empty")]
    Empty(VertexId),
}

impl JobGraph {
    /// The vertex with this id.
    pub fn vertex(&self, id: VertexId) -> Option<&Vertex> {
        self.vertices.iter().find(|v| v.id == id)
    }

    /// All subtasks, vertex by vertex.
    pub fn subtasks(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        self.vertices.iter().flat_map(|v| (0..v.parallelism).map(|index| SubtaskId { vertex: v.id, index }))
    }

    /// Checks everything that running the graph relies on.
    ///
    /// # Errors
    /// The first of [`GraphError`] that holds.
    pub fn check(&self) -> Result<(), GraphError> {
        let mut order = BTreeMap::new();
        let mut transforms = BTreeSet::new();
        for (i, v) in self.vertices.iter().enumerate() {
            if v.parallelism == 0 || v.transforms.is_empty() {
                return Err(GraphError::Empty(v.id));
            }
            if order.insert(v.id, i).is_some() {
                return Err(GraphError::Duplicate(TransformId(v.id.0)));
            }
            for t in &v.transforms {
                if !transforms.insert(t.id) {
                    return Err(GraphError::Duplicate(t.id));
                }
            }
        }
        for (i, e) in self.edges.iter().enumerate() {
            let (Some(&from), Some(&to)) = (order.get(&e.from), order.get(&e.to)) else {
                return Err(GraphError::Order(i));
            };
            if from >= to {
                return Err(GraphError::Order(i));
            }
            if e.partitioning == Partitioning::Forward
                && self.vertices[from].parallelism != self.vertices[to].parallelism
            {
                return Err(GraphError::Forward(i));
            }
        }
        for v in &self.vertices {
            if v.source == self.edges.iter().any(|e| e.to == v.id) {
                return Err(GraphError::Inputs(v.id));
            }
        }
        Ok(())
    }
}
