//! `Savepoint` objects: each is asked for once under a name of its own, followed until it is whole, and, if its
//! policy says so, erased when its object goes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{
    Condition, ConditionStatus, ConditionType, DeletionPolicy, Reason, Savepoint, SavepointObjectStatus,
    SavepointPhase,
};

use super::observe::{Observed, observe};
use super::validate::{is_name, validate};
use super::{Operator, desired};
use crate::cluster::{Cluster, ClusterError, Key};
use crate::coordinators::{Ask, AskError, Coordinators};
use crate::names::FINALIZER;
use crate::report::{EngineState, ReportedSavepoint};

/// The next look at one that is being made.
const SOON: Duration = Duration::from_secs(1);
/// The next look at one that waits for its job.
const LATER: Duration = Duration::from_secs(10);
/// The next look at one that has ended.
const RARE: Duration = Duration::from_secs(3600);
/// Erasing ends by this time, whatever is down.
const ERASED_WITHIN: Duration = Duration::from_secs(600);

/// What is to be done about a savepoint.
#[derive(Debug, Clone, PartialEq)]
enum Next {
    /// Nothing: only the status may change.
    Follow(SavepointObjectStatus, Duration),
    /// Ask the coordinator, after the status is written.
    Ask(SavepointObjectStatus, Ask),
}

impl<C: Cluster, J: Coordinators> Operator<C, J> {
    /// Brings a savepoint nearer to what it asks for; when to look again.
    ///
    /// # Errors
    /// What the API server did not do.
    pub async fn reconcile_savepoint(&self, savepoint: &Savepoint) -> Result<Duration, ClusterError> {
        let held = savepoint.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
        if savepoint.metadata.deletion_timestamp.is_some() {
            return if held { self.erase(savepoint).await } else { Ok(RARE) };
        }
        let erases = savepoint.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete;
        if erases != held {
            self.cluster.set_savepoint_finalizer(savepoint, erases).await?;
            return Ok(SOON);
        }
        let key = Key::of(savepoint);
        let job = match is_name(&savepoint.spec.job) {
            true => self.cluster.job(&key.beside(&savepoint.spec.job)).await?,
            false => None,
        };
        let observed = match job {
            None => None,
            Some(job) => Some(observe(&self.cluster, &self.coordinators, job, false).await?),
        };
        let next = next(savepoint, observed.as_ref(), self.cluster.now());
        let (status, ask, again) = match next {
            Next::Follow(status, again) => (status, None, again),
            Next::Ask(status, ask) => (status, Some(ask), SOON),
        };
        if savepoint.status.as_ref() != Some(&status) {
            let written = Savepoint { status: Some(status.clone()), ..savepoint.clone() };
            self.cluster.write_savepoint_status(&written).await?;
            // Recorded before it is asked for: the next pass asks, under the id that is written down.
            return Ok(if ask.is_some() { Duration::from_millis(100) } else { again });
        }
        if let (Some(ask), Some(address)) = (ask, observed.and_then(|o| o.address)) {
            match self.coordinators.ask(&address, &ask).await {
                Ok(()) | Err(AskError::NotNow(_) | AskError::Unreachable(_)) => {}
                Err(AskError::Refused(why)) => {
                    let failed = failed(savepoint, status, self.cluster.now(), &why);
                    let written = Savepoint { status: Some(failed), ..savepoint.clone() };
                    self.cluster.write_savepoint_status(&written).await?;
                }
            }
        }
        Ok(again)
    }

    /// Deletes the data by a pod of the job, then lets the object go.
    async fn erase(&self, savepoint: &Savepoint) -> Result<Duration, ClusterError> {
        let status = savepoint.status.clone().unwrap_or_default();
        let asked = savepoint.metadata.deletion_timestamp.as_ref().map_or(self.cluster.now(), |t| t.0);
        let late =
            Duration::try_from(self.cluster.now().duration_since(asked)).is_ok_and(|age| age > ERASED_WITHIN);
        let key = Key::of(savepoint);
        let job = self.cluster.job(&key.beside(&savepoint.spec.job)).await?;
        let same =
            job.filter(|job| job.metadata.uid == status.job_uid && job.metadata.deletion_timestamp.is_none());
        let (Some(place), Some(job), false) = (&status.place, same, late) else {
            self.cluster.set_savepoint_finalizer(savepoint, false).await?;
            return Ok(RARE);
        };
        let observed = observe(&self.cluster, &self.coordinators, job, false).await?;
        let Ok(wanted) = validate(&observed.job, &observed.references, &self.defaults) else {
            return Ok(LATER);
        };
        let uid = savepoint.metadata.uid.as_deref().unwrap_or_default();
        let name = format!("{}-e-{}", wanted.identity.base(), short(uid));
        let pod = self.cluster.pod(&key.beside(&name)).await?;
        let phase = pod.as_ref().and_then(|pod| pod.status.as_ref()).and_then(|status| status.phase.clone());
        match phase.as_deref() {
            Some("Succeeded") => {
                if let Some(uid) = pod.and_then(|pod| pod.metadata.uid) {
                    self.cluster.delete_pod(&key.beside(&name), &uid).await?;
                }
                self.cluster.set_savepoint_finalizer(savepoint, false).await?;
                Ok(RARE)
            }
            Some(_) => Ok(SOON),
            None => {
                self.cluster.create_pod(&desired::savepoint_eraser(&wanted, name, place)).await?;
                Ok(SOON)
            }
        }
    }
}

