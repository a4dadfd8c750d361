//! CSV: one record per line, fields that start with a quote may hold delimiters and line ends.
//!
//! An empty field is NULL, also in a column of text; so is the null literal.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_csv::reader::{Decoder, ReaderBuilder};
use arrow_csv::writer::WriterBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use regex::Regex;

use super::json::fraction;
use super::records::RecordDecoder;
use crate::options::{ABSENT, AsciiChar, options};

options! {
    /// Options of the format `csv`.
    struct CsvOptions {
        ["csv.field-delimiter", Some(","), "what separates fields; '\\t' for a tab"] delimiter: AsciiChar,
        ["csv.header", Some("false"), "whether the first line of a file names its columns: they are matched by name when reading, in any order and with others between"] header: bool,
        ["csv.null-literal", ABSENT, "text that stands for NULL, besides an empty field"] null_literal: String,
        ["csv.ignore-parse-errors", Some("false"), "the same as 'bad-records' = 'skip': a line that cannot be decoded is left out"] ignore_parse_errors: bool,
    }
}

/// Types that a field of a line can't carry.
pub(crate) fn unsupported(field: &Field) -> Option<&'static str> {
    match field.data_type() {
        DataType::Binary | DataType::BinaryView => Some("BYTES"),
        DataType::Struct(_) => Some("ROW"),
        DataType::List(_) => Some("ARRAY"),
        DataType::Map(_, _) => Some("MAP"),
        _ => None,
    }
}

/// Decodes lines of one file.
pub(crate) struct CsvDecoder {
    /// The columns of the file.
    file: SchemaRef,
    /// Positions in `file` of the columns that come out, rising; a decoder gives them in this order.
    read: Vec<usize>,
    /// For each column that comes out, its position among those that are read.
    order: Vec<usize>,
    schema: SchemaRef,
    options: CsvOptions,
    decoder: Option<Decoder>,
}

impl CsvDecoder {
    /// For the columns `wanted` of files that have the columns of `table` in their order.
    pub(crate) fn new(table: &Schema, wanted: &SchemaRef, options: &CsvOptions) -> Result<Self, String> {
        Self::with_columns(table.fields().iter().map(|f| f.name().as_str()), wanted, options)
    }

    /// For the columns `wanted` of a file with this header.
    pub(crate) fn with_header(header: &[u8], wanted: &SchemaRef, options: &CsvOptions) -> Result<Self, String> {
        // Only a byte order mark may stand before the first name.
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let names = fields_of(header, options.delimiter.0)?;
        Self::with_columns(names.iter().map(String::as_str), wanted, options)
    }

    fn with_columns<'a>(
        names: impl Iterator<Item = &'a str>,
        wanted: &SchemaRef,
        options: &CsvOptions,
    ) -> Result<Self, String> {
        let names: Vec<_> = names.collect();
        let mut found = Vec::new();
        for field in wanted.fields() {
            let at = names.iter().position(|n| n == field.name()).ok_or_else(|| {
                format!("the header has no column '{}': it has {}", field.name(), names.join(", "))
            })?;
            found.push(at);
        }
        let mut read = found.clone();
        read.sort_unstable();
        let order = found.iter().filter_map(|at| read.iter().position(|r| r == at)).collect();
        let column = |(at, name): (usize, &&str)| match found.iter().position(|f| *f == at) {
            Some(i) => wanted.field(i).clone(),
            None => Field::new(*name, DataType::Utf8View, true),
        };
        let file = Arc::new(Schema::new(names.iter().enumerate().map(column).collect::<Vec<_>>()));
        Ok(Self { file, read, order, schema: wanted.clone(), options: options.clone(), decoder: None })
    }

    fn fresh(&self) -> Result<Decoder, String> {
        let mut builder = ReaderBuilder::new(self.file.clone())
            .with_delimiter(self.options.delimiter.0)
            .with_projection(self.read.clone())
            .with_batch_size(usize::from(u16::MAX));
        if !self.options.null_literal.is_empty() {
            let pattern = format!("^(?:{})?$", regex::escape(&self.options.null_literal));
            builder = builder.with_null_regex(Regex::new(&pattern).map_err(|e| e.to_string())?);
        }
        Ok(builder.build_decoder())
    }
}

impl RecordDecoder for CsvDecoder {
    fn decode(&mut self, block: &[u8], records: &[Range<usize>]) -> Result<RecordBatch, String> {
        // A decoder that failed is not used again: it may hold half of a record.
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.fresh()?,
        };
        let mut count = 0;
        for run in runs(records) {
            let span = &block[run[0].start..run[run.len() - 1].end];
            for piece in [span, b"\n"] {
                let mut rest = piece;
                while !rest.is_empty() {
                    let used = decoder.decode(rest).map_err(reason)?;
                    rest = &rest[used..];
                }
            }
            count += run.len();
            if decoder.capacity() != usize::from(u16::MAX) - count {
                return Err("the line is not one record".to_owned());
            }
        }
        let rows = decoder.flush().map_err(reason)?;
        self.decoder = Some(decoder);
        match rows {
            None => Ok(RecordBatch::new_empty(self.schema.clone())),
            Some(rows) if rows.num_rows() != count => Err("the line is not one record".to_owned()),
            Some(rows) => rows
                .project(&self.order)
                .and_then(|rows| rows.with_schema(self.schema.clone()))
                .map_err(|e| e.to_string()),
        }
    }
}

