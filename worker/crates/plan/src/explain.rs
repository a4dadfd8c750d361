//! A planned job for people and programs: text, JSON, Mermaid.

use std::fmt::Write;

use serde::Serialize;
use weir_protocol::{Edge, Partitioning, Vertex};

use crate::{Changelog, Planned, VertexProperties};

/// A description of a job. Serialises to JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// The vertices, in topological order.
    pub vertices: Vec<ExplainedVertex>,
    /// What flows where.
    pub edges: Vec<Edge>,
    /// Whether the job ends by itself.
    pub bounded: bool,
}

/// A vertex with what the planner derived for it.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedVertex {
    /// The vertex of the graph.
    #[serde(flatten)]
    pub vertex: Vertex,
    /// The rows that it gives.
    #[serde(flatten)]
    pub properties: VertexProperties,
}

/// Describes a job.
pub fn explain(planned: &Planned) -> Explained {
    let graph = &planned.job.graph;
    let vertices = graph
        .vertices
        .iter()
        .zip(&planned.properties)
        .map(|(vertex, properties)| ExplainedVertex {
            vertex: vertex.clone(),
            properties: properties.clone(),
        })
        .collect();
    Explained { vertices, edges: graph.edges.clone(), bounded: planned.job.bounded() }
}

impl Explained {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for v in &self.vertices {
            // Writing to a String cannot fail.
            let _ = self.vertex_text(v, &mut out);
        }
        let end = if self.bounded {
            "The job ends when its sources end."
        } else {
            "The job runs until it is stopped."
        };
        out.push_str(end);
        out.push('\n');
        out
    }

    fn vertex_text(&self, v: &ExplainedVertex, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}  {}  (parallelism {})", v.vertex.id, v.vertex.name, v.vertex.parallelism)?;
        for edge in self.edges.iter().filter(|e| e.to == v.vertex.id) {
            writeln!(out, "  from {}  {}", edge.from, self.partitioning(edge))?;
        }
        for t in &v.vertex.transforms {
            writeln!(out, "  {} {}: {}", t.id, t.name, t.detail)?;
            for table in &t.tables {
                writeln!(out, "    state {}: {}", table.name, table.schema)?;
            }
        }
        if !v.vertex.sink {
            writeln!(
                out,
                "  gives [{}], {}",
                v.properties.columns.join(", "),
                changelog(v.properties.changelog)
            )?;
        } else {
            writeln!(
                out,
                "  takes [{}], {}",
                v.properties.columns.join(", "),
                changelog(v.properties.changelog)
            )?;
        }
        if let Some(time) = &v.properties.event_time {
            writeln!(out, "  event time {time}")?;
        }
        out.push('\n');
        Ok(())
    }

    fn partitioning(&self, edge: &Edge) -> String {
        match &edge.partitioning {
            Partitioning::Forward => "forward".into(),
            Partitioning::Rebalance => "rebalance".into(),
            Partitioning::Broadcast => "broadcast".into(),
            Partitioning::Hash { columns } => {
                let from = self.vertices.iter().find(|v| v.vertex.id == edge.from);
                let name = |c: &usize| {
                    let column = from.and_then(|v| v.properties.columns.get(*c)).map_or("", String::as_str);
                    column.split(' ').next().unwrap_or("").to_owned()
                };
                format!("hash({})", columns.iter().map(name).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// As JSON, indented.
    pub fn json(&self) -> String {
        // Plain data with string keys: this cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// A picture, as Markdown renderers draw it.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for v in &self.vertices {
            let label = format!("{}<br/>x{}", v.vertex.name.replace('"', "'"), v.vertex.parallelism);
            let (open, close) = match (v.vertex.source, v.vertex.sink) {
                (true, _) => ("([", "])"),
                (_, true) => ("[[", "]]"),
                _ => ("[", "]"),
            };
            let _ = writeln!(out, "  v{}{open}\"{label}\"{close}", v.vertex.id);
        }
        for e in &self.edges {
            let _ = writeln!(
                out,
                "  v{} -->|{}| v{}",
                e.from,
                self.partitioning(e).replace(['(', ')'], " ").trim(),
                e.to
            );
        }
        out
    }
}

fn changelog(changelog: Changelog) -> &'static str {
    match changelog {
        Changelog::InsertOnly => "insert only",
        Changelog::Retract => "changelog +I -U +U -D",
    }
}
