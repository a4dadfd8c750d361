//! Declared tables: columns, event time and options, checked against their connector.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::DFSchema;
use datafusion_expr::Expr;
use weir_connectors::{OptionError, OptionRow, SourceTable, TableSpec};
use weir_dataflow::SinkFactory;

use crate::PlanOptions;
use crate::desugar::Desugar;
use crate::lower::{Lower, cast};
use crate::problem::{Fault, Place, nearest};
use crate::rel::{column, typed};
use crate::resolve::{self, Catalog};
use crate::table::{ColumnKind, OptionDef, TableDef};
use crate::types::{TIMESTAMP_3, sql_name};

/// A table whose declaration is right.
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) connector: String,
    pub(crate) columns: Vec<TableColumn>,
    /// The columns that the connector knows.
    pub(crate) physical: SchemaRef,
    pub(crate) watermark: Option<Watermark>,
    /// There if the table is read.
    pub(crate) source: Option<Arc<dyn SourceTable>>,
    /// There if the table is written.
    pub(crate) sink: Option<Arc<dyn SinkFactory>>,
}

/// A column of a table.
pub(crate) struct TableColumn {
    pub(crate) field: Field,
    pub(crate) from: Origin,
}

/// Where a column's values come from.
pub(crate) enum Origin {
    /// The connector's column with this position.
    Physical(usize),
    /// An expression over positions of the table's columns, physical ones only.
    Computed(Expr),
}

/// `WATERMARK FOR column AS expression`, over positions of the table's columns.
pub(crate) struct Watermark {
    pub(crate) column: usize,
    pub(crate) expression: Expr,
    /// A split without rows for this long does not hold the watermark back.
    pub(crate) idle_timeout: Option<Duration>,
}

/// Options that every table may have: name, default, help. What a connector makes of its own ones is its concern.
pub const TABLE_OPTIONS: &[OptionRow] = &[
    ("connector", None, "what is read or written: one of the connectors"),
    (
        IDLE_TIMEOUT,
        Some(""),
        "with WATERMARK: a split (such as a file that is watched for more) without rows for this long does not hold the \
         watermark back; without it every split is waited for",
    ),
];

const IDLE_TIMEOUT: &str = "scan.watermark.idle-timeout";

/// What a table is used for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Use {
    pub(crate) read: bool,
    pub(crate) written: bool,
}

/// Checks a declaration.
pub(crate) fn table(def: TableDef, used: Use, options: &PlanOptions) -> Result<Table, Vec<Fault>> {
    let mut faults = Vec::new();
    let physical: Vec<Field> = def
        .columns
        .iter()
        .filter_map(|c| match &c.kind {
            ColumnKind::Physical(field) => Some(field.clone()),
            ColumnKind::Computed(_) => None,
        })
        .collect();
    let physical: SchemaRef = Arc::new(Schema::new(physical));
    let place = Place::of(def.name.span);
    if physical.fields().is_empty() {
        faults.push(Fault::new(place, format!("the table `{}` has no columns", def.name.value)));
    }
    let columns = columns(&def, &mut faults);
    let find = |name: &str| columns.iter().position(|c| c.field.name() == name);
    let mut positions = |names: &[datafusion_sql::sqlparser::ast::Ident]| -> Vec<usize> {
        let mut found = Vec::new();
        for name in names {
            match find(&name.value) {
                Some(i) => found.push(i),
                None => {
                    faults.push(Fault::new(name.span, format!("the table has no column `{}`", name.value)))
                }
            }
        }
        found
    };
    positions(&def.primary_key);
    positions(&def.partitioned_by);
    let idle_timeout = idle_timeout(&def, &mut faults);
    let watermark = watermark(&def, &columns, idle_timeout, &mut faults);
    let (connector, source, sink) = connected(&def, &physical, used, options, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Table { name: def.name.value, connector, columns, physical, watermark, source, sink })
}

