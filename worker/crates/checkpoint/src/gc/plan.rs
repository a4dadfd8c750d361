//! The decision. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_protocol::CheckpointId;

use crate::journal::View;
use crate::layout::{self, FileKind, Origin};
use crate::store::{Listed, Upload};
use crate::{Body, Restore, Slot};

/// A claim that holds the boundary back by more slots than this is said again.
pub const RENEW_AFTER: u64 = 256;
/// Checkpoints that one `Drop` names at most, so that it stays a small record.
const DROP_AT_MOST: usize = 1000;

/// What is kept by rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many of the newest completed checkpoints; at least one is kept in any case.
    pub keep: u32,
    /// Those that are younger than this. Age only ever delays a deletion.
    pub expiration: Duration,
}

/// What is in the store, as it was listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Slots that have a record, whatever the boundary says.
    pub slots: Vec<Slot>,
    /// Data objects and manifests.
    pub files: Vec<Listed>,
    /// Unfinished uploads of data objects and manifests.
    pub uploads: Vec<Upload>,
    /// For each completed checkpoint that is not dropped: the keys that its manifest names.
    pub named: BTreeMap<CheckpointId, BTreeSet<String>>,
    /// Checkpoints whose manifest could not be read, with the reason.
    pub unreadable: BTreeMap<CheckpointId, String>,
}

/// A record that ought to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// What it says.
    pub body: Body,
    /// Why.
    pub reason: String,
}

/// Something that may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deletion {
    /// The object.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// Why it may go.
    pub reason: String,
}

/// What to do, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be appended by the holder of the journal. What they allow comes with a later plan, made once they are durable.
    pub append: Vec<Proposed>,
    /// Manifests to delete.
    pub manifests: Vec<Deletion>,
    /// Data objects to delete, after the manifests.
    pub data: Vec<Deletion>,
    /// Uploads to abort, with the reason.
    pub uploads: Vec<(Upload, String)>,
    /// Where the boundary goes, if it moves.
    pub boundary: Option<Slot>,
    /// Records to delete, after the boundary has passed them.
    pub slots: Vec<Slot>,
    /// Why files are left alone although some may be garbage.
    pub blocked: Option<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.append.is_empty()
            && self.manifests.is_empty()
            && self.data.is_empty()
            && self.uploads.is_empty()
            && self.boundary.is_none()
            && self.slots.is_empty()
    }

    /// Bytes that deleting the files frees.
    pub fn bytes(&self) -> u64 {
        self.manifests.iter().chain(&self.data).map(|d| d.size).sum()
    }
}

/// Decides what goes.
///
/// `in_flight` are checkpoints that are being taken and those that something still reads or copies (a
/// savepoint in construction, the base of a checkpoint in flight): they and what they name stay. `now_us` is the
/// time, microseconds since the Unix epoch.
///
/// Assumes that a checkpoint in flight names only its own new objects and objects of a completed checkpoint
/// that is not dropped.
pub fn plan(
    view: &View,
    inventory: &Inventory,
    retention: Retention,
    in_flight: &BTreeSet<CheckpointId>,
    now_us: u64,
) -> Plan {
    let mut plan = Plan::default();
    plan.append.extend(drop_superseded(view, retention, in_flight, now_us));
    plan.append.extend(drop_aborted(view, inventory, in_flight));
    if let Some(why) = unknown_names(view, inventory) {
        plan.blocked = Some(why);
    } else {
        delete_files(view, inventory, &mut plan);
    }
    let limits = Limits::of(view, inventory);
    let boundary = limits.boundary();
    if boundary > view.boundary() {
        plan.boundary = Some(boundary);
    }
    if limits.rest.0.saturating_sub(limits.claim.0) > RENEW_AFTER {
        let reason = format!("the claim in slot {} holds the boundary back", limits.claim);
        plan.append.push(Proposed { body: view.renewal(), reason });
    }
    let gone = boundary.max(view.boundary());
    plan.slots = inventory.slots.iter().copied().filter(|slot| *slot <= gone).collect();
    plan
}

/// Completed checkpoints that retention does not keep any more.
fn drop_superseded(
    view: &View,
    retention: Retention,
    in_flight: &BTreeSet<CheckpointId>,
    now_us: u64,
) -> Vec<Proposed> {
    let completed = view.checkpoints();
    let keep = (retention.keep as usize).max(1);
    let expiration = u64::try_from(retention.expiration.as_micros()).unwrap_or(u64::MAX);
    let pinned: BTreeSet<CheckpointId> = view.pins().into_values().map(|(id, _)| id).collect();
    let restored = match view.restore() {
        Some(Restore::Captured { id, .. }) => Some(id),
        _ => None,
    };
    let superseded = completed.iter().rev().skip(keep).filter(|c| {
        now_us.saturating_sub(c.at_us) >= expiration
            && !pinned.contains(&c.id)
            && !in_flight.contains(&c.id)
            && restored != Some(c.id)
            && !c.commits_due
    });
    let ids: BTreeSet<CheckpointId> = superseded.map(|c| c.id).collect();
    drops(ids, "superseded, and older than retention keeps")
}

