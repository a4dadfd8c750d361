//! The conditions of a job: five questions, each answered with a reason and, where there is something to do, with
//! the next step.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_crds::{Condition, ConditionStatus, ConditionType, Place, Problem, Reason, StreamJobStatus};
use weir_protocol::FailureKind;

use super::cut;
use crate::controller::decide::{Decision, Situation, Target};
use crate::controller::observe::{Observed, Seen};
use crate::controller::pods::{Role, Trouble};
use crate::report::{EngineState, Report};

use ConditionStatus::{False, True, Unknown};

/// An answer: yes or no, why in a word, why in a sentence.
type Answer = (ConditionStatus, Reason, String);

pub(super) fn conditions(
    observed: &Observed,
    target: &Target,
    decision: &Decision,
    old: &StreamJobStatus,
) -> Vec<Condition> {
    let view = View { observed, target, decision };
    let answers = [
        (ConditionType::Ready, view.ready()),
        (ConditionType::Progressing, view.progressing()),
        (ConditionType::CheckpointsHealthy, view.checkpoints()),
        (ConditionType::Degraded, view.degraded()),
        (ConditionType::Stalled, view.stalled()),
    ];
    let mut all: Vec<Condition> = answers.map(|(type_, answer)| view.condition(type_, answer, old)).into();
    // What others have added is theirs.
    all.extend(old.conditions.iter().filter(|c| c.type_ == ConditionType::Other).cloned());
    all
}

struct View<'a> {
    observed: &'a Observed,
    target: &'a Target,
    decision: &'a Decision,
}

