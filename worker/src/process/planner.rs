//! Plans the job for a worker, at whatever parallelism it is to run.

use std::sync::{Arc, OnceLock};

use weir_coordinator::PlanGraph;
use weir_dataflow::{Job, PlanJob};
use weir_plan::PlanOptions;
use weir_protocol::{Failure, FailureKind, JobConfig};

/// A planner of the job of this configuration. `planned` is the job at the parallelism that the configuration
/// names; a process that does not have it yet plans it in the background, so that the first deployment finds it.
pub(crate) fn planner(config: &JobConfig, planned: Option<Arc<Job>>) -> PlanJob {
    let at = config.parallelism;
    let named: Arc<OnceLock<Result<Arc<Job>, Failure>>> = Arc::default();
    let config = Arc::new(config.clone());
    match planned {
        Some(job) => {
            // A cell that nobody else has seen yet.
            let _ = named.set(Ok(job));
        }
        None => {
            let (named, config) = (named.clone(), config.clone());
            tokio::task::spawn_blocking(move || {
                named.get_or_init(|| plan(&config, at));
            });
        }
    }
    Arc::new(move |parallelism| match parallelism == at {
        true => named.get_or_init(|| plan(&config, at)).clone(),
        false => plan(&config, parallelism),
    })
}

/// The same for a coordinator, which needs the graph alone, and has that of the parallelism in its configuration.
pub(super) fn graphs(config: &JobConfig) -> PlanGraph {
    let config = config.clone();
    Arc::new(move |parallelism| plan(&config, parallelism).map(|job| job.graph.clone()))
}

fn plan(config: &JobConfig, parallelism: u32) -> Result<Arc<Job>, Failure> {
    let options = PlanOptions {
        parallelism,
        max_parallelism: config.max_parallelism,
        state_ttl: config.state.ttl,
        ..PlanOptions::default()
    };
    match weir_plan::plan(&config.sql, &options) {
        Ok(planned) => Ok(Arc::new(planned.job)),
        Err(problems) => {
            let text = problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
            let place = format!("planning the job at parallelism {parallelism}");
            Err(Failure::new(FailureKind::Config, text).at(place))
        }
    }
}
