//! Reading one text file: blocks are fetched ahead by a task, records are cut and decoded here.

use std::ops::Range;
use std::sync::Arc;
use std::task::Waker;

use arrow_array::RecordBatch;
use bytes::Bytes;
use tokio::sync::mpsc;
use weir_protocol::{Failure, FailureKind};

use super::bad_records::BadRecords;
use super::files::FileInfo;
use super::retry::Reader;
use crate::formats::projection::Projection;
use crate::formats::records::{Framing, RecordDecoder, decode_good};

/// Bytes that are fetched at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Blocks that are fetched ahead.
const BLOCKS_AHEAD: usize = 2;
/// Records of a batch at most.
const BATCH_RECORDS: usize = 8_192;
/// A record longer than this is taken for damage.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// What a reader of a file offers.
pub(crate) enum Progress {
    /// Rows; the position has moved behind them.
    Rows(RecordBatch),
    /// Nothing yet: the waker will be called.
    Pending,
    /// The file is read.
    End,
}

/// Reads a text file from a position.
pub(crate) struct TextReader {
    path: String,
    blocks: mpsc::Receiver<Result<Bytes, Failure>>,
    framing: Framing,
    decoder: Box<dyn RecordDecoder>,
    projection: Arc<Projection>,
    /// Bytes that were fetched and not yet passed.
    buffer: Vec<u8>,
    /// Complete records in the buffer that were not decoded yet, and the end of the last one.
    records: Vec<Range<usize>>,
    next_record: usize,
    cut_to: usize,
    /// Offset of the buffer in the file.
    buffer_at: u64,
    /// Offset behind the last row that was given.
    position: u64,
    all_fetched: bool,
}

/// How a text format reads records.
pub(crate) struct TextFormat {
    pub(crate) framing: Framing,
    pub(crate) decoder: Box<dyn RecordDecoder>,
    pub(crate) projection: Arc<Projection>,
}

impl TextReader {
    pub(crate) fn new(file: FileInfo, position: u64, format: TextFormat, reader: Reader, waker: Waker) -> Self {
        let (send, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let path = file.path.clone();
        let io = reader.io.clone();
        io.spawn(fetch(file, position, reader, send, waker));
        Self {
            path,
            blocks,
            framing: format.framing,
            decoder: format.decoder,
            projection: format.projection,
            buffer: Vec::new(),
            records: Vec::new(),
            next_record: 0,
            cut_to: 0,
            buffer_at: position,
            position,
            all_fetched: false,
        }
    }

    /// The byte offset behind the last row that was given.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next rows.
    pub(crate) fn poll(&mut self, bad: &mut BadRecords) -> Result<Progress, Failure> {
        while self.next_record == self.records.len() {
            if self.all_fetched {
                self.position = self.buffer_at + self.cut_to as u64;
                return Ok(Progress::End);
            }
            match self.blocks.try_recv() {
                Ok(block) => self.add(&block?)?,
                Err(mpsc::error::TryRecvError::Empty) => return Ok(Progress::Pending),
                Err(mpsc::error::TryRecvError::Disconnected) => self.add_end(),
            }
        }
        self.decode(bad).map(Progress::Rows)
    }

    fn add(&mut self, block: &Bytes) -> Result<(), Failure> {
        self.buffer.drain(..self.cut_to);
        self.buffer_at += self.cut_to as u64;
        self.buffer.extend_from_slice(block);
        self.cut(false);
        if self.buffer.len() - self.cut_to > MAX_RECORD_BYTES {
            let at = self.buffer_at + self.cut_to as u64;
            let message = format!(
                "{}, at byte {at}: the record does not end within {} Mi: a quote that is not closed?",
                self.path,
                MAX_RECORD_BYTES >> 20
            );
            return Err(Failure::new(FailureKind::BadRecord, message));
        }
        Ok(())
    }

    fn add_end(&mut self) {
        self.all_fetched = true;
        self.buffer.drain(..self.cut_to);
        self.buffer_at += self.cut_to as u64;
        self.cut(true);
    }

    fn cut(&mut self, end_of_file: bool) {
        self.records.clear();
        self.next_record = 0;
        self.cut_to = self.framing.cut(&self.buffer, end_of_file, &mut self.records);
    }

    fn decode(&mut self, bad: &mut BadRecords) -> Result<RecordBatch, Failure> {
        let last = (self.next_record + BATCH_RECORDS).min(self.records.len());
        let records = &self.records[self.next_record..last];
        let bug = |e: String| Failure::new(FailureKind::Bug, e).at(&self.path);
        let (rows, bad_ones) = decode_good(self.decoder.as_mut(), &self.buffer, records).map_err(bug)?;
        bad.take(&self.path, self.buffer_at, &self.buffer, &bad_ones)?;
        let rows = self.projection.apply(&rows).map_err(|e| bug(e.to_string()))?;
        let end = if last == self.records.len() { self.cut_to } else { self.records[last].start };
        self.next_record = last;
        self.position = self.buffer_at + end as u64;
        Ok(rows)
    }
}

/// Fetches the rest of a file block by block, as far as it went when it was listed.
async fn fetch(
    file: FileInfo,
    mut at: u64,
    reader: Reader,
    send: mpsc::Sender<Result<Bytes, Failure>>,
    waker: Waker,
) {
    while at < file.size {
        let length = BLOCK_BYTES.min(usize::try_from(file.size - at).unwrap_or(BLOCK_BYTES));
        let read = reader.retry(|files| files.read(&file.path, at, length)).await;
        let block = match read {
            Ok(bytes) if bytes.is_empty() => {
                let message = format!("{}: the file had {} bytes and now ends at byte {at}", file.path, file.size);
                Err(Failure::new(FailureKind::Source, message))
            }
            other => other,
        };
        at += block.as_ref().map_or(0, |b| b.len() as u64);
        let failed = block.is_err();
        if send.send(block).await.is_err() || failed {
            break;
        }
        waker.wake_by_ref();
    }
    drop(send);
    waker.wake();
}
