//! Garbage collection came to its end. Whatever it could not do is tried again the next time.

use weir_protocol::Failure;

use super::savepoints::without_held;
use crate::event::Entry;
use crate::step::Step;

impl Step<'_> {
    pub(crate) fn garbage_collected(&mut self, proposed: Vec<Entry>, failure: Option<Failure>) {
        if self.state.ending.is_none() {
            let proposed = without_held(self.state, proposed);
            self.state.journal.waiting.extend(proposed);
        }
        self.state.garbage.running = false;
        self.state.garbage.trouble = failure;
    }
}
