//! Reading one Parquet file: the decoder says which ranges it needs, a task fetches them.

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::push_decoder::ParquetPushDecoder;
use parquet::file::metadata::ParquetMetaDataPushDecoder;
use tokio::sync::mpsc;
use weir_protocol::{Failure, FailureKind};

use super::files::FileInfo;
use super::retry::Reader;
use super::text::Progress;
use crate::formats::parquet as format;
use crate::formats::projection::Projection;

type Fetched = Result<(Vec<Range<u64>>, Vec<Bytes>), Failure>;

/// Reads a Parquet file from a row on.
pub(crate) struct ParquetReader {
    file: FileInfo,
    projection: Arc<Projection>,
    reader: Reader,
    waker: Waker,
    /// Rows that were given.
    rows: u64,
    stage: Stage,
    /// Ranges that are on their way.
    fetching: Option<mpsc::Receiver<Fetched>>,
}

enum Stage {
    Footer(Box<ParquetMetaDataPushDecoder>),
    Rows(Box<ParquetPushDecoder>),
    End,
}

impl ParquetReader {
    pub(crate) fn new(
        file: FileInfo,
        rows: u64,
        projection: Arc<Projection>,
        reader: Reader,
        waker: Waker,
    ) -> Result<Self, Failure> {
        let footer = ParquetMetaDataPushDecoder::try_new(file.size).map_err(|e| damaged(&file, e.to_string()))?;
        let stage = Stage::Footer(Box::new(footer));
        Ok(Self { file, projection, reader, waker, rows, stage, fetching: None })
    }

    /// Number of the first row that was not given.
    pub(crate) fn position(&self) -> u64 {
        self.rows
    }

    /// The next rows.
    pub(crate) fn poll(&mut self) -> Result<Progress, Failure> {
        loop {
            if let Some(fetching) = &mut self.fetching {
                match fetching.try_recv() {
                    Ok(fetched) => {
                        let (ranges, bytes) = fetched?;
                        self.fetching = None;
                        self.push(ranges, bytes)?;
                    }
                    Err(mpsc::error::TryRecvError::Empty) => return Ok(Progress::Pending),
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        return Err(Failure::new(FailureKind::Source, "reading was stopped").at(&self.file.path));
                    }
                }
            }
            match self.step()? {
                DecodeResult::NeedsData(ranges) => self.fetching = Some(self.fetch(ranges)),
                DecodeResult::Data(Some(rows)) => return Ok(Progress::Rows(rows)),
                DecodeResult::Data(None) => {}
                DecodeResult::Finished => return Ok(Progress::End),
            }
        }
    }

    /// Goes on with what is there; `Data(None)` is the end of the footer.
    fn step(&mut self) -> Result<DecodeResult<Option<RecordBatch>>, Failure> {
        let wrong = |e: String| damaged(&self.file, e);
        match &mut self.stage {
            Stage::Footer(footer) => match footer.try_decode().map_err(|e| wrong(e.to_string()))? {
                DecodeResult::NeedsData(ranges) => Ok(DecodeResult::NeedsData(ranges)),
                DecodeResult::Finished => Ok(DecodeResult::Finished),
                DecodeResult::Data(metadata) => {
                    let decoder = format::decoder(Arc::new(metadata), &self.projection.decoded, self.rows);
                    self.stage = Stage::Rows(Box::new(decoder.map_err(wrong)?));
                    Ok(DecodeResult::Data(None))
                }
            },
            Stage::Rows(decoder) => match decoder.try_decode().map_err(|e| wrong(e.to_string()))? {
                DecodeResult::NeedsData(ranges) => Ok(DecodeResult::NeedsData(ranges)),
                DecodeResult::Data(rows) => {
                    let decoded = format::conform(&rows, &self.projection.decoded).map_err(wrong)?;
                    let rows = self.projection.apply(&decoded).map_err(|e| wrong(e.to_string()))?;
                    self.rows += rows.num_rows() as u64;
                    Ok(DecodeResult::Data(Some(rows)))
                }
                DecodeResult::Finished => {
                    self.stage = Stage::End;
                    Ok(DecodeResult::Finished)
                }
            },
            Stage::End => Ok(DecodeResult::Finished),
        }
    }

    fn push(&mut self, ranges: Vec<Range<u64>>, bytes: Vec<Bytes>) -> Result<(), Failure> {
        let pushed = match &mut self.stage {
            Stage::Footer(footer) => footer.push_ranges(ranges, bytes),
            Stage::Rows(decoder) => decoder.push_ranges(ranges, bytes),
            Stage::End => Ok(()),
        };
        pushed.map_err(|e| damaged(&self.file, e.to_string()))
    }

    fn fetch(&self, ranges: Vec<Range<u64>>) -> mpsc::Receiver<Fetched> {
        let (send, receive) = mpsc::channel(1);
        let (reader, waker, path) = (self.reader.clone(), self.waker.clone(), self.file.path.clone());
        self.reader.io.spawn(async move {
            let fetched = fetch_all(&reader, &path, ranges, &send).await;
            // Nobody waits any more if the source was dropped.
            drop(send.send(fetched).await);
            waker.wake();
        });
        receive
    }
}

async fn fetch_all(reader: &Reader, path: &str, ranges: Vec<Range<u64>>, send: &mpsc::Sender<Fetched>) -> Fetched {
    let mut all = Vec::with_capacity(ranges.len());
    for range in &ranges {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let bytes = reader.retry(send, |files| files.read(path, range.start, length)).await?;
        if bytes.len() < length {
            let message = format!("{path}: the file ends before byte {}: it shrank", range.end);
            return Err(Failure::new(FailureKind::Source, message));
        }
        all.push(bytes);
    }
    Ok((ranges, all))
}

fn damaged(file: &FileInfo, reason: String) -> Failure {
    Failure::new(FailureKind::BadRecord, reason).at(format_args!("{}, as Parquet", file.path))
}
