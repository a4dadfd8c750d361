//! Made-up rows: each a pure function of the seed and the row's number.
//!
//! Options are named as in Flink's `datagen`. What Flink draws anew in each run follows here from
//! `seed`, and random times lie before `base-time` instead of before now.

mod column;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use column::{Column, Generated};
use weir_dataflow::SourceFactory;
use weir_protocol::{Failure, FailureKind, key_group};

use crate::options::{
    ABSENT, Number, OptionReader, OptionRow, UtcMillis, choice, count, join, options, suggestion,
};
use crate::sequence::{Generate, MAX_NUMBER, Sequence, mix};
use crate::{Connector, OptionError, Scan, SourceTable, TableSpec};

options! {
    /// Options of the whole table.
    struct TableOptions {
        ["rows-per-second", Some("10000"), "rows per second; 0: as fast as they are taken"] rate: u64,
        ["number-of-rows", ABSENT, "number of rows, after which the source ends; without it only sequences end it"] rows: Option<u64>,
        ["seed", Some("0"), "other seeds give other rows"] seed: u64,
        ["base-time", Some("2026-01-01 00:00:00"), "random times lie before it, sequences of times begin with it; in UTC"] base_time: UtcMillis,
    }
}

options! {
    /// Options of one column.
    struct ColumnOptions {
        ["fields.#.kind", Some("random"), "how the column is made: 'random' or 'sequence'"] kind: Kind,
        ["fields.#.min", ABSENT, "least random number; default: the least of the type"] min: Option<Number>,
        ["fields.#.max", ABSENT, "greatest random number; default: the greatest of the type"] max: Option<Number>,
        ["fields.#.length", Some("100"), "length of random text or bytes"] length: u32,
        ["fields.#.var-len", Some("false"), "whether the length is random too, from 1 to 'length'"] var_len: bool,
        ["fields.#.null-rate", Some("0"), "share of rows in which the column is NULL, from 0 to 1"] null_rate: f64,
        ["fields.#.max-past", Some("1d"), "how long before 'base-time' a random time lies at most"] max_past: Duration,
        ["fields.#.start", Some("0"), "first number of a sequence"] start: i64,
        ["fields.#.end", ABSENT, "last number of a sequence, after which the source ends"] end: Option<i64>,
        ["fields.#.interval", Some("1s"), "distance of two times of a sequence"] interval: Duration,
    }
}

choice! {
    /// How a column is made.
    enum Kind {
        /// At random.
        Random = "random",
        /// One after the other.
        Sequence = "sequence",
    }
}

const OPTION_LISTS: &[&[OptionRow]] = &[TableOptions::ROWS, ColumnOptions::ROWS];
const ALL_OPTIONS: &[OptionRow] = &join::<{ count(OPTION_LISTS) }>(OPTION_LISTS);

/// The connector `datagen`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "datagen", source: Some(source), sink: None, options: ALL_OPTIONS };

fn source(spec: &TableSpec) -> Result<Arc<dyn SourceTable>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, ALL_OPTIONS);
    check_names(spec, &mut reader);
    let table = read(spec, &mut reader);
    reader.finish(table.map(|t| Arc::new(t) as Arc<dyn SourceTable>))
}

/// Every `fields.X.…` must be about a column.
fn check_names(spec: &TableSpec, reader: &mut OptionReader<'_>) {
    for key in spec.options.keys() {
        let column = key.strip_prefix("fields.").and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name);
        let Some(name) = column.filter(|name| spec.schema.field_with_name(name).is_err()) else { continue };
        let near = suggestion(name, spec.schema.fields().iter().map(|f| f.name().as_str()));
        reader.problem(Some(key), format!("option '{key}': the table has no column '{name}'{near}"));
    }
}

fn read<'a>(spec: &'a TableSpec, reader: &mut OptionReader<'a>) -> Option<Datagen> {
    let options = TableOptions::read(reader);
    let base_time = options.as_ref().map_or(0, |o| o.base_time.0);
    let columns: Vec<_> = spec.schema.fields().iter().map(|f| read_column(f, base_time, reader)).collect();
    let columns = columns.into_iter().collect::<Option<Vec<_>>>()?;
    let options = options?;
    let ends = options.rows.into_iter().chain(columns.iter().filter_map(|c| c.rows));
    let end = ends.min().unwrap_or(MAX_NUMBER).min(MAX_NUMBER);
    Some(Datagen { schema: spec.schema.clone(), columns, seed: options.seed, end, rate: options.rate })
}

fn read_column<'a>(field: &'a Field, base_time: i64, reader: &mut OptionReader<'a>) -> Option<Column> {
    reader.for_column(field.name());
    let options = ColumnOptions::read(reader)?;
    match Column::new(field, &options, base_time) {
        Ok(column) => Some(column),
        Err((option, message)) => {
            let key = option.map(|o| format!("fields.{}.{o}", field.name()));
            reader.problem(key.as_deref().filter(|k| reader.has(k)), message);
            None
        }
    }
}

struct Datagen {
    schema: SchemaRef,
    columns: Vec<Column>,
    seed: u64,
    end: u64,
    rate: u64,
}

impl SourceTable for Datagen {
    fn scan(&self, scan: &Scan) -> (Arc<dyn SourceFactory>, Vec<bool>) {
        let used: Vec<_> = scan.columns.iter().map(|p| p.column).collect();
        let fields: Vec<_> = used.iter().map(|at| self.schema.field(*at).clone()).collect();
        let generated = |at: &usize| Generated {
            salt: mix(self.seed ^ key_group::hash_bytes(self.schema.field(*at).name().as_bytes())),
            column: self.columns[*at].clone(),
        };
        let rows =
            Rows { schema: Arc::new(Schema::new(fields)), columns: used.iter().map(generated).collect() };
        let factory = Sequence {
            generator: Arc::new(rows),
            end: self.end,
            keep_alive: false,
            rate: (self.rate > 0).then_some(self.rate),
        };
        (Arc::new(factory), vec![false; scan.filters.len()])
    }
}

/// Makes batches of a scan.
struct Rows {
    schema: SchemaRef,
    columns: Vec<Generated>,
}

/// Rows of a batch at most.
const BATCH_ROWS: u64 = 8_192;

impl Generate for Rows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn generate(&self, from: u64, stride: u64, end: u64) -> Result<(RecordBatch, u64), Failure> {
        let count = (end - from).div_ceil(stride).min(BATCH_ROWS);
        let numbers: Vec<_> = (0..count).map(|i| from + i * stride).collect();
        let columns = self.columns.iter().map(|c| c.values(&numbers)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("datagen: {e}")))?;
        Ok((rows, from + count * stride))
    }
}

#[cfg(test)]
mod tests;
