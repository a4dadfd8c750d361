//! Reading a journal without touching it, for the command line and for status.

use super::append::{Request, Response, read_boundary};
use super::driver::ask;
use super::view::{BrokenChain, View};
use crate::Slot;
use crate::frame::CodecError;
use crate::store::{Store, StoreError};

/// Why a journal can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not what it must be.
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    /// A record that must be there is not.
    #[error("slot {0} of the journal is missing, though slots before and after it are there")]
    Gap(Slot),
    /// The boundary is not what it must be.
    #[error("journal.boundary: {0}")]
    Boundary(CodecError),
}

/// A journal as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalView {
    /// What it says. Empty if the job never ran.
    pub view: View,
    /// Whether there is any trace of a journal: a boundary or a record.
    pub exists: bool,
}

impl JournalView {
    /// Reads the journal of the job whose folder `store` is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(store: &dyn Store) -> Result<Self, ReadError> {
        loop {
            let found = boundary(store).await?;
            if let Some(view) = read_above(store, found.unwrap_or_default()).await? {
                let exists = found.is_some() || !view.records().is_empty();
                return Ok(Self { view, exists });
            }
        }
    }
}

async fn boundary(store: &dyn Store) -> Result<Option<Slot>, ReadError> {
    match ask(store, &Request::ReadBoundary).await? {
        Response::Boundary(Some(bytes)) => read_boundary(Some(&bytes)).map(Some).map_err(ReadError::Boundary),
        _ => Ok(None),
    }
}

/// The records above the boundary; `None` if they were collected while being read.
async fn read_above(store: &dyn Store, above: Slot) -> Result<Option<View>, ReadError> {
    let mut view = View::new(above);
    let Response::Slots(slots) = ask(store, &Request::ListSlots).await? else { return Ok(Some(view)) };
    let Some(tail) = slots.into_iter().max() else { return Ok(Some(view)) };
    let slots: Vec<Slot> = (view.next_slot().0..=tail.0).map(Slot).collect();
    let Response::Records(found) = ask(store, &Request::Read { slots: slots.clone() }).await? else {
        return Ok(Some(view));
    };
    for (slot, bytes) in slots.into_iter().zip(found) {
        match bytes {
            Some(bytes) => view.read(&bytes)?,
            None if boundary(store).await?.unwrap_or_default() >= slot => return Ok(None),
            None => return Err(ReadError::Gap(slot)),
        }
    }
    Ok(Some(view))
}
