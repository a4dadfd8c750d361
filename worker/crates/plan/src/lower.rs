//! From DataFusion's logical plan to relations by position, with all expressions in their final
//! form: arguments cast as Flink does, operators as DataFusion's where the meaning is the same,
//! constants folded.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion_common::DFSchema;
use datafusion_common::tree_node::TreeNode;
use datafusion_expr::expr::{AggregateFunction as DfAggregate, ScalarFunction};
use datafusion_expr::logical_plan::{Aggregate, LogicalPlan, TableScan};
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Operator, ScalarUDF};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use weir_dataflow::transforms::aggregate_call::AggregateCall;
use weir_dataflow::window::WindowOutput;

use crate::Changelog;
use crate::call::{Arg, Call, Param, of_udaf, of_udf};
use crate::functions;
use crate::problem::{Fault, Place};
use crate::rel::{Node, Rel, column, position, positional, references, typed};
use crate::resolve::{Kind, Relation};
use crate::types::{Declared, common, sql_name};

/// Lowers the plans of one statement.
pub(crate) struct Lower {
    /// Where the statement starts: the place of what has no better one.
    pub(crate) start: Place,
}

type Lowered<T> = Result<T, Fault>;

impl Lower {
    fn bug(&self, what: impl std::fmt::Display) -> Fault {
        Fault::new(self.start, format!("this query is not supported yet: {what}"))
    }

