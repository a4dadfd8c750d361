//! A job's reconciliation: observe, validate, decide, report, apply. The middle is pure; what is remembered is
//! written before anything is done; what takes something away is decided on facts that were read afresh.

mod apply;
mod change;
pub mod decide;
pub mod desired;
mod memo;
pub mod observe;
pub mod pods;
pub mod savepoints;
pub mod status;
pub mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use weir_crds::{Problem, StreamJob};

use crate::certificates::Authority;
use crate::cluster::{Cluster, ClusterError, Key, Note};
use crate::coordinators::Coordinators;

pub use change::{Changed, changes, strongest};
use decide::{Decision, Facts, Target, decide, versions_needed};
use memo::Memo;
use observe::{Observed, observe, stored};
use validate::{Defaults, References, Wanted, validate};

/// One operator: what it talks to, and what it goes by.
#[derive(Debug)]
pub struct Operator<C, J> {
    /// The API server.
    pub cluster: C,
    /// The coordinators of jobs.
    pub coordinators: J,
    /// Makes certificates.
    pub authority: Authority,
    /// What specs leave open.
    pub defaults: Defaults,
    memo: Memo,
}

/// The facts and the decision of one pass.
struct Pass {
    observed: Observed,
    target: Target,
    manifests: BTreeMap<String, StreamJob>,
    decision: Decision,
    /// For each step: when this very object was applied last, if it is one that was.
    applied: Vec<Option<Timestamp>>,
}

impl<C: Cluster, J: Coordinators> Operator<C, J> {
    /// An operator that remembers nothing yet.
    pub fn new(cluster: C, coordinators: J, authority: Authority, defaults: Defaults) -> Self {
        Self { cluster, coordinators, authority, defaults, memo: Memo::default() }
    }

    /// Brings a job nearer to what its spec asks for; when to look again.
    ///
    /// # Errors
    /// What the API server did not do. All of it may be repeated.
    pub async fn reconcile(&self, job: &StreamJob) -> Result<Duration, ClusterError> {
        let mut pass = self.pass(job.clone(), false).await?;
        if Self::needs_fresh(&pass) {
            let Some(job) = self.cluster.job(&Key::of(job)).await?.filter(|fresh| is_same(fresh, job)) else {
                self.memo.drop_job(job.metadata.uid.as_deref().unwrap_or_default());
                return Ok(Duration::from_secs(3600));
            };
            pass = self.pass(job, true).await?;
        }
        let job = self.report(&pass).await?;
        for note in &pass.decision.notes {
            self.cluster.note(&job, note).await;
        }
        self.apply(&pass, &job).await?;
        Ok(pass.decision.again)
    }

    /// Reads and decides.
    async fn pass(&self, job: StreamJob, fresh: bool) -> Result<Pass, ClusterError> {
        let mut observed = observe(&self.cluster, &self.coordinators, job, fresh).await?;
        observed.refused = self.memo.refused(observed.uid());
        let mut target = validate(&observed.job, &observed.references, &self.defaults);
        if let Err(problems) = self.permitted(&observed, &target).await? {
            target = Err(problems);
        }
        let mut needed = versions_needed(&observed, &target);
        needed.extend(newly_changed(&observed));
        let manifests = stored(&self.cluster, &observed.job, needed, fresh).await?;
        let started = References { started: true, ..References::default() };
        let known = manifests.iter().filter_map(|(version, manifest)| {
            // By another operator's rules it may be another version, or none.
            let wanted = validate(manifest, &started, &self.defaults).ok()?;
            (wanted.version == *version).then(|| (version.clone(), wanted))
        });
        let versions: BTreeMap<String, Wanted> = known.collect();
        let facts =
            Facts { observed: &observed, target: &target, stored: &versions, authority: &self.authority };
        let decision = decide(&facts);
        let applied = decision.steps.iter().map(|step| match step {
            decide::Step::Apply(object) => self.memo.applied(observed.uid(), object),
            _ => None,
        });
        let applied = applied.collect();
        Ok(Pass { observed, target, manifests, decision, applied })
    }

