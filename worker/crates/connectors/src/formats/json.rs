//! JSON lines: one object per line.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::records::RecordDecoder;
use crate::options::{choice, options};

choice! {
    /// How timestamps are written.
    enum TimestampStandard {
        /// `2015-07-15 12:00:00.123`
        Sql = "SQL",
        /// `2015-07-15T12:00:00.123`
        Iso = "ISO-8601",
    }
}

options! {
    /// Options of the format `json`.
    struct JsonOptions {
        ["json.ignore-parse-errors", Some("false"), "the same as 'bad-records' = 'skip': a line that cannot be decoded is left out"] ignore_parse_errors: bool,
        ["json.fail-on-missing-field", Some("false"), "whether a line that lacks a column is a bad record; else the column is NULL"] fail_on_missing_field: bool,
        ["json.timestamp-format.standard", Some("SQL"), "how timestamps are written: 'SQL' (2015-07-15 12:00:00.123) or 'ISO-8601' (2015-07-15T12:00:00.123); both are read"] timestamps: TimestampStandard,
        ["json.encode.ignore-null-fields", Some("false"), "whether columns that are NULL are left out when writing"] ignore_null_fields: bool,
    }
}

/// Types that JSON can't carry.
pub(crate) fn unsupported(field: &Field) -> Option<&'static str> {
    match field.data_type() {
        DataType::Binary | DataType::BinaryView => Some("BYTES"),
        DataType::Struct(fields) => fields.iter().find_map(|f| unsupported(f)),
        DataType::List(item) | DataType::Map(item, _) => unsupported(item),
        _ => None,
    }
}

/// Decodes lines.
pub(crate) struct JsonDecoder {
    schema: SchemaRef,
    decoder: Option<Decoder>,
    /// Columns without which a line is bad.
    required: HashSet<String>,
}

impl JsonDecoder {
    /// For these columns.
    pub(crate) fn new(schema: SchemaRef, options: &JsonOptions) -> Self {
        let required = match options.fail_on_missing_field {
            true => schema.fields().iter().map(|f| f.name().clone()).collect(),
            false => HashSet::new(),
        };
        Self { schema, decoder: None, required }
    }

    fn fresh(schema: &SchemaRef) -> Result<Decoder, String> {
        ReaderBuilder::new(schema.clone())
            .with_batch_size(usize::from(u16::MAX))
            .with_coerce_primitive(true)
            .build_decoder()
            .map_err(|e| e.to_string())
    }
}

impl RecordDecoder for JsonDecoder {
    fn decode(&mut self, block: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        // A decoder that failed is not used again: it may hold half of a record.
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => Self::fresh(&self.schema)?,
        };
        for (count, record) in records.iter().enumerate() {
            let line = &block[record.clone()];
            let used = decoder.decode(line).map_err(json_reason)?;
            if decoder.has_partial_record() || decoder.len() != count + 1 || used < line.len() {
                return Err("the line is not one JSON object".to_owned());
            }
            if !self.required.is_empty() {
                self.check_fields(line)?;
            }
        }
        let rows = decoder.flush().map_err(json_reason)?;
        self.decoder = Some(decoder);
        Ok(rows.unwrap_or_else(|| RecordBatch::new_empty(self.schema.clone())))
    }
}

impl JsonDecoder {
    fn check_fields(&self, line: &[u8]) -> Result<(), String> {
        let present = serde_json::Deserializer::from_slice(line).deserialize_map(Keys).map_err(|e| e.to_string())?;
        let mut missing: Vec<_> = self.required.iter().filter(|r| !present.contains(*r)).cloned().collect();
        missing.sort_unstable();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("the line lacks {}", missing.join(", "))),
        }
    }
}

fn json_reason(error: arrow_schema::ArrowError) -> String {
    let text = error.to_string();
    text.strip_prefix("Json error: ").unwrap_or(&text).to_owned()
}

/// The keys of an object.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = HashSet<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            keys.insert(key);
        }
        Ok(keys)
    }
}

/// Writes lines.
pub(crate) struct JsonEncoder {
    writer: WriterBuilder,
}

impl JsonEncoder {
    pub(crate) fn new(options: &JsonOptions, schema: &Schema) -> Self {
        let between = match options.timestamps {
            TimestampStandard::Sql => ' ',
            TimestampStandard::Iso => 'T',
        };
        let format = format!("%Y-%m-%d{between}%H:%M:%S{}", fraction(schema));
        let writer = WriterBuilder::new()
            .with_explicit_nulls(!options.ignore_null_fields)
            .with_timestamp_tz_format(format!("{format}Z"))
            .with_timestamp_format(format);
        Self { writer }
    }

    /// Appends rows.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        let mut writer = self.writer.clone().build::<_, LineDelimited>(out);
        writer.write(rows).and_then(|()| writer.finish()).map_err(|e| e.to_string())
    }
}

/// As many digits of a second as the finest timestamp column has; one format serves all columns.
pub(crate) fn fraction(schema: &Schema) -> &'static str {
    use arrow_schema::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let unit = |f: &std::sync::Arc<Field>| match f.data_type() {
        DataType::Timestamp(unit, _) => Some(*unit),
        _ => None,
    };
    match schema.fields().iter().filter_map(unit).max() {
        None | Some(Millisecond) => "%.3f",
        Some(Second) => "",
        Some(Microsecond) => "%.6f",
        Some(Nanosecond) => "%.9f",
    }
}
