//! Before a coordinator claims anything: is the store there, and, if it holds nothing of the job yet, does it keep
//! the promises that the journal is built on?

use weir_checkpoint::probe::{ProbeError, probe};
use weir_checkpoint::{Store, StoreError, layout};
use weir_protocol::{Failure, FailureKind};
use weir_runtime::Random;

use super::Coordinator;
use super::stored::{FIRST_PAUSE, wait};
use crate::event::{Event, Exit, Moment};
use crate::step::step;

impl Coordinator {
    /// Waits until the store answers, as long as it takes; meanwhile the status says so. Before a job's first
    /// record is written there, it is tried by races. The way in which the job ends if it was asked to stop
    /// meanwhile; `None` if it may begin.
    ///
    /// # Errors
    /// [`ProbeError`]: the store answers, and can't be used: a broken promise, no such bucket, no access.
    pub async fn try_store(&mut self) -> Result<Option<Exit>, ProbeError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match try_if_new(self.shell.store.as_ref(), self.shell.random.as_ref()).await {
                Err(ProbeError::Store(error)) if error.is_unknown() => error,
                tried => {
                    self.store_trouble(None);
                    return tried.map(|()| None);
                }
            };
            self.store_trouble(Some(&error));
            tokio::select! {
                () = wait(&mut pause) => {}
                Some(_) = self.shell.stop.recv() => {
                    return Ok(Some(Exit::Stopped { last: None, complete: false }));
                }
            }
        }
    }

    fn store_trouble(&mut self, error: Option<&StoreError>) {
        let trouble = error.map(|error| Failure::new(FailureKind::Store, error.to_string()));
        let moment = Moment { now: self.shell.clock.now(), random: self.shell.random.next_u64() };
        // It sets off nothing: nothing is claimed yet.
        step(&mut self.state, Event::StoreTrouble(trouble), moment);
        self.publish();
    }
}

/// A store is tried once, before a job's first record is written there.
async fn try_if_new(store: &dyn Store, random: &dyn Random) -> Result<(), ProbeError> {
    let folder = store.list_folder(layout::JOURNAL).await?;
    if folder.objects.is_empty() {
        probe(store, random).await?;
    }
    Ok(())
}
