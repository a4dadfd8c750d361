//! Plans the job for workers and for its coordinator, at whatever parallelism it is to run.

use std::sync::Arc;

use weir_coordinator::PlanGraph;
use weir_dataflow::{Job, PlanJob};
use weir_plan::PlanOptions;
use weir_protocol::{Failure, FailureKind, JobConfig};

/// A planner of the job of this configuration; `planned` is the job at the parallelism that the configuration
/// names.
pub(super) fn planner(config: &JobConfig, planned: Arc<Job>) -> PlanJob {
    let (sql, at) = (config.sql.clone(), config.parallelism);
    let (max_parallelism, state_ttl) = (config.max_parallelism, config.state.ttl);
    Arc::new(move |parallelism| {
        if parallelism == at {
            return Ok(planned.clone());
        }
        let options = PlanOptions { parallelism, max_parallelism, state_ttl, ..PlanOptions::default() };
        match weir_plan::plan(&sql, &options) {
            Ok(planned) => Ok(Arc::new(planned.job)),
            Err(problems) => {
                let text = problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("; ");
                let place = format!("planning the job at parallelism {parallelism}");
                Err(Failure::new(FailureKind::Config, text).at(place))
            }
        }
    })
}

/// The same for the coordinator, which needs the graph alone.
pub(super) fn graphs(plan: PlanJob) -> PlanGraph {
    Arc::new(move |parallelism| plan(parallelism).map(|job| job.graph.clone()))
}
