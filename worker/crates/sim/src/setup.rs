//! How large a world is and what may go wrong in it.

use std::time::Duration;

use weir_coordinator::Options;
use weir_coordinator::testing;

/// A known mistake, put in on purpose: the checks must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// After an append nobody looks at the boundary (F1, F2).
    NoBoundaryCheck,
    /// The restore point is looked up after the claim instead of being captured by it.
    RestoreReadAgain,
    /// After "exists" the record is appended at the new end of the journal.
    AppendAtNewEnd,
    /// A claim whose slot is taken goes on to the next one without reading what took it.
    ClaimMovesOn,
    /// An append without a clear answer counts as failed, and what it names is deleted (F3).
    UnknownIsFailure,
    /// Sinks commit before the checkpoint's record is durable.
    CommitBeforeRecord,
    /// An acknowledgement is taken from an execution that is over.
    OldAckAccepted,
    /// A split that did not move since the restore is left out of the checkpoint.
    QuietSplitLeftOut,
    /// What runs is taken over although one of its subtasks is not there.
    AdoptIncomplete,
    /// What runs is taken over although another deployment completed the newest checkpoint.
    AdoptOlder,
    /// A worker's word that it has committed is taken from an execution that is over.
    OldCommitAccepted,
    /// Rows are taken from another deployment, whose subtasks have not stopped yet.
    OldRowsAccepted,
    /// Sources read on behind the barrier from which another execution goes on.
    HoldIgnored,
    /// A worker that is to go is let go while subtasks run on it.
    ReleasedTooEarly,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::NoBoundaryCheck,
        Self::RestoreReadAgain,
        Self::AppendAtNewEnd,
        Self::ClaimMovesOn,
        Self::UnknownIsFailure,
        Self::CommitBeforeRecord,
        Self::OldAckAccepted,
        Self::QuietSplitLeftOut,
        Self::AdoptIncomplete,
        Self::AdoptOlder,
        Self::OldCommitAccepted,
        Self::OldRowsAccepted,
        Self::HoldIgnored,
        Self::ReleasedTooEarly,
    ];
}

/// The bounds of a world.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What every coordinator is started with.
    pub options: Options,
    /// Worker processes.
    pub workers: usize,
    /// Slots of each.
    pub slots: u32,
    /// Workers come in groups of this size, the first of which connects to odd coordinators as long as it can,
    /// and the second to even ones; 0: they connect to whichever comes first.
    pub group: usize,
    /// Splits of the source; split `s` belongs to subtask `s % parallelism`.
    pub splits: u32,
    /// Rows of each split.
    pub rows: u32,
    /// Processes that may be started in all.
    pub starts: u32,
    /// Processes that may be there at once.
    pub at_once: usize,
    /// Unclear answers of the store.
    pub unclear: u32,
    /// Messages that are delivered once more, later.
    pub repeats: u32,
    /// Crashes of processes.
    pub crashes: u32,
    /// Losses of workers, failures of subtasks, declined checkpoints.
    pub failures: u32,
    /// Workers that are asked to go, and changes of parallelism.
    pub moves: u32,
    /// Times that a timer may ring.
    pub timers: u32,
    /// Whether what is not about coordinators and store happens at once, so that fewer orders exist.
    pub eager: bool,
    /// Whether other things may happen between the steps of garbage collection.
    pub collect: bool,
    /// Whether time goes on.
    pub clock: bool,
    /// What is wrong on purpose.
    pub mutant: Option<Mutant>,
}

impl Setup {
    /// Small enough to be explored wholly.
    pub fn model(parallelism: u32) -> Self {
        let mut options = testing::options(parallelism);
        let checkpoint = &mut options.config.checkpoint;
        checkpoint.interval = Duration::ZERO;
        checkpoint.timeout = Duration::ZERO;
        checkpoint.tolerable_failures = 0;
        options.config.restart =
            weir_protocol::RestartStrategy::FixedDelay { attempts: 9, delay: Duration::ZERO };
        options.history = 0;
        options.cancel_timeout = Duration::ZERO;
        Self {
            options,
            workers: 2 * parallelism as usize,
            slots: 1,
            group: parallelism as usize,
            splits: parallelism,
            rows: 1,
            starts: 2,
            at_once: 2,
            unclear: 1,
            repeats: 0,
            crashes: 1,
            failures: 0,
            moves: 0,
            timers: 1,
            eager: true,
            collect: false,
            clock: false,
            mutant: None,
        }
    }

    /// Large enough for everything to happen.
    pub fn simulation() -> Self {
        let mut options = testing::options(2);
        options.config.restart = weir_protocol::RestartStrategy::FixedDelay {
            attempts: u32::MAX,
            delay: Duration::from_millis(100),
        };
        options.config.checkpoint.interval = Duration::from_millis(100);
        options.config.checkpoint.timeout = Duration::from_secs(5);
        options.gather = Duration::from_millis(20);
        options.adoption_patience = Duration::from_millis(100);
        options.history = 2;
        Self {
            options,
            workers: 4,
            slots: 1,
            group: 0,
            splits: 3,
            rows: 8,
            starts: 12,
            at_once: 3,
            unclear: 30,
            repeats: 20,
            crashes: 12,
            failures: 10,
            moves: 4,
            timers: u32::MAX,
            eager: false,
            collect: true,
            clock: true,
            mutant: None,
        }
    }
}
