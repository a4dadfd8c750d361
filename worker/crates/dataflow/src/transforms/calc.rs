//! Filter and projection of rows, without state.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrow_select::filter::FilterBuilder;
use weir_protocol::{Failure, FailureKind};

use crate::{Chunk, Emit, Expression, Flow, Transform, TransformContext, TransformFactory};

/// A filter, then a projection; either may be absent.
#[derive(Debug, Clone)]
pub struct Calc {
    /// Keeps the rows for which this boolean is true (not false, not null).
    pub filter: Option<Arc<dyn Expression>>,
    /// The columns that come out, computed on the rows that were kept.
    pub project: Option<Projection>,
}

/// The columns of an output.
#[derive(Debug, Clone)]
pub struct Projection {
    /// Names and types.
    pub schema: SchemaRef,
    /// One per column.
    pub columns: Vec<Arc<dyn Expression>>,
}

impl Calc {
    /// Applies filter and projection.
    ///
    /// # Errors
    /// Those of the expressions.
    pub fn apply(&self, chunk: Chunk) -> Result<Chunk, Failure> {
        let kept = match &self.filter {
            Some(filter) => keep(chunk, filter.as_ref())?,
            None => chunk,
        };
        match &self.project {
            Some(project) => Ok(Chunk { rows: project.apply(&kept.rows)?, kinds: kept.kinds }),
            None => Ok(kept),
        }
    }
}

fn keep(chunk: Chunk, filter: &dyn Expression) -> Result<Chunk, Failure> {
    let mask = filter.evaluate(&chunk.rows)?;
    let mask = mask
        .as_boolean_opt()
        .ok_or_else(|| Failure::new(FailureKind::Bug, format!("the filter {filter:?} is not a boolean")))?;
    let predicate = FilterBuilder::new(mask).build();
    if predicate.count() == chunk.len() {
        return Ok(chunk);
    }
    let bug = |e: arrow_schema::ArrowError| Failure::new(FailureKind::Bug, e.to_string());
    let rows = predicate.filter_record_batch(&chunk.rows).map_err(bug)?;
    let kinds = match &chunk.kinds {
        Some(kinds) => Some(predicate.filter(kinds).map_err(bug)?.as_primitive().clone()),
        None => None,
    };
    Ok(Chunk { rows, kinds })
}

impl Projection {
    fn apply(&self, rows: &RecordBatch) -> Result<RecordBatch, Failure> {
        let columns = self.columns.iter().map(|e| e.evaluate(rows)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("projection: {e}")))
    }
}

impl Transform for Arc<Calc> {
    fn process(&mut self, _input: u32, chunk: Chunk, out: &mut dyn Emit) -> Result<Flow, Failure> {
        let chunk = self.apply(chunk)?;
        if !chunk.is_empty() {
            out.chunk(chunk)?;
        }
        Ok(Flow::Done)
    }
}

impl TransformFactory for Arc<Calc> {
    fn create(&self, _context: TransformContext) -> Result<Box<dyn Transform>, Failure> {
        Ok(Box::new(self.clone()))
    }
}