fn columns(def: &TableDef, faults: &mut Vec<Fault>) -> Vec<TableColumn> {
    // Computed columns see the physical ones, at their positions among all columns.
    let mut columns = Vec::new();
    let mut next = 0;
    let visible: Vec<Field> = def
        .columns
        .iter()
        .map(|c| match &c.kind {
            ColumnKind::Physical(field) => field.clone(),
            // A name that cannot be written hides what is not computed yet.
            ColumnKind::Computed(_) => Field::new(format!("\u{0}{}", c.name.value), DataType::Null, true),
        })
        .collect();
    for c in &def.columns {
        let from = match &c.kind {
            ColumnKind::Physical(_) => {
                next += 1;
                (Origin::Physical(next - 1), None)
            }
            ColumnKind::Computed(e) => match expression(e.as_ref().clone(), &visible, Place::of(c.name.span))
            {
                Ok(e) => {
                    let t = typed(&e, &visible).unwrap_or((DataType::Null, true));
                    (Origin::Computed(e), Some(t))
                }
                Err(found) => {
                    faults.extend(found);
                    (Origin::Computed(column(0)), Some((DataType::Null, true)))
                }
            },
        };
        let field = match (&c.kind, from.1) {
            (ColumnKind::Physical(field), _) => field.clone(),
            (_, Some((t, nullable))) => Field::new(&c.name.value, t, nullable),
            (_, None) => Field::new(&c.name.value, DataType::Null, true),
        };
        columns.push(TableColumn { field, from: from.0 });
    }
    columns
}

/// An expression over columns, in its final form.
fn expression(
    mut e: datafusion_sql::sqlparser::ast::Expr,
    fields: &[Field],
    start: Place,
) -> Result<Expr, Vec<Fault>> {
    let mut desugar = Desugar::default();
    desugar.expr(&mut e);
    if !desugar.faults.is_empty() {
        return Err(desugar.faults);
    }
    let schema = DFSchema::from_unqualified_fields(fields.to_vec().into(), Default::default())
        .map_err(|e| vec![Fault::new(start, e.strip_backtrace())])?;
    let e = resolve::expression(&Catalog::default(), &desugar, e, &schema, start)
        .map_err(|f| f.into_iter().map(visible_names).collect::<Vec<_>>())?;
    Lower { start }.finish(&e, &schema, fields).map_err(|f| vec![f])
}

/// Takes the columns that cannot be seen out of a hint.
fn visible_names(mut fault: Fault) -> Fault {
    if let Some(hint) = &mut fault.hint {
        if hint.starts_with("did you mean `\u{0}") {
            *hint = "a computed column sees the declared columns only".into();
        }
        let shown: Vec<_> = hint.split(", ").filter(|part| !part.contains('\u{0}')).collect();
        *hint = shown.join(", ");
    }
    fault
}

fn idle_timeout(def: &TableDef, faults: &mut Vec<Fault>) -> Option<Duration> {
    let option = def.options.iter().find(|o| o.key == IDLE_TIMEOUT)?;
    if def.watermark.is_none() {
        let message = format!("option '{IDLE_TIMEOUT}': the table `{}` has no WATERMARK", def.name.value);
        faults.push(Fault::new(option.place, message));
    }
    match weir_protocol::units::parse_duration(&option.value) {
        Ok(Duration::ZERO) => {
            let message = format!("option '{IDLE_TIMEOUT}': it must be longer than 0");
            faults.push(Fault::new(option.value_place, message).hint("leave it out to wait for every split"));
            None
        }
        Ok(timeout) => Some(timeout),
        Err(message) => {
            faults.push(Fault::new(option.value_place, format!("option '{IDLE_TIMEOUT}': {message}")));
            None
        }
    }
}

