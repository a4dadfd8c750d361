//! What really happened, seen from above: the invariants are checked against it. No process sees it.

use std::collections::{BTreeMap, BTreeSet};

use weir_checkpoint::journal::{decode_record, digest};
use weir_checkpoint::{Body, Manifest, Record, Restore, Slot};
use weir_protocol::{Attempt, Blob, CheckpointId, Execution, Stamp, SubtaskId};

use crate::setup::Setup;
use crate::store::SimStore;
use crate::task::{Handle, SinkState, SourceState, Tag, value};

/// The history of a world.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ghost {
    /// Every record that was durable at some time, with its digest.
    pub(crate) log: BTreeMap<Slot, (Record, String)>,
    /// Every manifest that was ever written.
    pub(crate) manifests: BTreeMap<String, Manifest>,
    /// Rows that are visible.
    pub(crate) rows: BTreeSet<u32>,
    /// How far each deployment has read each split.
    pub(crate) read: BTreeMap<(Attempt, Execution), BTreeMap<u32, u32>>,
    /// The first invariant that broke.
    pub(crate) violation: Option<String>,
}

impl Ghost {
    pub(crate) fn broken(&mut self, what: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(what.into());
        }
    }

    pub(crate) fn require(&mut self, holds: bool, what: &str) {
        if !holds {
            self.broken(what);
        }
    }

    /// A record was created in the store.
    pub(crate) fn created(&mut self, slot: Slot, bytes: &[u8], store: &SimStore, setup: &Setup) {
        if slot <= store.boundary() {
            return;
        }
        let Ok(record) = decode_record(bytes) else {
            return self.broken("J1: a record that can't be read");
        };
        self.require(!self.log.contains_key(&slot), "J1: the content of a slot changed");
        self.check_record(&record, setup);
        self.log.insert(slot, (record, digest(bytes)));
    }

    fn check_record(&mut self, record: &Record, setup: &Setup) {
        let before: Option<(Record, String)> =
            self.log.range(..record.slot).next_back().map(|(_, r)| r.clone());
        if let Some((last, chained)) = &before {
            self.require(last.slot.0 + 1 == record.slot.0, "J3: a slot is missing");
            self.require(*chained == record.previous, "J3: the hash chain is broken");
            self.require(last.attempt <= record.attempt, "J2: attempts fall");
        } else {
            self.require(record.slot == Slot(1) && record.previous.is_empty(), "J3: the first record");
        }
        let claims = self.bodies().filter(|r| matches!(r.body, Body::Claim { .. })).map(|r| r.attempt).last();
        if !matches!(record.body, Body::Claim { .. }) {
            self.require(claims == Some(record.attempt), "J4: a record outside of its attempt");
        }
        match &record.body {
            Body::Claim { restore, .. } => {
                let captured = match restore {
                    Restore::Captured { id, .. } => Some(*id),
                    Restore::Genesis { .. } => None,
                };
                let newest = self.newest().map(|(id, _, _)| id);
                self.require(captured == newest, "J5: a claim that does not restore the newest checkpoint");
            }
            Body::Checkpoint { id, manifest, .. } => {
                if let Some((last, commits, committed)) = self.newest() {
                    self.require(*id > last, "K3: checkpoint numbers do not rise");
                    self.require(
                        !commits || committed,
                        "a checkpoint was recorded before the last one's commits",
                    );
                }
                match self.manifests.get(&manifest.key).cloned() {
                    Some(manifest) => self.check_manifest(record, *id, &manifest, setup),
                    None => self.broken("K4: a checkpoint without its manifest"),
                }
            }
            Body::Drop { ids } => {
                let newest = self.newest().map(|(id, _, _)| id);
                self.require(
                    newest.is_none_or(|id| !ids.contains(&id)),
                    "G1: the newest checkpoint was dropped",
                );
            }
            Body::Committed { .. } | Body::Pin { .. } | Body::Unpin { .. } | Body::Stopped { .. } => {}
        }
    }

    fn bodies(&self) -> impl Iterator<Item = &Record> {
        self.log.values().map(|(record, _)| record)
    }

    /// The newest checkpoint: its number, whether it has commits, and whether they are recorded.
    pub(crate) fn newest(&self) -> Option<(CheckpointId, bool, bool)> {
        let (id, commits) = self
            .bodies()
            .filter_map(|r| match &r.body {
                Body::Checkpoint { id, commits, .. } => Some((*id, *commits)),
                _ => None,
            })
            .last()?;
        let committed = self.bodies().any(|r| r.body == Body::Committed { id });
        Some((id, commits, committed))
    }

    /// K1 and K2.
    fn check_manifest(&mut self, record: &Record, id: CheckpointId, manifest: &Manifest, setup: &Setup) {
        let subtasks: Vec<SubtaskId> = manifest.graph.subtasks().collect();
        let parts: Vec<SubtaskId> = manifest.parts.iter().map(|part| part.subtask).collect();
        self.require(parts == subtasks, "K1: not one part per subtask");
        let mut positions: BTreeMap<u32, u32> = BTreeMap::new();
        let mut sums: BTreeMap<u32, u64> = BTreeMap::new();
        for part in &manifest.parts {
            let list = |name: &str| {
                let lists = part.state.iter().flat_map(|state| &state.lists);
                lists.filter(|(n, _)| n == name).flat_map(|(_, blobs)| blobs).next().cloned()
            };
            let tag: Option<Tag> = list("tag").and_then(|blob| read(&blob));
            let expected = (record.attempt, manifest.execution, id, part.subtask.index);
            self.require(
                tag == Some(expected),
                "K1: a part of another attempt, execution, checkpoint or subtask",
            );
            if let Some(SourceState { positions: own }) = list("source").and_then(|blob| read(&blob)) {
                positions.extend(own);
            }
            if let Some(SinkState { sums: own }) = list("sink").and_then(|blob| read(&blob)) {
                own.into_iter().for_each(|(group, sum)| *sums.entry(group).or_default() += sum);
            }
        }
        self.require(positions.len() == setup.splits as usize, "K2: a split is missing in the checkpoint");
        let mut fold: BTreeMap<u32, u64> = BTreeMap::new();
        for (split, position) in positions {
            for row in (0..position).map(|at| value(split, at)) {
                *fold.entry(row % setup.options.config.max_parallelism).or_default() += u64::from(row);
            }
        }
        self.require(fold == sums, "K2: the state is not the fold of the input before the cut");
    }

    /// The attempt that has the authority.
    pub(crate) fn attempt(&self) -> Attempt {
        self.log.values().next_back().map_or(Attempt(0), |(record, _)| record.attempt)
    }

    /// The checkpoint that an attempt's claim captured.
    pub(crate) fn captured(&self, attempt: Attempt) -> Option<CheckpointId> {
        let claim = self.bodies().find(|r| r.attempt == attempt && matches!(r.body, Body::Claim { .. }));
        claim.and_then(crate::process::captured)
    }

    /// A deployment has read a split up to there.
    pub(crate) fn read_up_to(&mut self, deployed: Stamp, split: u32, at: u32) {
        self.read.entry((deployed.attempt, deployed.execution)).or_default().insert(split, at);
    }

    /// D1: another execution goes on from there as it was planned.
    pub(crate) fn moved(&mut self, before: &Stamp, restored: Option<&Manifest>) {
        let read_before = self.read.get(&(before.attempt, before.execution)).cloned().unwrap_or_default();
        let lists =
            restored.iter().flat_map(|m| &m.parts).flat_map(|part| &part.state).flat_map(|s| &s.lists);
        let sources = lists.filter(|(name, _)| name == "source").flat_map(|(_, blobs)| blobs);
        let saved: BTreeMap<u32, u32> =
            sources.filter_map(read::<SourceState>).flat_map(|source| source.positions).collect();
        let again = read_before.iter().any(|(split, at)| saved.get(split).copied().unwrap_or(0) < *at);
        self.require(!again, "D1: rows are read again after a planned move");
    }

    /// A process says that an append succeeded.
    pub(crate) fn reported(&mut self, record: &Record) {
        let same = self.log.get(&record.slot).is_some_and(|(real, _)| real == record);
        self.require(same, "J7: success was reported for a record that is not in the journal");
    }

    /// A sink makes something visible.
    pub(crate) fn made_visible(&mut self, handle: &Handle, store: &SimStore) {
        if let Some(rows) = store.visible.get(&handle.name) {
            return self.require(*rows == handle.rows, "S4: committing again changed something");
        }
        let permitted = self.recorded().any(|known| known == *handle);
        self.require(permitted, "S3, S5: output is visible without a durable checkpoint that has it");
        for row in &handle.rows {
            let new = self.rows.insert(*row);
            self.require(new, "S1: a row is visible twice");
        }
    }

    /// What the sinks prepared for any durable checkpoint.
    fn recorded(&self) -> impl Iterator<Item = Handle> {
        let manifests = self.bodies().filter_map(|r| match &r.body {
            Body::Checkpoint { manifest, .. } => self.manifests.get(&manifest.key),
            _ => None,
        });
        let sinks = manifests.flat_map(|m| &m.parts).flat_map(|part| &part.sinks);
        sinks.flat_map(|s| &s.handles).filter_map(read)
    }

    /// What has to hold at every moment.
    pub(crate) fn check(&mut self, store: &SimStore, boundary_before: Slot) {
        let boundary = store.boundary();
        self.require(boundary_before <= boundary, "J6: the boundary fell");
        let newest = |wanted: fn(&Body) -> bool| {
            self.log.iter().rev().find(|(_, (record, _))| wanted(&record.body)).map(|(slot, _)| *slot)
        };
        let checkpoint = newest(|body| matches!(body, Body::Checkpoint { .. }));
        let claim = newest(|body| matches!(body, Body::Claim { .. }));
        let below = [checkpoint, claim].into_iter().flatten().all(|slot| boundary < slot);
        self.require(below, "J6: the boundary reached the newest checkpoint or claim");
        let mut behind = self.log.keys().filter(|slot| **slot > boundary);
        let there = behind.all(|slot| store.records.contains_key(slot));
        self.require(there, "G1: a record above the boundary was deleted");
        self.check_reachable(store);
    }

    /// K4, G1, S2: for the newest checkpoint, and for what is recorded as committed.
    fn check_reachable(&mut self, store: &SimStore) {
        let newest = self
            .bodies()
            .filter_map(|r| match &r.body {
                Body::Checkpoint { manifest, .. } => Some(manifest.key.clone()),
                _ => None,
            })
            .last();
        if let Some(key) = newest {
            let objects_there = store
                .manifests
                .get(&key)
                .map(|manifest| manifest.objects.iter().all(|object| store.data.contains_key(&object.key)));
            self.require(objects_there == Some(true), "K4, G1: the newest checkpoint can't be read any more");
        }
        if let Some((id, _, true)) = self.newest() {
            let visible = self.handles(id).iter().all(|handle| store.visible.contains_key(&handle.name));
            self.require(visible, "S2: recorded as committed, but not visible");
        }
    }

    fn handles(&self, wanted: CheckpointId) -> Vec<Handle> {
        let manifests = self.bodies().filter_map(|r| match &r.body {
            Body::Checkpoint { id, manifest, .. } if *id == wanted => self.manifests.get(&manifest.key),
            _ => None,
        });
        let sinks = manifests.flat_map(|m| &m.parts).flat_map(|part| &part.sinks);
        sinks.flat_map(|s| &s.handles).filter_map(read).collect()
    }
}

/// What an inline blob says.
pub(crate) fn read<T: serde::de::DeserializeOwned>(blob: &Blob) -> Option<T> {
    match blob {
        Blob::Inline(bytes) => serde_json::from_slice(bytes).ok(),
        Blob::Block(_) => None,
    }
}

/// A blob that says this.
pub(crate) fn write<T: serde::Serialize>(value: &T) -> Blob {
    Blob::Inline(serde_json::to_vec(value).unwrap_or_default())
}