impl View<'_> {
    fn condition(
        &self,
        type_: ConditionType,
        (status, reason, message): Answer,
        old: &StreamJobStatus,
    ) -> Condition {
        let before = old.condition(type_).filter(|c| c.status == status);
        Condition {
            type_,
            status,
            reason,
            message: cut(&message),
            last_transition_time: before
                .map_or_else(|| Time(whole_second(self.observed.now)), |c| c.last_transition_time.clone()),
            observed_generation: self.observed.job.metadata.generation,
        }
    }

    fn report(&self) -> Option<&Report> {
        self.observed.coordinator.report()
    }

    fn ready(&self) -> Answer {
        let no = |reason, message: &str| (False, reason, message.to_owned());
        match self.decision.situation {
            Situation::Refused => (False, self.refusal().0, self.refusal().1),
            Situation::Suspending | Situation::Suspended => no(Reason::Suspended, "spec.suspended is true"),
            Situation::Upgrading => no(Reason::Upgrading, "the job changes over to another version"),
            Situation::Deleting => no(Reason::Deleting, "the job is being deleted"),
            Situation::Finished => {
                (True, Reason::InputEnded, "the input ended and all of it is committed".to_owned())
            }
            Situation::Failed => self.failure(),
            Situation::Active => match &self.observed.coordinator {
                Seen::Reached(report) => self.ready_by(report),
                // One whose pod can't run keeps its address.
                Seen::Unreachable(why) if self.coordinator_trouble().is_none() => (
                    Unknown,
                    Reason::CoordinatorUnreachable,
                    format!("the coordinator does not answer: {why}"),
                ),
                Seen::Unreachable(_) | Seen::Nobody => match self.trouble() {
                    Some(trouble) => (False, trouble.reason, trouble.message.clone()),
                    None => no(Reason::CreatingPods, "the coordinator's pod is coming up"),
                },
            },
        }
    }

    fn ready_by(&self, report: &Report) -> Answer {
        let detail = report.detail.clone().unwrap_or_default();
        match report.state {
            EngineState::Running | EngineState::Stopping => {
                (True, Reason::AsExpected, "all subtasks run".to_owned())
            }
            EngineState::Restoring | EngineState::Restarting => {
                (False, Reason::Restoring, self.why_restoring(report))
            }
            _ => match self.trouble() {
                Some(trouble) => (False, trouble.reason, trouble.message.clone()),
                None if self.missing_workers() > 0 => {
                    let text = format!("{} workers have not registered yet", self.missing_workers());
                    (False, Reason::WorkersLost, text)
                }
                None => {
                    (False, Reason::CreatingPods, format!("the job is starting. {detail}").trim().to_owned())
                }
            },
        }
    }

    fn why_restoring(&self, report: &Report) -> String {
        match &report.last_failure {
            Some(last) => format!("the job goes back to its last checkpoint: {}", last.failure.message),
            None => "the job comes up from its last checkpoint".to_owned(),
        }
    }

    fn progressing(&self) -> Answer {
        let (stalled, why_stalled, _) = self.stalled();
        let situation = self.decision.situation;
        let on_its_way = match situation {
            Situation::Suspending => Some((Reason::Suspended, "a last checkpoint, then the pods go")),
            Situation::Upgrading => {
                Some((Reason::Upgrading, "a last checkpoint, then new pods go on from it"))
            }
            Situation::Deleting => Some((Reason::Deleting, "the pods go; state stays")),
            Situation::Active => match self.report() {
                Some(report) if report.rescaling_to.is_some() => {
                    Some((Reason::Rescaling, "the parallelism changes"))
                }
                Some(report) if report.state == EngineState::Running && self.is_at_size(report) => None,
                Some(report) if report.state == EngineState::Running => {
                    Some((Reason::Rescaling, "slots for the new parallelism are coming up"))
                }
                Some(_) | None => Some((Reason::CreatingPods, "pods and subtasks are coming up")),
            },
            Situation::Refused | Situation::Suspended | Situation::Finished | Situation::Failed => None,
        };
        match on_its_way.filter(|_| stalled != True || situation == Situation::Deleting) {
            Some((reason, message)) => (True, reason, message.to_owned()),
            None if stalled == True => {
                (False, why_stalled, "it does not get on by itself, see the condition Stalled".to_owned())
            }
            None => (False, Reason::AsExpected, "the job is where it is going to be".to_owned()),
        }
    }

    fn checkpoints(&self) -> Answer {
        let Some(report) = self.report().filter(|_| self.decision.situation == Situation::Active) else {
            return (Unknown, Reason::AsExpected, "no checkpoints are taken now".to_owned());
        };
        let checkpoints = &report.checkpoints;
        if checkpoints.failed_in_row > 0 {
            let failure = checkpoints.newest.iter().find_map(|c| c.failure.as_ref());
            let why =
                failure.map_or_else(|| "see the coordinator's status".to_owned(), |f| f.message.clone());
            let text = format!("{} failed in a row: {why}", checkpoints.failed_in_row);
            return (False, Reason::CheckpointsFailing, text);
        }
        match (checkpoints.last_completed_us, &self.decision.runs) {
            (Some(last), Some(wanted)) => {
                let age = self.observed.now.as_microsecond().saturating_sub(last);
                let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
                let checkpoint = &wanted.config.checkpoint;
                let most =
                    checkpoint.interval.saturating_mul(3).max(checkpoint.interval + checkpoint.timeout);
                match age <= most {
                    true => (True, Reason::AsExpected, "checkpoints complete".to_owned()),
                    false => {
                        let text = format!("the last one completed {} seconds ago", age.as_secs());
                        (False, Reason::CheckpointTooOld, text)
                    }
                }
            }
            _ => (Unknown, Reason::AsExpected, "none was completed since the job was started".to_owned()),
        }
    }

    fn degraded(&self) -> Answer {
        if self.decision.situation == Situation::Deleting {
            return (False, Reason::Deleting, "the job is being deleted".to_owned());
        }
        let runs = self.decision.situation != Situation::Refused;
        if let Err(problems) = self.target.as_ref().map_err(Vec::as_slice)
            && runs
        {
            let text = format!("the spec has problems, and what ran before goes on: {}", tell(problems));
            return (True, refused_for(problems), text);
        }
        let memory = &self.decision.memory;
        if let Ok(target) = self.target
            && memory.rolled_back.as_ref() == Some(&target.version)
        {
            let why = memory.rolled_back_because.as_deref().unwrap_or("it failed");
            let text = format!(
                "the upgrade was taken back, and what ran before goes on: {why}. Change the spec; or set the annotation weir.dev/restart to try the same once more"
            );
            return (True, Reason::RolledBack, text);
        }
        if let Some(why) = &self.observed.refused {
            return (True, Reason::PodRefused, why.clone());
        }
        if let Some(trouble) = self.trouble() {
            return (True, trouble.reason, trouble.message.clone());
        }
        if self.decision.situation == Situation::Active {
            return self.degraded_by_engine();
        }
        (False, Reason::AsExpected, "nothing needs a look".to_owned())
    }

    fn degraded_by_engine(&self) -> Answer {
        match &self.observed.coordinator {
            Seen::Reached(report) => {
                if let Some(trouble) = report.troubles.first() {
                    let reason = match trouble.kind() {
                        Some(FailureKind::Memory) => Reason::MemoryPressure,
                        Some(FailureKind::StateUnreadable) => Reason::StateUnreadable,
                        _ => Reason::StorageUnreachable,
                    };
                    return (True, reason, format!("waiting: {}", trouble.message));
                }
                let lost = self.missing_workers();
                if lost > 0 && report.state != EngineState::Starting {
                    return (
                        True,
                        Reason::WorkersLost,
                        format!("{lost} workers are missing; they are replaced"),
                    );
                }
            }
            Seen::Unreachable(why) => {
                return (
                    True,
                    Reason::CoordinatorUnreachable,
                    format!("the coordinator does not answer: {why}"),
                );
            }
            Seen::Nobody => {}
        }
        (False, Reason::AsExpected, "nothing needs a look".to_owned())
    }

    fn stalled(&self) -> Answer {
        match self.decision.situation {
            Situation::Refused => {
                let (reason, message) = self.refusal();
                let waits = reason == Reason::WaitingForSavepoint;
                (if waits { False } else { True }, reason, message)
            }
            Situation::Failed => {
                let (_, reason, message) = self.failure();
                (True, reason, message)
            }
            Situation::Active if !self.runs() => match (self.trouble(), &self.observed.refused) {
                (_, Some(why)) => (True, Reason::PodRefused, why.clone()),
                (Some(trouble), None) if needs_help(trouble.reason) => {
                    (True, trouble.reason, trouble.message.clone())
                }
                _ => (False, Reason::AsExpected, "the job gets on by itself".to_owned()),
            },
            _ => (False, Reason::AsExpected, "the job gets on by itself".to_owned()),
        }
    }

    fn runs(&self) -> bool {
        self.report().is_some_and(|report| report.state == EngineState::Running)
    }

    fn is_at_size(&self, report: &Report) -> bool {
        let wanted = self.decision.runs.as_ref().map(|wanted| wanted.config.parallelism);
        wanted.is_none_or(|wanted| wanted == report.parallelism)
    }

    fn missing_workers(&self) -> usize {
        let Some(wanted) = self.decision.runs.as_ref() else { return 0 };
        let there = self.report().map_or(0, |r| r.workers.iter().filter(|w| !w.draining).count());
        usize::try_from(wanted.workers_needed()).unwrap_or(usize::MAX).saturating_sub(there)
    }

    fn coordinator_trouble(&self) -> Option<&Trouble> {
        let mut pods = self.observed.pods.iter().filter(|p| p.counts() && p.role == Role::Coordinator);
        pods.find_map(|p| p.trouble.as_ref())
    }

    /// The first trouble of a pod that is to stay, those that need help first.
    fn trouble(&self) -> Option<&Trouble> {
        let troubles = || self.observed.pods.iter().filter(|p| !p.going).filter_map(|p| p.trouble.as_ref());
        troubles().find(|t| needs_help(t.reason)).or_else(|| troubles().next())
    }

    fn refusal(&self) -> (Reason, String) {
        match self.target {
            Err(problems) => (refused_for(problems), tell(problems)),
            Ok(_) => (Reason::CreatingPods, "the job is being looked at".to_owned()),
        }
    }

    fn failure(&self) -> Answer {
        let ended = self.decision.memory.ended.clone().unwrap_or_default();
        let reason = ended.reason.unwrap_or(Reason::RestartsExhausted);
        let why = ended.message.unwrap_or_else(|| "the job failed".to_owned());
        let next = "Change the spec, or set the annotation weir.dev/restart, to start it again from its last checkpoint";
        (False, reason, format!("{why}. {next}"))
    }
}

/// Whether somebody has to do something.
fn needs_help(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ImagePullFailed
            | Reason::InvalidSql
            | Reason::Unschedulable
            | Reason::MissingReference
            | Reason::CrashLoop
            | Reason::StateUnreadable
            | Reason::StorageRefused
    )
}

fn refused_for(problems: &[Problem]) -> Reason {
    let savepoint = Place::field("spec.restoreFrom.savepoint");
    match problems {
        [one] if one.place == savepoint && one.message.ends_with("yet") => Reason::WaitingForSavepoint,
        problems if problems.iter().any(|p| matches!(p.place, Place::Sql { .. })) => Reason::InvalidSql,
        problems if problems.iter().any(|p| p.message.starts_with("the API server refuses")) => {
            Reason::PodRefused
        }
        _ => Reason::InvalidSpec,
    }
}

/// All problems in one text.
fn tell(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn whole_second(now: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now)
}
