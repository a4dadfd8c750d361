//! The steps from text to job, statement by statement, with all faults collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema};
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{self, Ident, Query};

use crate::catalog::{self, Table, Use};
use crate::desugar::Desugar;
use crate::functions::cast::{castable, implicit};
use crate::graph;
use crate::lower::{Lower, cast};
use crate::problem::{Fault, Place, nearest};
use crate::rel::{Rel, column};
use crate::resolve::{self, Catalog, Kind, Relation};
use crate::script::{self, InsertDef, Statement, ViewDef};
use crate::types::sql_name;
use crate::{Changelog, PlanOptions, Planned};

/// What is written to one table, ready for its schema.
pub(crate) struct Output {
    pub(crate) table: Arc<Table>,
    pub(crate) rows: Vec<Rel>,
}

pub(crate) fn plan(sql: &str, options: &PlanOptions) -> Result<Planned, Vec<Fault>> {
    let (statements, faults) = script::parse(sql);
    let uses = uses(&statements);
    let mut planner = Planner { options, catalog: Catalog::default(), outputs: Vec::new(), faults };
    let mut settings = Vec::new();
    let mut inserts = 0;
    for statement in statements {
        match statement {
            Statement::Set(setting) => settings.push(setting),
            Statement::Table(def) => {
                let used = uses.get(&def.name.value).copied().unwrap_or_default();
                planner.table(*def, used);
            }
            Statement::View(def) => planner.view(def),
            Statement::Insert(def) => {
                inserts += 1;
                planner.insert(def);
            }
        }
    }
    if inserts == 0 && planner.faults.is_empty() {
        let place = Place { line: 1, column: 1, length: 0 };
        planner.faults.push(
            Fault::new(place, "there is no INSERT INTO: the job would do nothing")
                .hint("a job consists of CREATE TABLE, CREATE VIEW and INSERT INTO statements"),
        );
    }
    if !planner.faults.is_empty() {
        return Err(planner.faults);
    }
    let (job, properties) = graph::build(&planner.outputs, options)
        .map_err(|message| vec![Fault::new(Place { line: 1, column: 1, length: 0 }, message)])?;
    Ok(Planned { job, settings, warnings: Vec::new(), properties })
}

/// Which tables are read and written anywhere in the job.
fn uses(statements: &[Statement]) -> BTreeMap<String, Use> {
    let mut uses: BTreeMap<String, Use> = BTreeMap::new();
    for statement in statements {
        match statement {
            Statement::Insert(insert) => {
                uses.entry(insert.table.value.clone()).or_default().written = true;
                read(&insert.query, &mut uses);
            }
            Statement::View(view) => read(&view.query, &mut uses),
            _ => {}
        }
    }
    uses
}

fn read(query: &Query, uses: &mut BTreeMap<String, Use>) {
    use std::ops::ControlFlow;
    let mut note = |name: &ast::ObjectName| {
        if let Some(ident) = name.0.last().and_then(|p| p.as_ident()) {
            uses.entry(ident.value.clone()).or_default().read = true;
        }
    };
    let _ = ast::visit_relations(query, |name| {
        note(name);
        ControlFlow::<()>::Continue(())
    });
    // `TABLE t` as an argument is kept as a call.
    let _ = ast::visit_expressions(query, |e| {
        if let ast::Expr::Function(f) = e
            && f.args == ast::FunctionArguments::None
        {
            note(&f.name);
        }
        ControlFlow::<()>::Continue(())
    });
}

struct Planner<'a> {
    options: &'a PlanOptions,
    catalog: Catalog,
    outputs: Vec<Output>,
    faults: Vec<Fault>,
}

