//! The job was planned at another parallelism, or could not be.

use std::sync::Arc;

use weir_protocol::{Failure, JobGraph};

use crate::event::{Accepted, Refused, Ticket};
use crate::state::{Layout, Phase, Planning};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn planned(&mut self, parallelism: u32, result: Result<Box<JobGraph>, Failure>) {
        let Some(planning) = self.state.planned_for(parallelism) else {
            return;
        };
        self.state.planning = None;
        let layout = result.map(|graph| Layout { parallelism, graph: Arc::from(graph) });
        match planning {
            Planning::Start { .. } => self.planned_for_start(layout),
            Planning::Rescale { ticket, .. } => self.planned_for_rescale(ticket, layout),
        }
    }

    fn planned_for_start(&mut self, layout: Result<Layout, Failure>) {
        match layout {
            Ok(layout) => {
                self.state.layout = layout;
                if self.state.phase == Phase::Planning {
                    self.state.phase = Phase::Waiting;
                }
            }
            Err(failure) => {
                let exit = self.exit_of(failure);
                self.end(exit);
            }
        }
    }

    /// It is refused as long as there are not enough slots: otherwise a slip of the pen would stop the job.
    fn planned_for_rescale(&mut self, ticket: Ticket, layout: Result<Layout, Failure>) {
        let layout = match layout {
            Ok(layout) => layout,
            Err(failure) => return self.answer(ticket, Err(Refused::Invalid(failure.message))),
        };
        let (there, needed) = (self.state.slots_there(), layout.slots_needed());
        if there < u64::from(needed) {
            let text = format!(
                "parallelism {} takes {needed} slots and there are {there}: start more workers first",
                layout.parallelism
            );
            return self.answer(ticket, Err(Refused::NotNow(text)));
        }
        if self.state.stopping || self.state.ending.is_some() {
            return self.answer(ticket, Err(Refused::NotNow("the job is stopping".to_owned())));
        }
        let (from, to) = (self.state.layout.parallelism, layout.parallelism);
        self.state.rescale = Some(layout);
        self.answer(ticket, Ok(Accepted::Rescaling { from, to }));
    }
}
