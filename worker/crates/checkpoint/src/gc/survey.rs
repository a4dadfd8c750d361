//! Gathers what a plan is made from.

use std::collections::{BTreeMap, BTreeSet};

use weir_protocol::CheckpointId;

use super::plan::Inventory;
use crate::journal::View;
use crate::layout;
use crate::manifest::read_manifest;
use crate::store::{Store, StoreError};

/// Why there is no inventory.
pub type SurveyError = StoreError;

/// Takes inventories of one job's folder. Remembers what manifests name, so that each is read once.
#[derive(Debug, Default)]
pub struct Survey {
    named: BTreeMap<CheckpointId, (String, BTreeSet<String>)>,
}

impl Survey {
    /// Lists everything, and reads the manifest of every checkpoint that is not dropped.
    ///
    /// `view` must have been read before the call: what is listed later can only be more.
    ///
    /// # Errors
    /// The store's. A manifest that can't be read is no error: the inventory says so.
    pub async fn take(&mut self, store: &dyn Store, view: &View) -> Result<Inventory, SurveyError> {
        let mut inventory = Inventory::default();
        let records = store.list(layout::JOURNAL).await?;
        inventory.slots = records.iter().filter_map(|o| layout::record_slot(&o.key)).collect();
        for folder in [layout::MANIFESTS, layout::DATA] {
            inventory.files.extend(store.list(folder).await?);
            inventory.uploads.extend(store.uploads(folder).await?);
        }
        let live = view.checkpoints();
        self.named.retain(|id, (key, _)| live.iter().any(|c| c.id == *id && c.manifest.key == *key));
        for checkpoint in live {
            if !self.named.contains_key(&checkpoint.id) {
                match read_manifest(store, &checkpoint.manifest).await {
                    Ok(manifest) => {
                        let keys = manifest.objects.into_iter().map(|o| o.key).collect();
                        self.named.insert(checkpoint.id, (checkpoint.manifest.key, keys));
                    }
                    Err(problem) => {
                        inventory.unreadable.insert(checkpoint.id, problem.to_string());
                    }
                }
            }
        }
        inventory.named = self.named.iter().map(|(id, (_, keys))| (*id, keys.clone())).collect();
        Ok(inventory)
    }
}