    /// Lowers a plan.
    pub(crate) fn plan(&self, plan: &LogicalPlan) -> Lowered<Rel> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Filter(filter) => {
                let input = self.plan(&filter.input)?;
                let predicate = self.finish(&filter.predicate, filter.input.schema(), &input.fields)?;
                Ok(input.filtered(conjuncts(predicate)))
            }
            LogicalPlan::Projection(projection) => {
                let input = self.plan(&projection.input)?;
                let schema = projection.input.schema();
                let mut exprs = Vec::new();
                let mut fields = Vec::new();
                for (e, field) in projection.expr.iter().zip(projection.schema.fields()) {
                    let e = self.finish(e, schema, &input.fields)?;
                    let (t, nullable) =
                        typed(&e, &input.fields).map_err(|e| self.bug(e.strip_backtrace()))?;
                    fields.push(Field::new(field.name(), t, nullable));
                    exprs.push(e);
                }
                Ok(input.projected(exprs, fields))
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Union(union) => {
                let inputs = union.inputs.iter().map(|i| self.plan(i)).collect::<Lowered<Vec<_>>>()?;
                self.union(inputs)
            }
            other => Err(self.bug(other.display())),
        }
    }

    fn scan(&self, scan: &TableScan) -> Lowered<Rel> {
        let source: &dyn std::any::Any = scan.source.as_ref();
        let relation =
            source.downcast_ref::<Relation>().ok_or_else(|| self.bug("a table of another kind"))?;
        self.relation(relation)
    }

    fn relation(&self, relation: &Relation) -> Lowered<Rel> {
        match &relation.kind {
            Kind::Table(table) => {
                if table.source.is_none() {
                    return Err(Fault::new(
                        self.start,
                        format!(
                            "the table `{}` cannot be read: the connector '{}' only writes",
                            table.name, table.connector
                        ),
                    ));
                }
                Ok(Rel::scan(table.clone()))
            }
            Kind::View(plan) => self.plan(plan),
            Kind::Window(tvf, input) => {
                let input = self.relation(input)?;
                let name = &tvf.time.value;
                let place = Place::of(tvf.time.span);
                let table = &tvf.table.value;
                let Some(time) = input.fields.iter().position(|f| f.name() == name) else {
                    return Err(Fault::new(place, format!("`{table}` has no column `{name}`")));
                };
                if input.event_time != Some(time) {
                    let fault = Fault::new(place, format!("`{name}` is not the event time of `{table}`"));
                    return Err(match input.event_time.map(|t| input.fields[t].name().clone()) {
                        Some(other) => fault.hint(format!("its event time is `{other}`")),
                        None => fault.hint("declare it with WATERMARK FOR in the table"),
                    });
                }
                if input.changelog != Changelog::InsertOnly {
                    return Err(Fault::new(
                        tvf.place,
                        format!("a window over `{table}`, whose rows are updated, is not supported yet"),
                    ));
                }
                Ok(input.windowed(time, tvf.window))
            }
            Kind::Broken => Err(self.bug("a relation with problems")),
        }
    }

    fn union(&self, inputs: Vec<Rel>) -> Lowered<Rel> {
        let mut fields = inputs[0].fields.clone();
        for input in &inputs[1..] {
            if input.fields.len() != fields.len() {
                return Err(Fault::new(
                    self.start,
                    format!("UNION ALL of {} and {} columns", fields.len(), input.fields.len()),
                ));
            }
            for (a, b) in fields.iter_mut().zip(&input.fields) {
                let Some(t) = common(a.data_type(), b.data_type()) else {
                    return Err(Fault::new(
                        self.start,
                        format!(
                            "UNION ALL: the column `{}` is of type {} and {}, which have no common type",
                            a.name(),
                            sql_name(a.data_type()),
                            sql_name(b.data_type())
                        ),
                    ));
                };
                let nullable = a.is_nullable() || b.is_nullable();
                *a = Field::new(a.name(), t, nullable);
            }
        }
        let event_time = inputs[0].event_time.filter(|t| inputs.iter().all(|i| i.event_time == Some(*t)));
        let updated = inputs.iter().any(|i| i.changelog == Changelog::Retract);
        let changelog = if updated { Changelog::Retract } else { Changelog::InsertOnly };
        let mut flat = Vec::new();
        for input in inputs {
            let exprs = fields
                .iter()
                .enumerate()
                .map(|(i, f)| cast(column(i), input.fields[i].data_type(), f.data_type(), self.start));
            let exprs = exprs.collect::<Lowered<Vec<_>>>()?;
            let input = input.projected(exprs, fields.clone());
            match input.node.as_ref() {
                Node::Union { inputs } => flat.extend(inputs.iter().cloned()),
                _ => flat.push(input),
            }
        }
        Ok(Rel { node: Arc::new(Node::Union { inputs: flat }), fields, changelog, event_time })
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Lowered<Rel> {
        let input = self.plan(&aggregate.input)?;
        let schema = aggregate.input.schema();
        let mut exprs: Vec<Expr> = Vec::new();
        // The same expression is computed once.
        let add = |exprs: &mut Vec<Expr>, e: Expr| -> usize {
            exprs.iter().position(|x| *x == e).unwrap_or_else(|| {
                exprs.push(e);
                exprs.len() - 1
            })
        };
        let mut keys = Vec::new();
        for e in &aggregate.group_expr {
            let e = self.finish(e, schema, &input.fields)?;
            let (t, _) = typed(&e, &input.fields).map_err(|e| self.bug(e.strip_backtrace()))?;
            if matches!(t, DataType::Struct(_) | DataType::List(_)) {
                return Err(Fault::new(
                    self.start,
                    format!("GROUP BY over {} is not supported yet", sql_name(&t)),
                ));
            }
            keys.push(add(&mut exprs, e));
        }
        let mut calls = Vec::new();
        for e in &aggregate.aggr_expr {
            let Expr::AggregateFunction(DfAggregate { func, params }) = unaliased(e) else {
                return Err(self.bug(e));
            };
            let at = of_udaf(func).ok_or_else(|| self.bug(func.name()))?;
            let arg = params
                .args
                .first()
                .filter(|_| !at.star)
                .map(|a| self.finish(a, schema, &input.fields))
                .transpose()?;
            let t = arg
                .as_ref()
                .map(|a| typed(a, &input.fields))
                .transpose()
                .map_err(|e| self.bug(e.strip_backtrace()))?;
            let output =
                at.function.output_type(t.as_ref().map(|(t, _)| t)).map_err(|m| Fault::new(at.place, m))?;
            let filter = params.filter.as_ref().map(|f| self.finish(f, schema, &input.fields)).transpose()?;
            let input_column = arg.map(|a| add(&mut exprs, a));
            let filter = filter.map(|f| add(&mut exprs, f));
            calls.push(AggregateCall { function: at.function, input: input_column, filter, output });
        }
        let names: Vec<String> = aggregate.schema.fields().iter().map(|f| f.name().clone()).collect();
        if let Some(rel) = self.window_aggregate(&input, &exprs, &keys, &calls, &names)? {
            return Ok(rel);
        }
        let fields = self.fields_of(&exprs, &input.fields)?;
        let mut output: Vec<Field> = keys.iter().map(|k| fields[*k].clone()).collect();
        output.extend(calls.iter().map(call_field));
        for (f, name) in output.iter_mut().zip(&names) {
            *f = f.clone().with_name(name);
        }
        let input = input.projected(exprs, fields);
        let node = Node::Aggregate { input, keys, calls };
        Ok(Rel { node: Arc::new(node), fields: output, changelog: Changelog::Retract, event_time: None })
    }

    fn fields_of(&self, exprs: &[Expr], input: &[Field]) -> Lowered<Vec<Field>> {
        let field = |(i, e): (usize, &Expr)| {
            let (t, nullable) = typed(e, input).map_err(|e| self.bug(e.strip_backtrace()))?;
            Ok(Field::new(format!("f{i}"), t, nullable))
        };
        exprs.iter().enumerate().map(field).collect()
    }

    /// An aggregation whose keys hold start and end of a window is one over windows: each result
    /// is given once, when the watermark passes the window's end.
    fn window_aggregate(
        &self,
        input: &Rel,
        exprs: &[Expr],
        keys: &[usize],
        calls: &[AggregateCall],
        names: &[String],
    ) -> Lowered<Option<Rel>> {
        let fields = self.fields_of(exprs, &input.fields)?;
        let whole = input.clone().projected(exprs.to_vec(), fields.clone());
        let (window, filter, exprs) = match whole.node.as_ref() {
            Node::Calc { input, filter, exprs } => (input.clone(), filter.clone(), exprs.clone()),
            Node::Window { .. } => (whole.clone(), Vec::new(), (0..fields.len()).map(column).collect()),
            _ => return Ok(None),
        };
        let Node::Window { input: rows, time, window } = window.node.as_ref() else { return Ok(None) };
        let width = rows.fields.len();
        let of_window = |e: &Expr| position(e).filter(|i| *i >= width).map(|i| i - width);
        let parts: Vec<Option<usize>> = keys.iter().map(|k| of_window(&exprs[*k])).collect();
        let both = parts.contains(&Some(0)) && parts.contains(&Some(1));
        if !both || rows.changelog != Changelog::InsertOnly {
            return Ok(None);
        }
        let plain = |e: &Expr| references(e).iter().all(|i| *i < width);
        let args = calls.iter().flat_map(|c| c.input.into_iter().chain(c.filter));
        let others = keys.iter().zip(&parts).filter(|(_, p)| p.is_none()).map(|(k, _)| *k);
        if !filter.iter().all(plain) || !args.clone().chain(others).all(|i| plain(&exprs[i])) {
            return Err(Fault::new(
                self.start,
                "an aggregation that computes with the bounds of its window is not supported yet",
            )
            .hint("aggregate first, and compute in a query around it"));
        }
        // What goes in: the plain keys, the arguments, the time.
        let mut inputs: Vec<Expr> = Vec::new();
        let add = |inputs: &mut Vec<Expr>, e: &Expr| -> usize {
            inputs.iter().position(|x| x == e).unwrap_or_else(|| {
                inputs.push(e.clone());
                inputs.len() - 1
            })
        };
        let (mut new_keys, mut output, mut out_fields) = (Vec::new(), Vec::new(), Vec::new());
        for (k, part) in keys.iter().zip(&parts) {
            output.push(match part {
                Some(0) => WindowOutput::Start,
                Some(1) => WindowOutput::End,
                Some(_) => WindowOutput::Time,
                None => {
                    new_keys.push(add(&mut inputs, &exprs[*k]));
                    WindowOutput::Key(new_keys.len() - 1)
                }
            });
            out_fields.push(fields[*k].clone());
        }
        let mut new_calls = Vec::new();
        for (i, call) in calls.iter().enumerate() {
            let moved = |inputs: &mut Vec<Expr>, c: Option<usize>| c.map(|c| add(inputs, &exprs[c]));
            let (arg, filter) = (moved(&mut inputs, call.input), moved(&mut inputs, call.filter));
            new_calls.push(AggregateCall { input: arg, filter, ..call.clone() });
            output.push(WindowOutput::Call(i));
            out_fields.push(call_field(call));
        }
        let time = add(&mut inputs, &column(*time));
        for (f, name) in out_fields.iter_mut().zip(names) {
            *f = f.clone().with_name(name);
        }
        let event_time = output.iter().position(|o| *o == WindowOutput::Time);
        let input_fields = self.fields_of(&inputs, &rows.fields)?;
        let input = rows.clone().filtered(filter).projected(inputs, input_fields);
        let node =
            Node::WindowAggregate { input, keys: new_keys, calls: new_calls, time, window: *window, output };
        Ok(Some(Rel {
            node: Arc::new(node),
            fields: out_fields,
            changelog: Changelog::InsertOnly,
            event_time,
        }))
    }

    /// An expression in its final form, over positions.
    pub(crate) fn finish(&self, e: &Expr, schema: &DFSchema, fields: &[Field]) -> Lowered<Expr> {
        let (e, _) = self.finished(e, schema, fields)?;
        Ok(simplified(e, positional(fields)))
    }

    /// The expression and its type, which is known from its parts: to ask for it anew at every
    /// level would take time that grows with the square of the depth.
    fn finished(&self, e: &Expr, schema: &DFSchema, fields: &[Field]) -> Lowered<(Expr, Arg)> {
        match e {
            Expr::Alias(alias) => self.finished(&alias.expr, schema, fields),
            Expr::Column(c) => {
                let found = schema.maybe_index_of_column(c).and_then(|i| Some((i, fields.get(i)?)));
                let (i, field) =
                    found.ok_or_else(|| Fault::new(self.start, format!("unknown column `{}`", c.name)))?;
                Ok((column(i), Arg { data_type: field.data_type().clone(), nullable: field.is_nullable() }))
            }
            Expr::Literal(value, _) => {
                Ok((e.clone(), Arg { data_type: value.data_type(), nullable: value.is_null() }))
            }
            Expr::ScalarFunction(f) => {
                let call = of_udf(&f.func).ok_or_else(|| self.bug(f.func.name()))?;
                let args =
                    f.args.iter().map(|a| self.finished(a, schema, fields)).collect::<Lowered<Vec<_>>>()?;
                let (args, types): (Vec<_>, Vec<_>) = args.into_iter().unzip();
                self.call(call, args, &types)
            }
            other => Err(self.bug(other)),
        }
    }

    fn call(&self, call: &Call, args: Vec<Expr>, types: &[Arg]) -> Lowered<(Expr, Arg)> {
        let typing = call.typing(types)?;
        let args = args
            .into_iter()
            .zip(types)
            .zip(&typing.args)
            .map(|((arg, from), to)| cast(arg, &from.data_type, to, call.place))
            .collect::<Lowered<Vec<_>>>()?;
        let native = match call.function.native {
            Some(native) => native(call, &args, &typing).map_err(|m| Fault::new(call.place, m))?,
            None => None,
        };
        let e = native.unwrap_or_else(|| {
            let udf = Arc::new(ScalarUDF::new_from_impl(call.clone()));
            Expr::ScalarFunction(ScalarFunction::new_udf(udf, args))
        });
        if larger_than(&e, MAX_PARTS) {
            let message = format!("the expression has more than {MAX_PARTS} parts when written out");
            return Err(Fault::new(call.place, message).hint("compute a part of it in a view first"));
        }
        Ok((e, Arg { data_type: typing.result, nullable: typing.nullable }))
    }
}

