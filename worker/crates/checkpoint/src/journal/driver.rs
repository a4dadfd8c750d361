//! Carries out the requests of the journal's machines against a store, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;
use weir_protocol::Attempt;
use weir_runtime::{Clock, Random};

use super::append::{Append, AppendOutcome, Durable, Fenced, Request, Response, overtaken, read_boundary};
use super::claim::{Claim, ClaimRefused, ClaimRequest, Claimed, Start};
use super::view::View;
use crate::frame::CodecError;
use crate::layout;
use crate::store::{Put, Store, StoreError, StoreFuture};
use crate::{Body, Counters, Record, Restore, Slot};

/// Records that are read at a time.
const READ_AHEAD: usize = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where the driver says what it is waiting for: the newest error of the store while there is one.
type Troubles = watch::Sender<Option<StoreError>>;

/// Why a claim ended without authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The journal says no.
    #[error(transparent)]
    Refused(#[from] ClaimRefused),
    /// The store does not let us, or gave no clear answer for longer than the patience allowed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an append did not become durable. None of these leaves the outcome open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another process has the authority: stop everything, write nothing more.
    #[error("fenced: {0}")]
    Fenced(#[from] Fenced),
    /// The record can't be written at all (too large); nothing was.
    #[error("the record can't be written: {0}")]
    Record(CodecError),
    /// The boundary can't be understood: nothing can be said any more.
    #[error("journal.boundary: {0}")]
    Damaged(CodecError),
}

/// The authority over a job's journal, held by one process at a time.
///
/// An append goes on until its outcome is known: a store that is away for an hour delays it by an hour.
/// If the future of an append is dropped, the next one settles the one before first.
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    troubles: Troubles,
    attempt: Attempt,
    view: View,
    pending: Option<Append>,
    end: Option<AppendError>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("store", &self.store.url())
            .field("attempt", &self.attempt)
            .field("next", &self.view.next_slot())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Claims the next attempt of the job whose folder `store` is.
    ///
    /// Unclear answers are tried again until their pauses add up to `patience` (`None`: for ever).
    ///
    /// # Errors
    /// [`ClaimError`].
    pub async fn claim(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wanted: ClaimWanted,
    ) -> Result<(Self, Claimed), ClaimError> {
        let troubles = watch::channel(None).0;
        let mut claim = Claim::new(ClaimRequest {
            spec: wanted.spec,
            start: wanted.start,
            restore_from: wanted.restore_from,
            nonce: random.nonce(),
            at_us: clock.now().0,
        });
        let mut pauses = Pauses::new(&troubles, random.as_ref(), wanted.patience);
        loop {
            let outcome = match ask(store.as_ref(), claim.request()).await {
                Ok(response) => {
                    pauses.heard(&response);
                    claim.step(response)
                }
                Err(error) if !error.is_unknown() => return Err(error.into()),
                Err(error) => {
                    let outcome =
                        if is_create(claim.request()) { claim.step(Response::Unknown) } else { None };
                    pauses.wait(error).await?;
                    outcome
                }
            };
            if let Some(outcome) = outcome {
                let claimed = outcome?;
                let (attempt, view) = (claimed.attempt, claimed.view.clone());
                let journal =
                    Self { store, clock, random, troubles, attempt, view, pending: None, end: None };
                return Ok((journal, claimed));
            }
        }
    }

    /// Appends a record. Returns when it is durable, or when it is certain that it never will be.
    ///
    /// # Errors
    /// [`AppendError`]. After anything but [`AppendError::Record`] every further append gives the same error.
    pub async fn append(&mut self, body: Body) -> Result<Durable, AppendError> {
        self.settle().await?;
        let record = Record {
            slot: self.view.next_slot(),
            previous: self.view.tail_digest().to_owned(),
            attempt: self.attempt,
            nonce: self.random.nonce(),
            at_us: self.clock.now().0,
            body,
        };
        self.pending = Some(Append::new(record).map_err(AppendError::Record)?);
        match self.settle().await? {
            Some(durable) => Ok(durable),
            // `pending` was just set, and `settle` gives what became of it.
            None => Err(AppendError::Record(CodecError::Body("nothing was pending".to_owned()))),
        }
    }

    /// Says again, at the end of the journal, what the claim says, so that the boundary can follow. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub async fn renew_claim(&mut self) -> Result<Durable, AppendError> {
        self.settle().await?;
        let body = self.view.renewal();
        self.append(body).await
    }

    /// Whether another process has gone on with the journal. Writes nothing: for a holder of the authority that has
    /// nothing to append and would not learn of it otherwise. Dropping the future is harmless.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known then. A damaged boundary is for the next append to say.
    pub async fn overtaken(&self) -> Result<Option<Fenced>, StoreError> {
        if self.pending.is_some() {
            return Ok(None);
        }
        let slot = self.view.next_slot();
        if let Some(other) = self.store.get(&layout::record(slot)).await? {
            return Ok(Some(overtaken(slot, &other)));
        }
        let boundary = self.store.get(layout::BOUNDARY).await?;
        let boundary = read_boundary(boundary.as_deref()).unwrap_or(Slot(0));
        Ok((slot <= boundary).then_some(Fenced::Boundary { slot, boundary }))
    }

    /// What the journal says, as far as this process wrote or read it.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Forgets records behind a boundary that garbage collection has moved on.
    pub fn advance(&mut self, boundary: Slot) {
        self.view.advance(boundary);
    }

    /// The attempt that this process claimed.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// What the store's last trouble is while an append waits for it; `None` when all is well.
    pub fn troubles(&self) -> watch::Receiver<Option<StoreError>> {
        self.troubles.subscribe()
    }

    /// Brings a pending append to its end.
    async fn settle(&mut self) -> Result<Option<Durable>, AppendError> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let mut pauses = Pauses::new(&self.troubles, self.random.as_ref(), None);
        while let Some(append) = &mut self.pending {
            match ask(self.store.as_ref(), append.request()).await {
                Ok(response) => {
                    pauses.heard(&response);
                    if let Some(outcome) = append.step(response) {
                        self.pending = None;
                        return settled(outcome, &mut self.view, &mut self.end).map(Some);
                    }
                }
                Err(error) => {
                    // A definite "no" now says nothing about an earlier try of the same bytes.
                    if is_create(append.request()) {
                        append.step(Response::Unknown);
                    }
                    // Without patience the wait never gives up.
                    let _ = pauses.wait(error).await;
                }
            }
        }
        Ok(None)
    }
}

