//! The relations of all statements as one graph without repetitions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::Field;
use datafusion_common::ScalarValue;
use datafusion_expr::{Case, Expr};
use weir_dataflow::transforms::aggregate_call::AggregateCall;
use weir_dataflow::window::{Window, WindowOutput};

use crate::Changelog;
use crate::catalog::Table;
use crate::functions::can_fail;
use crate::ids::Description;
use crate::planner::Output;
use crate::rel::{Node, Rel, column};
use crate::show::{show, show_all};

/// What a node does.
pub(super) enum Step {
    Source(Arc<Table>),
    Calc {
        filter: Vec<Expr>,
        exprs: Vec<Expr>,
    },
    Window {
        time: usize,
        window: Window,
    },
    Aggregate {
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
    },
    WindowAggregate {
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        time: usize,
        window: Window,
        output: Vec<WindowOutput>,
    },
    Union,
    Sink(Arc<Table>),
}

/// A node with what is known of its rows.
pub(super) struct DagNode {
    pub(super) step: Step,
    pub(super) inputs: Vec<usize>,
    pub(super) fields: Vec<Field>,
    pub(super) changelog: Changelog,
    pub(super) event_time: Option<usize>,
    /// What each column is, in terms of the tables' columns.
    pub(super) lineage: Vec<String>,
    pub(super) description: Description,
    /// For people.
    pub(super) detail: String,
}

/// All nodes; inputs come before what reads them.
#[derive(Default)]
pub(super) struct Dag {
    pub(super) nodes: Vec<DagNode>,
    index: HashMap<String, usize>,
}

impl Dag {
    pub(super) fn of(outputs: &[Output]) -> Self {
        let mut dag = Self::default();
        for output in outputs {
            let all: Vec<usize> = (0..output.table.physical.fields().len()).collect();
            let mut inputs = Vec::new();
            for rows in &output.rows {
                let input = dag.add(&rows.pruned(&all));
                inputs.push(input);
            }
            let from = match inputs.as_slice() {
                [one] => *one,
                _ => dag.union(inputs),
            };
            let node = &dag.nodes[from];
            let base = format!("sink {}", output.table.name);
            let sink = DagNode {
                step: Step::Sink(output.table.clone()),
                inputs: vec![from],
                fields: node.fields.clone(),
                changelog: node.changelog,
                event_time: None,
                lineage: node.lineage.clone(),
                description: Description::of(base, String::new()),
                detail: String::new(),
            };
            dag.nodes.push(sink);
        }
        dag
    }

    /// The nodes whose rows a node reads; unions are seen through.
    pub(super) fn feeds(&self, node: usize) -> Vec<usize> {
        let mut feeds = Vec::new();
        for &i in &self.nodes[node].inputs {
            match self.nodes[i].step {
                Step::Union => feeds.extend(self.feeds(i)),
                _ => feeds.push(i),
            }
        }
        feeds
    }

    /// How many nodes read a node's rows.
    pub(super) fn readers(&self, node: usize) -> usize {
        let not_union = |i: &usize| !matches!(self.nodes[*i].step, Step::Union);
        (0..self.nodes.len()).filter(not_union).flat_map(|i| self.feeds(i)).filter(|f| *f == node).count()
    }

    fn union(&mut self, inputs: Vec<usize>) -> usize {
        let key = format!("union {inputs:?}");
        let first = &self.nodes[inputs[0]];
        let updated = inputs.iter().any(|i| self.nodes[*i].changelog == Changelog::Retract);
        let joined = |f: fn(&Description) -> &str| {
            inputs.iter().map(|i| f(&self.nodes[*i].description)).collect::<Vec<_>>().join(", ")
        };
        let description = Description::of(format!("union({})", joined(|d| &d.base)), joined(|d| &d.filters));
        let fields = (0..first.fields.len()).map(|c| {
            let nullable = inputs.iter().any(|i| self.nodes[*i].fields[c].is_nullable());
            first.fields[c].clone().with_nullable(nullable)
        });
        let node = DagNode {
            step: Step::Union,
            fields: fields.collect(),
            changelog: if updated { Changelog::Retract } else { Changelog::InsertOnly },
            event_time: first
                .event_time
                .filter(|t| inputs.iter().all(|i| self.nodes[*i].event_time == Some(*t))),
            lineage: first.lineage.clone(),
            description,
            detail: String::new(),
            inputs,
        };
        self.insert(key, node)
    }

