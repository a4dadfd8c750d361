//! Savepoints: copying a checkpoint out of the job's folder, and taking one over into it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use weir_checkpoint::Store;
use weir_checkpoint::manifest::Wrong;
use weir_checkpoint::savepoint::{
    Copied, ImportAs, Imported, OriginError, Savepoint, SavepointError, SavepointFolder, copy_patiently,
    find_origin, import,
};
use weir_checkpoint::store::open_at;
use weir_protocol::{Failure, StorageConfig};
use weir_runtime::{Clock, Random};

use super::stored::{FIRST_PAUSE, tell, wait};
use super::{Answers, Shell};
use crate::event::Event;
use crate::options::Options;

/// Copies that are made at a time; each one copies several objects at a time.
pub(super) const COPIES: usize = 1;
/// How often an origin is looked for again that changed while it was copied.
const LOOKS: u32 = 5;

/// What copying needs.
#[derive(Clone)]
pub(super) struct Copier {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    storage: StorageConfig,
    patience: Duration,
    turn: Arc<Semaphore>,
    answers: Answers,
}

impl Copier {
    /// Whoever copies waits for its `turn`.
    pub(super) fn new(shell: &Shell, options: &Options, turn: Arc<Semaphore>, answers: Answers) -> Self {
        let config = &options.config.checkpoint;
        Self {
            store: Arc::clone(&shell.store),
            clock: Arc::clone(&shell.clock),
            random: Arc::clone(&shell.random),
            storage: config.storage.clone(),
            patience: config.timeout,
            turn,
            answers,
        }
    }

    /// Copies a checkpoint, one savepoint after the other.
    pub(super) fn copy(&self, copied: Copied, to: Option<String>) {
        let this = self.clone();
        tokio::spawn(async move {
            // It is never closed.
            let _turn = this.turn.acquire().await;
            let result = this.copied(&copied, to.as_deref()).await.map_err(Failure::from);
            tell(&this.answers, Event::SavepointCopied { id: copied.id, result });
        });
    }

    async fn copied(&self, copied: &Copied, to: Option<&str>) -> Result<Savepoint, SavepointError> {
        let folder = match to {
            Some(to) => SavepointFolder::in_folder(open_at(&self.storage, to).await?, &copied.id),
            None => SavepointFolder::of_job(Arc::clone(&self.store), &copied.id),
        };
        let now = || self.clock.now().0;
        copy_patiently(&self.store, copied, &folder, self.patience, &now).await
    }

    /// Takes over what `from` names; waits for the store as long as it takes.
    pub(super) fn import(&self, from: String, as_new: ImportAs) {
        let this = self.clone();
        tokio::spawn(async move {
            let id = as_new.id;
            let (mut pause, mut looks) = (FIRST_PAUSE, 0);
            let result = loop {
                match this.imported(&from, &as_new).await {
                    Err(error) if error.is_unknown() => {
                        tell(&this.answers, Event::StoreTrouble(Some(error.into())));
                        wait(&mut pause).await;
                    }
                    // The garbage collection of another job was faster: it has a newer checkpoint.
                    Err(error) if is_gone(&error) && looks < LOOKS => looks += 1,
                    result => break result,
                }
            };
            tell(&this.answers, Event::StoreTrouble(None));
            tell(&this.answers, Event::Imported { id, result: result.map_err(Failure::from) });
        });
    }

    async fn imported(&self, from: &str, as_new: &ImportAs) -> Result<Imported, OriginError> {
        let origin = find_origin(&self.store, &self.storage, from).await?;
        Ok(import(&origin, &self.store, self.random.as_ref(), as_new).await?)
    }
}

fn is_gone(error: &OriginError) -> bool {
    matches!(error, OriginError::Savepoint(SavepointError::Problem(problem)) if problem.what == Wrong::Missing)
}

/// Whether there is something to start from, before a job's first claim says that it does: a mistake in a URL must
/// not be written into the journal. A store that gives no clear answer is none.
pub(super) async fn look(store: &Arc<dyn Store>, storage: &StorageConfig, from: &str) -> Result<(), Failure> {
    match find_origin(store, storage, from).await {
        Err(error) if !error.is_unknown() => {
            Err(Failure::from(error).at(format_args!("the state to start from, {from}")))
        }
        _ => Ok(()),
    }
}
