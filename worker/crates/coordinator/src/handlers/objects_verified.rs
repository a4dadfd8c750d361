//! The new objects of a checkpoint were looked for.

use weir_protocol::{CheckpointId, Failure};

use crate::step::Step;

impl Step<'_> {
    pub(crate) fn objects_verified(&mut self, id: CheckpointId, result: Result<(), Failure>) {
        let flight = self.state.in_flight.as_mut().filter(|flight| flight.id == id);
        let Some(storing) = flight.and_then(|flight| flight.storing.as_mut()) else {
            return;
        };
        match result {
            Ok(()) => {
                storing.verified = true;
                self.record_if_stored();
            }
            Err(failure) => {
                let place = format_args!("the objects of checkpoint {id}");
                self.fail_checkpoint(failure.at(place), None);
            }
        }
    }
}
