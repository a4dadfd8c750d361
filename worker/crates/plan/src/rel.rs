//! Relations by position: what a plan is lowered to before it becomes a graph. Columns are known by
//! their position only, so that names of the text do not matter to anything that follows.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::{Expr, ExprSchemable};
use weir_dataflow::transforms::aggregate_call::AggregateCall;
use weir_dataflow::window::{Window, WindowOutput};

use crate::Changelog;
use crate::call::of_udf;
use crate::catalog::Table;

/// A relation and what is known of its rows.
#[derive(Clone)]
pub(crate) struct Rel {
    pub(crate) node: Arc<Node>,
    /// Names (as the user gave them), types, nullability.
    pub(crate) fields: Vec<Field>,
    pub(crate) changelog: Changelog,
    /// The column with watermarked event time.
    pub(crate) event_time: Option<usize>,
}

/// How the rows come about.
pub(crate) enum Node {
    /// All columns of a table, computed ones too.
    Scan(Arc<Table>),
    /// Rows for which all of `filter` holds, and columns computed from them.
    Calc { input: Rel, filter: Vec<Expr>, exprs: Vec<Expr> },
    /// The input's columns, `window_start`, `window_end`, `window_time`.
    Window { input: Rel, time: usize, window: Window },
    /// Keys, then calls.
    Aggregate { input: Rel, keys: Vec<usize>, calls: Vec<AggregateCall> },
    /// One row per key and window.
    WindowAggregate {
        input: Rel,
        keys: Vec<usize>,
        calls: Vec<AggregateCall>,
        time: usize,
        window: Window,
        output: Vec<WindowOutput>,
    },
    /// Rows of all.
    Union { inputs: Vec<Rel> },
}

/// A reference to column `i`.
pub(crate) fn column(i: usize) -> Expr {
    Expr::Column(Column::new_unqualified(i.to_string()))
}

/// The position that a column reference means.
pub(crate) fn position(e: &Expr) -> Option<usize> {
    match e {
        Expr::Column(c) => c.name.parse().ok(),
        _ => None,
    }
}

/// The columns of `fields`, named by their positions, for typing and compiling expressions.
pub(crate) fn positional(fields: &[Field]) -> DFSchema {
    let fields: Vec<Field> =
        fields.iter().enumerate().map(|(i, f)| f.clone().with_name(i.to_string())).collect();
    // Names that are positions are unique, so this cannot fail; an empty schema makes errors later.
    DFSchema::from_unqualified_fields(fields.into(), HashMap::new()).unwrap_or_else(|_| DFSchema::empty())
}

impl Rel {
    pub(crate) fn scan(table: Arc<Table>) -> Self {
        let fields = table.columns.iter().map(|c| c.field.clone()).collect();
        let event_time = table.watermark.as_ref().map(|w| w.column);
        Self { node: Arc::new(Node::Scan(table)), fields, changelog: Changelog::InsertOnly, event_time }
    }

    /// Keeps rows for which `filter` holds.
    pub(crate) fn filtered(self, filter: Vec<Expr>) -> Self {
        if filter.is_empty() {
            return self;
        }
        // A filter that does not look at the window goes below it: fewer rows are multiplied.
        if let Node::Window { input, time, window } = self.node.as_ref() {
            let width = input.fields.len();
            let (below, above): (Vec<_>, Vec<_>) =
                filter.into_iter().partition(|e| references(e).iter().all(|i| *i < width));
            let input = input.clone().filtered(below);
            let event_time = self.event_time;
            let node = Arc::new(Node::Window { input, time: *time, window: *window });
            return Self { node, event_time, ..self }.filtered_here(above);
        }
        self.filtered_here(filter)
    }

    fn filtered_here(self, filter: Vec<Expr>) -> Self {
        if filter.is_empty() {
            return self;
        }
        let exprs = (0..self.fields.len()).map(column).collect();
        let fields = self.fields.clone();
        self.calc(filter, exprs, fields)
    }

    /// Computes columns.
    pub(crate) fn projected(self, exprs: Vec<Expr>, fields: Vec<Field>) -> Self {
        self.calc(Vec::new(), exprs, fields)
    }

    fn calc(self, filter: Vec<Expr>, exprs: Vec<Expr>, fields: Vec<Field>) -> Self {
        let identity =
            exprs.len() == self.fields.len() && exprs.iter().enumerate().all(|(i, e)| position(e) == Some(i));
        // A NOT NULL that is only now asked for must be checked.
        let stricter =
            fields.iter().zip(&self.fields).any(|(new, old)| !new.is_nullable() && old.is_nullable());
        let identity = identity && !stricter;
        if identity && filter.is_empty() {
            return Self { fields, ..self };
        }
        let event_time = self.event_time.and_then(|t| exprs.iter().position(|e| position(e) == Some(t)));
        let changelog = self.changelog;
        if let Node::Calc { input, filter: inner_filter, exprs: inner } = self.node.as_ref() {
            let mut all = inner_filter.clone();
            all.extend(filter.iter().map(|e| substituted(e, inner)));
            if once(inner, filter.iter().chain(&exprs)) {
                let exprs = exprs.iter().map(|e| substituted(e, inner)).collect();
                let node = Node::Calc { input: input.clone(), filter: all, exprs };
                return Self { node: Arc::new(node), fields, changelog, event_time };
            }
            let node = Node::Calc { input: input.clone(), filter: all, exprs: inner.clone() };
            let below = Self { node: Arc::new(node), ..self.clone() };
            if identity {
                return Self { fields, ..below };
            }
            let node = Node::Calc { input: below, filter: Vec::new(), exprs };
            return Self { node: Arc::new(node), fields, changelog, event_time };
        }
        Self { node: Arc::new(Node::Calc { input: self, filter, exprs }), fields, changelog, event_time }
    }

