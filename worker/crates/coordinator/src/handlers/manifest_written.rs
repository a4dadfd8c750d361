//! A manifest is in the store, or could not be written.

use weir_protocol::{CheckpointId, Failure, ManifestRef};

use crate::step::Step;

impl Step<'_> {
    pub(crate) fn manifest_written(&mut self, id: CheckpointId, result: Result<ManifestRef, Failure>) {
        let flight = self.state.in_flight.as_mut().filter(|flight| flight.id == id);
        let Some(storing) = flight.and_then(|flight| flight.storing.as_mut()) else {
            return;
        };
        match result {
            Ok(manifest) => {
                storing.manifest = Some(manifest);
                self.record_if_stored();
            }
            Err(failure) => {
                let place = format_args!("the manifest of checkpoint {id}");
                self.fail_checkpoint(failure.at(place), None);
            }
        }
    }
}