/// Checkpoints of this attempt that came to nothing: a newer one is complete, and numbers only rise.
fn drop_aborted(view: &View, inventory: &Inventory, in_flight: &BTreeSet<CheckpointId>) -> Vec<Proposed> {
    let mut completed = BTreeSet::new();
    for record in view.records() {
        if let Body::Checkpoint { id, .. } = record.body {
            completed.insert(id);
        }
    }
    let own = view.records().iter().rev().find_map(|r| match r.body {
        Body::Checkpoint { id, .. } if r.attempt == view.attempt() => Some(id),
        _ => None,
    });
    let Some(newest) = own else { return Vec::new() };
    let dropped = view.dropped();
    let origins = inventory.files.iter().filter_map(|f| layout::origin(&f.key));
    let aborted = origins.filter(|o| {
        o.attempt == view.attempt()
            && o.checkpoint < newest
            && !completed.contains(&o.checkpoint)
            && !dropped.contains(&o.checkpoint)
            && !in_flight.contains(&o.checkpoint)
    });
    drops(aborted.map(|o| o.checkpoint).collect(), "it never completed, and a newer one did")
}

fn drops(ids: BTreeSet<CheckpointId>, reason: &str) -> Vec<Proposed> {
    let ids: Vec<CheckpointId> = ids.into_iter().collect();
    let records = ids
        .chunks(DROP_AT_MOST)
        .map(|ids| Proposed { body: Body::Drop { ids: ids.to_vec() }, reason: reason.to_owned() });
    records.collect()
}

/// Why it is not known what must stay, if it is not.
fn unknown_names(view: &View, inventory: &Inventory) -> Option<String> {
    let unread = view.checkpoints().into_iter().find(|c| !inventory.named.contains_key(&c.id))?;
    let why = inventory.unreadable.get(&unread.id).map_or("it was not read", String::as_str);
    Some(format!("no file is deleted, for what checkpoint {} names is not known: {why}", unread.id))
}

fn delete_files(view: &View, inventory: &Inventory, plan: &mut Plan) {
    let manifests: BTreeSet<String> = view.checkpoints().into_iter().map(|c| c.manifest.key).collect();
    let dropped = view.dropped();
    let named =
        |key: &str| manifests.contains(key) || inventory.named.values().any(|keys| keys.contains(key));
    for file in &inventory.files {
        let Some(origin) = layout::origin(&file.key) else { continue };
        let Some(reason) = proof(view, &dropped, origin) else { continue };
        if named(&file.key) {
            continue;
        }
        let deletion = Deletion { key: file.key.clone(), size: file.size, reason };
        match origin.kind {
            FileKind::Manifest => plan.manifests.push(deletion),
            FileKind::Data => plan.data.push(deletion),
        }
    }
    for upload in &inventory.uploads {
        if let Some(origin) = layout::origin(&upload.key).filter(|o| o.attempt < view.attempt()) {
            let reason = format!("attempt {} is fenced", origin.attempt);
            plan.uploads.push((upload.clone(), reason));
        }
    }
}

/// Why a file of this origin may go if nothing names it.
fn proof(view: &View, dropped: &BTreeSet<CheckpointId>, origin: Origin) -> Option<String> {
    let attempt = view.attempt();
    if origin.attempt < attempt {
        let what = "nothing that is kept names it, and its attempt";
        return Some(format!("{what} {} is fenced by attempt {attempt}", origin.attempt));
    }
    let own = origin.attempt == attempt && dropped.contains(&origin.checkpoint);
    own.then(|| format!("nothing that is kept names it, and checkpoint {} is dropped", origin.checkpoint))
}

/// What the boundary must stay below.
struct Limits {
    /// The newest claim.
    claim: Slot,
    /// Everything else.
    rest: Slot,
}

impl Limits {
    fn of(view: &View, inventory: &Inventory) -> Self {
        let none = Slot(view.boundary().0 + 1);
        let claim = view.claim().map_or(none, |r| r.slot);
        let checkpoints = view.checkpoints().into_iter().map(|c| c.slot);
        let pins = view.pins().into_values().map(|(_, slot)| slot);
        let drops = view.records().iter().filter_map(|r| match &r.body {
            Body::Drop { ids } => needed(inventory, view, ids).then_some(r.slot),
            _ => None,
        });
        let last = view.records().last().map_or(none, |r| r.slot);
        let rest = checkpoints.chain(pins).chain(drops).chain([last]).min().unwrap_or(none);
        Self { claim, rest }
    }

    fn boundary(&self) -> Slot {
        Slot(self.claim.min(self.rest).0.saturating_sub(1))
    }
}

/// Whether a `Drop` is still the proof by which files go.
fn needed(inventory: &Inventory, view: &View, ids: &[CheckpointId]) -> bool {
    let origins = inventory.files.iter().filter_map(|f| layout::origin(&f.key).map(|o| (f, o)));
    let mut own = origins.filter(|(_, o)| o.attempt == view.attempt() && ids.contains(&o.checkpoint));
    own.any(|(file, _)| !inventory.named.values().any(|keys| keys.contains(&file.key)))
}
