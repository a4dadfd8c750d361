//! Somebody asks for something and waits for an answer.

use crate::action::Action;
use crate::event::{Accepted, Refused, Request, Ticket};
use crate::state::{Phase, Planning};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn asked(&mut self, ticket: Ticket, request: Request) {
        match request {
            Request::Stop(how) => {
                self.answer(ticket, Ok(Accepted::Stopping));
                self.stop(how);
            }
            Request::Rescale { parallelism } => self.rescale(ticket, parallelism),
        }
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Result<Accepted, Refused>) {
        self.out.push(Action::Answer { ticket, answer });
    }

    fn rescale(&mut self, ticket: Ticket, parallelism: u32) {
        let state = &*self.state;
        let from = state.layout.parallelism;
        let most = state.options.config.max_parallelism;
        let refused = match () {
            () if !(1..=most).contains(&parallelism) => Some(Refused::Invalid(format!(
                "parallelism {parallelism} is not within 1 to {most}, the job's maxParallelism"
            ))),
            () if state.stopping || state.ending.is_some() => {
                Some(Refused::NotNow("the job is stopping".to_owned()))
            }
            () if state.planning.is_some() || state.rescale.is_some() || state.next_layout.is_some() => {
                Some(Refused::NotNow("a change of parallelism is under way".to_owned()))
            }
            () if matches!(state.phase, Phase::Claiming | Phase::Loading | Phase::Planning) => {
                Some(Refused::NotNow("the job is only just starting".to_owned()))
            }
            () => None,
        };
        if let Some(refused) = refused {
            return self.answer(ticket, Err(refused));
        }
        if parallelism == from {
            return self.answer(ticket, Ok(Accepted::Rescaling { from, to: parallelism }));
        }
        self.state.planning = Some(Planning::Rescale { parallelism, ticket });
        self.out.push(Action::Plan { parallelism });
    }
}
