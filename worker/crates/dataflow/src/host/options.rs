//! What a worker is made of, what comes in, what goes out, how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use weir_checkpoint::Store;
use weir_protocol::{Failure, FromWorker, JobConfig, Stamp, ToWorker, WorkerId};
use weir_runtime::{Clock, Random};

use crate::exchange::Exchange;
use crate::graph::Job;

/// Plans the job at a parallelism; may take seconds, and is called where that holds nothing up.
pub type PlanJob = Arc<dyn Fn(u32) -> Result<Arc<Job>, Failure> + Send + Sync>;

/// What a worker is made of.
#[derive(Clone)]
pub struct WorkerOptions {
    /// Plans the job as [`ToWorker::Deploy`] asks for it. The last two planned jobs are kept.
    pub plan: PlanJob,
    /// The job's configuration.
    pub config: Arc<JobConfig>,
    /// The job's folder in the store.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Names of objects.
    pub random: Arc<dyn Random>,
    /// Where copies of state are kept on this machine; `None`: nowhere, state is read from the store only.
    pub scratch: Option<Scratch>,
    /// How long subtasks go on without any coordinator.
    pub coordinator_timeout: Duration,
    /// How rows reach subtasks in other processes; `None`: all of the job runs in this one.
    pub exchange: Option<Arc<Exchange>>,
}

/// A place on this machine's disk for copies of state. What is there may vanish at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch {
    /// The folder; jobs and processes may share it.
    pub folder: PathBuf,
    /// How many bytes this process may keep there.
    pub limit: u64,
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerInput {
    /// A coordinator is there, and knows the worker by this number from now on.
    Connected {
        /// The number.
        worker: WorkerId,
    },
    /// The coordinator says something.
    Message(Stamp, ToWorker),
    /// The coordinator can't be reached. Subtasks go on.
    Disconnected,
    /// The process was asked to end: its subtasks are to be moved first.
    Drain,
    /// The coordinator needs this worker no more.
    Release,
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerOutput {
    /// To the coordinator that is connected.
    Message(Stamp, FromWorker),
    /// The worker wants its subtasks moved; said once.
    Draining,
}

/// Why a worker ended. Nothing runs any more in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// The other end of its input is gone.
    Closed,
    /// It was released.
    Released,
    /// There was no coordinator for longer than [`WorkerOptions::coordinator_timeout`].
    CoordinatorGone,
}
