//! The source: which files are this subtask's, which comes next, and where it stands in each.
//!
//! A file belongs to the subtask that the stable hash of its path names. So ownership needs no
//! agreement, whatever the parallelism was before. Files are read one after the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use weir_dataflow::{OpenSource, Poll, Source, SplitState};
use weir_protocol::{Failure, FailureKind, key_group};

use super::bad_records::BadRecords;
use super::files::FileInfo;
use super::retry::Reader;
use super::text::Progress;
use super::{FileTable, RowReader};
use crate::pace::Pace;

/// A split's position, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// Bytes of the file when it was found; what was added since is not read.
    size: u64,
    /// The file's version when it was found.
    version: String,
    at: Position,
}

/// Where a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Position {
    /// Byte offset of the first record that was not read.
    Byte(u64),
    /// Number of the first row that was not read.
    Row(u64),
}

struct Split {
    file: FileInfo,
    at: Position,
    ended: bool,
    /// It comes from a checkpoint and was not compared with the file yet.
    restored: bool,
}

pub(crate) struct FileSource {
    table: Arc<FileTable>,
    reader: Reader,
    waker: Waker,
    index: u32,
    parallelism: u32,
    splits: Vec<Split>,
    /// All splits before this one have ended.
    read_up_to: usize,
    known: HashMap<String, usize>,
    found: Option<mpsc::Receiver<Result<Vec<FileInfo>, Failure>>>,
    active: Option<(usize, Active)>,
    /// The split that was told to be read, if any was told.
    reading: Option<Option<usize>>,
    bad: BadRecords,
    /// Rows given since the opening, and the pace that they keep.
    pace: Option<(u64, Pace)>,
}

/// What is done about the file that is read now.
enum Active {
    /// It is compared with what the checkpoint says of it.
    Checking(mpsc::Receiver<Result<(), Failure>>),
    Reading(RowReader),
}

/// The subtask that reads a file.
fn owner(path: &str, parallelism: u32) -> u32 {
    (key_group::hash_bytes(path.as_bytes()) % u64::from(parallelism.max(1))) as u32
}

/// A subtask's part of the rows per second of all.
fn share(rate: u64, context: &OpenSource) -> u64 {
    let parallelism = u64::from(context.parallelism.max(1));
    (rate / parallelism + u64::from(u64::from(context.index) < rate % parallelism)).max(1)
}

impl FileSource {
    pub(crate) fn open(table: Arc<FileTable>, context: &OpenSource) -> Result<Self, Failure> {
        let reader = Reader::new(table.files.clone(), &table.name, context);
        let mut source = Self {
            bad: table.bad_records(),
            found: Some(discover(&reader, table.monitor, context.waker.clone())),
            waker: context.waker.clone(),
            index: context.index,
            parallelism: context.parallelism,
            splits: Vec::new(),
            read_up_to: 0,
            known: HashMap::new(),
            active: None,
            reading: None,
            pace: table.rate.map(|rate| (0, Pace::new(share(rate, context), context))),
            reader,
            table,
        };
        for state in context.restored.iter().flat_map(|all| all.iter()) {
            if owner(&state.id, context.parallelism) == context.index {
                let split = restore(state)?;
                source.add(split);
            }
        }
        Ok(source)
    }

    fn add(&mut self, split: Split) {
        self.known.insert(split.file.path.clone(), self.splits.len());
        self.splits.push(split);
    }

