//! The decision of one pass, from the facts alone. Pure.
//!
//! What is safe at any time: a coordinator claims the journal before it does anything, so that whatever ran before
//! is fenced, and it goes on from the last completed checkpoint below its claim. Pods may therefore be replaced
//! whenever that helps; stopping first only saves reading again what came after that checkpoint.

mod deletion;
mod pods;
mod rest;
mod run;
mod upgrade;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{Problem, VersionStatus};

use super::desired::{Object, objects};
use super::observe::{Observed, Seen};
use super::pods::Role;
use super::validate::Wanted;
use crate::certificates::{Authority, epoch};
use crate::cluster::Note;
use crate::coordinators::Ask;
use crate::names::FINALIZER;
use crate::report::EngineState;

/// The next look at a job that runs as it should.
const STEADY: Duration = Duration::from_secs(10);
/// The next look at one that rests, has ended, or waits for its user.
const RARE: Duration = Duration::from_secs(120);
/// The next look at one that is on its way somewhere.
const SOON: Duration = Duration::from_millis(500);
/// How long a coordinator that does not answer is waited for before it is passed over.
const ANSWER: Duration = Duration::from_secs(30);

/// What the spec comes to, or what is wrong with it.
pub type Target = Result<Wanted, Vec<Problem>>;

/// What is to be done, and what is to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Where the job stands.
    pub situation: Situation,
    /// What the operator remembers from here on: written before anything is done.
    pub memory: VersionStatus,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What people are told.
    pub notes: Vec<Note>,
    /// When to look again, if nothing happens before.
    pub again: Duration,
    /// The version that is being run, for the status.
    pub runs: Option<Wanted>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// It never ran, and its spec has problems.
    Refused,
    /// Its pods run, or are being made; what the job does is in the coordinator's report.
    Active,
    /// It is being stopped, to rest.
    Suspending,
    /// It rests.
    Suspended,
    /// It is being stopped, to go on under another version.
    Upgrading,
    /// Its input ended.
    Finished,
    /// It failed for good.
    Failed,
    /// It is being deleted.
    Deleting,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "a handful per pass")]
pub enum Step {
    /// Puts the finalizer on the job.
    Hold,
    /// Takes it off: the job goes.
    LetGo,
    /// Applies an object.
    Apply(Object),
    /// Makes a pod.
    Create(Pod),
    /// Deletes a pod.
    Delete {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// Why.
        why: &'static str,
    },
    /// Deletes the ConfigMap of a version that is not needed any more.
    Forget(String),
    /// Asks the coordinator.
    Ask(Ask),
}

impl Step {
    /// Whether it takes something away: then the facts must be fresh.
    pub fn is_destructive(&self) -> bool {
        match self {
            Self::Hold | Self::Apply(_) | Self::Create(_) => false,
            Self::Ask(ask) => matches!(ask, Ask::Stop { .. }),
            Self::LetGo | Self::Delete { .. } | Self::Forget(_) => true,
        }
    }
}

impl Decision {
    /// Whether a step takes something away.
    pub fn is_destructive(&self) -> bool {
        self.steps.iter().any(Step::is_destructive)
    }

    fn new(situation: Situation, memory: VersionStatus, again: Duration) -> Self {
        Self { situation, memory, steps: Vec::new(), notes: Vec::new(), again, runs: None }
    }

    fn note(&mut self, warning: bool, reason: &str, action: &'static str, message: String) {
        self.notes.push(Note { warning, reason: reason.to_owned(), action, message });
    }
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was read.
    pub observed: &'a Observed,
    /// What the spec comes to.
    pub target: &'a Target,
    /// Versions of the job that are stored in the cluster.
    pub stored: &'a BTreeMap<String, Wanted>,
    /// Makes certificates.
    pub authority: &'a Authority,
}

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let job = &facts.observed.job;
    if job.metadata.deletion_timestamp.is_some() {
        return deletion::decide(facts);
    }
    let mut memory = facts.observed.memory();
    learn_stable(facts.observed, &mut memory);
    if !holds(facts) && facts.target.is_ok() {
        let mut decision = Decision::new(Situation::Active, memory, SOON);
        decision.steps.push(Step::Hold);
        return decision;
    }
    let Some(wanted) = meant(facts, &memory) else {
        let mut decision = Decision::new(Situation::Refused, memory, RARE.min(STEADY));
        decision.runs = None;
        return decision;
    };
    if wanted.suspended() {
        return rest::decide(facts, &wanted, memory);
    }
    match running(facts.observed) {
        Some(version) if version != wanted.version => upgrade::decide(facts, &wanted, version, memory),
        _ => run::decide(facts, &wanted, memory),
    }
}

