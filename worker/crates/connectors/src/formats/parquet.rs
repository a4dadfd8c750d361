//! Parquet: reading by ranges that somebody else fetches, writing into a buffer.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, SchemaRef};
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use crate::options::{choice, options};

choice! {
    /// How column chunks are compressed.
    enum Codec {
        /// Not at all.
        None = "none",
        /// Snappy.
        Snappy = "snappy",
        /// Zstandard.
        Zstd = "zstd",
        /// LZ4.
        Lz4 = "lz4",
    }
}

options! {
    /// Options of the format `parquet`.
    struct ParquetOptions {
        ["parquet.compression", Some("snappy"), "how written files are compressed: 'none', 'snappy', 'zstd' or 'lz4'"] compression: Codec,
    }
}

/// Rows of a batch at most.
const BATCH_ROWS: usize = 8_192;
/// Rows of a row group that is written.
const GROUP_ROWS: usize = 262_144;

/// A decoder of the columns `wanted` of a file, behind its first `skip` rows.
///
/// # Errors
/// A file that Parquet or the wanted columns do not fit.
pub(crate) fn decoder(metadata: Arc<ParquetMetaData>, wanted: &SchemaRef, skip: u64) -> Result<ParquetPushDecoder, String> {
    let (mut groups, mut before) = (Vec::new(), 0);
    let mut offset = 0;
    for (at, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if before + rows > skip {
            if groups.is_empty() {
                offset = skip.saturating_sub(before);
            }
            groups.push(at);
        }
        before += rows;
    }
    let builder = ParquetPushDecoderBuilder::try_new_decoder(metadata).map_err(|e| e.to_string())?;
    let names: Vec<_> = wanted.fields().iter().flat_map(|f| paths(f)).collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().map(String::as_str));
    let offset = usize::try_from(offset).map_err(|e| e.to_string())?;
    builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_offset(offset)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| e.to_string())
}

/// The dotted paths below a column that are wanted.
fn paths(field: &Field) -> Vec<String> {
    match field.data_type() {
        DataType::Struct(fields) => {
            fields.iter().flat_map(|f| paths(f)).map(|p| format!("{}.{p}", field.name())).collect()
        }
        _ => vec![field.name().clone()],
    }
}

/// Brings what a file has into the wanted columns: by name, cast, NULL where the file has none.
///
/// # Errors
/// A column that is missing and may not be NULL, or a value that its type can't hold.
pub(crate) fn conform(rows: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, String> {
    let columns = wanted
        .fields()
        .iter()
        .map(|field| column(rows.column_by_name(field.name()), field, rows.num_rows()))
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(wanted.clone(), columns, &options).map_err(|e| e.to_string())
}

fn column(found: Option<&ArrayRef>, field: &Field, rows: usize) -> Result<ArrayRef, String> {
    let Some(found) = found else {
        return match field.is_nullable() {
            true => Ok(new_null_array(field.data_type(), rows)),
            false => Err(format!("the file has no column '{}', which is NOT NULL", field.name())),
        };
    };
    if let (DataType::Struct(fields), Some(row)) =
        (field.data_type(), found.as_any().downcast_ref::<StructArray>())
    {
        let children = fields
            .iter()
            .map(|f| column(row.column_by_name(f.name()), f, rows))
            .collect::<Result<Vec<_>, _>>()?;
        return StructArray::try_new_with_length(fields.clone(), children, row.nulls().cloned(), rows)
            .map(|a| Arc::new(a) as ArrayRef)
            .map_err(|e| e.to_string());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(found, field.data_type(), &options)
        .map_err(|e| format!("column '{}' is not what the table declares: {e}", field.name()))
}

/// Writes one file.
pub(crate) struct ParquetEncoder {
    /// `None` after the file's end.
    writer: Option<ArrowWriter<Vec<u8>>>,
}

impl ParquetEncoder {
    pub(crate) fn new(options: &ParquetOptions, schema: &SchemaRef) -> Result<Self, String> {
        let compression = match options.compression {
            Codec::None => Compression::UNCOMPRESSED,
            Codec::Snappy => Compression::SNAPPY,
            Codec::Zstd => Compression::ZSTD(parquet::basic::ZstdLevel::default()),
            Codec::Lz4 => Compression::LZ4_RAW,
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(|e| e.to_string())?;
        Ok(Self { writer: Some(writer) })
    }

    /// Takes rows; appends bytes when a row group is full.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<(), String> {
        let Some(writer) = &mut self.writer else { return Err("the file is finished".to_owned()) };
        writer.write(rows).map_err(|e| e.to_string())?;
        if !writer.inner().is_empty() {
            out.append(writer.inner_mut());
        }
        Ok(())
    }

    /// Bytes that the rows so far will about take when they are written.
    pub(crate) fn pending(&self) -> usize {
        self.writer.as_ref().map_or(0, ArrowWriter::in_progress_size)
    }

    /// Appends what is left of the file.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self.writer.take() {
            Some(writer) => {
                out.append(&mut writer.into_inner().map_err(|e| e.to_string())?);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