    fn take_found(&mut self) -> Result<(), Failure> {
        while let Some(found) = &mut self.found {
            match found.try_recv() {
                Ok(files) => {
                    for file in files? {
                        let mine = owner(&file.path, self.parallelism) == self.index;
                        if mine && !self.known.contains_key(&file.path) {
                            let at = self.table.start();
                            self.add(Split { file, at, ended: false, restored: false });
                        }
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => self.found = None,
            }
        }
        Ok(())
    }

    /// Starts the next file, if there is one.
    fn start_next(&mut self) -> Result<(), Failure> {
        let unread = self.splits.iter().skip(self.read_up_to).position(|s| !s.ended);
        let Some(at) = unread.map(|at| at + self.read_up_to) else { return Ok(()) };
        self.read_up_to = at;
        let split = &self.splits[at];
        let active = if split.restored {
            Active::Checking(check(&self.reader, split.file.clone(), self.waker.clone()))
        } else {
            Active::Reading(self.open_split(at)?)
        };
        self.active = Some((at, active));
        Ok(())
    }

    fn open_split(&self, at: usize) -> Result<RowReader, Failure> {
        let split = &self.splits[at];
        self.table.open_file(&split.file, split.at, &self.reader, &self.waker)
    }
}

impl Source for FileSource {
    fn poll_batch(&mut self) -> Result<Poll, Failure> {
        self.take_found()?;
        loop {
            if self.active.is_none() {
                self.start_next()?;
            }
            let now = self.active.as_ref().map(|(at, _)| *at);
            if self.reading != Some(now) {
                self.reading = Some(now);
                return Ok(Poll::Reading(now.into_iter().collect()));
            }
            let Some((at, active)) = &mut self.active else {
                return Ok(if self.found.is_none() { Poll::Exhausted } else { Poll::Pending });
            };
            let at = *at;
            match active {
                Active::Checking(answer) => match answer.try_recv() {
                    Ok(answer) => {
                        answer?;
                        self.splits[at].restored = false;
                        self.active = Some((at, Active::Reading(self.open_split(at)?)));
                    }
                    Err(mpsc::error::TryRecvError::Empty) => return Ok(Poll::Pending),
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        return Err(Failure::new(FailureKind::Source, "the look at a file was stopped"));
                    }
                },
                Active::Reading(_)
                    if self.pace.as_ref().is_some_and(|(given, pace)| *given >= pace.due()) =>
                {
                    if let Some((_, pace)) = &self.pace {
                        pace.wake_later();
                    }
                    return Ok(Poll::Pending);
                }
                Active::Reading(reader) => {
                    let progress = reader.poll(&mut self.bad)?;
                    self.splits[at].at = reader.position();
                    match progress {
                        Progress::Rows(rows) => {
                            if let Some((given, _)) = &mut self.pace {
                                *given += rows.num_rows() as u64;
                            }
                            return Ok(Poll::Batch { split: at, rows });
                        }
                        Progress::Pending => return Ok(Poll::Pending),
                        Progress::End => {
                            self.splits[at].ended = true;
                            self.active = None;
                        }
                    }
                }
            }
        }
    }

    fn snapshot(&mut self) -> Vec<SplitState> {
        self.splits.iter().map(state).collect()
    }

    fn bad_records(&self) -> u64 {
        self.bad.count()
    }
}

fn state(split: &Split) -> SplitState {
    let stored = Stored { size: split.file.size, version: split.file.version.clone(), at: split.at };
    SplitState {
        id: split.file.path.clone(),
        ended: split.ended,
        position: serde_json::to_vec(&stored).expect("numbers and text can be written as JSON"),
    }
}

fn restore(state: &SplitState) -> Result<Split, Failure> {
    let stored: Stored = serde_json::from_slice(&state.position).map_err(|e| {
        let message = format!("the checkpoint's position in file {:?} cannot be read: {e}", state.id);
        Failure::new(FailureKind::StateIncompatible, message)
    })?;
    let file = FileInfo { path: state.id.clone(), size: stored.size, version: stored.version };
    Ok(Split { file, at: stored.at, ended: state.ended, restored: true })
}

/// Looks for files once, or again and again.
fn discover(
    reader: &Reader,
    every: Option<Duration>,
    waker: Waker,
) -> mpsc::Receiver<Result<Vec<FileInfo>, Failure>> {
    let (send, receive) = mpsc::channel(1);
    let io = reader.io.clone();
    let reader = reader.clone();
    io.spawn(async move {
        loop {
            let files = reader.retry(&send, |files| files.list()).await;
            let failed = files.is_err();
            if send.send(files).await.is_err() || failed {
                break;
            }
            waker.wake_by_ref();
            match every {
                Some(every) => tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = send.closed() => break,
                },
                None => break,
            }
        }
        drop(send);
        waker.wake();
    });
    receive
}

/// Compares a file with what a checkpoint says of it.
fn check(reader: &Reader, expected: FileInfo, waker: Waker) -> mpsc::Receiver<Result<(), Failure>> {
    let (send, receive) = mpsc::channel(1);
    let io = reader.io.clone();
    let reader = reader.clone();
    io.spawn(async move {
        let now = reader.retry(&send, |files| files.info(&expected.path)).await;
        let answer = now.and_then(|now| compare(&expected, now.as_ref()));
        // Nobody waits any more if the source was dropped.
        drop(send.send(answer).await);
        drop(send);
        waker.wake();
    });
    receive
}

fn compare(expected: &FileInfo, now: Option<&FileInfo>) -> Result<(), Failure> {
    let what = match now {
        None => "is gone".to_owned(),
        Some(now) if now.size < expected.size => {
            format!("shrank from {} to {} bytes", expected.size, now.size)
        }
        Some(now) if now != expected => "was changed".to_owned(),
        Some(_) => return Ok(()),
    };
    let message = format!(
        "{}: the file {what} since the checkpoint that the job goes on from; its position in it means nothing any more",
        expected.path
    );
    Err(Failure::new(FailureKind::Source, message))
}

impl RowReader {
    fn poll(&mut self, bad: &mut BadRecords) -> Result<Progress, Failure> {
        match self {
            Self::Text(reader) => reader.poll(bad),
            Self::Parquet(reader) => reader.poll(),
        }
    }

    fn position(&self) -> Position {
        match self {
            Self::Text(reader) => Position::Byte(reader.position()),
            Self::Parquet(reader) => Position::Row(reader.position()),
        }
    }
}
