//! Whatever can go on now, after any event: phases that wait for several things, the journal's
//! queue, garbage, the timer.

use weir_checkpoint::{Body, StopReason};
use weir_protocol::CheckpointKind;

use crate::action::Action;
use crate::state::{AfterCancel, Commits, Ending, Gathering, Phase, State};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn advance(&mut self) {
        if self.state.stopping && self.state.ending.is_none() {
            self.stop_without_checkpoint();
        }
        while self.next_phase() {}
        if matches!(self.state.phase, Phase::Ended(_)) {
            return;
        }
        self.release_drained();
        self.flush_journal();
        self.collect_garbage();
        self.set_timer();
    }

    /// Whether a phase came to its end by what is known already.
    fn next_phase(&mut self) -> bool {
        match &self.state.phase {
            Phase::Waiting if self.state.ending.is_none() && self.state.journal_idle() => {
                self.begin_execution()
            }
            Phase::Running { .. } => {
                self.last_checkpoint();
                false
            }
            Phase::Cancelling { missing, .. } if missing.is_empty() && self.state.recording.is_none() => {
                self.cancelled();
                true
            }
            Phase::BackingOff { until } if *until <= self.at.now && self.state.ending.is_none() => {
                self.try_again();
                true
            }
            _ => false,
        }
    }

    fn begin_execution(&mut self) -> bool {
        match self.state.gathering {
            Gathering::Nobody => false,
            Gathering::Since(_) => self.begin_first_execution(),
            Gathering::Over => self.deploy(),
        }
    }

    /// Where no rows flow there is nothing new to save.
    fn stop_without_checkpoint(&mut self) {
        let nothing_runs = matches!(
            self.state.phase,
            Phase::Loading
                | Phase::Planning
                | Phase::Waiting
                | Phase::BackingOff { .. }
                | Phase::Deploying { .. }
        );
        // What was taken over has been running all the time.
        let nothing_runs =
            nothing_runs || self.state.phase == Phase::Recommitting && !self.state.deployment.adopted;
        if nothing_runs {
            self.finish(Ending { reason: StopReason::Requested, complete: false });
        }
    }

    /// Records the end of the job.
    pub(crate) fn finish(&mut self, ending: Ending) {
        let id = self.state.point.as_ref().map(|point| point.id);
        self.state.journal.append(Body::Stopped { id, reason: ending.reason.clone() });
        self.state.ending = Some(ending);
    }

    /// The end of all sources, a stop or a move asks for a checkpoint at once.
    fn last_checkpoint(&mut self) {
        if let Some(kind) = self.state.wants_last_checkpoint()
            && self.may_trigger(kind)
        {
            self.trigger(kind);
        }
    }

    fn cancelled(&mut self) {
        let Phase::Cancelling { then, .. } = &self.state.phase else {
            return;
        };
        let then = then.clone();
        self.all_stopped();
        match then {
            AfterCancel::Exit(exit) => self.end(exit),
            AfterCancel::Restart { until } => {
                self.state.phase = Phase::BackingOff { until };
                if self.state.stopping && self.state.ending.is_none() {
                    self.stop_without_checkpoint();
                }
            }
        }
    }

    /// The delay before the next execution is over.
    pub(crate) fn try_again(&mut self) {
        let unread = self.state.point.as_ref().is_some_and(|p| matches!(p.commits, Commits::Unread { .. }));
        match unread {
            true => self.load(),
            false => self.state.phase = Phase::Waiting,
        }
    }

    fn flush_journal(&mut self) {
        if self.state.journal.appending.is_none()
            && let Some(entry) = self.state.journal.waiting.pop_front()
        {
            self.state.journal.appending = Some(entry.clone());
            self.out.push(Action::Append(entry));
        }
    }

    fn collect_garbage(&mut self) {
        if self.state.garbage.due && !self.state.garbage.running {
            self.state.garbage.due = false;
            self.state.garbage.running = true;
            self.out.push(Action::CollectGarbage);
        }
    }

    fn set_timer(&mut self) {
        if let Some(at) = self.state.next_deadline()
            && self.state.timer != Some(at)
        {
            self.state.timer = Some(at);
            self.out.push(Action::SetTimer { at });
        }
    }
}

impl State {
    pub(crate) fn journal_idle(&self) -> bool {
        self.journal.appending.is_none() && self.journal.waiting.is_empty()
    }

    /// Whether the next checkpoint is to be the last, and why.
    pub(crate) fn wants_last_checkpoint(&self) -> Option<CheckpointKind> {
        let sources = self.layout.graph.vertices.iter().filter(|v| v.source);
        let sources: usize = sources.map(|v| v.parallelism as usize).sum();
        if sources > 0 && self.deployment.exhausted.len() == sources {
            return Some(CheckpointKind::Final);
        }
        (self.stopping || self.wants_to_move()).then_some(CheckpointKind::LifeCycle)
    }
}
