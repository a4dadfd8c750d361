//! Names: which table, view and column each means. DataFusion's `SqlToRel` does the work over a
//! rewritten query; its errors come back as faults with a place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Column, DFSchema, DataFusionError, Result, SchemaError, TableReference, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ContextProvider, ExprPlanner, PlannerResult};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion_sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{self, Query};

use crate::call::{Call, Param, external};
use crate::desugar::{Desugar, number_of};
use crate::functions;
use crate::problem::{Fault, Place, nearest};
use crate::types::TIMESTAMP_3;
use crate::window_tvf::{self, Tvf};

/// The tables and views of a job, by name.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) relations: BTreeMap<String, Arc<Relation>>,
}

/// Something that a query can read.
pub(crate) struct Relation {
    pub(crate) schema: SchemaRef,
    pub(crate) kind: Kind,
}

/// What a name stands for.
pub(crate) enum Kind {
    Table(Arc<crate::catalog::Table>),
    View(Box<LogicalPlan>),
    /// A window table function over a relation.
    Window(Tvf, Arc<Relation>),
    /// Declared, but with problems of its own: what uses it says nothing more.
    Broken,
}

impl TableSource for Relation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        match &self.kind {
            Kind::View(plan) => Some(Cow::Borrowed(plan)),
            _ => None,
        }
    }
}

/// A marker: the cause has been told already.
const BROKEN: &str = "weir: a relation with problems of its own";

struct Names<'a> {
    catalog: &'a Catalog,
    desugar: &'a Desugar,
    options: ConfigOptions,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl<'a> Names<'a> {
    fn new(catalog: &'a Catalog, desugar: &'a Desugar) -> Self {
        Self { catalog, desugar, options: ConfigOptions::default(), planners: vec![Arc::new(FieldAccess)] }
    }

    fn relation(&self, name: &str) -> Result<Arc<Relation>> {
        match self.catalog.relations.get(name) {
            Some(relation) if matches!(relation.kind, Kind::Broken) => {
                Err(DataFusionError::Internal(BROKEN.into()))
            }
            Some(relation) => Ok(relation.clone()),
            None => {
                // The place is found by the name.
                let place = Place { line: 0, column: 0, length: 0 };
                let fault = Fault::new(place, format!("unknown table `{name}`"));
                let known = self.catalog.relations.keys().map(String::as_str);
                Err(external(match nearest(name, known) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint("tables and views are declared before they are used"),
                }))
            }
        }
    }

    fn window(&self, number: usize) -> Result<Arc<Relation>> {
        let Some(tvf) = self.desugar.windows.get(number) else { return plan_err!("no window {number}") };
        let input = self.relation(&tvf.table.value)?;
        let mut fields: Vec<FieldRef> = input.schema.fields().iter().cloned().collect();
        for name in window_tvf::COLUMNS {
            if input.schema.index_of(name).is_ok() {
                let message = format!("`{}` has a column `{name}` already", tvf.table.value);
                return Err(external(Fault::new(tvf.place, message)));
            }
            fields.push(Arc::new(Field::new(name, TIMESTAMP_3, false)));
        }
        Ok(Arc::new(Relation {
            schema: Arc::new(Schema::new(fields)),
            kind: Kind::Window(tvf.clone(), input),
        }))
    }
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match window_tvf::number_of(name.table()) {
            Some(number) => Ok(self.window(number)?),
            None => Ok(self.relation(name.table())?),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let udf = self.desugar.scalars.get(number_of(name)?)?;
        (udf.name() == name).then(|| udf.clone())
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        let udaf = self.desugar.aggregates.get(number_of(name)?)?;
        (udaf.name() == name).then(|| udaf.clone())
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_window_meta(&self, _: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// `row.field` as calls of `field`.
#[derive(Debug)]
struct FieldAccess;

impl ExprPlanner for FieldAccess {
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let Some(access) = functions::find("field") else { return plan_err!("no field access") };
        let mut e = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        for name in nested {
            // The place is found by the path.
            let place = Place { line: 0, column: 0, length: 0 };
            let call = Call::new(access, Param::Text(name.clone()), place, 0);
            e = Expr::ScalarFunction(ScalarFunction::new_udf(
                Arc::new(ScalarUDF::new_from_impl(call)),
                vec![e],
            ));
        }
        Ok(PlannerResult::Planned(e))
    }
}

fn options() -> ParserOptions {
    ParserOptions { collect_spans: true, ..ParserOptions::new() }
        .with_enable_ident_normalization(false)
        .with_parse_float_as_decimal(true)
}

/// The plan of a rewritten query.
pub(crate) fn query(
    catalog: &Catalog,
    desugar: &Desugar,
    query: Query,
    start: Place,
) -> std::result::Result<LogicalPlan, Option<Fault>> {
    let names = Names::new(catalog, desugar);
    let tables = tables(&query);
    let planned = SqlToRel::new_with_options(&names, options())
        .sql_statement_to_plan(ast::Statement::Query(Box::new(query)));
    planned.map_err(|e| fault(e, desugar, &tables, start))
}

/// A rewritten expression over the columns of a table.
pub(crate) fn expression(
    catalog: &Catalog,
    desugar: &Desugar,
    e: ast::Expr,
    schema: &DFSchema,
    start: Place,
) -> std::result::Result<Expr, Option<Fault>> {
    use datafusion_expr::ExprSchemable;
    let names = Names::new(catalog, desugar);
    let planned =
        SqlToRel::new_with_options(&names, options()).sql_to_expr(e, schema, &mut PlannerContext::new());
    // Types are checked when they are asked for.
    planned.and_then(|e| e.get_type(schema).map(|_| e)).map_err(|e| fault(e, desugar, &[], start))
}

/// All table names of a query, with their places.
fn tables(query: &Query) -> Vec<(String, Place)> {
    use datafusion_sql::sqlparser::ast::Spanned;
    use std::ops::ControlFlow;
    let mut found = Vec::new();
    let _ = ast::visit_relations(query, |name| {
        let last = name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.clone()).unwrap_or_default();
        found.push((last, Place::of(name.span())));
        ControlFlow::<()>::Continue(())
    });
    found
}

