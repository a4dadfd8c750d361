//! Garbage collection came to its end. Whatever it could not do is tried again after the next `Drop`.

use weir_protocol::Failure;

use crate::step::Step;

impl Step<'_> {
    pub(crate) fn garbage_collected(&mut self, failure: Option<Failure>) {
        self.state.garbage.running = false;
        self.state.garbage.trouble = failure;
    }
}
