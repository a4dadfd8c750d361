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
    blocks: mpsc::Receiver<Result<Piece, Failure>>,
    framing: Framing,
    decoder: MakeDecoder,
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
    /// Bytes of the header, to be passed over in the first block.
    skip: usize,
}

/// A decoder, or what makes one of a file's first record.
pub(crate) enum MakeDecoder {
    Ready(Box<dyn RecordDecoder>),
    OfHeader(OfHeader),
}

/// Makes a decoder of the record that names the file's columns.
pub(crate) type OfHeader = Box<dyn Fn(&[u8]) -> Result<Box<dyn RecordDecoder>, String> + Send>;

/// What the task fetches.
enum Piece {
    /// The beginning of the file, for its header.
    Beginning(Bytes),
    /// What comes next.
    Next(Bytes),
}

/// How a text format reads records.
pub(crate) struct TextFormat {
    pub(crate) framing: Framing,
    pub(crate) decoder: MakeDecoder,
    pub(crate) projection: Arc<Projection>,
}

impl TextReader {
    pub(crate) fn new(file: FileInfo, position: u64, format: TextFormat, reader: Reader, waker: Waker) -> Self {
        let (send, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let path = file.path.clone();
        let io = reader.io.clone();
        let header = matches!(format.decoder, MakeDecoder::OfHeader(_));
        io.spawn(fetch(file, position, header, reader, send, waker));
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
            skip: 0,
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
                Ok(piece) => match piece? {
                    Piece::Beginning(block) => self.read_header(&block)?,
                    Piece::Next(block) => self.add(&block)?,
                },
                Err(mpsc::error::TryRecvError::Empty) => return Ok(Progress::Pending),
                Err(mpsc::error::TryRecvError::Disconnected) => self.add_end(),
            }
        }
        self.decode(bad).map(Progress::Rows)
    }

    /// Makes the decoder; if the file is read from its beginning, passes over the header.
    fn read_header(&mut self, block: &Bytes) -> Result<(), Failure> {
        let MakeDecoder::OfHeader(make) = &self.decoder else { return Ok(()) };
        let mut records = Vec::new();
        self.framing.cut(block, true, &mut records);
        let header = records.into_iter().next().unwrap_or(0..0);
        let decoder = make(&block[header.clone()])
            .map_err(|e| Failure::new(FailureKind::BadRecord, format!("{}: {e}", self.path)))?;
        self.decoder = MakeDecoder::Ready(decoder);
        self.skip = if self.buffer_at == 0 { header.end } else { 0 };
        Ok(())
    }

    fn add(&mut self, block: &Bytes) -> Result<(), Failure> {
        self.buffer.drain(..self.cut_to);
        self.buffer_at += self.cut_to as u64;
        let header = std::mem::take(&mut self.skip);
        self.buffer_at += header as u64;
        self.buffer.extend_from_slice(&block[header..]);
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
        let MakeDecoder::Ready(decoder) = &mut self.decoder else {
            return Err(bug("rows came before the header".to_owned()));
        };
        let (rows, bad_ones) = decode_good(decoder.as_mut(), &self.buffer, records).map_err(bug)?;
        bad.take(&self.path, self.buffer_at, &self.buffer, &bad_ones)?;
        let rows = self.projection.apply(&rows).map_err(|e| bug(e.to_string()))?;
        let end = if last == self.records.len() { self.cut_to } else { self.records[last].start };
        self.next_record = last;
        self.position = self.buffer_at + end as u64;
        Ok(rows)
    }
}

/// Fetches the rest of a file block by block, as far as it went when it was listed; before that its
/// beginning, if there is a header.
async fn fetch(
    file: FileInfo,
    mut at: u64,
    header: bool,
    reader: Reader,
    send: mpsc::Sender<Result<Piece, Failure>>,
    waker: Waker,
) {
    let mut open = true;
    if header && file.size > 0 {
        let piece = block(&file, 0, &reader, &send).await.map(Piece::Beginning);
        open = piece.is_ok();
        open &= send.send(piece).await.is_ok();
    }
    while open && at < file.size {
        let piece = block(&file, at, &reader, &send).await;
        at += piece.as_ref().map_or(0, |b| b.len() as u64);
        open = piece.is_ok();
        open &= send.send(piece.map(Piece::Next)).await.is_ok();
        waker.wake_by_ref();
    }
    drop(send);
    waker.wake();
}

async fn block(
    file: &FileInfo,
    at: u64,
    reader: &Reader,
    send: &mpsc::Sender<Result<Piece, Failure>>,
) -> Result<Bytes, Failure> {
    let length = BLOCK_BYTES.min(usize::try_from(file.size - at).unwrap_or(BLOCK_BYTES));
    let bytes = reader.retry(send, |files| files.read(&file.path, at, length)).await?;
    if bytes.is_empty() {
        let message = format!("{}: the file had {} bytes and now ends at byte {at}", file.path, file.size);
        return Err(Failure::new(FailureKind::Source, message));
    }
    Ok(bytes)
}
