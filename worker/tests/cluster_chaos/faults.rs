//! What can happen.

use crate::support::Rng;

/// The closed set of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL to a worker; another comes a little later.
    KillWorker,
    /// SIGSTOP to a worker for up to several times every timeout.
    StopWorker,
    /// SIGTERM to a worker: it moves its subtasks and ends; another comes.
    DrainWorker,
    /// SIGKILL to two workers at once.
    KillTwoWorkers,
    /// SIGKILL to the coordinator; the next one comes a little later.
    KillCoordinator,
    /// SIGSTOP to the coordinator, which is overtaken by another and then wakes.
    StopCoordinator,
    /// A second coordinator is started beside the first, which is well.
    RivalCoordinator,
    /// The connections of a worker to the coordinator are closed for a while.
    CutControl,
    /// Nothing passes between a worker and the coordinator, in one or both directions, for a while.
    SilentControl,
    /// The same, slowly.
    SlowControl,
    /// The connections of other workers to a worker are closed for a while.
    CutExchange,
    /// Nothing passes on them, in one or both directions.
    SilentExchange,
    /// They are slow.
    SlowExchange,
    /// Many requests to the store fail, are slow, or have an ambiguous answer.
    Store,
    /// The disk that a worker keeps its copies of state on is full, or its copies vanish.
    Scratch,
    /// The parallelism of the job is changed.
    Rescale,
    /// The wall clock of a worker or of the coordinator jumps by hours, forth or back: for the next process there,
    /// and for what the running one begins from then on.
    Clock,
}

impl Fault {
    const ALL: [Self; 17] = [
        Self::KillWorker,
        Self::StopWorker,
        Self::DrainWorker,
        Self::KillTwoWorkers,
        Self::KillCoordinator,
        Self::StopCoordinator,
        Self::RivalCoordinator,
        Self::CutControl,
        Self::SilentControl,
        Self::SlowControl,
        Self::CutExchange,
        Self::SilentExchange,
        Self::SlowExchange,
        Self::Store,
        Self::Scratch,
        Self::Rescale,
        Self::Clock,
    ];

    /// Any of them.
    pub(crate) fn choose(random: &mut Rng) -> Self {
        Self::ALL[random.below(Self::ALL.len() as u64) as usize]
    }
}