/// Some calls are written out with an argument twice (COALESCE, BETWEEN, …): nested in each other,
/// a short text would become an endless expression.
const MAX_PARTS: usize = 10_000;

fn larger_than(e: &Expr, limit: usize) -> bool {
    let mut parts = 0;
    e.exists(|_| {
        parts += 1;
        Ok(parts > limit)
    })
    .unwrap_or(true)
}

fn call_field(call: &AggregateCall) -> Field {
    let count = call.function == weir_dataflow::transforms::aggregate_call::AggregateFunction::Count;
    Field::new("call", call.output.clone(), !count)
}

fn unaliased(e: &Expr) -> &Expr {
    match e {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The parts of a conjunction.
fn conjuncts(e: Expr) -> Vec<Expr> {
    match e {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            let mut all = conjuncts(*left);
            all.extend(conjuncts(*right));
            all
        }
        other => vec![other],
    }
}

/// `CAST(e AS to)`, if the types differ.
pub(crate) fn cast(e: Expr, from: &DataType, to: &DataType, place: Place) -> Lowered<Expr> {
    if from == to {
        return Ok(e);
    }
    let function = functions::find("CAST").ok_or_else(|| Fault::new(place, "there is no CAST"))?;
    let declared = Declared { data_type: to.clone(), nullable: true, length: None };
    let call = Call::new(function, Param::Type(declared), place, 0);
    let typing = call.typing(&[Arg { data_type: from.clone(), nullable: true }])?;
    let _ = typing;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(call)), vec![e])))
}

/// With constants folded, if that keeps the type.
pub(crate) fn simplified(e: Expr, positions: DFSchema) -> Expr {
    let Ok(before) = e.get_type(&positions) else { return e };
    let positions = Arc::new(positions);
    let context = SimplifyContext::builder().with_schema(positions.clone()).build();
    match ExprSimplifier::new(context).simplify(e.clone()) {
        Ok(simple) if simple.get_type(positions.as_ref()).is_ok_and(|after| after == before) => simple,
        _ => e,
    }
}
