//! What is done with records that cannot be decoded.
//!
//! Promise for dead letters: a bad record is durable in the dead-letter file before any checkpoint
//! that passes it. It may stand there more than once, after a restore.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use base64::Engine;
use serde::Serialize;
use weir_protocol::{Failure, FailureKind};

use crate::formats::records::BadRecord;
use crate::options::choice;

choice! {
    /// What is done with a bad record, besides counting it.
    enum OnBadRecord {
        /// The job fails, naming file, offset and reason.
        Fail = "fail",
        /// It is left out.
        Skip = "skip",
        /// It is appended to a file.
        DeadLetter = "dead-letter",
    }
}

/// What a subtask does with its bad records.
pub(crate) struct BadRecords {
    policy: OnBadRecord,
    dead_letters: Option<PathBuf>,
    file: Option<File>,
    count: u64,
}

/// A line of the dead-letter file.
#[derive(Serialize)]
struct DeadLetter<'a> {
    file: &'a str,
    offset: u64,
    reason: &'a str,
    /// The record, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    /// Its bytes, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_base64: Option<String>,
}

/// How much of a record is shown in a message.
const SHOWN_BYTES: usize = 200;

impl BadRecords {
    pub(crate) fn new(policy: OnBadRecord, dead_letters: Option<PathBuf>) -> Self {
        Self { policy, dead_letters, file: None, count: 0 }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Deals with the bad records of a block that begins at `offset` of `file`.
    ///
    /// # Errors
    /// The first bad record, if the job is to fail; or a dead-letter file that can't be written.
    pub(crate) fn take(&mut self, file: &str, offset: u64, block: &[u8], bad: &[BadRecord]) -> Result<(), Failure> {
        let Some(first) = bad.first() else { return Ok(()) };
        match self.policy {
            OnBadRecord::Fail => {
                let at = offset + first.range.start as u64;
                let message = format!(
                    "{file}, at byte {at}: the record cannot be decoded: {}: {} (the option 'bad-records' can be 'skip' or 'dead-letter')",
                    first.reason,
                    shown(&block[first.range.clone()])
                );
                return Err(Failure::new(FailureKind::BadRecord, message));
            }
            OnBadRecord::Skip => {}
            OnBadRecord::DeadLetter => self.append(file, offset, block, bad).map_err(|e| {
                let path = self.dead_letters.as_deref().unwrap_or(std::path::Path::new("")).display();
                Failure::new(FailureKind::Disk, format!("bad records cannot be written to {path}: {e}"))
            })?,
        }
        self.count += bad.len() as u64;
        Ok(())
    }

    fn append(&mut self, file: &str, offset: u64, block: &[u8], bad: &[BadRecord]) -> std::io::Result<()> {
        let mut lines = Vec::new();
        for record in bad {
            let bytes = &block[record.range.clone()];
            let text = std::str::from_utf8(bytes).ok();
            let letter = DeadLetter {
                file,
                offset: offset + record.range.start as u64,
                reason: &record.reason,
                record: text,
                record_base64: text.is_none().then(|| base64::prelude::BASE64_STANDARD.encode(bytes)),
            };
            serde_json::to_writer(&mut lines, &letter)?;
            lines.push(b'\n');
        }
        if self.file.is_none() {
            let path = self.dead_letters.clone().unwrap_or_default();
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            self.file = Some(OpenOptions::new().create(true).append(true).open(path)?);
        }
        match &mut self.file {
            Some(out) => out.write_all(&lines).and_then(|()| out.sync_data()),
            None => Ok(()),
        }
    }
}

fn shown(record: &[u8]) -> String {
    let cut = &record[..record.len().min(SHOWN_BYTES)];
    let more = if cut.len() < record.len() { "…" } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(cut))
}