    /// The relation with only the columns of `needed`, in their order, reading no more than that.
    pub(crate) fn pruned(&self, needed: &[usize]) -> Self {
        let pick = |rel: Self, columns: &[usize]| {
            let fields = columns.iter().map(|i| rel.fields[*i].clone()).collect();
            rel.projected(columns.iter().map(|i| column(*i)).collect(), fields)
        };
        match self.node.as_ref() {
            Node::Scan(_) => pick(self.clone(), needed),
            Node::Calc { input, filter, exprs } => {
                let exprs: Vec<Expr> = needed.iter().map(|i| exprs[*i].clone()).collect();
                let fields = needed.iter().map(|i| self.fields[*i].clone()).collect();
                // A scan is narrowed when all its readers are known.
                if matches!(input.node.as_ref(), Node::Scan(_)) {
                    return input.clone().calc(filter.clone(), exprs, fields);
                }
                let used: BTreeSet<usize> = filter.iter().chain(&exprs).flat_map(references).collect();
                let used: Vec<usize> = used.into_iter().collect();
                let narrow = input.pruned(&used);
                let moved = |e: &Expr| remapped(e, &used);
                narrow.calc(filter.iter().map(moved).collect(), exprs.iter().map(moved).collect(), fields)
            }
            Node::Window { input, time, window } => {
                let width = input.fields.len();
                let mut used: BTreeSet<usize> = needed.iter().copied().filter(|i| *i < width).collect();
                used.insert(*time);
                let used: Vec<usize> = used.into_iter().collect();
                let rank = |i: usize| used.iter().position(|u| *u == i).unwrap_or(0);
                let narrow = input.pruned(&used);
                let rel = narrow.windowed(rank(*time), *window);
                let columns: Vec<usize> = needed
                    .iter()
                    .map(|i| if *i < width { rank(*i) } else { used.len() + i - width })
                    .collect();
                pick(rel, &columns)
            }
            Node::Aggregate { input, keys, calls } => {
                let input = input.pruned(&(0..input.fields.len()).collect::<Vec<_>>());
                let node = Node::Aggregate { input, keys: keys.clone(), calls: calls.clone() };
                pick(Self { node: Arc::new(node), ..self.clone() }, needed)
            }
            Node::WindowAggregate { input, keys, calls, time, window, output } => {
                let input = input.pruned(&(0..input.fields.len()).collect::<Vec<_>>());
                let (keys, calls, output) = (keys.clone(), calls.clone(), output.clone());
                let node = Node::WindowAggregate { input, keys, calls, time: *time, window: *window, output };
                pick(Self { node: Arc::new(node), ..self.clone() }, needed)
            }
            Node::Union { inputs } => {
                let node = Node::Union { inputs: inputs.iter().map(|i| i.pruned(needed)).collect() };
                let fields = needed.iter().map(|i| self.fields[*i].clone()).collect();
                let event_time = self.event_time.and_then(|t| needed.iter().position(|i| *i == t));
                Self { node: Arc::new(node), fields, changelog: self.changelog, event_time }
            }
        }
    }

    /// The rows with their windows.
    pub(crate) fn windowed(self, time: usize, window: Window) -> Self {
        let mut fields = self.fields.clone();
        for name in crate::window_tvf::COLUMNS {
            fields.push(Field::new(name, crate::types::TIMESTAMP_3, false));
        }
        let event_time = Some(fields.len() - 1);
        let changelog = self.changelog;
        Self { node: Arc::new(Node::Window { input: self, time, window }), fields, changelog, event_time }
    }
}

/// The columns that an expression reads.
pub(crate) fn references(e: &Expr) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    // The closure does not fail.
    let _ = e.apply(|e| {
        found.extend(position(e));
        Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
    });
    found
}

/// The expression with each column replaced.
pub(crate) fn replaced(e: &Expr, f: impl Fn(usize) -> Expr) -> Expr {
    let replace = |e: Expr| {
        Ok(match position(&e) {
            Some(i) => Transformed::yes(f(i)),
            None => Transformed::no(e),
        })
    };
    // The closure does not fail.
    e.clone().transform_up(replace).map_or_else(|_| e.clone(), |t| t.data)
}

/// The expression over what its columns are computed from.
pub(crate) fn substituted(e: &Expr, by: &[Expr]) -> Expr {
    replaced(e, |i| by.get(i).cloned().unwrap_or_else(|| column(i)))
}

/// The expression over the columns that are left.
fn remapped(e: &Expr, left: &[usize]) -> Expr {
    replaced(e, |i| column(left.iter().position(|u| *u == i).unwrap_or(i)))
}

/// Whether no costly expression of `inner` is read more than once.
fn once<'a>(inner: &[Expr], users: impl Iterator<Item = &'a Expr>) -> bool {
    let mut counts = vec![0_usize; inner.len()];
    for user in users {
        let _ = user.apply(|e| {
            if let Some(count) = position(e).and_then(|i| counts.get_mut(i)) {
                *count += 1;
            }
            Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
        });
    }
    inner.iter().zip(counts).all(|(e, n)| n <= 1 || cheap(e))
}

/// Columns, their fields, and constants.
pub(crate) fn cheap(e: &Expr) -> bool {
    match e {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::ScalarFunction(f) => {
            of_udf(&f.func).is_some_and(|c| c.function.name == "field") && f.args.iter().all(cheap)
        }
        _ => false,
    }
}

/// Type and nullability of an expression over these columns.
pub(crate) fn typed(e: &Expr, fields: &[Field]) -> datafusion_common::Result<(DataType, bool)> {
    let schema = positional(fields);
    Ok((e.get_type(&schema)?, e.nullable(&schema)?))
}
