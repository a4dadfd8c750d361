//! Which columns and fields a format decodes, and how they come out.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};

use crate::ColumnPath;

/// A decoded part of a table's columns and what comes out of it.
#[derive(Debug, Clone)]
pub(crate) struct Projection {
    /// The columns to decode, each a declared one; of row columns only the fields that are used.
    pub(crate) decoded: SchemaRef,
    /// What comes out.
    pub(crate) schema: SchemaRef,
    /// Position in `decoded` and, for a field, in the decoded row column.
    outputs: Vec<(usize, Option<usize>)>,
}

impl Projection {
    /// For these paths of a table's schema.
    pub(crate) fn new(table: &Schema, paths: &[ColumnPath]) -> Self {
        let mut used: Vec<(usize, Option<Vec<usize>>)> = Vec::new();
        for path in paths {
            let at = used.iter().position(|(column, _)| *column == path.column).unwrap_or_else(|| {
                used.push((path.column, Some(Vec::new())));
                used.len() - 1
            });
            match (path.field, &mut used[at].1) {
                (None, fields) => *fields = None,
                (Some(field), Some(fields)) if !fields.contains(&field) => fields.push(field),
                (Some(_), _) => {}
            }
        }
        let decoded: Vec<Field> = used
            .iter()
            .map(|(column, fields)| match fields {
                Some(fields) if !fields.is_empty() => narrowed(table.field(*column), fields),
                _ => table.field(*column).clone(),
            })
            .collect();
        let outputs = paths
            .iter()
            .filter_map(|path| {
                let at = used.iter().position(|(column, _)| *column == path.column)?;
                let field = match (&used[at].1, path.field) {
                    (Some(fields), Some(field)) => fields.iter().position(|f| *f == field),
                    (_, field) => field,
                };
                Some((at, field))
            })
            .collect::<Vec<_>>();
        let schema = outputs.iter().map(|(at, field)| output(&decoded[*at], *field)).collect::<Vec<_>>();
        Self { decoded: Arc::new(Schema::new(decoded)), schema: Arc::new(Schema::new(schema)), outputs }
    }

    /// Makes the rows that come out of decoded ones.
    pub(crate) fn apply(&self, decoded: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let column = |(at, field): &(usize, Option<usize>)| {
            let column = decoded.column(*at);
            match (field, column.as_any().downcast_ref::<StructArray>()) {
                (Some(field), Some(rows)) => field_of(rows, *field),
                _ => Ok(column.clone()),
            }
        };
        let columns = self.outputs.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(decoded.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

fn narrowed(field: &Field, keep: &[usize]) -> Field {
    match field.data_type() {
        DataType::Struct(fields) => {
            let kept: Fields = keep.iter().filter_map(|at| fields.get(*at).cloned()).collect();
            field.clone().with_data_type(DataType::Struct(kept))
        }
        _ => field.clone(),
    }
}

fn output(column: &Field, field: Option<usize>) -> Field {
    match (field, column.data_type()) {
        (Some(at), DataType::Struct(fields)) if at < fields.len() => {
            let nullable = fields[at].is_nullable() || column.is_nullable();
            fields[at].as_ref().clone().with_nullable(nullable)
        }
        _ => column.clone(),
    }
}

/// A field of a row column: null where the row is.
fn field_of(rows: &StructArray, field: usize) -> Result<ArrayRef, ArrowError> {
    let values = rows.column(field);
    if rows.null_count() == 0 {
        return Ok(values.clone());
    }
    let nulls = NullBuffer::union(rows.nulls(), values.nulls());
    Ok(make_array(values.to_data().into_builder().nulls(nulls).build()?))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::Int64Array;

    use super::*;

    #[test]
    fn only_the_fields_that_are_used_are_decoded_and_come_out_flat() {
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let row = Fields::from(vec![number("a"), number("b"), number("c")]);
        let table = Schema::new(vec![number("x"), Field::new("row", DataType::Struct(row), true)]);
        let path = |column, field| ColumnPath { column, field };
        let projection = Projection::new(&table, &[path(1, Some(2)), path(0, None), path(1, Some(0))]);
        let names = |fields: &Fields| fields.iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        assert_eq!(names(projection.decoded.fields()), ["row", "x"]);
        let DataType::Struct(kept) = projection.decoded.field(0).data_type() else { panic!("a row") };
        assert_eq!(names(kept), ["c", "a"]);
        assert_eq!(names(projection.schema.fields()), ["c", "x", "a"]);

        let numbers = |values: [i64; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let rows = StructArray::new(
            kept.clone(),
            vec![numbers([1, 2]), numbers([3, 4])],
            Some(NullBuffer::from(vec![true, false])),
        );
        let decoded =
            RecordBatch::try_new(projection.decoded.clone(), vec![Arc::new(rows), numbers([5, 6])]).unwrap();
        let out = projection.apply(&decoded).unwrap();
        let column = |i: usize| out.column(i).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
        assert_eq!(column(0), [Some(1), None]);
        assert_eq!(column(1), [Some(5), Some(6)]);
        assert_eq!(column(2), [Some(3), None]);
    }
}
