//! The thin shell around [`step`](crate::step): carries out actions, brings back events. No decision
//! is made here.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use weir_runtime::{Clock, Random};

use crate::event::{Exit, StopRequest};
use crate::link::Workers;
use crate::options::Options;
use crate::state::State;
use crate::status::JobStatus;

/// What a coordinator needs of the outside.
pub struct Shell {
    /// The workers.
    pub workers: Workers,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Asks the job to stop.
    pub stop: mpsc::Receiver<StopRequest>,
}

/// The coordinator of one job.
pub struct Coordinator {
    state: State,
    shell: Shell,
    status: watch::Sender<Arc<JobStatus>>,
}

impl Coordinator {
    /// A coordinator, and where it tells its status.
    pub fn new(options: Options, shell: Shell) -> (Self, watch::Receiver<Arc<JobStatus>>) {
        let state = State::new(options);
        let (status, seen) = watch::channel(Arc::new(JobStatus::of(&state, shell.clock.now())));
        (Self { state, shell, status }, seen)
    }

    /// Runs the job until its end.
    pub async fn run(self) -> Exit {
        let _ = (self.state, self.shell.workers, self.status);
        Exit::Fenced(String::new())
    }
}
