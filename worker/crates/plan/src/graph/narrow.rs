//! What is read of each table: the columns and fields that anything uses, and the comparisons that
//! hold for every reader.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion_common::ScalarValue;
use datafusion_expr::{BinaryExpr, Expr, Operator};
use weir_connectors::{ColumnPath, CompareOp, Comparison, Scan};
use weir_dataflow::{SourceNode, WatermarkSpec};

use super::dag::{Dag, Step};
use crate::PlanOptions;
use crate::call::{Param, of_udf};
use crate::catalog::{Origin, Table, Watermark};
use crate::expression::compile;
use crate::rel::{column, position, replaced};
use crate::show::show;

/// A source vertex's code.
pub(super) struct Planned {
    pub(super) node: SourceNode,
    pub(super) detail: String,
}

/// By the position of the source's node.
pub(super) type Sources = HashMap<usize, Planned>;

/// Plans all sources, and turns their readers to the columns that the sources then give.
pub(super) fn sources(dag: &mut Dag, options: &PlanOptions) -> Result<Sources, String> {
    let mut planned = Sources::new();
    for i in 0..dag.nodes.len() {
        if let Step::Source(table) = &dag.nodes[i].step {
            let table = table.clone();
            planned.insert(i, source(dag, i, &table, options)?);
        }
    }
    Ok(planned)
}

/// A column of a source's rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Path(ColumnPath),
    /// A computed column of the table, by its position.
    Computed(usize),
}

fn source(dag: &mut Dag, i: usize, table: &Arc<Table>, options: &PlanOptions) -> Result<Planned, String> {
    let readers: Vec<usize> = (0..dag.nodes.len()).filter(|r| dag.nodes[*r].inputs.contains(&i)).collect();
    // Watermarks cost; they are made if something waits for them.
    let watermark = table.watermark.as_ref().filter(|_| awaited(dag, i));
    let narrow = Narrow { table, keep_computed: watermark.is_some() };
    for r in &readers {
        if let Step::Calc { filter, exprs } = &mut dag.nodes[*r].step {
            for e in filter.iter_mut().chain(exprs) {
                *e = narrow.inlined(e);
            }
        }
    }
    let columns: Vec<Field> = table.columns.iter().map(|c| c.field.clone()).collect();
    for r in &readers {
        if let Step::Calc { filter, exprs } = &mut dag.nodes[*r].step {
            let fixed = narrow.fixed(filter);
            for e in exprs.iter_mut().filter(|_| !fixed.is_empty()) {
                *e = known(e, &fixed, &columns);
            }
        }
    }
    // Which rows pass decides on the watermark: with one, all rows are read.
    let filters = if watermark.is_some() { Vec::new() } else { shared_filters(dag, &readers, &narrow) };
    let connector =
        table.source.as_ref().ok_or_else(|| format!("the table {} cannot be read", table.name))?;
    let first = narrow.wanted(dag, &readers, &[], watermark);
    let (mut factory, mut taken) =
        connector.scan(&Scan { columns: first.raw(&narrow), filters: filters.clone() });
    let mut wanted = first;
    // What the source compares by itself need not be read.
    let done: Vec<Comparison> =
        filters.iter().zip(&taken).filter(|(_, t)| **t).map(|(f, _)| f.clone()).collect();
    let without = narrow.wanted(dag, &readers, &done, watermark);
    let mut filters = filters;
    if without != wanted {
        let (again, all) = connector.scan(&Scan { columns: without.raw(&narrow), filters: done.clone() });
        if all.iter().all(|t| *t) {
            (factory, taken, wanted, filters) = (again, all, without, done);
        }
    }
    let visible = wanted.visible.clone();
    let raw = wanted.raw(&narrow);
    let fields: Vec<Field> = raw.iter().map(|p| narrow.field(p)).collect();
    let schema = factory.schema();
    let fits = schema.fields().len() == fields.len()
        && schema.fields().iter().zip(&fields).all(|(a, b)| a.data_type() == b.data_type());
    if !fits {
        return Err(format!(
            "the connector {} gives other columns than it was asked for: {schema:?}",
            table.connector
        ));
    }
    let visible: Vec<Given> = visible.into_iter().collect();
    let out_fields: Vec<Field> = visible.iter().map(|g| narrow.given_field(g)).collect();
    let raw_given: Vec<Given> = raw.iter().cloned().map(Given::Path).collect();
    let names: Vec<String> = table.columns.iter().map(|c| c.field.name().clone()).collect();
    let calc = if visible == raw_given {
        None
    } else {
        let over_raw = |g: &Given| match g {
            Given::Path(path) => narrow.moved(&narrow.path_expr(path), &raw_given),
            Given::Computed(c) => narrow.moved(&narrow.computed(*c), &raw_given),
        };
        let exprs: Vec<Expr> = visible.iter().map(over_raw).collect();
        let lineage: Vec<String> = fields.iter().map(|f| f.name().clone()).collect();
        Some(Arc::new(super::calc(&[], &exprs, &fields, &out_fields, &lineage)?))
    };
    let watermark_spec = match watermark {
        Some(mark) => Some(WatermarkSpec {
            expression: compile(
                &narrow.moved(&mark.expression, &visible),
                &out_fields,
                show(&mark.expression, &names),
            )?,
            idle_timeout: mark.idle_timeout.or(options.idle_timeout),
        }),
        None => None,
    };
    let detail = detail(table, &fields, &filters, &taken, watermark.map(|m| show(&m.expression, &names)));
    for r in &readers {
        if let Step::Calc { filter, exprs } = &mut dag.nodes[*r].step {
            filter.retain(|e| {
                let comparison = narrow.comparison(e);
                !comparison.is_some_and(|c| filters.iter().zip(&taken).any(|(f, t)| *t && *f == c))
            });
            for e in filter.iter_mut().chain(exprs) {
                *e = narrow.moved(e, &visible);
            }
        }
    }
    let names: Vec<String> = visible.iter().map(|g| narrow.given_field(g).name().clone()).collect();
    for r in &readers {
        let node = &mut dag.nodes[*r];
        if let Step::Calc { filter, exprs } = &node.step {
            node.detail = super::dag::calc_text(filter, exprs, &names);
        }
    }
    let node = &mut dag.nodes[i];
    node.event_time = watermark.and_then(|m| visible.iter().position(|g| *g == narrow.given(m.column)));
    node.lineage = names;
    node.fields = out_fields;
    Ok(Planned { node: SourceNode { factory, calc, watermark: watermark_spec }, detail })
}

