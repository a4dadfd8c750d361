//! `weir run`: a whole job in one process. The coordinator and one worker with all the slots, joined
//! by channels that carry the same messages as between processes.
//!
//! It owns how the parts are put together, signals and the progress line; it decides nothing about
//! checkpoints or state.

mod link;
mod planner;
mod progress;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use weir_checkpoint::{Start, Store, StoreError, layout, probe::ProbeError};
use weir_coordinator::{Coordinator, Exit, Options, Shell, Workers};
use weir_dataflow::{Job, WorkerOptions, run_worker};
use weir_protocol::JobConfig;
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};

pub use progress::ProgressMode;
pub use signals::Signal;

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

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// As the coordinator says.
    pub exit: Exit,
    /// The signal that asked for the end, if one did.
    pub signal: Option<Signal>,
}

/// Why a run could not start.
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
    /// The address for status and metrics.
    #[error("status cannot be served at {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        error: std::io::Error,
    },
}

/// Runs a job until it ends or is asked to stop.
///
/// # Errors
/// [`RunError`]: the job did not start.
pub fn run(config: &JobConfig, job: Job, options: &RunOptions) -> Result<Ended, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("io")
        .enable_all()
        .build()
        .map_err(RunError::Threads)?;
    let ended = runtime.block_on(run_attempts(config, job, options));
    // What is left are reads ahead and retries that nobody waits for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// One attempt, or, where the job permits to go back to an older checkpoint, as many as there are of those.
async fn run_attempts(config: &JobConfig, job: Job, options: &RunOptions) -> Result<Ended, RunError> {
    let mut options = options.clone();
    loop {
        let ended = run_attempt(config, job.clone(), &options).await?;
        let Exit::StepBack { to, failure } = &ended.exit else { return Ok(ended) };
        progress::note(
            options.progress,
            &format!(
                "{failure}; spec.recovery.onUnreadable permits to go back to checkpoint {to}: what was written after it is written again"
            ),
        );
        options.start = Start::At(*to);
    }
}

async fn run_attempt(config: &JobConfig, job: Job, options: &RunOptions) -> Result<Ended, RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let store = weir_checkpoint::open(&config.checkpoint.storage, &config.uid).await?;
    probe_if_new(store.as_ref(), random.as_ref()).await?;
    let listener = match options.listen {
        Some(address) => {
            Some(TcpListener::bind(address).await.map_err(|error| RunError::Listen { address, error })?)
        }
        None => None,
    };

    let (link, events, worker_input, worker_output) = link::in_process(slots(&job));
    let worker = run_worker(
        WorkerOptions {
            plan: planner::planner(config, Arc::new(job.clone())),
            config: Arc::new(config.clone()),
            store: store.clone(),
            clock: clock.clone(),
            random: random.clone(),
            scratch: None,
            coordinator_timeout: Duration::MAX,
        },
        worker_input,
        worker_output,
        // Its coordinator lives as long as it does: nobody else will take anything over.
        watch::channel(None).0,
    );
    let worker = tokio::spawn(worker);

    let (stop, stops) = mpsc::channel(2);
    let mut coordinator_options = Options::new(config.clone(), job.graph.clone(), spec_digest(config));
    coordinator_options.start = options.start.clone();
    // All slots are in this process: nobody else will come.
    coordinator_options.gather = Duration::ZERO;
    let plan = planner::graphs(planner::planner(config, Arc::new(job.clone())));
    let shell = Shell { store, workers: Workers { link, events }, clock, random, stop: stops, plan };
    let (coordinator, status) = Coordinator::new(coordinator_options, shell);

    let signal = signals::watch(stop);
    let (closing, closed) = oneshot::channel::<()>();
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            progress::note(
                options.progress,
                &format!("status at http://{address}/v1/job, metrics at http://{address}/metrics"),
            );
        }
        let api = weir_coordinator::http::Api { status: status.clone(), requests: coordinator.requests() };
        tokio::spawn(weir_coordinator::http::serve(listener, api, async {
            // Ends with the run, whether by a message or because the run is gone.
            let _ = closed.await;
        }));
    }
    let shown = tokio::spawn(progress::show(options.progress, status));
    // The coordinator holds the link; with its end the worker's input closes and the worker ends.
    let exit = coordinator.run().await;
    let _ = worker.await;
    let _ = shown.await;
    drop(closing);
    Ok(Ended { exit, signal: *signal.borrow() })
}

/// A store is tried once, before a job's first record is written there.
async fn probe_if_new(store: &dyn Store, random: &dyn Random) -> Result<(), RunError> {
    let folder = store.list_folder(layout::JOURNAL).await?;
    if folder.objects.is_empty() {
        weir_checkpoint::probe::probe(store, random).await?;
    }
    Ok(())
}

/// One slot per parallel instance.
fn slots(job: &Job) -> u32 {
    job.graph.vertices.iter().map(|v| v.parallelism).max().unwrap_or(1)
}

/// What the claim records of the configuration.
fn spec_digest(config: &JobConfig) -> String {
    let text = serde_json::to_string(config).unwrap_or_default();
    format!("{:016x}", weir_protocol::key_group::hash_bytes(text.as_bytes()))
}
