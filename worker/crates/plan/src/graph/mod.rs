//! From relations to the job graph: equal parts are shared, each table is read once, what needs no
//! exchange runs as one chain.

mod dag;
mod narrow;

use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use weir_dataflow::transforms::aggregate::Aggregate;
use weir_dataflow::transforms::aggregate_call::AggregateSpec;
use weir_dataflow::transforms::calc::{Calc, Projection};
use weir_dataflow::transforms::window_aggregate::WindowAggregate;
use weir_dataflow::transforms::window_assign::WindowAssign;
use weir_dataflow::window::{Window, WindowSpec};
use weir_dataflow::{Job, Node as Code, TransformFactory};
use weir_protocol::{
    Edge, JobGraph, Partitioning, StateTableInfo, TransformId, TransformInfo, Vertex, VertexId,
};

use crate::planner::Output;
use crate::rel::typed;
use crate::show::show;
use crate::{Changelog, PlanOptions, VertexProperties, expression, ids};
use dag::{Dag, DagNode, Step};

/// Builds the graph and its code.
pub(crate) fn build(
    outputs: &[Output],
    options: &PlanOptions,
) -> Result<(Job, Vec<VertexProperties>), String> {
    let mut dag = Dag::of(outputs);
    let sources = narrow::sources(&mut dag, options)?;
    let ids = ids::assign(&dag.nodes.iter().map(|n| n.description.clone()).collect::<Vec<_>>());
    let chains = chains(&dag, options);
    let mut builder = Builder {
        dag: &dag,
        options,
        ids: &ids,
        graph: JobGraph::default(),
        nodes: Vec::new(),
        properties: Vec::new(),
    };
    for chain in &chains {
        builder.vertex(chain, &sources)?;
    }
    let mut schemas = Vec::new();
    let head_of = |node: usize| chains.iter().position(|c| c.nodes.contains(&node));
    for (to, chain) in chains.iter().enumerate() {
        for feed in dag.feeds(chain.nodes[0]) {
            let from = head_of(feed).ok_or("a node outside of all chains")?;
            let partitioning =
                partitioning(&dag.nodes[chain.nodes[0]], chains[from].parallelism, chain.parallelism);
            let (from, to) = (builder.graph.vertices[from].id, builder.graph.vertices[to].id);
            builder.graph.edges.push(Edge { from, to, input: 0, partitioning });
            schemas.push(schema(&dag.nodes[feed].fields));
        }
    }
    builder.graph.check().map_err(|e| e.to_string())?;
    Ok((Job { graph: builder.graph, nodes: builder.nodes, schemas }, builder.properties))
}

/// Nodes that run as one.
struct Chain {
    nodes: Vec<usize>,
    parallelism: u32,
}

fn partitioning(head: &DagNode, from: u32, to: u32) -> Partitioning {
    match &head.step {
        Step::Aggregate { keys, .. } | Step::WindowAggregate { keys, .. } if !keys.is_empty() => {
            Partitioning::Hash { columns: keys.clone() }
        }
        _ if from == to => Partitioning::Forward,
        _ => Partitioning::Rebalance,
    }
}

fn chains(dag: &Dag, options: &PlanOptions) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for (i, node) in dag.nodes.iter().enumerate() {
        let feeds = dag.feeds(i);
        let (exchanged, parallelism) = match &node.step {
            Step::Union => continue,
            Step::Source(_) => (true, options.parallelism),
            Step::Aggregate { keys, .. } | Step::WindowAggregate { keys, .. } => {
                (true, if keys.is_empty() { 1 } else { options.parallelism })
            }
            _ => {
                let of = |f: &usize| chains.iter().find(|c| c.nodes.contains(f)).map_or(1, |c| c.parallelism);
                let all: Vec<u32> = feeds.iter().map(of).collect();
                // Rows of one key must not overtake each other on the way to a narrower vertex.
                let same = all.windows(2).all(|w| w[0] == w[1]);
                (feeds.len() != 1, if same { all.first().copied().unwrap_or(1) } else { 1 })
            }
        };
        let chained = (!exchanged && dag.readers(feeds[0]) == 1)
            .then(|| {
                chains.iter_mut().find(|c| c.nodes.last() == Some(&feeds[0]) && c.parallelism == parallelism)
            })
            .flatten();
        match chained {
            Some(chain) => chain.nodes.push(i),
            None => chains.push(Chain { nodes: vec![i], parallelism }),
        }
    }
    // A chain may have grown past the head of a later one: order by what feeds what.
    sorted(dag, chains)
}