fn detail(
    table: &Table,
    fields: &[Field],
    filters: &[Comparison],
    taken: &[bool],
    watermark: Option<String>,
) -> String {
    let columns: Vec<_> = fields.iter().map(|f| f.name().clone()).collect();
    let mut text = format!("connector {}, columns [{}]", table.connector, columns.join(", "));
    let taken: Vec<String> =
        filters.iter().zip(taken).filter(|(_, t)| **t).map(|(f, _)| comparison_text(table, f)).collect();
    if !taken.is_empty() {
        text.push_str(&format!(", where {}", taken.join(" AND ")));
    }
    if let Some(mark) = watermark {
        text.push_str(&format!(", watermark {mark}"));
    }
    text
}

fn comparison_text(table: &Table, c: &Comparison) -> String {
    let column = table.physical.field(c.path.column);
    let name = match (c.path.field, column.data_type()) {
        (Some(f), DataType::Struct(fields)) => format!("{}.{}", column.name(), fields[f].name()),
        _ => column.name().clone(),
    };
    let op = match c.op {
        CompareOp::Eq => "=",
        CompareOp::NotEq => "<>",
        CompareOp::Lt => "<",
        CompareOp::LtEq => "<=",
        CompareOp::Gt => ">",
        CompareOp::GtEq => ">=",
    };
    format!("{name} {op} {}", c.value)
}

/// Whether anything that works by event time is fed by a node.
fn awaited(dag: &Dag, source: usize) -> bool {
    let mut fed = vec![false; dag.nodes.len()];
    fed[source] = true;
    for i in 0..dag.nodes.len() {
        fed[i] |= dag.nodes[i].inputs.iter().any(|n| fed[*n]);
    }
    dag.nodes
        .iter()
        .zip(fed)
        .any(|(n, fed)| fed && matches!(n.step, Step::Window { .. } | Step::WindowAggregate { .. }))
}

