//! Doing what was decided, in its order, each step safe to repeat. The first that fails ends the pass: the next
//! one decides anew.

use std::time::Duration;

use jiff::Timestamp;
use weir_crds::{Reason, StreamJob};

use super::decide::Step;
use super::pods::PodView;
use super::{Operator, Pass};
use crate::cluster::{Cluster, ClusterError, Key};
use crate::coordinators::{Ask, AskError, Coordinators};

impl<C: Cluster, J: Coordinators> Operator<C, J> {
    /// Does the steps of a pass. `job`: as it is after the report.
    pub(super) async fn apply(&self, pass: &Pass, job: &StreamJob) -> Result<(), ClusterError> {
        let uid = pass.observed.uid();
        let mut outcome = Ok(());
        // A pod misses something: what was applied before it was made may have been deleted since.
        let misses = |pod: &&PodView| {
            pod.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::MissingReference)
        };
        let doubted = pass.observed.pods.iter().filter(misses).filter_map(|pod| pod.since).max();
        let counts = |at: Timestamp| {
            doubted.is_none_or(|since| at > since) && self.memo.still_counts(uid, at, pass.observed.now)
        };
        for (step, applied) in pass.decision.steps.iter().zip(&pass.applied) {
            if applied.is_some_and(counts) {
                continue;
            }
            outcome = self.step(pass, job, step).await;
            if outcome.is_err() {
                break;
            }
        }
        self.memo.outcome(uid, &outcome);
        outcome
    }

    async fn step(&self, pass: &Pass, job: &StreamJob, step: &Step) -> Result<(), ClusterError> {
        let key = Key::of(job);
        let (uid, now) = (pass.observed.uid(), pass.observed.now);
        match step {
            Step::Hold => self.cluster.set_finalizer(job, true).await,
            Step::LetGo => {
                self.cluster.set_finalizer(job, false).await?;
                self.memo.drop_job(uid);
                Ok(())
            }
            Step::Apply(object) => {
                self.cluster.apply(object).await?;
                self.memo.has_applied(uid, object, now);
                Ok(())
            }
            Step::Create(pod) => {
                tracing::info!(job = %key.name, pod = pod.metadata.name, "making a pod");
                self.cluster.create_pod(pod).await
            }
            Step::Delete { name, uid, why } => {
                tracing::info!(job = %key.name, pod = %name, "deleting a pod: {why}");
                self.cluster.delete_pod(&key.beside(name), uid).await
            }
            Step::Forget(version) => {
                let name = key.identity(job).config_map(version);
                self.cluster.delete_config_map(&key.beside(&name)).await?;
                self.memo.has_deleted(uid, "ConfigMap", &name);
                Ok(())
            }
            Step::Ask(ask) => self.ask(pass, ask).await,
        }
    }

    async fn ask(&self, pass: &Pass, ask: &Ask) -> Result<(), ClusterError> {
        let Some(address) = &pass.observed.address else { return Ok(()) };
        match self.coordinators.ask(address, ask).await {
            Ok(()) => Ok(()),
            Err(AskError::Refused(why)) => Err(ClusterError::Refused {
                what: format!("{ask:?}"),
                why: format!("the coordinator says {why}"),
            }),
            // The next pass looks again, and asks again if that still makes sense.
            Err(error @ (AskError::NotNow(_) | AskError::Unreachable(_))) => {
                tracing::info!(job = %address.job, "{ask:?}: {error}");
                Ok(())
            }
        }
    }

    /// When to try again after an error.
    pub fn back_off(&self, job: &StreamJob, error: &ClusterError) -> Duration {
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        match error {
            ClusterError::Conflict { .. } => Duration::from_millis(200),
            ClusterError::Refused { .. }
            | ClusterError::Missing { .. }
            | ClusterError::Unavailable { .. } => self.memo.back_off(uid),
        }
    }
}