/// The versions whose manifests the decision needs besides the target.
pub fn versions_needed(observed: &Observed, target: &Target) -> Vec<String> {
    let memory = observed.memory();
    let wanted = target.as_ref().ok().map(|w| &w.version);
    let mut needed: Vec<String> = [running(observed), memory.stable].into_iter().flatten().collect();
    needed.retain(|version| Some(version) != wanted);
    needed.sort();
    needed.dedup();
    needed
}

/// What is to run: the target; or, where that is refused or was taken back, what ran before, at the target's size.
fn meant(facts: &Facts<'_>, memory: &VersionStatus) -> Option<Wanted> {
    let before = || running(facts.observed).and_then(|version| facts.stored.get(&version).cloned());
    match facts.target {
        Ok(target) if memory.rolled_back.as_ref() == Some(&target.version) => {
            // Without the version before there is only this one.
            Some(before().map_or_else(|| target.clone(), |before| before.sized_as(target)))
        }
        Ok(target) => Some(target.clone()),
        Err(_) => before(),
    }
}

/// The version that runs: as remembered, else as the coordinator's pod says.
fn running(observed: &Observed) -> Option<String> {
    let pod = || {
        let coordinators = observed.pods.iter().filter(|p| p.role == Role::Coordinator && p.counts());
        coordinators.max_by_key(|p| p.since).map(|p| p.version.clone())
    };
    observed.memory().current.or_else(pod)
}

/// A checkpoint of this attempt is complete: the version that runs can go on from what it wrote itself. Whatever is to
/// become of it next: an upgrade that comes to nothing goes back to it.
fn learn_stable(observed: &Observed, memory: &mut VersionStatus) {
    let Some(report) = observed.coordinator.report() else { return };
    let whole = report.checkpoints.last_completed_us.is_some() || report.state == EngineState::Finished;
    if let Some(version) = running(observed).filter(|_| whole)
        && memory.stable.as_ref() != Some(&version)
    {
        memory.stable = Some(version);
        memory.fresh_after = None;
    }
}

fn holds(facts: &Facts<'_>) -> bool {
    facts.observed.job.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

/// The objects of a version that are no pods.
fn apply_objects(facts: &Facts<'_>, wanted: &Wanted, memory: &VersionStatus, resting: bool) -> Vec<Step> {
    let epoch = epoch(&wanted.identity.uid, facts.observed.now);
    // A job that began anew without state must not begin with that of another after all.
    let with_origin = memory.fresh_after.is_none();
    objects(wanted, facts.authority, epoch, with_origin, resting).into_iter().map(Step::Apply).collect()
}

/// How a stop stands.
enum Stop {
    /// Nothing runs that would have to be stopped.
    Done,
    /// It has been asked for, or is to be.
    Waiting(Option<Ask>),
}

/// Stops what runs, without waiting longer than makes sense.
fn stop(facts: &Facts<'_>, memory: &mut VersionStatus, now_at_once: bool, patience: Duration) -> Stop {
    let observed = facts.observed;
    let began = memory.stopping.get_or_insert(Time(observed.now)).0;
    let late = |patience| elapsed(began, observed.now) >= patience;
    let broken = || {
        let mut coordinators = observed.pods.iter().filter(|p| p.role == Role::Coordinator && p.counts());
        coordinators.all(|pod| pod.trouble.is_some())
    };
    match &observed.coordinator {
        Seen::Reached(report) if report.has_ended() => Stop::Done,
        // It was asked to stop with a checkpoint, and none completes.
        Seen::Reached(_) if late(patience * 2) => Stop::Done,
        Seen::Reached(_) => Stop::Waiting(Some(Ask::Stop { now: now_at_once || late(patience) })),
        Seen::Nobody | Seen::Unreachable(_) if broken() || late(ANSWER) => Stop::Done,
        Seen::Nobody | Seen::Unreachable(_) => Stop::Waiting(None),
    }
}

/// How long a last checkpoint may take.
fn patience(wanted: &Wanted) -> Duration {
    wanted.config.checkpoint.timeout.saturating_add(Duration::from_secs(30))
}

/// The time between two points, nothing if they are the other way round.
fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
#[path = "decide/tests.rs"]
mod tests;