fn settled(
    outcome: AppendOutcome,
    view: &mut View,
    end: &mut Option<AppendError>,
) -> Result<Durable, AppendError> {
    let error = match outcome {
        AppendOutcome::Durable(durable) => {
            view.take(durable.record().clone(), durable.digest().to_owned());
            return Ok(durable);
        }
        AppendOutcome::Fenced(fenced) => AppendError::Fenced(fenced),
        AppendOutcome::Damaged(why) => AppendError::Damaged(why),
    };
    *end = Some(error.clone());
    Err(error)
}

/// What a caller wants of a claim.
#[derive(Debug, Clone)]
pub struct ClaimWanted {
    /// Digest of the job configuration that will be in force.
    pub spec: String,
    /// What to start from.
    pub start: Start,
    /// A savepoint or checkpoint of another job; see [`ClaimRequest::restore_from`].
    pub restore_from: Option<String>,
    /// How long to put up with a store that gives no clear answers; `None`: for ever.
    pub patience: Option<Duration>,
}

fn is_create(request: &Request) -> bool {
    matches!(request, Request::Create { .. } | Request::CreateBoundary { .. })
}

/// Carries out one request.
pub(super) async fn ask(store: &dyn Store, request: &Request) -> Result<Response, StoreError> {
    match request {
        Request::Create { slot, bytes } => create(store, &layout::record(*slot), bytes).await,
        Request::CreateBoundary { bytes } => create(store, layout::BOUNDARY, bytes).await,
        Request::Read { slots } => Ok(Response::Records(read_records(store, slots).await?)),
        Request::ReadBoundary => Ok(Response::Boundary(store.get(layout::BOUNDARY).await?)),
        Request::ListSlots => {
            let listed = store.list(layout::JOURNAL).await?;
            Ok(Response::Slots(listed.iter().filter_map(|o| layout::record_slot(&o.key)).collect()))
        }
        Request::ListRemains => {
            let remains = !store.list_folder(layout::DATA).await?.folders.is_empty()
                || !store.list_folder(layout::MANIFESTS).await?.folders.is_empty();
            Ok(Response::Remains(remains))
        }
    }
}

async fn create(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<Response, StoreError> {
    Ok(match store.put_new(key, bytes.clone()).await? {
        Put::Written => Response::Created,
        Put::Refused => Response::Exists,
    })
}

async fn read_records(store: &dyn Store, slots: &[Slot]) -> Result<Vec<Option<Bytes>>, StoreError> {
    // Boxed with their lifetime named, so that what waits for them can move between threads.
    let read = |slot: &Slot| -> StoreFuture<'_, Option<Bytes>> {
        let key = layout::record(*slot);
        Box::pin(async move { store.get(&key).await })
    };
    let reads: Vec<_> = slots.iter().map(read).collect();
    stream::iter(reads).buffered(READ_AHEAD).try_collect().await
}

/// Pauses between tries, growing, with jitter, and reported while they last.
struct Pauses<'a> {
    troubles: &'a Troubles,
    random: &'a dyn Random,
    patience: Option<Duration>,
    waited: Duration,
    next: Duration,
}

impl<'a> Pauses<'a> {
    fn new(troubles: &'a Troubles, random: &'a dyn Random, patience: Option<Duration>) -> Self {
        Self { troubles, random, patience, waited: Duration::ZERO, next: FIRST_PAUSE }
    }

    /// Any answer but that of reading back says that the store works.
    fn heard(&mut self, response: &Response) {
        if matches!(response, Response::Records(_)) {
            return;
        }
        self.next = FIRST_PAUSE;
        self.waited = Duration::ZERO;
        self.troubles.send_if_modified(|trouble| trouble.take().is_some());
    }

    async fn wait(&mut self, error: StoreError) -> Result<(), StoreError> {
        if self.patience.is_some_and(|patience| self.waited >= patience) {
            return Err(error);
        }
        tracing::warn!(%error, "the journal's store gives no clear answer; trying again");
        self.troubles.send_replace(Some(error));
        // Between half and the whole of the pause, so that processes do not try in step.
        let share = (self.random.next_u64() % 512 + 512) as f64 / 1024.0;
        let pause = self.next.mul_f64(share);
        tokio::time::sleep(pause).await;
        self.waited += pause;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

impl View {
    /// The newest claim said again for the same attempt, with what a claim would capture now.
    pub fn renewal(&self) -> Body {
        let spec = match self.claim().map(|r| &r.body) {
            Some(Body::Claim { spec, .. }) => spec.clone(),
            _ => String::new(),
        };
        let restore = self.restore().unwrap_or(Restore::Genesis { restore_from: None });
        let counters: Counters = self.counters();
        Body::Claim { spec, restore, counters }
    }
}
