//! Expressions as the engine evaluates them: DataFusion's physical expressions behind
//! [`weir_dataflow::Expression`].

use std::fmt;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Field;
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{ColumnarValue, Expr};
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use weir_dataflow::Expression;
use weir_protocol::{Failure, FailureKind};

use crate::rel::{position, positional};

/// Compiles an expression over columns by position. `text` is how it is named in failures.
///
/// # Errors
/// What DataFusion cannot carry out.
pub(crate) fn compile(e: &Expr, fields: &[Field], text: String) -> Result<Arc<dyn Expression>, String> {
    if let Some(i) = position(e) {
        return Ok(Arc::new(ColumnAt(i)));
    }
    let schema = positional(fields);
    let context = PhysicalPlanningContext::default();
    let physical = create_physical_expr(e, &schema, &ExecutionProps::new(), &context)
        .map_err(|e| e.strip_backtrace())?;
    Ok(Arc::new(Computed { physical, text }))
}

/// A column as it is.
struct ColumnAt(usize);

impl fmt::Debug for ColumnAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}", self.0)
    }
}

impl Expression for ColumnAt {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, Failure> {
        rows.columns().get(self.0).cloned().ok_or_else(|| {
            Failure::new(
                FailureKind::Bug,
                format!("no column {} in a batch of {}", self.0, rows.num_columns()),
            )
        })
    }
}

/// Anything else.
struct Computed {
    physical: Arc<dyn PhysicalExpr>,
    text: String,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression for Computed {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, Failure> {
        let failed = |e: datafusion_common::DataFusionError| {
            let text = e.strip_backtrace();
            let text = text.trim_start_matches("Execution error: ").trim_start_matches("Arrow error: ");
            Failure::new(FailureKind::Expression, format!("{}: {text}", self.text))
        };
        match self.physical.evaluate(rows).map_err(failed)? {
            ColumnarValue::Array(array) => Ok(array),
            ColumnarValue::Scalar(value) => value.to_array_of_size(rows.num_rows()).map_err(failed),
        }
    }
}

/// Lets no NULL into a column that is declared NOT NULL.
pub(crate) struct NotNull {
    pub(crate) inner: Arc<dyn Expression>,
    pub(crate) column: String,
}

impl fmt::Debug for NotNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} NOT NULL", self.inner)
    }
}

impl Expression for NotNull {
    fn evaluate(&self, rows: &RecordBatch) -> Result<ArrayRef, Failure> {
        let array = self.inner.evaluate(rows)?;
        if array.logical_null_count() > 0 {
            let message =
                format!("column {} is declared NOT NULL, but {:?} gave NULL", self.column, self.inner);
            return Err(Failure::new(FailureKind::Expression, message));
        }
        Ok(array)
    }
}