/// What an error of DataFusion means to the user, and where; `None` if it was told already.
fn fault(
    error: DataFusionError,
    desugar: &Desugar,
    tables: &[(String, Place)],
    start: Place,
) -> Option<Fault> {
    let mut error = error;
    let mut place = None;
    loop {
        error = match error {
            DataFusionError::Context(_, inner) => *inner,
            DataFusionError::Diagnostic(diagnostic, inner) => {
                place = place.or_else(|| diagnostic.span.map(of_span));
                *inner
            }
            other => break Some(told(other, desugar, tables, place, start)?),
        };
    }
}

fn of_span(span: datafusion_common::Span) -> Place {
    let length =
        if span.start.line == span.end.line { span.end.column.saturating_sub(span.start.column) } else { 0 };
    Place { line: span.start.line as u32, column: span.start.column as u32, length: length as u32 }
}

fn told(
    error: DataFusionError,
    desugar: &Desugar,
    tables: &[(String, Place)],
    place: Option<Place>,
    start: Place,
) -> Option<Fault> {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Fault>() {
            Ok(fault) => Some(placed(*fault, desugar, tables, start)),
            Err(other) => Some(Fault::new(place.unwrap_or(start), other.to_string())),
        },
        DataFusionError::Internal(text) if text.starts_with(BROKEN) => None,
        DataFusionError::SchemaError(inner, _) => Some(schema_fault(&inner, desugar, place, start)),
        other => {
            let text = other.strip_backtrace();
            let text = text
                .trim_start_matches("Error during planning: ")
                .trim_start_matches("This feature is not implemented: ");
            Some(Fault::new(place.unwrap_or(start), readable(text)))
        }
    }
}

/// Finds the place of a fault that only knows a name.
fn placed(fault: Fault, desugar: &Desugar, tables: &[(String, Place)], start: Place) -> Fault {
    if fault.place.line != 0 {
        return fault;
    }
    let quoted: Vec<&str> = fault.message.split('`').skip(1).step_by(2).collect();
    let name = quoted.first().copied().unwrap_or("");
    let window = desugar.windows.iter().find(|w| w.table.value == name).map(|w| Place::of(w.table.span));
    let table = tables.iter().find(|(t, _)| t == name).map(|(_, p)| *p).or(window);
    let path = desugar.paths.iter().find(|(path, _)| path.last().is_some_and(|l| l == name)).map(|(_, p)| *p);
    let found = if fault.message.starts_with("unknown table") { table } else { path };
    Fault { place: found.unwrap_or(start), ..fault }
}

fn schema_fault(error: &SchemaError, desugar: &Desugar, place: Option<Place>, start: Place) -> Fault {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let place = place.or_else(|| field.spans.first().map(of_span)).unwrap_or(start);
            let fault = Fault::new(place, format!("unknown column `{}`", shown(field)));
            let mut names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            names.dedup();
            match nearest(&field.name, names.iter().copied()) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint(format!(
                    "the columns are {}",
                    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
                )),
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let place = place.or_else(|| field.spans.first().map(of_span)).unwrap_or(start);
            Fault::new(place, format!("the column `{}` is ambiguous", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let _ = desugar;
            Fault::new(place.unwrap_or(start), format!("two columns have the name `{name}`"))
                .hint("give one of them another name with AS")
        }
    }
}

fn shown(column: &Column) -> String {
    match &column.relation {
        Some(relation) if window_tvf::number_of(relation.table()).is_none() => {
            format!("{}.{}", relation.table(), column.name)
        }
        _ => column.name.clone(),
    }
}

/// Takes the numbers out of the names of calls.
fn readable(text: &str) -> String {
    static NUMBER: OnceLock<Option<regex::Regex>> = OnceLock::new();
    let first = text.lines().next().unwrap_or(text);
    match NUMBER.get_or_init(|| regex::Regex::new("#[0-9]+").ok()) {
        Some(number) => number.replace_all(first, "").into_owned(),
        None => first.to_owned(),
    }
}
