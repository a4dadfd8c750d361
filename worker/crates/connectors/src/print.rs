//! A sink that prints every row with its kind: `+I[1, a]`. At least once: rows are shown at once and
//! shown again after a restore.

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use weir_dataflow::{Chunk, Committer, IoFuture, OpenSink, RowKind, Sink, SinkFactory};
use weir_protocol::{CheckpointId, Failure, FailureKind};

use crate::options::{ABSENT, OptionReader, options};
use crate::{Connector, OptionError, TableSpec};

options! {
    /// Options of a print table.
    struct PrintOptions {
        ["print-identifier", ABSENT, "text put before every row, as 'text> '; with several subtasks their numbers too"] identifier: String,
        ["standard-error", Some("false"), "whether rows go to the standard error"] standard_error: bool,
    }
}

/// The connector `print`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "print", source: None, sink: Some(sink), options: PrintOptions::ROWS };

fn sink(spec: &TableSpec) -> Result<Arc<dyn SinkFactory>, Vec<OptionError>> {
    let mut reader = OptionReader::new(spec, PrintOptions::ROWS);
    let options = PrintOptions::read(&mut reader);
    reader.finish(options.map(|options| Arc::new(Print { options }) as Arc<dyn SinkFactory>))
}

struct Print {
    options: PrintOptions,
}

impl SinkFactory for Print {
    fn takes_changelog(&self) -> bool {
        true
    }

    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        let prefix = prefix(&self.options.identifier, context.index, context.parallelism);
        Ok(Box::new(PrintSink { prefix, standard_error: self.options.standard_error }))
    }

    fn committer(&self, _io: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

/// As Flink puts it: identifier and, if there are several subtasks, their number from 1.
fn prefix(identifier: &str, index: u32, parallelism: u32) -> String {
    match (identifier.is_empty(), parallelism > 1) {
        (true, false) => String::new(),
        (true, true) => format!("{}> ", index + 1),
        (false, false) => format!("{identifier}> "),
        (false, true) => format!("{identifier}:{}> ", index + 1),
    }
}

struct PrintSink {
    prefix: String,
    standard_error: bool,
}

impl Sink for PrintSink {
    fn ready(&mut self) -> bool {
        true
    }

    fn write(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let text = lines(&self.prefix, &chunk.rows, |row| chunk.kind(row))?;
        let written = match self.standard_error {
            true => std::io::stderr().lock().write_all(text.as_bytes()),
            false => std::io::stdout().lock().write_all(text.as_bytes()),
        };
        written.map_err(|e| Failure::new(FailureKind::Sink, format!("rows cannot be printed: {e}")))
    }

    fn prepare_commit(&mut self, _id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}

fn lines(prefix: &str, rows: &RecordBatch, kind: impl Fn(usize) -> RowKind) -> Result<String, Failure> {
    let bug = |e: arrow_schema::ArrowError| Failure::new(FailureKind::Bug, format!("print: {e}"));
    let options = FormatOptions::default().with_null("null").with_timestamp_format(Some(TIMESTAMP));
    let columns = rows
        .columns()
        .iter()
        .map(|c| ArrayFormatter::try_new(c, &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bug)?;
    let mut text = String::new();
    for row in 0..rows.num_rows() {
        text.push_str(prefix);
        text.push_str(kind(row).short());
        text.push('[');
        for (i, column) in columns.iter().enumerate() {
            if i > 0 {
                text.push_str(", ");
            }
            column.value(row).write(&mut text).map_err(|e| {
                Failure::new(FailureKind::Bug, format!("a value of column {i} cannot be printed: {e:?}"))
            })?;
        }
        text.push_str("]\n");
    }
    Ok(text)
}

const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.f";

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int32Array, StringViewArray, TimestampMillisecondArray, UInt8Array};

    use super::*;

    #[test]
    fn rows_look_as_flink_prints_them() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("name", Arc::new(StringViewArray::from(vec!["a", "b"]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1_500]))),
        ];
        let chunk = Chunk {
            rows: RecordBatch::try_from_iter(columns).unwrap(),
            kinds: Some(UInt8Array::from(vec![0, 1])),
        };
        let text = lines("x:2> ", &chunk.rows, |row| chunk.kind(row)).unwrap();
        assert_eq!(text, "x:2> +I[1, a, 1970-01-01T00:00:00]\nx:2> -U[null, b, 1970-01-01T00:00:01.500]\n");
    }

    #[test]
    fn the_prefix_tells_the_table_and_the_subtask() {
        let cases = [("", 0, 1, ""), ("", 1, 2, "2> "), ("out", 0, 1, "out> "), ("out", 2, 4, "out:3> ")];
        for (identifier, index, parallelism, expected) in cases {
            assert_eq!(prefix(identifier, index, parallelism), expected);
        }
    }
}