/// In topological order: every chain after those that feed it.
fn sorted(dag: &Dag, mut left: Vec<Chain>) -> Vec<Chain> {
    let mut done: Vec<Chain> = Vec::new();
    while !left.is_empty() {
        let ready =
            |c: &Chain| dag.feeds(c.nodes[0]).iter().all(|f| done.iter().any(|d| d.nodes.contains(f)));
        // There is always one: the nodes have no cycle.
        let next = left.iter().position(ready).unwrap_or(0);
        done.push(left.remove(next));
    }
    done
}

struct Builder<'a> {
    dag: &'a Dag,
    options: &'a PlanOptions,
    ids: &'a [TransformId],
    graph: JobGraph,
    nodes: Vec<Code>,
    properties: Vec<VertexProperties>,
}

impl Builder<'_> {
    fn vertex(&mut self, chain: &Chain, sources: &narrow::Sources) -> Result<(), String> {
        let mut code = Code { source: None, transforms: Vec::new(), sink: None };
        let mut infos = Vec::new();
        for &i in &chain.nodes {
            let node = &self.dag.nodes[i];
            let info = |name: &str, detail: String, tables: Vec<StateTableInfo>| TransformInfo {
                id: self.ids[i],
                name: name.to_owned(),
                detail,
                tables,
            };
            match &node.step {
                Step::Source(table) => {
                    let source = sources.get(&i).ok_or("a source without readers")?;
                    code.source = Some(source.node.clone());
                    infos.push(info(&table.name, source.detail.clone(), Vec::new()));
                }
                Step::Sink(table) => {
                    code.sink = table.sink.clone();
                    infos.push(info(&table.name, format!("connector {}", table.connector), Vec::new()));
                }
                step => {
                    let (name, detail, tables, factory) = self.transform(i, step)?;
                    code.transforms.push(factory);
                    infos.push(info(name, detail, tables));
                }
            }
        }
        let last = &self.dag.nodes[*chain.nodes.last().ok_or("an empty chain")?];
        self.graph.vertices.push(Vertex {
            id: VertexId(infos[0].id.0),
            name: infos.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(" -> "),
            parallelism: chain.parallelism,
            source: code.source.is_some(),
            sink: code.sink.is_some(),
            transforms: infos,
        });
        self.nodes.push(code);
        self.properties.push(properties(last));
        Ok(())
    }

    #[allow(clippy::type_complexity, reason = "four parts of one transform, taken apart at once")]
    fn transform(
        &self,
        i: usize,
        step: &Step,
    ) -> Result<(&'static str, String, Vec<StateTableInfo>, Arc<dyn TransformFactory>), String> {
        let node = &self.dag.nodes[i];
        let input =
            self.dag.feeds(i).first().map(|f| &self.dag.nodes[*f]).ok_or("a transform without input")?;
        let message = |f: weir_protocol::Failure| f.message;
        match step {
            Step::Calc { filter, exprs } => {
                let calc = calc(filter, exprs, &input.fields, &node.fields, &input.lineage)?;
                Ok(("Calc", node.detail.clone(), Vec::new(), Arc::new(Arc::new(calc))))
            }
            Step::Window { time, window } => {
                let factory =
                    WindowAssign::factory(&schema(&input.fields), schema(&node.fields), *time, *window);
                Ok(("WindowAssign", node.detail.clone(), Vec::new(), factory.map_err(message)?))
            }
            Step::Aggregate { keys, calls } => {
                let ttl = (!self.options.state_ttl.is_zero()).then_some(self.options.state_ttl);
                let spec = self.spec(keys, calls, input, node, ttl);
                let tables = Aggregate::tables(&spec).map_err(message)?;
                Ok(("Aggregate", node.detail.clone(), tables, Aggregate::factory(spec).map_err(message)?))
            }
            Step::WindowAggregate { keys, calls, time, window, output } => {
                let spec = self.spec(keys, calls, input, node, None);
                let window = WindowSpec { window: *window, time: *time, output: output.clone() };
                let tables = WindowAggregate::tables(&spec, &window).map_err(message)?;
                Ok((
                    "WindowAggregate",
                    node.detail.clone(),
                    tables,
                    WindowAggregate::factory(spec, window).map_err(message)?,
                ))
            }
            Step::Source(_) | Step::Sink(_) | Step::Union => Err("not a transform".into()),
        }
    }

    fn spec(
        &self,
        keys: &[usize],
        calls: &[weir_dataflow::transforms::aggregate_call::AggregateCall],
        input: &DagNode,
        node: &DagNode,
        ttl: Option<std::time::Duration>,
    ) -> AggregateSpec {
        AggregateSpec {
            keys: keys.to_vec(),
            calls: calls.to_vec(),
            input_schema: schema(&input.fields),
            output_schema: schema(&node.fields),
            retracting: input.changelog == Changelog::Retract,
            update_before: true,
            ttl,
        }
    }
}

