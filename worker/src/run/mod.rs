//! `weir run`: a whole job in one process. The coordinator and one worker with all the slots, joined
//! by channels that carry the same messages as between processes.
//!
//! It owns how the parts are put together within one process, and the progress line; it decides nothing about
//! checkpoints or state.

mod link;
pub(crate) mod progress;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weir_checkpoint::Start;
use weir_coordinator::{Exit, StopRequest, Workers};
use weir_dataflow::{Job, WorkerOptions, run_worker};
use weir_protocol::JobConfig;

use crate::process::{Begin, Coordination, Signals, block_on, planner};
pub use crate::process::{Ended, RunError, Signal};
pub use progress::ProgressMode;

/// What a run is asked for besides the job.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to start from.
    pub start: Start,
    /// Where status and metrics are served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// Runs a job until it ends or is asked to stop.
///
/// # Errors
/// [`RunError`]: the job did not start.
pub fn run(config: &JobConfig, job: Job, options: &RunOptions) -> Result<Ended, RunError> {
    block_on(async {
        let signals = Signals::take();
        let mut coordination =
            Coordination::open(config, job.graph.clone(), options.listen, options.progress).await?;
        // All slots are in this process: nobody else will come.
        coordination.gather = Some(Duration::ZERO);
        let exit = run_attempts(&coordination, Arc::new(job), options.start.clone(), &signals).await?;
        Ok(Ended { exit, signal: signals.seen() })
    })
}

/// One attempt, or, where the job permits to go back to an older checkpoint, as many as there are of those.
async fn run_attempts(
    coordination: &Coordination,
    job: Arc<Job>,
    start: Start,
    signals: &Signals,
) -> Result<Exit, RunError> {
    let mut begin = Begin::new(start);
    loop {
        let exit = run_attempt(coordination, job.clone(), &begin, signals.clone()).await?;
        let Exit::StepBack { to, failure } = exit else { return Ok(exit) };
        begin = coordination.step_back(to, failure);
    }
}

async fn run_attempt(
    coordination: &Coordination,
    job: Arc<Job>,
    begin: &Begin,
    mut signals: Signals,
) -> Result<Exit, RunError> {
    let config = &coordination.config;
    let (link, events, worker_input, worker_output) = link::in_process(slots(&job));
    let worker = tokio::spawn(run_worker(
        WorkerOptions {
            plan: planner(config, Some(job)),
            config: Arc::new(config.clone()),
            store: coordination.store.clone(),
            clock: coordination.clock.clone(),
            random: coordination.random.clone(),
            scratch: None,
            coordinator_timeout: Duration::MAX,
            exchange: None,
        },
        worker_input,
        worker_output,
        // Its coordinator lives as long as it does: nobody else will take anything over.
        watch::channel(None).0,
    ));
    let (stop, stops) = mpsc::channel(2);
    let asked = tokio::spawn(async move {
        signals.first().await;
        tracing::info!("stopping after a last checkpoint; a second signal stops at once");
        let _ = stop.send(StopRequest::Graceful).await;
    });
    // The coordinator holds the link; with its end the worker's input closes and the worker ends.
    let ended = coordination.attempt(begin, Workers { link, events }, stops, None).await;
    let _ = worker.await;
    asked.abort();
    // With it ends what was served.
    ended.map(|(exit, _served)| exit)
}

/// One slot per parallel instance.
fn slots(job: &Job) -> u32 {
    job.graph.vertices.iter().map(|v| v.parallelism).max().unwrap_or(1)
}
