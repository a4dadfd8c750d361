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

use crate::options::{ABSENT, OptionReader, OptionRow, UtcMillis, choice, options, suggestion};
use crate::sequence::{Generate, MAX_NUMBER, Sequence, mix};
use crate::{Connector, OptionError, Scan, SourceTable, TableSpec};

options! {
    /// Options of the whole table.
    struct TableOptions {
        ["rows-per-second", Some("10000"), "rows per second; 0: as fast as they are taken"] rate: u64,
        ["number-of-rows", ABSENT, "number of rows, after which the source ends; without it only sequences end it"] rows: Option<u64>,
        ["seed", Some("0"), "other seeds give other rows"] seed: u64,
        ["base-time", Some("2026-01-01 00:00:00"), "random times lie before it, sequences of times begin with it; in UTC"] base_time: UtcMillis,
        ["fields.#.kind", Some("random"), "how the column is made: 'random' or 'sequence'"] kind: Kind,
        ["fields.#.min", ABSENT, "least random number; default: the least of the type"] min: Option<f64>,
        ["fields.#.max", ABSENT, "greatest random number; default: the greatest of the type"] max: Option<f64>,
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

/// The connector `datagen`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "datagen", source: Some(source), sink: None, options: TableOptions::ROWS };

fn source(spec: &TableSpec) -> Result<Arc<dyn SourceTable>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, TableOptions::ROWS);
    check_names(spec, &mut reader);
    let table = read(spec, &mut reader);
    reader.finish(table.map(|t| Arc::new(t) as Arc<dyn SourceTable>))
}

fn row(name: &str) -> OptionRow {
    TableOptions::ROWS.iter().copied().find(|(n, _, _)| *n == name).unwrap_or(("", ABSENT, ""))
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

fn read(spec: &TableSpec, reader: &mut OptionReader<'_>) -> Option<Datagen> {
    let rate = reader.get(&row("rows-per-second"));
    let rows: Option<Option<u64>> = reader.get(&row("number-of-rows"));
    let seed: Option<u64> = reader.get(&row("seed"));
    let base: Option<UtcMillis> = reader.get(&row("base-time"));
    let columns: Vec<_> =
        spec.schema.fields().iter().map(|f| read_column(f, base.map_or(0, |b| b.0), reader)).collect();
    let columns = columns.into_iter().collect::<Option<Vec<_>>>()?;
    let sequences = columns.iter().filter_map(|c| c.rows);
    let end = rows?.into_iter().chain(sequences).min().unwrap_or(MAX_NUMBER).min(MAX_NUMBER);
    Some(Datagen { schema: spec.schema.clone(), columns, seed: seed?, end, rate: rate? })
}

fn read_column(field: &Field, base_time: i64, reader: &mut OptionReader<'_>) -> Option<Column> {
    let name = |option: &str| option.replace('#', field.name());
    macro_rules! get {
        ($option:literal) => {{
            let (key, default, help) = row($option);
            reader.get_as(&name(key), default, help)
        }};
    }
    let options = TableOptions {
        rate: 0,
        rows: None,
        seed: 0,
        base_time: UtcMillis(base_time),
        kind: get!("fields.#.kind")?,
        min: get!("fields.#.min")?,
        max: get!("fields.#.max")?,
        length: get!("fields.#.length")?,
        var_len: get!("fields.#.var-len")?,
        null_rate: get!("fields.#.null-rate")?,
        max_past: get!("fields.#.max-past")?,
        start: get!("fields.#.start")?,
        end: get!("fields.#.end")?,
        interval: get!("fields.#.interval")?,
    };
    match Column::new(field, &options) {
        Ok(column) => Some(column),
        Err((option, message)) => {
            let key = option.map(|o| name(&format!("fields.#.{o}")));
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
        let rows = Rows { schema: Arc::new(Schema::new(fields)), columns: used.iter().map(generated).collect() };
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
