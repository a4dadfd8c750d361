//! Expressions as the engine evaluates them: DataFusion's physical expressions behind
//! [`weir_dataflow::Expression`].

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_arith::boolean::{and_kleene, or_kleene};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use datafusion_common::cast::as_boolean_array;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, internal_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{ColumnarValue, Expr};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr, create_physical_expr};
use weir_dataflow::Expression;
use weir_protocol::{Failure, FailureKind};

use crate::call::of_udf;
use crate::rel::{position, positional};

/// Compiles an expression over columns by position. `text` is how it is named in failures.
///
/// # Errors
/// What DataFusion cannot carry out.
pub(crate) fn compile(
    e: &Expr,
    fields: &[Field],
    text: String,
) -> std::result::Result<Arc<dyn Expression>, String> {
    if let Some(i) = position(e) {
        return Ok(Arc::new(ColumnAt(i)));
    }
    let schema = positional(fields);
    let context = PhysicalPlanningContext::default();
    let physical = create_physical_expr(e, &schema, &ExecutionProps::new(), &context)
        .map_err(|e| e.strip_backtrace())?;
    let physical = physical.transform_up(left_to_right).map_err(|e| e.strip_backtrace())?.data;
    Ok(Arc::new(Computed { physical, text }))
}

/// `AND` and `OR` that are calls of ours become [`LeftToRight`].
fn left_to_right(e: Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let any: &dyn Any = e.as_ref();
    let Some(function) = any.downcast_ref::<ScalarFunctionExpr>() else { return Ok(Transformed::no(e)) };
    let and = match of_udf(function.fun()).map(|c| c.function.name) {
        Some("AND") => true,
        Some("OR") => false,
        _ => return Ok(Transformed::no(e)),
    };
    let [left, right] = function.args() else { return internal_err!("AND and OR have two sides") };
    Ok(Transformed::yes(Arc::new(LeftToRight { and, left: left.clone(), right: right.clone() })))
}

/// `AND`, `OR` whose right side is computed only for the rows that the left side leaves open.
#[derive(Debug, Eq)]
struct LeftToRight {
    and: bool,
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
}

// By hand: derives would move the sides out of their `Arc`s.
impl PartialEq for LeftToRight {
    fn eq(&self, other: &Self) -> bool {
        self.and == other.and && self.left.eq(&other.left) && self.right.eq(&other.right)
    }
}

impl Hash for LeftToRight {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.and.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl fmt::Display for LeftToRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, if self.and { "AND" } else { "OR" }, self.right)
    }
}

impl PhysicalExpr for LeftToRight {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(schema)? || self.right.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let left = self.left.evaluate(batch)?.into_array(rows)?;
        let left = as_boolean_array(&left)?;
        let settled = |i: usize| left.is_valid(i) && left.value(i) != self.and;
        let open: BooleanArray = (0..rows).map(|i| Some(!settled(i))).collect();
        if !open.has_true() {
            return Ok(ColumnarValue::Array(Arc::new(left.clone())));
        }
        // Rows that are not open come back as NULL, which a settled left side outweighs.
        let right = self.right.evaluate_selection(batch, &open)?.into_array(rows)?;
        let right = as_boolean_array(&right)?;
        let both = if self.and { and_kleene(left, right)? } else { or_kleene(left, right)? };
        Ok(ColumnarValue::Array(Arc::new(both)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let [left, right] = children.as_slice() else { return internal_err!("AND and OR have two sides") };
        Ok(Arc::new(Self { and: self.and, left: left.clone(), right: right.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A column as it is.
struct ColumnAt(usize);

impl fmt::Debug for ColumnAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}", self.0)
    }
}

impl Expression for ColumnAt {
    fn evaluate(&self, rows: &RecordBatch) -> std::result::Result<ArrayRef, Failure> {
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
    fn evaluate(&self, rows: &RecordBatch) -> std::result::Result<ArrayRef, Failure> {
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
    fn evaluate(&self, rows: &RecordBatch) -> std::result::Result<ArrayRef, Failure> {
        let array = self.inner.evaluate(rows)?;
        if array.logical_null_count() > 0 {
            let message =
                format!("column {} is declared NOT NULL, but {:?} gave NULL", self.column, self.inner);
            return Err(Failure::new(FailureKind::Expression, message));
        }
        Ok(array)
    }
}