    /// Asks the API server about the pods of a new version before anything is stopped for it.
    async fn permitted(
        &self,
        observed: &Observed,
        target: &Target,
    ) -> Result<Result<(), Vec<Problem>>, ClusterError> {
        let Ok(wanted) = target else { return Ok(Ok(())) };
        let deleting = observed.job.metadata.deletion_timestamp.is_some();
        if deleting || observed.memory().current.as_ref() == Some(&wanted.version) {
            return Ok(Ok(()));
        }
        if let Some(known) = self.memo.tried(observed.uid(), &wanted.version, observed.now) {
            return Ok(known);
        }
        let mut answer = Ok(());
        for mut pod in [desired::coordinator(wanted, 0, None), desired::worker(wanted, 0, 0)] {
            pod.metadata.name = pod.metadata.name.map(|name| format!("{name}-try"));
            if let Some(spec) = &mut pod.spec
                && wanted.worker().service_account_name.is_none()
            {
                // Ours is made with the job's other objects.
                spec.service_account_name = None;
            }
            match self.cluster.try_pod(&pod).await {
                Ok(()) => {}
                Err(ClusterError::Refused { why, .. }) => {
                    let why = format!("the API server refuses the job's pods: {why}");
                    answer = Err(vec![Problem::field("spec.worker", why)]);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.memo.has_tried(observed.uid(), &wanted.version, observed.now, answer.clone());
        Ok(answer)
    }

    /// Whether the decision is of a kind that must not rest on what was told a while ago.
    fn needs_fresh(pass: &Pass) -> bool {
        // What was applied before can't be wrong to apply once more.
        pass.decision.memory != pass.observed.memory() || pass.applied.contains(&None)
    }

    /// Writes the status if there is something to tell, before anything is done; the job as it is then.
    async fn report(&self, pass: &Pass) -> Result<StreamJob, ClusterError> {
        let observed = &pass.observed;
        let old = observed.job.status.clone().unwrap_or_default();
        let before = old.version.current.as_ref().and_then(|version| pass.manifests.get(version));
        let new = status::status(observed, &pass.target, &pass.decision, before);
        let due = self.memo.report_is_due(observed.uid(), observed.now);
        if old == new || !(status::differs(&old, &new) || due) {
            return Ok(observed.job.clone());
        }
        let mut job = observed.job.clone();
        job.status = Some(new);
        let written = self.cluster.write_status(&job).await?;
        self.memo.has_reported(observed.uid(), observed.now);
        let told = job.status.iter().flat_map(|status| &status.conditions);
        let changed = told
            .filter(|c| old.condition(c.type_).is_none_or(|o| (o.status, o.reason) != (c.status, c.reason)));
        for condition in changed {
            if let Some(note) = note_of(condition) {
                self.cluster.note(&job, &note).await;
            }
        }
        Ok(written)
    }
}

/// The version that runs, when the spec was changed: for saying what the change means.
fn newly_changed(observed: &Observed) -> Option<String> {
    let status = observed.job.status.as_ref()?;
    let changed = status.observed_generation != observed.job.metadata.generation;
    status.version.current.clone().filter(|_| changed)
}

fn is_same(one: &StreamJob, other: &StreamJob) -> bool {
    one.metadata.uid == other.metadata.uid
}

/// What a condition that changed is worth telling.
fn note_of(condition: &weir_crds::Condition) -> Option<Note> {
    use weir_crds::ConditionStatus::True;
    use weir_crds::ConditionType::{CheckpointsHealthy, Degraded, Ready, Stalled};
    let yes = condition.status == True;
    let (warning, told) = match condition.type_ {
        Ready => (false, yes),
        Degraded | Stalled => (true, yes),
        CheckpointsHealthy => (true, condition.status == weir_crds::ConditionStatus::False),
        _ => (false, yes),
    };
    let reason = match condition.type_ {
        Ready => "Ready".to_owned(),
        _ => format!("{:?}", condition.reason),
    };
    told.then(|| Note { warning, reason, action: "Reconcile", message: condition.message.clone() })
}
