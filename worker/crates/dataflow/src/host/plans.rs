//! Planned jobs by parallelism: planning takes long, and survivors of a failure are deployed again at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use weir_protocol::{Failure, FailureKind};

use super::options::PlanJob;
use crate::graph::Job;

/// How many planned jobs are kept: the one that runs and the one before a change of parallelism.
const KEPT: usize = 2;

/// The newest planned jobs, newest first.
pub(super) struct Plans {
    plan: PlanJob,
    kept: Mutex<VecDeque<(u32, Arc<Job>)>>,
}

impl Plans {
    pub(super) fn new(plan: PlanJob) -> Arc<Self> {
        Arc::new(Self { plan, kept: Mutex::default() })
    }

    /// The job at a parallelism.
    ///
    /// # Errors
    /// Those of planning.
    pub(super) async fn job(self: &Arc<Self>, parallelism: u32) -> Result<Arc<Job>, Failure> {
        if let Some(job) = self.known(parallelism) {
            return Ok(job);
        }
        let plans = self.clone();
        let planned = tokio::task::spawn_blocking(move || (plans.plan)(parallelism)).await;
        let job = planned.unwrap_or_else(|e| {
            Err(Failure::new(FailureKind::Bug, format!("planning the job broke off: {e}")))
        })?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((parallelism, job.clone()));
        kept.truncate(KEPT);
        Ok(job)
    }

    fn known(&self, parallelism: u32) -> Option<Arc<Job>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(planned, _)| *planned == parallelism)?;
        let found = kept.remove(at)?;
        kept.push_front(found.clone());
        Some(found.1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use weir_protocol::JobGraph;

    use super::*;

    #[tokio::test]
    async fn going_back_to_the_parallelism_before_needs_no_planning() {
        let planned = Arc::new(AtomicU32::new(0));
        let count = planned.clone();
        let plans = Plans::new(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            let graph = JobGraph { vertices: Vec::new(), edges: Vec::new() };
            Ok(Arc::new(Job { graph, nodes: Vec::new(), schemas: Vec::new() }))
        }));
        for (parallelism, expected) in [(2, 1), (2, 1), (3, 2), (2, 2), (4, 3), (2, 3), (3, 4)] {
            plans.job(parallelism).await.unwrap();
            assert_eq!(planned.load(Ordering::Relaxed), expected, "at {parallelism}");
        }
    }
}