impl Planner<'_> {
    /// Whether the name is free; if not, that is noted (or passed over for IF NOT EXISTS).
    fn free(&mut self, name: &Ident, if_not_exists: bool) -> bool {
        if !self.catalog.relations.contains_key(&name.value) {
            return true;
        }
        if !if_not_exists {
            self.faults
                .push(Fault::new(name.span, format!("there is a table or view `{}` already", name.value)));
        }
        false
    }

    fn declare(&mut self, name: String, relation: Relation) {
        self.catalog.relations.insert(name, Arc::new(relation));
    }

    fn table(&mut self, def: crate::table::TableDef, used: Use) {
        if !self.free(&def.name, def.if_not_exists) {
            return;
        }
        let name = def.name.value.clone();
        match catalog::table(def, used, self.options) {
            Ok(table) => {
                let fields: Vec<Field> = table.columns.iter().map(|c| c.field.clone()).collect();
                self.declare(
                    name,
                    Relation { schema: Arc::new(Schema::new(fields)), kind: Kind::Table(Arc::new(table)) },
                );
            }
            Err(faults) => {
                self.faults.extend(faults);
                self.declare(name, broken());
            }
        }
    }

    fn view(&mut self, def: ViewDef) {
        if !self.free(&def.name, def.if_not_exists) {
            return;
        }
        let place = Place::of(def.name.span);
        let relation = match self
            .resolved(*def.query, place)
            .and_then(|plan| renamed(plan, &def.columns, place).map_err(Some))
        {
            Ok(plan) => {
                let schema = Arc::new(plan.schema().as_arrow().clone());
                // Problems of the view are told once, at the view.
                match (Lower { start: place }).plan(&plan) {
                    Ok(_) => Relation { schema, kind: Kind::View(Box::new(plan)) },
                    Err(fault) => {
                        self.faults.push(fault);
                        broken()
                    }
                }
            }
            Err(fault) => {
                self.faults.extend(fault);
                broken()
            }
        };
        self.declare(def.name.value, relation);
    }

    /// Resolves a query; `Err(None)` if its faults are noted already.
    fn resolved(&mut self, mut query: Query, start: Place) -> Result<LogicalPlan, Option<Fault>> {
        let mut desugar = Desugar::default();
        desugar.query(&mut query);
        if !desugar.faults.is_empty() {
            self.faults.append(&mut desugar.faults);
            return Err(None);
        }
        resolve::query(&self.catalog, &desugar, query, start)
    }

    fn insert(&mut self, def: InsertDef) {
        let target = self.target(&def.table);
        let rows = match self.resolved(*def.query, def.place) {
            Ok(plan) => match (Lower { start: def.place }).plan(&plan) {
                Ok(rows) => rows,
                Err(fault) => return self.faults.push(fault),
            },
            Err(fault) => return self.faults.extend(fault),
        };
        let Some(table) = target else { return };
        match written(&table, &def.columns, rows, Place::of(def.table.span)) {
            Ok(rows) => match self.outputs.iter_mut().find(|o| o.table.name == table.name) {
                Some(output) => output.rows.push(rows),
                None => self.outputs.push(Output { table, rows: vec![rows] }),
            },
            Err(faults) => self.faults.extend(faults),
        }
    }

    fn target(&mut self, name: &Ident) -> Option<Arc<Table>> {
        let fault = match self.catalog.relations.get(&name.value).map(|r| &r.kind) {
            Some(Kind::Table(table)) if table.sink.is_some() => return Some(table.clone()),
            Some(Kind::Table(table)) => Fault::new(
                name.span,
                format!(
                    "the table `{}` cannot be written: the connector '{}' only reads",
                    name.value, table.connector
                ),
            ),
            Some(Kind::Broken) => return None,
            Some(_) => Fault::new(name.span, format!("`{}` is a view: rows go into tables", name.value)),
            None => {
                let fault = Fault::new(name.span, format!("unknown table `{}`", name.value));
                match nearest(&name.value, self.catalog.relations.keys().map(String::as_str)) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint("tables are declared with CREATE TABLE before they are used"),
                }
            }
        };
        self.faults.push(fault);
        None
    }
}

fn broken() -> Relation {
    Relation { schema: Arc::new(Schema::empty()), kind: Kind::Broken }
}

