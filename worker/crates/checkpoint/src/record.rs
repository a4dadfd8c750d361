//! The records of the journal, as data. Their bytes are `encode` and `decode` in `codec`.

use serde::{Deserialize, Serialize};
use weir_protocol::{Attempt, CheckpointId, CheckpointKind, ManifestRef};

/// A slot of the journal; the first record has slot 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u64);

/// One immutable record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Where it is.
    pub slot: Slot,
    /// Digest (BLAKE3, hexadecimal) of the bytes of the record in the slot before; empty for the first.
    pub previous: String,
    /// Under which authority it was written.
    pub attempt: Attempt,
    /// Drawn at random for each record by the process that writes it.
    pub nonce: String,
    /// The coordinator's clock, microseconds since the Unix epoch; for people and for retention.
    pub at_us: u64,
    /// What it says.
    pub body: Body,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Body {
    /// A coordinator took over.
    Claim {
        /// Digest of the job configuration that is in force under this attempt.
        spec: String,
        /// What it starts from.
        restore: Restore,
        /// Counters as carried over.
        counters: Counters,
    },
    /// A checkpoint is complete.
    Checkpoint {
        /// Its number.
        id: CheckpointId,
        /// Why it was taken.
        reason: CheckpointKind,
        /// What it consists of.
        manifest: ManifestRef,
        /// Whether sinks have something to commit: then a `Committed` must follow before the next one.
        commits: bool,
        /// Counters including this one.
        counters: Counters,
    },
    /// All that the checkpoint's sinks prepared is visible.
    Committed {
        /// Its number.
        id: CheckpointId,
    },
    /// A checkpoint is held on to, whatever retention says.
    Pin {
        /// Who holds it; unique among the pins that are there.
        name: String,
        /// Which.
        id: CheckpointId,
    },
    /// A pin is no more.
    Unpin {
        /// Which.
        name: String,
    },
    /// Checkpoints that are given up: their files may be deleted once nothing else names them.
    Drop {
        /// Which.
        ids: Vec<CheckpointId>,
    },
    /// The job came to an end, for good or until it is resumed.
    Stopped {
        /// The last completed checkpoint, if there ever was one.
        id: Option<CheckpointId>,
        /// Why.
        reason: StopReason,
    },
}

/// What an attempt starts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Restore {
    /// Nothing: the job never had state here.
    Genesis {
        /// A savepoint or another job's checkpoint that the first attempt starts from.
        restore_from: Option<String>,
    },
    /// The newest completed checkpoint below the claim, captured so that it is never looked up again.
    Captured {
        /// The slot of its record.
        slot: Slot,
        /// Its number.
        id: CheckpointId,
        /// Its manifest.
        manifest: ManifestRef,
        /// Whether its commits may still be outstanding (no `Committed` was seen).
        commits: bool,
    },
}

/// Why a job stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// All sources ended and everything is committed: the job is done for good.
    Finished,
    /// Somebody asked for it; it can be resumed.
    Requested,
}

/// Counters over the whole life of a job. Failures since the newest record are lost with a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Checkpoints that completed.
    pub completed: u64,
    /// Checkpoints that were triggered and did not complete.
    pub failed: u64,
    /// Executions that failed and were followed by another.
    pub restarts: u64,
}

impl Counters {
    /// `completed / (completed + failed)`; `None` before the first.
    pub fn success_rate(self) -> Option<f64> {
        let total = self.completed + self.failed;
        (total > 0).then(|| self.completed as f64 / total as f64)
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
