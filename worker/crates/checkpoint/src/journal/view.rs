//! What the records of a journal say together. Pure; built record by record, each checked against
//! the chain.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::{Attempt, CheckpointId, CheckpointKind, ManifestRef};

use super::codec::{decode_record, digest};
use crate::{Body, Counters, Record, Restore, Slot, StopReason};

/// Why bytes can't be the next record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("slot {slot} of the journal: {why}")]
pub struct BrokenChain {
    /// Where.
    pub slot: Slot,
    /// What is wrong.
    pub why: String,
}

/// A completed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Completed {
    /// The slot of its record.
    pub slot: Slot,
    /// Who took it.
    pub attempt: Attempt,
    /// Its number.
    pub id: CheckpointId,
    /// When, microseconds since the Unix epoch.
    pub at_us: u64,
    /// Why it was taken.
    pub reason: CheckpointKind,
    /// What it consists of.
    pub manifest: ManifestRef,
    /// Whether its sinks prepared something that no record calls committed yet.
    pub commits_due: bool,
}

/// All records above the boundary, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct View {
    boundary: Slot,
    records: Vec<Record>,
    tail_digest: String,
}

impl View {
    /// A journal of which nothing is read yet; records up to `boundary` do not count.
    pub fn new(boundary: Slot) -> Self {
        Self { boundary, records: Vec::new(), tail_digest: String::new() }
    }

    /// Takes the bytes of the next slot.
    ///
    /// # Errors
    /// [`BrokenChain`] if they are not what must stand there.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), BrokenChain> {
        let slot = self.next_slot();
        let broken = |why: String| BrokenChain { slot, why };
        let record = decode_record(bytes).map_err(|e| broken(e.to_string()))?;
        self.check(&record).map_err(broken)?;
        self.take(record, digest(bytes));
        Ok(())
    }

    /// Takes a record of our own that is durable.
    pub(super) fn take(&mut self, record: Record, digest: String) {
        self.records.push(record);
        self.tail_digest = digest;
    }

    /// Forgets what lies behind a boundary that has moved on.
    pub fn advance(&mut self, boundary: Slot) {
        if boundary > self.boundary {
            self.boundary = boundary;
            self.records.retain(|r| r.slot > boundary);
        }
    }

    fn check(&self, record: &Record) -> Result<(), String> {
        if record.slot != self.next_slot() {
            return Err(format!("the record says that it belongs into slot {}", record.slot));
        }
        let claims = matches!(record.body, Body::Claim { .. });
        let Some(last) = self.records.last() else {
            let first = record.slot == Slot(1);
            return match first && (!claims || !record.previous.is_empty()) {
                true => Err("the first record must be a claim without predecessor".to_owned()),
                false => Ok(()),
            };
        };
        if record.previous != self.tail_digest {
            return Err("the record before it is not the one that it was written after".to_owned());
        }
        if record.attempt < last.attempt {
            return Err(format!("written by attempt {} after attempt {}", record.attempt, last.attempt));
        }
        if record.attempt > last.attempt && !claims {
            return Err(format!("written by attempt {} without a claim", record.attempt));
        }
        Ok(())
    }

    /// Slots up to this one do not exist.
    pub fn boundary(&self) -> Slot {
        self.boundary
    }

    /// The records, by slot.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The slot after the last record.
    pub fn next_slot(&self) -> Slot {
        Slot(self.records.last().map_or(self.boundary, |r| r.slot).0 + 1)
    }

    /// The digest of the last record's bytes; empty if there is none.
    pub fn tail_digest(&self) -> &str {
        &self.tail_digest
    }

    /// The attempt that has the authority; 0 before the first claim.
    pub fn attempt(&self) -> Attempt {
        self.records.last().map_or(Attempt(0), |r| r.attempt)
    }

    /// The newest claim.
    pub fn claim(&self) -> Option<&Record> {
        self.records.iter().rev().find(|r| matches!(r.body, Body::Claim { .. }))
    }

    /// Completed checkpoints that no `Drop` names, by slot.
    pub fn checkpoints(&self) -> Vec<Completed> {
        let dropped = self.dropped();
        let committed = self.committed();
        let completed = self.records.iter().filter_map(|r| completed(r, &committed));
        completed.filter(|c| !dropped.contains(&c.id)).collect()
    }

    /// The newest completed checkpoint that no `Drop` names.
    pub fn newest(&self) -> Option<Completed> {
        self.checkpoints().pop()
    }

    /// What `Drop` records name.
    pub fn dropped(&self) -> BTreeSet<CheckpointId> {
        let ids = self.records.iter().filter_map(|r| match &r.body {
            Body::Drop { ids } => Some(ids),
            _ => None,
        });
        ids.flatten().copied().collect()
    }

    /// Pins that are held: name to checkpoint, with the slot of the pin's record.
    pub fn pins(&self) -> BTreeMap<String, (CheckpointId, Slot)> {
        let mut pins = BTreeMap::new();
        for record in &self.records {
            match &record.body {
                Body::Pin { name, id } => {
                    pins.insert(name.clone(), (*id, record.slot));
                }
                Body::Unpin { name } => {
                    pins.remove(name);
                }
                _ => {}
            }
        }
        pins
    }

    /// The end of the job, if nothing was claimed after it.
    pub fn stopped(&self) -> Option<(Option<CheckpointId>, StopReason)> {
        self.records.iter().rev().find_map(|r| match &r.body {
            Body::Stopped { id, reason } => Some(Some((*id, reason.clone()))),
            Body::Claim { .. } => Some(None),
            _ => None,
        })?
    }

    /// What an attempt that is claimed now starts from: the newest completed checkpoint, or what the newest
    /// claim starts from if nothing completed since. `None` if there never was a claim.
    pub fn restore(&self) -> Option<Restore> {
        let committed = self.committed();
        self.records.iter().rev().find_map(|r| match &r.body {
            Body::Claim { restore, .. } => Some(still_due(restore.clone(), r.slot, &committed)),
            Body::Checkpoint { .. } => completed(r, &committed).map(captured),
            _ => None,
        })
    }

    /// Counters as the newest record that has some says them.
    pub fn counters(&self) -> Counters {
        let newest = self.records.iter().rev().find_map(|r| match &r.body {
            Body::Claim { counters, .. } | Body::Checkpoint { counters, .. } => Some(*counters),
            _ => None,
        });
        newest.unwrap_or_default()
    }

    /// A checkpoint number above all that the journal knows.
    pub fn next_checkpoint(&self) -> CheckpointId {
        let known = self.records.iter().filter_map(|r| match &r.body {
            Body::Checkpoint { id, .. } | Body::Committed { id } | Body::Pin { id, .. } => Some(*id),
            Body::Claim { restore: Restore::Captured { id, .. }, .. } => Some(*id),
            Body::Drop { ids } => ids.iter().max().copied(),
            Body::Stopped { id, .. } => *id,
            Body::Claim { .. } | Body::Unpin { .. } => None,
        });
        known.max().unwrap_or_default().next()
    }

    /// What `Committed` records say, with their slots.
    fn committed(&self) -> Vec<(CheckpointId, Slot)> {
        let committed = self.records.iter().filter_map(|r| match r.body {
            Body::Committed { id } => Some((id, r.slot)),
            _ => None,
        });
        committed.collect()
    }
}