/// Records that follow each other with only a line end between.
fn runs(records: &[Range<usize>]) -> impl Iterator<Item = &[Range<usize>]> {
    records.chunk_by(|a, b| b.start - a.end <= 2)
}

/// The fields of a single record.
fn fields_of(record: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(record).map_err(|_| "the header is not UTF-8".to_owned())?;
    let mut fields = Vec::new();
    let (mut field, mut quoted) = (String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            c if !quoted && c == char::from(delimiter) => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    Ok(fields)
}

/// What is wrong, without line numbers: they would be those of a batch.
fn reason(error: arrow_schema::ArrowError) -> String {
    let text = error.to_string();
    let text = text.trim_start_matches("Parser error: ").trim_start_matches("Csv error: ");
    if let Some((_, counts)) = text.split_once("expected ").filter(|_| text.starts_with("incorrect number")) {
        return format!("wrong number of fields: expected {counts}");
    }
    text.split(" at line ").next().unwrap_or(text).to_owned()
}

/// Writes lines.
pub(crate) struct CsvEncoder {
    writer: WriterBuilder,
    header: bool,
}

impl CsvEncoder {
    pub(crate) fn new(options: &CsvOptions, schema: &Schema) -> Self {
        let format = format!("%Y-%m-%d %H:%M:%S{}", fraction(schema));
        let writer = WriterBuilder::new()
            .with_delimiter(options.delimiter.0)
            .with_null(options.null_literal.clone())
            .with_timestamp_tz_format(format!("{format}Z"))
            .with_timestamp_format(format);
        Self { writer, header: options.header }
    }

    /// Appends rows, behind the header if they are the file's first.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        let header = std::mem::take(&mut self.header);
        let mut writer = self.writer.clone().with_header(header).build(out);
        writer.write(rows).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::super::records::{Framing, decode_good};
    use super::*;
    use crate::options::OptionReader;
    use crate::testing::table;

    fn options(options: &[(&str, &str)]) -> CsvOptions {
        let table = table(Arc::new(Schema::empty()), options);
        let mut reader = OptionReader::new(&table, CsvOptions::ROWS);
        let read = CsvOptions::read(&mut reader);
        reader.finish(read).unwrap()
    }

    fn wanted() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8View, true),
            Field::new("n", DataType::Int64, true),
        ]))
    }

    fn decode(mut decoder: CsvDecoder, text: &str) -> (Vec<String>, Vec<String>) {
        let mut records = Vec::new();
        Framing::QuotedFields { delimiter: b',' }.cut(text.as_bytes(), true, &mut records);
        let (rows, bad) = decode_good(&mut decoder, text.as_bytes(), &records).unwrap();
        let (names, numbers) = (rows.column(0).as_string_view(), rows.column(1).as_primitive::<Int64Type>());
        let row = |i| {
            let name = if names.is_null(i) { "NULL" } else { names.value(i) };
            let n = if numbers.is_null(i) { "NULL".to_owned() } else { numbers.value(i).to_string() };
            format!("{name}|{n}")
        };
        let bad = bad.into_iter().map(|b| format!("{}: {}", &text[b.range], b.reason)).collect();
        ((0..rows.num_rows()).map(row).collect(), bad)
    }

    #[test]
    fn columns_are_matched_by_the_header_in_any_order() {
        let decoder = CsvDecoder::with_header(b"x,\"n\",name", &wanted(), &options(&[])).unwrap();
        assert_eq!(decode(decoder, "0,1,a\n0,2,\"b,\nc\"\n").0, ["a|1", "b,\nc|2"]);
        let error = CsvDecoder::with_header(b"x,name", &wanted(), &options(&[])).err().unwrap();
        assert_eq!(error, "the header has no column 'n': it has x, name");
    }

    #[test]
    fn a_bad_record_does_not_spoil_its_batch() {
        let decoder = CsvDecoder::new(&wanted(), &wanted(), &options(&[("csv.null-literal", "N/A")])).unwrap();
        let (rows, bad) = decode(decoder, "a,1\nb,x\n  \nc\n,3\n\nN/A,4,5\nd,\n\"e\"\",6\n");
        assert_eq!(rows, ["a|1", "NULL|3", "d|NULL"]);
        assert_eq!(
            bad,
            [
                "b,x: Error while parsing value 'x' as type 'Int64' for column 1",
                "c: wrong number of fields: expected 2 got 1",
                "N/A,4,5: wrong number of fields: expected 2 got 3",
                "\"e\"\",6\n: the line is not one record",
            ]
        );
    }
}
