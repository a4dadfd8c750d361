//! Running a job in this process: embedded coordinator, slots as threads.
//!
//! Owns: wiring the engine for `weir run`. It does not own arguments and texts (`cli`).

use std::net::SocketAddr;

use weir_plan::Planned;
use weir_protocol::JobConfig;

use crate::cli::{Exit, Progress, print_error};

/// What `weir run` is asked to do.
pub(crate) struct Request {
    /// The checked configuration.
    pub(crate) config: JobConfig,
    /// The planned SQL, for the configuration's parallelism.
    pub(crate) planned: Planned,
    /// Whether to start from nothing although there is state.
    pub(crate) fresh: bool,
    /// Where HTTP is served, if anywhere.
    pub(crate) listen: Option<SocketAddr>,
    /// How progress is shown; never `Auto`.
    pub(crate) progress: Progress,
}

/// Runs the job to its end.
pub(crate) fn run(request: Request) -> Exit {
    let Request { config, planned, fresh, listen, progress } = request;
    tracing::debug!(job = %config.uid, vertices = planned.job.graph.vertices.len(), fresh, ?listen, ?progress);
    print_error("error: this binary was built without the engine: it can check jobs but not run them\n");
    Exit::Failed
}
