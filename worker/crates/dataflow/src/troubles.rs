//! What is wrong outside and is being waited out: told in the progress line, in the status and in
//! the metrics, gone when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_protocol::Failure;

/// The troubles of one worker that are there now, by who has them.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<String, Failure>>>);

/// One place's trouble; over when dropped.
#[derive(Debug)]
pub struct Trouble {
    all: Troubles,
    place: String,
}

impl Troubles {
    /// A place that may have trouble, such as `sink hot/0`.
    pub fn place(&self, name: impl Into<String>) -> Trouble {
        Trouble { all: self.clone(), place: name.into() }
    }

    /// All there are now.
    pub fn list(&self) -> Vec<Failure> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    /// There is trouble; the newest counts.
    pub fn set(&self, failure: Failure) {
        self.all.lock().insert(self.place.clone(), failure.at(&self.place));
    }

    /// It is over.
    pub fn clear(&self) {
        self.all.lock().remove(&self.place);
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        self.clear();
    }
}