fn watermark(
    def: &TableDef,
    columns: &[TableColumn],
    idle_timeout: Option<Duration>,
    faults: &mut Vec<Fault>,
) -> Option<Watermark> {
    let mark = def.watermark.as_ref()?;
    let place = mark.column.first().map(|c| Place::of(c.span))?;
    if let Some(field) = mark.column.get(1) {
        faults.push(
            Fault::new(field.span, "a field of a ROW cannot be the event time")
                .hint("make it a computed column"),
        );
        return None;
    }
    let name = &mark.column[0].value;
    let Some(position) = columns.iter().position(|c| c.field.name() == name) else {
        let fault = Fault::new(place, format!("the table has no column `{name}`"));
        let known = columns.iter().map(|c| c.field.name().as_str());
        faults.push(match nearest(name, known) {
            Some(near) => fault.hint(format!("did you mean `{near}`?")),
            None => fault,
        });
        return None;
    };
    let t = columns[position].field.data_type();
    if *t == DataType::Null {
        return None;
    }
    let DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) = t else {
        faults.push(
            Fault::new(
                place,
                format!(
                    "the event time `{name}` must be a TIMESTAMP(3) or TIMESTAMP_LTZ(3), not {}",
                    sql_name(t)
                ),
            )
            .hint("make it a computed column with CAST"),
        );
        return None;
    };
    let fields: Vec<Field> = columns.iter().map(|c| c.field.clone()).collect();
    let target = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
    match expression(mark.expression.clone(), &fields, place) {
        Ok(e) => {
            let (from, _) = typed(&e, &fields).unwrap_or((DataType::Null, true));
            if !matches!(from, DataType::Timestamp(..)) {
                faults.push(Fault::new(
                    place,
                    format!("the watermark must be a {}, not {}", sql_name(&TIMESTAMP_3), sql_name(&from)),
                ));
                return None;
            }
            match cast(e, &from, &target, place) {
                Ok(expression) => Some(Watermark { column: position, expression, idle_timeout }),
                Err(fault) => {
                    faults.push(fault);
                    None
                }
            }
        }
        Err(found) => {
            faults.extend(found);
            None
        }
    }
}

type Connected = (String, Option<Arc<dyn SourceTable>>, Option<Arc<dyn SinkFactory>>);

fn connected(
    def: &TableDef,
    physical: &SchemaRef,
    used: Use,
    options: &PlanOptions,
    faults: &mut Vec<Fault>,
) -> Connected {
    let place = Place::of(def.name.span);
    let none = |name: &str| (name.to_owned(), None, None);
    let known = || options.connectors.iter().map(|c| c.name).collect::<Vec<_>>();
    let Some(option) = def.options.iter().find(|o| o.key == "connector") else {
        faults.push(
            Fault::new(place, format!("the table `{}` has no option 'connector'", def.name.value))
                .hint(format!("write WITH ('connector' = …) with one of {}", known().join(", "))),
        );
        return none("");
    };
    let Some(connector) = options.connectors.iter().find(|c| c.name == option.value) else {
        let fault = Fault::new(option.value_place, format!("unknown connector '{}'", option.value));
        faults.push(match nearest(&option.value, known()) {
            Some(near) => fault.hint(format!("did you mean '{near}'?")),
            None => fault.hint(format!("the connectors are {}", known().join(", "))),
        });
        return none(&option.value);
    };
    let rest: BTreeMap<String, String> = def
        .options
        .iter()
        .filter(|o| TABLE_OPTIONS.iter().all(|(name, ..)| *name != o.key))
        .map(|o| (o.key.clone(), o.value.clone()))
        .collect();
    let spec = TableSpec {
        name: def.name.value.clone(),
        schema: physical.clone(),
        options: rest,
        partitioned_by: def.partitioned_by.iter().map(|i| i.value.clone()).collect(),
    };
    let mut problems = |errors: Vec<OptionError>| {
        faults.extend(errors.into_iter().map(|e| option_fault(e, &def.options, place)))
    };
    let mut source = None;
    let mut sink = None;
    if let (true, Some(make)) = (used.read, connector.source) {
        match make(&spec) {
            Ok(made) => source = Some(made),
            Err(errors) => problems(errors),
        }
    }
    if let (true, Some(make)) = (used.written, connector.sink) {
        match make(&spec) {
            Ok(made) => sink = Some(made),
            Err(errors) => problems(errors),
        }
    }
    (connector.name.to_owned(), source, sink)
}

fn option_fault(error: OptionError, options: &[OptionDef], place: Place) -> Fault {
    let at = error.key.as_ref().and_then(|k| options.iter().find(|o| o.key == *k)).map_or(place, |o| o.place);
    Fault::new(at, error.message)
}
