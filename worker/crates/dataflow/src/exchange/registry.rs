//! The deployment that this process takes rows for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use weir_protocol::Failure;

use super::Inner;
use super::counters::{Tally, count};
use super::frame::{ChannelId, Deployed};
use super::inbound::Inbound;

/// Told once, when an execution can't go on.
type Tell = Box<dyn Fn(Failure) + Send + Sync>;

/// One execution of this process as its peers' frames find it.
pub(super) struct Registration {
    pub(super) deployed: Deployed,
    pub(super) channels: OnceLock<HashMap<ChannelId, Inbound>>,
    tell: Tell,
    told: AtomicBool,
    over: AtomicBool,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("deployed", &self.deployed).finish_non_exhaustive()
    }
}

impl Registration {
    pub(super) fn new(deployed: Deployed, tell: Tell) -> Arc<Self> {
        let (told, over) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { deployed, channels: OnceLock::new(), tell, told, over })
    }

    /// Whether its subtasks have ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The execution can't go on. The first failure is told; after the end of the execution none is.
    pub(super) fn fail(&self, failure: Failure) {
        if !self.is_over() && !self.told.swap(true, Ordering::AcqRel) {
            (self.tell)(failure);
        }
    }
}

/// Keeps an execution registered for as long as one of its subtasks lives.
#[derive(Debug)]
pub(crate) struct Held {
    exchange: Arc<Inner>,
    registration: Arc<Registration>,
}

impl Held {
    pub(super) fn new(exchange: Arc<Inner>, registration: Arc<Registration>) -> Arc<Self> {
        Arc::new(Self { exchange, registration })
    }

    pub(super) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.registration.over.store(true, Ordering::Release);
        self.exchange.registry.forget(&self.registration);
    }
}

/// What becomes of a frame.
pub(super) enum Admission {
    /// It is for this execution.
    To(Arc<Registration>),
    /// It is of an older one.
    Stale,
    /// Its deployment did not arrive here in time.
    Ahead,
}

/// Finds the execution that a frame is for.
#[derive(Debug)]
pub(super) struct Registry {
    current: Mutex<Option<Arc<Registration>>>,
    newest: watch::Sender<Deployed>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { current: Mutex::default(), newest: watch::Sender::new(Deployed::default()) }
    }
}

impl Registry {
    /// Takes rows for an execution from now on, unless a newer one was here before.
    pub(super) fn register(&self, registration: &Arc<Registration>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if registration.deployed < *self.newest.borrow() {
            return;
        }
        if let Some(before) = current.replace(registration.clone()) {
            before.over.store(true, Ordering::Release);
        }
        drop(current);
        self.newest.send_replace(registration.deployed);
    }

    fn forget(&self, registration: &Arc<Registration>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.take_if(|current| Arc::ptr_eq(current, registration));
    }

    /// Finds the execution of a frame; waits for it if the frame is ahead of this process.
    pub(super) async fn admit(&self, deployed: Deployed, wait: Duration, tally: &Tally) -> Admission {
        let mut newest = self.newest.subscribe();
        let ahead = deployed > *newest.borrow_and_update();
        if ahead {
            count(&tally.waits);
            let arrived = newest.wait_for(|newest| *newest >= deployed);
            if tokio::time::timeout(wait, arrived).await.is_err() {
                return Admission::Ahead;
            }
        }
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(current) if current.deployed == deployed => Admission::To(current.clone()),
            _ => Admission::Stale,
        }
    }
}