    fn insert(&mut self, key: String, node: DagNode) -> usize {
        if let Some(i) = self.index.get(&key) {
            return *i;
        }
        self.nodes.push(node);
        self.index.insert(key, self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Adds a relation with all it reads.
    fn add(&mut self, rel: &Rel) -> usize {
        match rel.node.as_ref() {
            Node::Scan(table) => {
                // What reads a source is always a calc, which is narrowed with it.
                let source = self.source(rel, table);
                let exprs = (0..rel.fields.len()).map(column).collect();
                self.calc(rel, source, Vec::new(), exprs)
            }
            Node::Calc { input, filter, exprs } => {
                let from = match input.node.as_ref() {
                    Node::Scan(table) => self.source(input, table),
                    _ => self.add(input),
                };
                self.calc(rel, from, filter.clone(), exprs.clone())
            }
            Node::Window { input, time, window } => {
                let from = self.add(input);
                let below = &self.nodes[from];
                let text = super::window_text(window);
                let mut lineage = below.lineage.clone();
                lineage.extend(crate::window_tvf::COLUMNS.map(str::to_owned));
                let own = format!("{window:?} of {} <- {}", below.lineage[*time], below.description.base);
                let description = Description::of(own, below.description.filters.clone());
                let step = Step::Window { time: *time, window: *window };
                let detail = format!("{text} on {}", below.lineage[*time]);
                let node = node_of(rel, step, from, lineage, description, detail);
                self.insert(format!("{window:?} {time} {from}"), node)
            }
            Node::Aggregate { input, keys, calls } => {
                let from = self.add(input);
                let below = &self.nodes[from];
                let names: Vec<String> = keys.iter().map(|k| below.lineage[*k].clone()).collect();
                let texts: Vec<String> = calls.iter().map(|c| call_text(c, &below.lineage)).collect();
                let detail = format!("keys [{}], calls [{}]", names.join(", "), texts.join(", "));
                let own = format!("aggregate {detail} <- {}", below.description.base);
                let description = Description::of(own, below.description.filters.clone());
                let lineage = names.iter().chain(&texts).cloned().collect();
                let step = Step::Aggregate { keys: keys.clone(), calls: calls.clone() };
                let node = node_of(rel, step, from, lineage, description, detail);
                self.insert(format!("aggregate {keys:?} {calls:?} {from}"), node)
            }
            Node::WindowAggregate { .. } => self.window_aggregate(rel),
            Node::Union { inputs } => {
                let inputs = inputs.iter().map(|i| self.add(i)).collect();
                self.union(inputs)
            }
        }
    }

    fn window_aggregate(&mut self, rel: &Rel) -> usize {
        let Node::WindowAggregate { input, keys, calls, time, window, output } = rel.node.as_ref() else {
            return self.add(rel);
        };
        let from = self.add(input);
        let below = &self.nodes[from];
        let names: Vec<String> = keys.iter().map(|k| below.lineage[*k].clone()).collect();
        let texts: Vec<String> = calls.iter().map(|c| call_text(c, &below.lineage)).collect();
        let parts =
            format!("on {}, keys [{}], calls [{}]", below.lineage[*time], names.join(", "), texts.join(", "));
        let own = format!("window aggregate {window:?} {parts} <- {}", below.description.base);
        let description = Description::of(own, below.description.filters.clone());
        let column = |o: &WindowOutput| match o {
            WindowOutput::Key(k) => names[*k].clone(),
            WindowOutput::Call(c) => texts[*c].clone(),
            WindowOutput::Start => "window_start".to_owned(),
            WindowOutput::End => "window_end".to_owned(),
            WindowOutput::Time => "window_time".to_owned(),
        };
        let lineage = output.iter().map(column).collect();
        let (keys, calls, output) = (keys.clone(), calls.clone(), output.clone());
        let key = format!("window aggregate {window:?} {time} {keys:?} {calls:?} {output:?} {from}");
        let detail = format!("{} {parts}", super::window_text(window));
        let step = Step::WindowAggregate { keys, calls, time: *time, window: *window, output };
        let node = node_of(rel, step, from, lineage, description, detail);
        self.insert(key, node)
    }

    fn source(&mut self, rel: &Rel, table: &Arc<Table>) -> usize {
        let lineage = rel.fields.iter().map(|f| f.name().clone()).collect();
        let base = format!("source {}", table.name);
        let node = DagNode {
            step: Step::Source(table.clone()),
            inputs: Vec::new(),
            fields: rel.fields.clone(),
            changelog: rel.changelog,
            event_time: rel.event_time,
            lineage,
            description: Description::of(base.clone(), String::new()),
            detail: String::new(),
        };
        self.insert(base, node)
    }

    fn calc(&mut self, rel: &Rel, from: usize, filter: Vec<Expr>, exprs: Vec<Expr>) -> usize {
        let below = &self.nodes[from];
        let lineage: Vec<String> = exprs.iter().map(|e| show(e, &below.lineage)).collect();
        let detail = calc_text(&filter, &exprs, &below.lineage);
        let all = [below.description.filters.clone(), show_all(&filter, &below.lineage)];
        let all: Vec<String> = all.into_iter().filter(|f| !f.is_empty()).collect();
        let base = below.description.base.clone();
        let own = format!("calc [{}] <- {base}", lineage.join(", "));
        let description = Description { own, base, filters: all.join(" AND ") };
        let key = format!("calc {filter:?} {exprs:?} {:?} {from}", nullability(&rel.fields));
        let node = node_of(rel, Step::Calc { filter, exprs }, from, lineage, description, detail);
        self.insert(key, node)
    }
}

/// Filter and projection for people.
pub(super) fn calc_text(filter: &[Expr], exprs: &[Expr], names: &[String]) -> String {
    let columns: Vec<String> = exprs.iter().map(|e| show(e, names)).collect();
    let columns = format!("columns [{}]", columns.join(", "));
    if filter.is_empty() { columns } else { format!("where {}; {columns}", show_all(filter, names)) }
}

fn nullability(fields: &[Field]) -> Vec<bool> {
    fields.iter().map(Field::is_nullable).collect()
}

fn node_of(
    rel: &Rel,
    step: Step,
    from: usize,
    lineage: Vec<String>,
    description: Description,
    detail: String,
) -> DagNode {
    DagNode {
        step,
        inputs: vec![from],
        fields: rel.fields.clone(),
        changelog: rel.changelog,
        event_time: rel.event_time,
        lineage,
        description,
        detail,
    }
}

fn call_text(call: &AggregateCall, lineage: &[String]) -> String {
    let input = call.input.map_or("*", |i| lineage[i].as_str());
    let filter = call.filter.map(|f| format!(" FILTER (WHERE {})", lineage[f])).unwrap_or_default();
    format!("{}({input}){filter}", call.function)
}

/// The conjunction of filters; each is computed only where those before it hold, as what comes
/// later may fail on rows that an earlier one keeps out.
pub(super) fn all_of(filters: &[Expr]) -> Option<Expr> {
    let mut filters = filters.iter().cloned();
    let first = filters.next()?;
    Some(filters.fold(first, |all, next| {
        if !can_fail(&next) {
            return all.and(next);
        }
        let no = Expr::Literal(ScalarValue::Boolean(Some(false)), None);
        Expr::Case(Case::new(
            None,
            vec![(Box::new(Expr::IsTrue(Box::new(all))), Box::new(next))],
            Some(Box::new(no)),
        ))
    }))
}
