//! Everything there is: a store, processes, and what really happened.

mod choices;
mod events;
mod journal;
mod workers;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use weir_checkpoint::Slot;
use weir_coordinator::Exit;
use weir_runtime::Timestamp;

use crate::choice::Choice;
use crate::ghost::Ghost;
use crate::process::Process;
use crate::setup::Setup;
use crate::store::SimStore;
use crate::worker::Worker;

pub(crate) use choices::failure;

/// A job's whole world at one moment.
#[derive(Clone)]
pub struct World {
    pub(crate) setup: Arc<Setup>,
    pub(crate) now: Timestamp,
    pub(crate) store: SimStore,
    pub(crate) ghost: Ghost,
    pub(crate) processes: Vec<Process>,
    pub(crate) workers: Vec<Worker>,
    /// Creates whose senders gave up waiting.
    pub(crate) late: Vec<(Slot, Bytes)>,
    /// Processes that were started so far.
    pub(crate) started: u64,
    /// Events so far, from which what is random in them follows.
    pub(crate) events: u64,
    pub(crate) left: Left,
    /// How processes ended.
    pub(crate) exits: Vec<Exit>,
}

/// How much more may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) starts: u32,
    pub(crate) unclear: u32,
    pub(crate) repeats: u32,
    pub(crate) crashes: u32,
    pub(crate) failures: u32,
    pub(crate) moves: u32,
    pub(crate) timers: u32,
}

impl World {
    /// An empty bucket, and nobody there.
    pub fn new(setup: Setup) -> Self {
        let left = Left {
            starts: setup.starts,
            unclear: setup.unclear,
            repeats: setup.repeats,
            crashes: setup.crashes,
            failures: setup.failures,
            moves: setup.moves,
            timers: setup.timers,
        };
        let workers = vec![Worker::new(1); setup.workers];
        Self {
            setup: Arc::new(setup),
            now: Timestamp(0),
            store: SimStore::default(),
            ghost: Ghost::default(),
            processes: Vec::new(),
            workers,
            late: Vec::new(),
            started: 0,
            events: 0,
            left,
            exits: Vec::new(),
        }
    }

    /// The first invariant that broke, if one did.
    pub fn violation(&self) -> Option<&str> {
        self.ghost.violation.as_deref()
    }

    /// Whether the job has come to its end, by the journal.
    pub fn finished(&self) -> bool {
        self.exits.iter().any(|exit| matches!(exit, Exit::Finished { .. } | Exit::AlreadyFinished { .. }))
    }

    /// How many rows are visible, of how many.
    pub fn rows(&self) -> (usize, usize) {
        (self.ghost.rows.len(), (self.setup.splits * self.setup.rows) as usize)
    }

    /// From now on nothing goes wrong, and nothing old is left; one process will run the job to its end.
    pub fn calm_down(&mut self) {
        self.left = Left {
            starts: u32::MAX,
            unclear: 0,
            repeats: 0,
            crashes: 0,
            failures: 0,
            moves: 0,
            timers: u32::MAX,
        };
        self.processes.clear();
        for worker in &mut self.workers {
            worker.disconnect();
            worker.strays.clear();
            (worker.paused, worker.draining) = (false, false);
        }
        let mut setup = Setup::clone(&self.setup);
        setup.at_once = 1;
        self.setup = Arc::new(setup);
    }

    /// How many checkpoints were recorded.
    pub fn checkpoints(&self) -> usize {
        let all = self.ghost.log.values();
        all.filter(|(r, _)| matches!(r.body, weir_checkpoint::Body::Checkpoint { .. })).count()
    }

    /// Lets something happen, and checks all invariants.
    pub fn apply(&mut self, choice: Choice) {
        let boundary = self.store.boundary();
        self.happen(choice);
        self.processes.retain(Process::lives);
        self.cut_off();
        let Self { ghost, store, .. } = self;
        ghost.check(store, boundary);
        if self.finished() {
            let (rows, all) = self.rows();
            self.ghost.require(rows == all, "S1, S2: the job finished, but not every row is visible");
        }
    }
}

/// Feeds what `Debug` prints into a hasher, without a string in between.
struct Feed<'a, H>(&'a mut H);

impl<H: Hasher> std::fmt::Write for Feed<'_, H> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { now, store, processes, workers, late, left, ghost, .. } = self;
        let all = (now, store, processes, workers, late, left, &ghost.violation);
        std::fmt::Debug::fmt(&all, f)
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Writing into a hasher does not fail.
        let _ = std::fmt::Write::write_fmt(&mut Feed(state), format_args!("{self:?}"));
    }
}
