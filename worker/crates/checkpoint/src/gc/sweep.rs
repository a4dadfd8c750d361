//! Carries a plan out, a few deletions at a time, so that it never holds up anything else.

use weir_runtime::Random;

use super::plan::{Deletion, Plan};
use crate::Slot;
use crate::journal::{Boundary, decode_boundary, encode_boundary};
use crate::layout;
use crate::store::{Put, Store, StoreError, StoreErrorKind, Upload};

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Deleted so many files or aborted so many uploads.
    Deleted(usize),
    /// The boundary is here now; tell [`Journal::advance`](crate::Journal::advance).
    Boundary(Slot),
    /// Everything is done.
    Done,
}

/// A plan on its way. Every step may be repeated, by anybody, at any time: what it deletes stays garbage.
#[derive(Debug)]
pub struct Sweep {
    manifests: Vec<String>,
    data: Vec<String>,
    uploads: Vec<Upload>,
    boundary: Option<Slot>,
    slots: Vec<Slot>,
}

impl Sweep {
    /// Begins to carry out a plan.
    pub fn new(plan: Plan) -> Self {
        let keys = |deletions: Vec<Deletion>| deletions.into_iter().map(|d| d.key).collect();
        Self {
            manifests: keys(plan.manifests),
            data: keys(plan.data),
            uploads: plan.uploads.into_iter().map(|(upload, _)| upload).collect(),
            boundary: plan.boundary,
            slots: plan.slots,
        }
    }

    /// Does the next step: at most `budget` deletions, or moving the boundary.
    ///
    /// # Errors
    /// The store's; the step may be tried again.
    pub async fn step(
        &mut self,
        store: &dyn Store,
        random: &dyn Random,
        budget: usize,
    ) -> Result<Step, StoreError> {
        let budget = budget.max(1);
        for keys in [&mut self.manifests, &mut self.data] {
            if !keys.is_empty() {
                return delete_some(store, keys, budget).await;
            }
        }
        if let Some(upload) = self.uploads.last() {
            store.abort_upload(upload).await?;
            self.uploads.pop();
            return Ok(Step::Deleted(1));
        }
        if let Some(target) = self.boundary {
            let now = advance_boundary(store, random, target).await?;
            self.boundary = None;
            return Ok(Step::Boundary(now));
        }
        if self.slots.is_empty() {
            return Ok(Step::Done);
        }
        let mut keys: Vec<String> = self.slots.iter().take(budget).map(|s| layout::record(*s)).collect();
        let deleted = delete_some(store, &mut keys, budget).await?;
        self.slots.drain(..self.slots.len().min(budget));
        Ok(deleted)
    }
}

async fn delete_some(store: &dyn Store, keys: &mut Vec<String>, budget: usize) -> Result<Step, StoreError> {
    let from = keys.len().saturating_sub(budget);
    store.delete(&keys[from..]).await?;
    let deleted = keys.len() - from;
    keys.truncate(from);
    Ok(Step::Deleted(deleted))
}

/// Moves the boundary to at least `target`; it only ever grows. Gives where it is.
async fn advance_boundary(store: &dyn Store, random: &dyn Random, target: Slot) -> Result<Slot, StoreError> {
    loop {
        let found = store.get_versioned(layout::BOUNDARY).await?;
        let (now, version) = match &found {
            None => (Slot(0), None),
            Some((bytes, version)) => {
                let boundary = decode_boundary(bytes).map_err(|why| broken(store, why.to_string()))?;
                (boundary.slot, Some(version))
            }
        };
        if now >= target {
            return Ok(now);
        }
        let boundary = Boundary { slot: target, nonce: random.nonce() };
        let bytes = encode_boundary(&boundary).map_err(|why| broken(store, why.to_string()))?;
        // Refused: somebody else moved it; look again.
        if store.replace(layout::BOUNDARY, version, bytes).await? == Put::Written {
            return Ok(target);
        }
    }
}

fn broken(store: &dyn Store, why: String) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, "replace", store.url(), layout::BOUNDARY, why)
}
