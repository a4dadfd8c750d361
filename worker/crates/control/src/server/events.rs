//! What the sessions of all workers share: who is there, and what the coordinator has not taken yet. One
//! lock over both, so that nothing of a worker comes behind its loss.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use weir_protocol::{Failure, FailureKind, FromWorker, JobUid, Registration, Stamp, WorkerId};

use super::roster::{Admitted, Refused, Roster};
use crate::frame::{CoordinatorFrame, FromCoordinatorFrame, Hello, Release, Welcome};
use crate::outbox::Outbox;

/// What comes from the workers' side. Of one worker: first that it is registered, last that it is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerEvent {
    /// A worker is there.
    Registered {
        /// Its number: higher than all before.
        worker: WorkerId,
        /// What it says of itself.
        registration: Box<Registration>,
    },
    /// A worker was asked to end and wants its subtasks moved.
    Draining {
        /// Which.
        worker: WorkerId,
    },
    /// A worker is gone; if it comes back, it comes under another number.
    Lost {
        /// Which.
        worker: WorkerId,
        /// Why.
        failure: Failure,
    },
    /// A worker says something.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// For which deployment.
        stamp: Stamp,
        /// What.
        message: FromWorker,
    },
}

/// The way to one worker.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) outbox: Outbox<CoordinatorFrame>,
    /// Says to the session that it is over.
    pub(super) over: watch::Sender<bool>,
    /// Whether it was told that it may end.
    pub(super) released: bool,
}

/// How a worker left.
#[derive(PartialEq, Eq)]
pub(super) enum Left {
    /// It was told before.
    Before,
    /// As it was told it may.
    Released,
    /// By itself, or it was given up.
    Lost,
}

/// How a hello was answered.
pub(super) enum Answer {
    Taken(Box<Admitted>),
    Refused(Refused),
    /// The job is over.
    Released,
}

/// State of a server.
pub(super) struct Shared {
    state: Mutex<State>,
    /// An event is there, or the server was closed.
    filled: Notify,
    /// Events were taken.
    room: Notify,
    /// A worker has gone.
    gone: Notify,
    limit: usize,
}

struct State {
    roster: Roster,
    links: BTreeMap<WorkerId, Link>,
    events: VecDeque<(ServerEvent, usize)>,
    /// Of messages among the events.
    bytes: usize,
    closed: bool,
    /// Why all workers may end.
    over: Option<String>,
}

impl Shared {
    pub(super) fn new(job: JobUid, first_worker: u64, limit: usize) -> Arc<Self> {
        let state = State {
            roster: Roster::new(job, first_worker),
            links: BTreeMap::new(),
            events: VecDeque::new(),
            bytes: 0,
            closed: false,
            over: None,
        };
        let [filled, room, gone] = [(); 3].map(|()| Notify::new());
        Arc::new(Self { state: Mutex::new(state), filled, room, gone, limit })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_worker(&self) -> u64 {
        self.lock().roster.next()
    }

    pub(super) fn link(&self, worker: WorkerId) -> Option<Link> {
        self.lock().links.get(&worker).cloned()
    }

    /// Decides on a worker, answers it, and tells the coordinator. Nothing of the coordinator comes before
    /// the welcome.
    pub(super) fn admit(&self, hello: &Hello, link: Link, welcome: impl Fn(&Admitted) -> Welcome) -> Answer {
        let mut state = self.lock();
        if let Some(reason) = &state.over {
            let _ =
                link.outbox.push(FromCoordinatorFrame::Release(Release { reason: reason.clone() }).into());
            return Answer::Released;
        }
        let admitted = match state.roster.admit(hello) {
            Ok(admitted) => admitted,
            Err(refused) => return Answer::Refused(refused),
        };
        if let Some(old) = admitted.replaces {
            let why = format!("its process has registered anew, as worker {}", admitted.worker);
            state.gone(old, Failure::new(FailureKind::Worker, why));
        }
        // An empty outbox takes a frame of a few KiB.
        let _ = link.outbox.push(FromCoordinatorFrame::Welcome(welcome(&admitted)).into());
        state.links.insert(admitted.worker, link);
        let registration = Box::new(admitted.registration.clone());
        state.events.push_back((ServerEvent::Registered { worker: admitted.worker, registration }, 0));
        self.filled.notify_one();
        Answer::Taken(Box::new(admitted))
    }

    /// A worker may end from now on.
    pub(super) fn release(&self, worker: WorkerId) -> Option<Link> {
        let mut state = self.lock();
        let link = state.links.get_mut(&worker)?;
        link.released = true;
        Some(link.clone())
    }

    /// A worker is gone.
    pub(super) fn lose(&self, worker: WorkerId, failure: Failure) -> Left {
        let mut state = self.lock();
        if !state.roster.leave(worker) {
            return Left::Before;
        }
        let released = state.links.get(&worker).is_some_and(|link| link.released);
        state.gone(worker, failure);
        drop(state);
        self.filled.notify_one();
        self.gone.notify_waiters();
        if released { Left::Released } else { Left::Lost }
    }

    /// Passes on what a worker says, as soon as there is room for it; false if it is not there any more.
    pub(super) async fn pass(&self, event: ServerEvent, worker: WorkerId, bytes: usize) -> bool {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on no call is missed.
            room.as_mut().enable();
            {
                let mut state = self.lock();
                if !state.roster.has(worker) {
                    return false;
                }
                // What comes last may be larger than the room that is left.
                if state.bytes < self.limit {
                    state.bytes += bytes;
                    state.events.push_back((event, bytes));
                    self.filled.notify_one();
                    return true;
                }
            }
            room.await;
        }
    }

    /// Takes no workers any more; gives those that are there. If the job is over, who comes is told so.
    pub(super) fn close(&self, over: Option<String>) -> Vec<WorkerId> {
        let mut state = self.lock();
        state.closed = over.is_none();
        state.over = over;
        self.filled.notify_one();
        state.links.keys().copied().collect()
    }

    /// Waits until no worker is there.
    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.lock().links.is_empty() {
                return;
            }
            gone.await;
        }
    }
}

impl State {
    fn gone(&mut self, worker: WorkerId, failure: Failure) {
        if let Some(link) = self.links.remove(&worker) {
            link.over.send_replace(true);
            link.outbox.finish();
        }
        self.events.push_back((ServerEvent::Lost { worker, failure }, 0));
    }
}

/// What the coordinator takes; bounded by bytes: as long as it takes nothing, workers are not read.
pub struct Events(Arc<Shared>);

impl Events {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The next event; `None` when the server has ended. A call that is given up loses nothing.
    pub async fn recv(&mut self) -> Option<ServerEvent> {
        loop {
            {
                let mut state = self.0.lock();
                if let Some((event, bytes)) = state.events.pop_front() {
                    state.bytes -= bytes;
                    drop(state);
                    if bytes > 0 {
                        self.0.room.notify_waiters();
                    }
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            self.0.filled.notified().await;
        }
    }
}
