//! Savepoints under way, and what became of those before: data, and the names of their pins.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use weir_checkpoint::savepoint::{Copied, SavepointId};
use weir_protocol::{CheckpointId, Failure};
use weir_runtime::Timestamp;

/// How many may be under way at a time.
pub(crate) const AT_ONCE: usize = 8;
/// How many checkpoints are tried for one.
pub(crate) const TRIES: u32 = 3;
/// What the names of their pins begin with.
const PIN: &str = "savepoint/";
/// What stands in the name of a pin between the id and the place.
const TO: &str = " to ";

/// A savepoint that somebody wants; the body of `POST /v1/job/savepoints`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SavepointRequest {
    /// Its name; a new one if absent.
    pub id: Option<SavepointId>,
    /// The URL of the folder in which it gets its own; beside the checkpoints if absent.
    pub to: Option<String>,
    /// A copy of the last completed checkpoint will do; else one is taken.
    pub from_last: bool,
    /// The job is to stop: the savepoint is a copy of its last checkpoint.
    pub stop: bool,
}

/// All savepoints that the coordinator knows of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Savepoints {
    pub(crate) work: Vec<Work>,
    /// Newest first.
    pub(crate) ended: VecDeque<SavepointStatus>,
}

/// One under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) id: SavepointId,
    pub(crate) to: Option<String>,
    pub(crate) requested: Timestamp,
    /// Checkpoints that were taken for it and came to nothing.
    pub(crate) failed: u32,
    pub(crate) stage: Stage,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A checkpoint that begins from now on will do.
    Waiting,
    /// The newest completed checkpoint will do, once its output is visible.
    Last,
    /// This checkpoint, once it is complete and its output is visible.
    Taking(CheckpointId),
    /// The record that holds on to the checkpoint is on its way.
    Pinning(Copied),
    /// It is being copied.
    Copying(Copied),
    /// That is over; the record that lets go of the checkpoint is on its way.
    Unpinning(SavepointStatus),
}

impl Work {
    pub(crate) fn new(id: SavepointId, request: &SavepointRequest, requested: Timestamp) -> Self {
        let stage = if request.from_last { Stage::Last } else { Stage::Waiting };
        Self { id, to: request.to.clone(), requested, failed: 0, stage }
    }

    /// The checkpoint that is held on to.
    pub(crate) fn pinned(&self) -> Option<CheckpointId> {
        match &self.stage {
            Stage::Pinning(copied) | Stage::Copying(copied) => Some(copied.checkpoint),
            Stage::Unpinning(status) => status.checkpoint,
            Stage::Waiting | Stage::Last | Stage::Taking(_) => None,
        }
    }

    /// The name of its pin: all that another coordinator needs to go on with the copy.
    pub(crate) fn pin(&self) -> String {
        match &self.to {
            Some(to) => format!("{PIN}{}{TO}{to}", self.id),
            None => format!("{PIN}{}", self.id),
        }
    }
}

/// What the name of a pin says; `None` if it is not a savepoint's.
pub(crate) fn of_pin(name: &str) -> Option<(SavepointId, Option<String>)> {
    let rest = name.strip_prefix(PIN)?;
    let (id, to) = rest.split_once(TO).map_or((rest, None), |(id, to)| (id, Some(to.to_owned())));
    Some((SavepointId::new(id).ok()?, to))
}

/// Where a savepoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SavepointState {
    /// A checkpoint for it has not begun.
    Waiting,
    /// A checkpoint is being taken for it.
    Checkpointing,
    /// The checkpoint is being copied.
    Copying,
    /// It is whole.
    Completed,
    /// It will not be made by this coordinator.
    Failed,
}

/// One savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavepointStatus {
    /// Its name.
    pub id: SavepointId,
    /// Where it stands.
    pub state: SavepointState,
    /// The URL of its folder.
    pub place: String,
    /// The checkpoint that it is a copy of, once that is known.
    pub checkpoint: Option<CheckpointId>,
    /// When it was asked for, microseconds since the Unix epoch.
    pub requested_us: u64,
    /// From then to the end, microseconds.
    pub took_us: Option<u64>,
    /// Data objects that it consists of.
    pub objects: Option<u64>,
    /// Bytes that it consists of.
    pub bytes: Option<u64>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl SavepointState {
    /// Whether nothing more will happen.
    pub fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_says_all_that_is_needed_to_go_on() {
        for to in [None, Some("s3://backups/a to b".to_owned())] {
            let id = SavepointId::new("before-upgrade").expect("an id");
            let request = SavepointRequest { to: to.clone(), ..SavepointRequest::default() };
            assert_eq!(of_pin(&Work::new(id.clone(), &request, Timestamp(0)).pin()), Some((id, to)));
        }
        for foreign in ["upgrade/7", "savepoint/", "savepoint/../x", "savepoint/a b"] {
            assert_eq!(of_pin(foreign), None, "{foreign}");
        }
    }
}