/// A view's plan with the column names of its declaration.
fn renamed(plan: LogicalPlan, columns: &[Ident], place: Place) -> Result<LogicalPlan, Fault> {
    let names: Vec<String> = plan.schema().fields().iter().map(|f| f.name().clone()).collect();
    if columns.is_empty() {
        if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(Fault::new(place, format!("the view has two columns `{}`", twice.1))
                .hint("give one of them another name with AS"));
        }
        return Ok(plan);
    }
    if columns.len() != names.len() {
        return Err(Fault::new(
            place,
            format!("the view declares {} columns, its query gives {}", columns.len(), names.len()),
        ));
    }
    let exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(columns)
        .map(|(c, name)| Expr::Column(c).alias(&name.value))
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(|b| b.build())
        .map_err(|e| Fault::new(place, e.strip_backtrace()))
}

/// The rows in the columns and types of the table.
fn written(table: &Table, columns: &[Ident], rows: Rel, place: Place) -> Result<Rel, Vec<Fault>> {
    let targets = targets(table, columns)?;
    if targets.len() != rows.fields.len() {
        let gives = rows
            .fields
            .iter()
            .map(|f| format!("{} {}", f.name(), sql_name(f.data_type())))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(vec![
            Fault::new(
                place,
                format!(
                    "the query gives {} columns, `{}` takes {}",
                    rows.fields.len(),
                    table.name,
                    targets.len()
                ),
            )
            .hint(format!("the query gives: {gives}")),
        ]);
    }
    let mut faults = Vec::new();
    if rows.changelog != Changelog::InsertOnly && !table.sink.as_ref().is_some_and(|s| s.takes_changelog()) {
        faults.push(
            Fault::new(place, format!("`{}` takes new rows only, but the query updates rows that it gave before", table.name))
                .hint(format!("the connector '{}' cannot take rows back: aggregate over windows, or write to a connector that takes a changelog", table.connector)),
        );
    }
    let mut exprs = Vec::new();
    let mut fields = Vec::new();
    for (i, field) in table.physical.fields().iter().enumerate() {
        let e = match targets.iter().position(|t| *t == i) {
            Some(from) => assigned(column(from), &rows.fields[from], field, place),
            None if field.is_nullable() => datafusion_common::ScalarValue::try_from(field.data_type())
                .map(|null| Expr::Literal(null, None))
                .map_err(|e| Fault::new(place, e.strip_backtrace())),
            None => Err(Fault::new(
                place,
                format!("the column `{}` of `{}` is NOT NULL and is not given", field.name(), table.name),
            )),
        };
        match e {
            Ok(e) => exprs.push(e),
            Err(fault) => faults.push(fault),
        }
        fields.push(field.as_ref().clone());
    }
    if faults.is_empty() { Ok(rows.projected(exprs, fields)) } else { Err(faults) }
}

/// The positions of the columns that are written, among the physical ones.
fn targets(table: &Table, columns: &[Ident]) -> Result<Vec<usize>, Vec<Fault>> {
    if columns.is_empty() {
        return Ok((0..table.physical.fields().len()).collect());
    }
    let mut faults = Vec::new();
    let mut found: Vec<usize> = Vec::new();
    for name in columns {
        match table.physical.index_of(&name.value) {
            Ok(i) if found.contains(&i) => {
                faults.push(Fault::new(name.span, format!("the column `{}` is there twice", name.value)))
            }
            Ok(i) => found.push(i),
            Err(_) => {
                let fault = Fault::new(
                    name.span,
                    format!("`{}` has no column `{}` that can be written", table.name, name.value),
                );
                let known = table.physical.fields().iter().map(|f| f.name().as_str());
                faults.push(match nearest(&name.value, known) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault,
                });
            }
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn assigned(e: Expr, from: &Field, to: &Field, place: Place) -> Result<Expr, Fault> {
    if from.data_type() == to.data_type() {
        return Ok(e);
    }
    if implicit(from.data_type(), to.data_type()) {
        return cast(e, from.data_type(), to.data_type(), place);
    }
    let fault = Fault::new(
        place,
        format!(
            "the column `{}` is of type {}, but the query gives {} (`{}`)",
            to.name(),
            sql_name(to.data_type()),
            sql_name(from.data_type()),
            from.name()
        ),
    );
    Err(if castable(from.data_type(), to.data_type()) {
        fault.hint(format!("write CAST(… AS {})", sql_name(to.data_type())))
    } else {
        fault
    })
}
