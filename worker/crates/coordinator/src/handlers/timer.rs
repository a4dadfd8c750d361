//! A time has come. What is due is decided by comparing with the clock, so that being woken early,
//! late or twice does no harm.

use weir_protocol::{CheckpointKind, Failure, FailureKind};

use crate::action::Action;
use crate::state::{Phase, State};
use crate::step::Step;
use weir_runtime::Timestamp;

impl Step<'_> {
    pub(crate) fn timer(&mut self) {
        self.state.timer = None;
        let now = self.at.now;
        match &mut self.state.phase {
            Phase::Cancelling { missing, deadline, .. } if *deadline <= now => {
                for worker in std::mem::take(missing) {
                    self.state.workers.remove(&worker);
                    self.state.draining.remove(&worker);
                    self.out.push(Action::GiveUp { worker });
                }
            }
            Phase::Adopting { deadline, .. } if *deadline <= now => self.adoption_timed_out(),
            Phase::Running { .. } => self.time_in_running(),
            _ => {}
        }
    }

    fn time_in_running(&mut self) {
        let now = self.at.now;
        if let Some(flight) = &self.state.in_flight {
            if flight.deadline <= now {
                self.checkpoint_timed_out();
            }
        } else if self.state.schedule.periodic <= now && self.may_trigger(CheckpointKind::Periodic) {
            self.trigger(CheckpointKind::Periodic);
        }
    }

    fn checkpoint_timed_out(&mut self) {
        let Some(flight) = &self.state.in_flight else {
            return;
        };
        let first = flight.missing.first().copied();
        let who: Vec<String> = flight.missing.iter().take(3).map(|s| self.state.subtask_name(*s)).collect();
        let more = flight.missing.len().saturating_sub(who.len());
        let waiting_for = match (who.is_empty(), more) {
            (true, _) => "the store".to_owned(),
            (false, 0) => who.join(", "),
            (false, more) => format!("{} and {more} more", who.join(", ")),
        };
        let timeout = self.state.options.config.checkpoint.timeout;
        let message =
            format!("checkpoint {} took longer than {timeout:?}, waiting for {waiting_for}", flight.id);
        self.fail_checkpoint(Failure::new(FailureKind::Worker, message), first);
    }
}

impl State {
    /// When something has to be looked at, whatever happens until then.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Cancelling { missing, deadline, .. } if !missing.is_empty() => Some(*deadline),
            Phase::Adopting { deadline, .. } => Some(*deadline),
            Phase::BackingOff { .. } | Phase::Waiting if self.ending.is_some() => None,
            Phase::BackingOff { until } => Some(*until),
            Phase::Waiting if self.journal_idle() && self.has_slots() => self.gathered_until(),
            Phase::Running { .. } if self.ending.is_some() => None,
            Phase::Running { .. } => match &self.in_flight {
                Some(flight) => Some(flight.deadline),
                None if self.recording.is_some() || self.committing.is_some() => None,
                None if self.wants_last_checkpoint().is_some() => Some(self.schedule.earliest),
                None => Some(self.schedule.periodic.max(self.schedule.earliest)),
            },
            _ => None,
        }
    }
}