fn schema(fields: &[Field]) -> SchemaRef {
    Arc::new(Schema::new(fields.to_vec()))
}

fn properties(node: &DagNode) -> VertexProperties {
    use crate::types::sql_name;
    let column = |f: &Field| {
        format!("{} {}{}", f.name(), sql_name(f.data_type()), if f.is_nullable() { "" } else { " NOT NULL" })
    };
    VertexProperties {
        columns: node.fields.iter().map(column).collect(),
        changelog: node.changelog,
        event_time: node.event_time.map(|t| node.fields[t].name().clone()),
    }
}

/// Compiles a filter and a projection.
fn calc(
    filter: &[datafusion_expr::Expr],
    exprs: &[datafusion_expr::Expr],
    input: &[Field],
    output: &[Field],
    lineage: &[String],
) -> Result<Calc, String> {
    let filter = match dag::all_of(filter) {
        Some(all) => Some(expression::compile(&all, input, show(&all, lineage))?),
        None => None,
    };
    let identity = exprs.len() == input.len()
        && exprs.iter().enumerate().all(|(i, e)| crate::rel::position(e) == Some(i) && input[i] == output[i]);
    if identity {
        return Ok(Calc { filter, project: None });
    }
    let mut columns = Vec::new();
    for (e, field) in exprs.iter().zip(output) {
        let (t, nullable) = typed(e, input).map_err(|e| e.strip_backtrace())?;
        if t != *field.data_type() {
            return Err(format!("{} is of type {t}, not {}", show(e, lineage), field.data_type()));
        }
        let compiled = expression::compile(e, input, show(e, lineage))?;
        columns.push(if nullable && !field.is_nullable() {
            Arc::new(expression::NotNull { inner: compiled, column: field.name().clone() }) as _
        } else {
            compiled
        });
    }
    Ok(Calc { filter, project: Some(Projection { schema: schema(output), columns }) })
}

/// A window for people.
fn window_text(window: &Window) -> String {
    let ms = |n: i64| if n % 1_000 == 0 { format!("{} s", n / 1_000) } else { format!("{n} ms") };
    match window {
        Window::Tumble(_) => format!("TUMBLE(size {})", ms(window.size())),
        Window::Hop(_) => format!("HOP(slide {}, size {})", ms(window.slide()), ms(window.size())),
    }
}
