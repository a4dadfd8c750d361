//! Which completed checkpoints are given up.

use weir_protocol::{CheckpointConfig, CheckpointId};
use weir_runtime::Timestamp;

use crate::event::Retained;

/// Those that are neither among the newest `retain`, nor younger than `expiration`, nor pinned.
/// The newest is never among them. `retained` is oldest first.
pub fn superseded(retained: &[Retained], config: &CheckpointConfig, now: Timestamp) -> Vec<CheckpointId> {
    let newest = (config.retain.max(1) as usize).min(retained.len());
    let candidates = retained.iter().take(retained.len() - newest);
    let old = candidates.filter(|kept| !kept.pinned && now.since(kept.at) >= config.expiration);
    old.map(|kept| kept.id).collect()
}
