//! The processes of a job: its coordinator, its workers, and a small cluster of both on one machine. `weir run`
//! puts the same parts together within one process.
//!
//! It owns how the parts are put together, signals, and how a process ends; it decides nothing about
//! checkpoints, placement or state.

mod announce;
mod cluster;
mod coordinate;
mod coordinator;
mod link;
mod metrics;
mod planner;
mod port;
mod served;
mod signals;
mod worker;

use std::net::SocketAddr;

use weir_checkpoint::{StoreError, probe::ProbeError};
use weir_coordinator::Exit;

pub use announce::Announced;
pub use cluster::{ClusterOptions, run_cluster};
pub use coordinator::{CoordinatorEnd, CoordinatorOptions, run_coordinator};
pub use metrics::{WorkerNumbers, control_metrics, render_worker};
pub use signals::Signal;
pub use worker::{WorkerEnded, WorkerProcess, run_worker};

pub(crate) use coordinate::{Begin, Coordination};
pub(crate) use planner::planner;
pub(crate) use signals::Signals;

/// How a job ended, or this process's part in it.
#[derive(Debug)]
pub struct Ended {
    /// As the coordinator says.
    pub exit: Exit,
    /// The signal that asked for the end, if one did.
    pub signal: Option<Signal>,
}

/// Why a process could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No threads.
    #[error("the process cannot start its threads: {0}")]
    Threads(std::io::Error),
    /// The storage URL, or the store.
    #[error("the checkpoint storage cannot be used: {0}")]
    Store(#[from] StoreError),
    /// A store that breaks what the journal relies on.
    #[error("the checkpoint storage is refused: {0}")]
    Probe(#[from] ProbeError),
    /// An address that this process is to be reached at.
    #[error("{what} cannot be served at {address}: {error}")]
    Listen {
        /// What was to be there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's word.
        error: std::io::Error,
    },
    /// The control server.
    #[error("workers cannot be taken: {0}")]
    Control(#[from] weir_control::ServerError),
    /// A file that is written or read before anything runs.
    #[error("{what}: {error}")]
    File {
        /// Which.
        what: String,
        /// The system's word.
        error: std::io::Error,
    },
}

/// The runtime of a process: network and store. Subtasks have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(RunError::Threads)
}

/// Runs the whole life of a process on a runtime of its own.
pub(crate) fn block_on<T>(life: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = runtime()?;
    let ended = runtime.block_on(life);
    // What is left are reads ahead and retries that nobody waits for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}
