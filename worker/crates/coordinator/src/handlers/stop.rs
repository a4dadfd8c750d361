//! Somebody wants the job to stop.

use crate::event::{Exit, StopRequest};
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn stop(&mut self, request: StopRequest) {
        match request {
            StopRequest::Graceful => self.state.stopping = true,
            StopRequest::Now => {
                let last = self.state.point.as_ref().map(|point| point.id);
                self.end(Exit::Stopped { last, complete: false });
            }
        }
    }
}