fn short(uid: &str) -> String {
    uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
}

/// The name of a savepoint in the job's folder: no two objects have the same.
fn id(savepoint: &Savepoint) -> String {
    let name: String = savepoint.metadata.name.iter().flat_map(|name| name.chars()).take(52).collect();
    format!("{}-{}", name.trim_end_matches('-'), short(savepoint.metadata.uid.as_deref().unwrap_or_default()))
}

/// What follows from the facts. Pure.
fn next(savepoint: &Savepoint, observed: Option<&Observed>, now: Timestamp) -> Next {
    let mut status = savepoint.status.clone().unwrap_or_default();
    status.observed_generation = savepoint.metadata.generation;
    if matches!(status.state, SavepointPhase::Completed | SavepointPhase::Failed) {
        return Next::Follow(status, RARE);
    }
    let waits = |mut status: SavepointObjectStatus, why: String| {
        let answer = (ConditionStatus::False, Reason::WaitingForJob, why);
        set(savepoint, &mut status, now, answer, ConditionStatus::False);
        Next::Follow(status, LATER)
    };
    let Some(observed) = observed.filter(|o| o.job.metadata.deletion_timestamp.is_none()) else {
        return waits(status, format!("the StreamJob {:?} is not there", savepoint.spec.job));
    };
    if status.job_uid.as_deref().is_some_and(|uid| uid != observed.uid()) {
        let why =
            format!("the StreamJob {:?} is another one than when this was asked for", savepoint.spec.job);
        return Next::Follow(failed(savepoint, status, now, &why), RARE);
    }
    let id = id(savepoint);
    let Some(report) = observed.coordinator.report() else {
        return waits(status, format!("the coordinator of {:?} does not answer", savepoint.spec.job));
    };
    match report.savepoints.iter().find(|known| known.id == id) {
        Some(known) => follow(savepoint, status, known, now),
        None if report.state == EngineState::Running => {
            status.job_uid = Some(observed.uid().to_owned());
            status.id = Some(id.clone());
            status.state = SavepointPhase::InProgress;
            let answer = (ConditionStatus::False, Reason::AsExpected, "it is asked for".to_owned());
            set(savepoint, &mut status, now, answer, ConditionStatus::False);
            Next::Ask(status, Ask::Savepoint { id, to: savepoint.spec.to.clone() })
        }
        None => waits(status, format!("the job {:?} does not run now", savepoint.spec.job)),
    }
}

fn follow(
    savepoint: &Savepoint,
    mut status: SavepointObjectStatus,
    known: &ReportedSavepoint,
    now: Timestamp,
) -> Next {
    status.place.clone_from(&known.place);
    status.checkpoint = known.checkpoint;
    status.bytes = known.bytes;
    // It was made under a coordinator that is gone: the id holds this object's uid, so it is nobody else's.
    let made_before = known.failure.as_ref().is_some_and(|f| f.message.contains("is there already"));
    match known.state.as_str() {
        state if state == "Completed" || made_before => {
            status.state = SavepointPhase::Completed;
            status.completed_at = Some(Time(now));
            let answer =
                (ConditionStatus::True, Reason::AsExpected, "it is whole, and was read back".to_owned());
            set(savepoint, &mut status, now, answer, ConditionStatus::False);
            Next::Follow(status, RARE)
        }
        "Failed" => {
            let why = known.failure.as_ref().map_or("it failed", |failure| failure.message.as_str());
            Next::Follow(failed(savepoint, status, now, why), RARE)
        }
        state => {
            status.state = SavepointPhase::InProgress;
            let answer = (ConditionStatus::False, Reason::AsExpected, format!("{state}…"));
            set(savepoint, &mut status, now, answer, ConditionStatus::False);
            Next::Follow(status, SOON)
        }
    }
}

fn failed(
    savepoint: &Savepoint,
    mut status: SavepointObjectStatus,
    now: Timestamp,
    why: &str,
) -> SavepointObjectStatus {
    status.state = SavepointPhase::Failed;
    let answer = (ConditionStatus::False, Reason::SavepointFailed, format!("{why}. Make another Savepoint"));
    set(savepoint, &mut status, now, answer, ConditionStatus::True);
    status
}

/// Sets both conditions: whether it is whole, and whether it needs help.
fn set(
    savepoint: &Savepoint,
    status: &mut SavepointObjectStatus,
    now: Timestamp,
    (ready, reason, message): (ConditionStatus, Reason, String),
    stalled: ConditionStatus,
) {
    let old = std::mem::take(&mut status.conditions);
    for (type_, answer) in [(ConditionType::Ready, ready), (ConditionType::Stalled, stalled)] {
        let before = old.iter().find(|c| c.type_ == type_ && c.status == answer);
        status.conditions.push(Condition {
            type_,
            status: answer,
            reason,
            message: message.chars().take(3000).collect(),
            last_transition_time: before.map_or(Time(now), |c| c.last_transition_time.clone()),
            observed_generation: savepoint.metadata.generation,
        });
    }
}
