//! The one task that owns the journal: claims it, then appends what it is given, one after another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weir_checkpoint::journal::{ClaimRefused, Fenced};
use weir_checkpoint::{
    AppendError, ClaimError, ClaimWanted, Journal, JournalView, Slot, Start, Store, StoreError,
    StoreErrorKind,
};
use weir_protocol::{Failure, FailureKind};
use weir_runtime::{Clock, Random, crash_point};

use super::garbage::Garbage;
use super::savepoints::look;
use super::stored::tell;
use super::{Answers, Shell};
use crate::event::{AppendOutcome, ClaimOutcome, Entry, Event};
use crate::options::Options;

/// The way to the task.
pub(super) struct Records(mpsc::UnboundedSender<Order>);

pub(super) enum Order {
    Append(Entry),
    CollectGarbage,
    /// Slots up to this one are gone.
    Boundary(Slot),
}

impl Records {
    /// At most one is under way.
    pub(super) fn append(&self, entry: Entry) {
        // The task is gone only after it has said so.
        let _ = self.0.send(Order::Append(entry));
    }

    pub(super) fn collect_garbage(&self) {
        let _ = self.0.send(Order::CollectGarbage);
    }
}

/// Starts the task. It ends with the journal's authority, or when nobody can give it orders any more.
pub(super) fn start(shell: &Shell, options: Arc<Options>, answers: Answers) -> Records {
    let (sender, orders) = mpsc::unbounded_channel();
    let (store, clock, random) =
        (Arc::clone(&shell.store), Arc::clone(&shell.clock), Arc::clone(&shell.random));
    // Weak: what garbage collection has to say must not keep the task alive.
    let garbage = Garbage::new(shell, &options, sender.downgrade(), answers.clone());
    tokio::spawn(async move {
        if let Some(journal) = claim(store, clock, random, &options, &answers).await {
            keep(journal, orders, garbage, options.config.liveness.heartbeat_timeout, answers).await;
        }
    });
    Records(sender)
}

async fn claim(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: &Options,
    answers: &Answers,
) -> Option<Journal> {
    let wanted = ClaimWanted {
        spec: options.spec.clone(),
        start: options.start.clone(),
        restore_from: options.restore_from.clone(),
        patience: options.claim_patience,
    };
    if let Some(from) = &options.restore_from
        && let Err(failure) = look_before(&store, options, from).await
    {
        tell(answers, Event::Claimed(ClaimOutcome::Failed(failure)));
        return None;
    }
    match Journal::claim(store, clock, random, wanted).await {
        Ok((journal, claimed)) => {
            tell(answers, Event::Claimed(ClaimOutcome::Claimed(Box::new(claimed))));
            Some(journal)
        }
        Err(error) => {
            tell(answers, Event::Claimed(refused(error)));
            None
        }
    }
}

/// Before the first claim of a job, which will say for good what it starts from.
async fn look_before(store: &Arc<dyn Store>, options: &Options, from: &str) -> Result<(), Failure> {
    let fresh = match options.start {
        Start::Afresh => true,
        Start::At(_) => false,
        // A journal that can't be read is for the claim to say.
        Start::Continue | Start::AfreshAfter(_) => {
            JournalView::read(store.as_ref()).await.is_ok_and(|journal| !journal.exists)
        }
    };
    match fresh {
        true => look(store, &options.config.checkpoint.storage, from).await,
        false => Ok(()),
    }
}

fn refused(error: ClaimError) -> ClaimOutcome {
    let message = error.to_string();
    let kind = match error {
        ClaimError::Refused(ClaimRefused::Finished(last)) => return ClaimOutcome::AlreadyFinished { last },
        ClaimError::Refused(ClaimRefused::NoSuchCheckpoint { .. }) => FailureKind::Config,
        ClaimError::Refused(_) => FailureKind::StateUnreadable,
        ClaimError::Store(error) => match error.kind {
            StoreErrorKind::NotFound | StoreErrorKind::Denied | StoreErrorKind::Invalid => {
                FailureKind::Config
            }
            StoreErrorKind::Unknown | StoreErrorKind::Failed => FailureKind::Store,
        },
    };
    ClaimOutcome::Failed(Failure::new(kind, message))
}

async fn keep(
    mut journal: Journal,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut garbage: Garbage,
    look_every: Duration,
    answers: Answers,
) {
    let troubles = tokio::spawn(watch_troubles(journal.troubles(), answers.clone()));
    loop {
        let order = tokio::select! {
            biased;
            order = orders.recv() => order,
            by = overtaken(&journal, look_every) => {
                tell(&answers, Event::Overtaken(by.to_string()));
                orders.recv().await
            }
        };
        let Some(order) = order else { break };
        match order {
            Order::Append(entry) => {
                crash_point("coordinator:record:before");
                let outcome = match entry {
                    Entry::Body(body) => journal.append(body).await,
                    Entry::Renewal => journal.renew_claim().await,
                };
                crash_point("coordinator:record:after");
                let outcome = outcome.map_or_else(stopped, AppendOutcome::Durable);
                tell(&answers, Event::Appended(outcome));
            }
            Order::CollectGarbage => garbage.begin(journal.view().clone()),
            Order::Boundary(slot) => journal.advance(slot),
        }
    }
    // It only reads; the journal's end ends it.
    drop(journal);
    let _ = troubles.await;
}

/// Looks from time to time whether another coordinator has gone on with the journal. One that writes learns of it
/// by that, but one that waits for slots would keep its workers from the other for ever.
async fn overtaken(journal: &Journal, every: Duration) -> Fenced {
    loop {
        tokio::time::sleep(every).await;
        // A store that is away shows by what is written.
        if let Ok(Some(by)) = journal.overtaken().await {
            return by;
        }
    }
}

fn stopped(error: AppendError) -> AppendOutcome {
    match error {
        AppendError::Fenced(by) => AppendOutcome::Fenced(by.to_string()),
        error @ AppendError::Record(_) => {
            AppendOutcome::Failed(Failure::new(FailureKind::Bug, error.to_string()))
        }
        error @ AppendError::Damaged(_) => {
            AppendOutcome::Failed(Failure::new(FailureKind::StateUnreadable, error.to_string()))
        }
    }
}

async fn watch_troubles(mut troubles: watch::Receiver<Option<StoreError>>, answers: Answers) {
    while troubles.changed().await.is_ok() {
        let trouble = troubles.borrow_and_update().as_ref().map(StoreError::to_string);
        let failure = trouble.map(|message| Failure::new(FailureKind::Store, message));
        tell(&answers, Event::StoreTrouble(failure));
    }
}
