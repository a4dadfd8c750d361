//! Planning the job at another parallelism; may take seconds.

use std::sync::Arc;

use weir_protocol::{Failure, FailureKind, JobGraph};

use super::Answers;
use super::stored::tell;
use crate::event::Event;

/// Plans the job at a parallelism.
pub type PlanGraph = Arc<dyn Fn(u32) -> Result<JobGraph, Failure> + Send + Sync>;

/// Plans where that holds nothing up.
pub(super) fn plan(plan: PlanGraph, parallelism: u32, answers: Answers) {
    tokio::spawn(async move {
        let planned = tokio::task::spawn_blocking(move || plan(parallelism)).await;
        let result = planned.unwrap_or_else(|error| {
            Err(Failure::new(FailureKind::Bug, format!("planning the job broke off: {error}")))
        });
        tell(&answers, Event::Planned { parallelism, result: result.map(Box::new) });
    });
}