/// The comparisons that hold for what every reader wants.
fn shared_filters(dag: &Dag, readers: &[usize], narrow: &Narrow) -> Vec<Comparison> {
    let mut shared: Option<Vec<Comparison>> = None;
    for r in readers {
        let Step::Calc { filter, .. } = &dag.nodes[*r].step else { return Vec::new() };
        let own: Vec<Comparison> = filter.iter().filter_map(|e| narrow.comparison(e)).collect();
        shared = Some(match shared {
            None => own,
            Some(all) => all.into_iter().filter(|c| own.contains(c)).collect(),
        });
    }
    shared.unwrap_or_default()
}

/// The columns that readers and the watermark see.
#[derive(PartialEq)]
struct Wanted {
    visible: BTreeSet<Given>,
}

impl Wanted {
    /// What the source itself gives: also what computed columns are computed from.
    fn raw(&self, narrow: &Narrow) -> Vec<ColumnPath> {
        let mut raw = BTreeSet::new();
        for given in &self.visible {
            narrow.raw(given, &mut raw);
        }
        raw.into_iter().collect()
    }
}

struct Narrow<'a> {
    table: &'a Table,
    /// Whether computed columns are computed at the source, before the watermark.
    keep_computed: bool,
}

impl Narrow<'_> {
    /// What is used besides the filters that are `done`.
    fn wanted(
        &self,
        dag: &Dag,
        readers: &[usize],
        done: &[Comparison],
        watermark: Option<&Watermark>,
    ) -> Wanted {
        let mut visible = BTreeSet::new();
        for r in readers {
            if let Step::Calc { filter, exprs } = &dag.nodes[*r].step {
                let left = filter.iter().filter(|e| self.comparison(e).is_none_or(|c| !done.contains(&c)));
                left.chain(exprs).for_each(|e| self.uses(e, &mut visible));
            }
        }
        if let Some(mark) = watermark {
            self.uses(&mark.expression, &mut visible);
            visible.insert(self.given(mark.column));
        }
        Wanted { visible }
    }

    fn given(&self, column: usize) -> Given {
        match &self.table.columns[column].from {
            Origin::Physical(p) => Given::Path(ColumnPath { column: *p, field: None }),
            Origin::Computed(_) => Given::Computed(column),
        }
    }

    fn computed(&self, i: usize) -> Expr {
        match &self.table.columns[i].from {
            Origin::Computed(e) => e.clone(),
            Origin::Physical(_) => column(i),
        }
    }

    /// With computed columns replaced by what they are.
    fn inlined(&self, e: &Expr) -> Expr {
        if self.keep_computed { e.clone() } else { replaced(e, |i| self.computed(i)) }
    }

    /// The path that an expression is, if it is one.
    fn path(&self, e: &Expr) -> Option<ColumnPath> {
        if let Some(i) = position(e) {
            return match &self.table.columns.get(i)?.from {
                Origin::Physical(p) => Some(ColumnPath { column: *p, field: None }),
                Origin::Computed(_) => None,
            };
        }
        let Expr::ScalarFunction(f) = e else { return None };
        let call = of_udf(&f.func).filter(|c| c.function.name == "field")?;
        let Param::Text(name) = &call.param else { return None };
        let ColumnPath { column, field: None } = self.path(f.args.first()?)? else { return None };
        let DataType::Struct(fields) = self.table.physical.field(column).data_type() else { return None };
        fields.iter().position(|f| f.name() == name).map(|field| ColumnPath { column, field: Some(field) })
    }

    /// The path as an expression over the table's columns.
    fn path_expr(&self, path: &ColumnPath) -> Expr {
        // Only used through `moved`, which looks paths up: any expression of this path will do.
        let physical =
            |c: &crate::catalog::TableColumn| matches!(c.from, Origin::Physical(p) if p == path.column);
        let i = self.table.columns.iter().position(physical).unwrap_or(0);
        match (path.field, self.table.physical.field(path.column).data_type()) {
            (Some(f), DataType::Struct(fields)) => crate::functions::field_of(column(i), fields[f].name()),
            _ => column(i),
        }
    }

    fn uses(&self, e: &Expr, found: &mut BTreeSet<Given>) {
        if let Some(path) = self.path(e) {
            found.insert(Given::Path(path));
            return;
        }
        if let Some(i) = position(e) {
            found.insert(self.given(i));
            return;
        }
        for child in children(e) {
            self.uses(child, found);
        }
    }

    fn raw(&self, given: &Given, found: &mut BTreeSet<ColumnPath>) {
        match given {
            Given::Path(path) => {
                found.insert(path.clone());
            }
            Given::Computed(c) => {
                let mut inner = BTreeSet::new();
                self.uses(&self.computed(*c), &mut inner);
                for g in inner {
                    if let Given::Path(path) = g {
                        found.insert(path);
                    }
                }
            }
        }
    }

    fn field(&self, path: &ColumnPath) -> Field {
        let column = self.table.physical.field(path.column);
        match (path.field, column.data_type()) {
            (Some(f), DataType::Struct(fields)) => {
                let nullable = column.is_nullable() || fields[f].is_nullable();
                Field::new(
                    format!("{}.{}", column.name(), fields[f].name()),
                    fields[f].data_type().clone(),
                    nullable,
                )
            }
            _ => column.clone(),
        }
    }

    fn given_field(&self, given: &Given) -> Field {
        match given {
            Given::Path(path) => self.field(path),
            Given::Computed(c) => self.table.columns[*c].field.clone(),
        }
    }

    /// The expression over the columns that are given.
    fn moved(&self, e: &Expr, given: &[Given]) -> Expr {
        use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
        let find = |g: &Given| given.iter().position(|x| x == g);
        let step = |e: Expr| {
            let found = match self.path(&e) {
                Some(path) => find(&Given::Path(path)),
                None => position(&e).and_then(|i| find(&self.given(i))),
            };
            Ok(match found {
                Some(i) => Transformed::new(column(i), true, TreeNodeRecursion::Jump),
                None => Transformed::no(e),
            })
        };
        // The closure does not fail.
        e.clone().transform_down(step).map_or_else(|_| e.clone(), |t| t.data)
    }

    /// The integer columns that a filter lets through with one value only, and that value.
    fn fixed(&self, filter: &[Expr]) -> Vec<(Expr, Expr)> {
        let one = |e: &Expr| {
            let comparison = self.comparison(e).filter(|c| c.op == CompareOp::Eq)?;
            let Expr::BinaryExpr(BinaryExpr { left, right, .. }) = e else { return None };
            let (path, value) = if integer(right).is_some() { (left, right) } else { (right, left) };
            let literal = matches!(value.as_ref(), Expr::Literal(v, _) if v.data_type() == *self.field(&comparison.path).data_type());
            literal.then(|| (path.as_ref().clone(), value.as_ref().clone()))
        };
        filter.iter().filter_map(one).collect()
    }

    /// The comparison of an integer column with a literal that an expression is.
    fn comparison(&self, e: &Expr) -> Option<Comparison> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = e else { return None };
        let (path, op, value) = match (integer(right), integer(left)) {
            (Some(v), _) => (self.path(left)?, compare(*op)?, v),
            (None, Some(v)) => (self.path(right)?, compare(op.swap()?)?, v),
            _ => return None,
        };
        crate::types::is_integer(self.field(&path).data_type()).then_some(Comparison { path, op, value })
    }
}

/// An expression in rows where some others have these values.
fn known(e: &Expr, fixed: &[(Expr, Expr)], columns: &[Field]) -> Expr {
    use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
    let step = |e: Expr| {
        Ok(match fixed.iter().find(|(x, _)| *x == e) {
            Some((_, value)) => Transformed::new(value.clone(), true, TreeNodeRecursion::Jump),
            None => Transformed::no(e),
        })
    };
    match e.clone().transform_down(step) {
        Ok(t) if t.transformed => crate::lower::simplified(t.data, crate::rel::positional(columns)),
        _ => e.clone(),
    }
}

fn children(e: &Expr) -> Vec<&Expr> {
    use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = Vec::new();
    // The closure does not fail.
    let _ = e.apply_children(|c| {
        found.push(c);
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn integer(e: &Expr) -> Option<i64> {
    match e {
        Expr::Literal(ScalarValue::Int8(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int16(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int32(Some(v)), _) => Some(i64::from(*v)),
        Expr::Literal(ScalarValue::Int64(Some(v)), _) => Some(*v),
        _ => None,
    }
}

fn compare(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::LtEq,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::GtEq,
        _ => return None,
    })
}
