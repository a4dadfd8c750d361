//! Formats: how rows are read from and written to bytes, and what is done about bad records.

pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod parquet;
pub(crate) mod projection;
pub(crate) mod records;

use arrow_array::RecordBatch;
use arrow_schema::{Field, SchemaRef};

use crate::options::choice;

choice! {
    /// What the files hold.
    enum Format {
        /// One JSON object per line.
        Json = "json",
        /// Comma-separated values.
        Csv = "csv",
        /// Apache Parquet.
        Parquet = "parquet",
    }
}

impl Format {
    /// The ending of file names.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The type of a column, or of something in it, that this format can't carry.
    pub(crate) fn unsupported(self, field: &Field) -> Option<&'static str> {
        match self {
            Self::Json => json::unsupported(field),
            Self::Csv => csv::unsupported(field),
            Self::Parquet => None,
        }
    }
}

/// The options of all formats.
#[derive(Debug, Clone)]
pub(crate) struct FormatOptions {
    pub(crate) json: json::JsonOptions,
    pub(crate) csv: csv::CsvOptions,
    pub(crate) parquet: parquet::ParquetOptions,
}

/// Turns the rows of one file into bytes.
pub(crate) enum Encoder {
    Json(json::JsonEncoder),
    Csv(csv::CsvEncoder),
    Parquet(parquet::ParquetEncoder),
}

impl Encoder {
    /// For a new file.
    ///
    /// # Errors
    /// A schema that the format can't hold.
    pub(crate) fn new(format: Format, options: &FormatOptions, schema: &SchemaRef) -> Result<Self, String> {
        Ok(match format {
            Format::Json => Self::Json(json::JsonEncoder::new(&options.json, schema)),
            Format::Csv => Self::Csv(csv::CsvEncoder::new(&options.csv, schema)),
            Format::Parquet => Self::Parquet(parquet::ParquetEncoder::new(&options.parquet, schema)?),
        })
    }

    /// Appends rows, as far as they are bytes already.
    ///
    /// # Errors
    /// Rows that the format can't hold.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json(encoder) => encoder.encode(rows, out),
            Self::Csv(encoder) => encoder.encode(rows, out),
            Self::Parquet(encoder) => encoder.encode(rows, out),
        }
    }

    /// About how many bytes are still to come of the rows so far.
    pub(crate) fn pending(&self) -> usize {
        match self {
            Self::Json(_) | Self::Csv(_) => 0,
            Self::Parquet(encoder) => encoder.pending(),
        }
    }

    /// Appends the end of the file.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json(_) | Self::Csv(_) => Ok(()),
            Self::Parquet(encoder) => encoder.finish(out),
        }
    }
}