/// Whether a record behind `slot` says that the checkpoint's commits are done. A commit covers every
/// checkpoint up to its own.
fn is_committed(committed: &[(CheckpointId, Slot)], id: CheckpointId, slot: Slot) -> bool {
    committed.iter().any(|(upto, at)| *upto >= id && *at > slot)
}

/// What a claim captures of a completed checkpoint.
pub fn captured(checkpoint: Completed) -> Restore {
    Restore::Captured {
        slot: checkpoint.slot,
        id: checkpoint.id,
        manifest: checkpoint.manifest,
        commits: checkpoint.commits_due,
    }
}

fn completed(record: &Record, committed: &[(CheckpointId, Slot)]) -> Option<Completed> {
    let Body::Checkpoint { id, reason, manifest, commits, .. } = &record.body else { return None };
    Some(Completed {
        slot: record.slot,
        attempt: record.attempt,
        id: *id,
        at_us: record.at_us,
        reason: *reason,
        manifest: manifest.clone(),
        commits_due: *commits && !is_committed(committed, *id, record.slot),
    })
}

fn still_due(restore: Restore, claim: Slot, committed: &[(CheckpointId, Slot)]) -> Restore {
    match restore {
        Restore::Captured { slot, id, manifest, commits } => {
            let commits = commits && !is_committed(committed, id, claim);
            Restore::Captured { slot, id, manifest, commits }
        }
        genesis @ Restore::Genesis { .. } => genesis,
    }
}
