//! What a coordinator is started with.

use std::time::Duration;

use weir_checkpoint::Start;
use weir_protocol::{Failure, JobConfig, JobGraph};

/// Everything about the job and its limits that the decisions depend on. It never changes within
/// an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The job as its workers read it.
    pub config: JobConfig,
    /// The graph that the configuration plans to; checked.
    pub graph: JobGraph,
    /// Digest of the configuration, recorded in the claim.
    pub spec: String,
    /// Where to start: usually to go on from the newest checkpoint.
    pub start: Start,
    /// What the first attempt of a job starts from, if not from nothing; recorded in the claim.
    pub restore_from: Option<String>,
    /// Why the attempt before could not be restored, if this one goes back to an older checkpoint for that.
    pub stepped_back: Option<Failure>,
    /// How long a claim puts up with a store that gives no clear answer; `None`: for ever.
    pub claim_patience: Option<Duration>,
    /// Where the job permits to go back: how long after a checkpoint was found missing or damaged it is read once
    /// more, before the one before it is taken.
    pub reread_after: Duration,
    /// How many checkpoints and restarts the status remembers.
    pub history: usize,
    /// How long a worker may take to stop the subtasks of an execution before it counts as lost.
    pub cancel_timeout: Duration,
    /// How long workers that come up together are waited for before the first execution, so that subtasks spread
    /// over all of them; counted from the first worker.
    pub gather: Duration,
    /// How long a new coordinator waits for all workers of an execution that it could take over to come, and
    /// then for all to agree.
    pub adoption_patience: Duration,
    /// A loss of a worker this long after the last failure is followed by the next execution at once, and does
    /// not count for the restart strategy.
    pub calm: Duration,
    /// After how many completed checkpoints garbage is looked for.
    pub garbage_every: u32,
}

impl Options {
    /// The usual limits for a job.
    pub fn new(config: JobConfig, graph: JobGraph, spec: impl Into<String>) -> Self {
        Self {
            cancel_timeout: config.liveness.cancel_timeout,
            restore_from: config.restore_from.clone(),
            config,
            graph,
            spec: spec.into(),
            start: Start::Continue,
            stepped_back: None,
            claim_patience: None,
            reread_after: Duration::from_secs(1),
            history: 20,
            gather: Duration::from_secs(1),
            adoption_patience: Duration::from_secs(3),
            calm: Duration::from_secs(60),
            garbage_every: 10,
        }
    }
}
