//! What went wrong, whose problem it is, and whether trying again can help.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose problem a failure is. Decides the words, the condition and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The job's author: SQL, options, data.
    User,
    /// Something outside: the store, a broker, a disk.
    External,
    /// A defect of ours.
    Internal,
}

/// The closed set of what can make a subtask, a checkpoint or a job fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A record that cannot be decoded, where the job asks to fail on it.
    BadRecord,
    /// An expression failed on data (overflow, cast, division by zero).
    Expression,
    /// Options or SQL that could not be refused before the start.
    Config,
    /// State in a checkpoint that cannot be read, or does not match its digest.
    StateUnreadable,
    /// State in a checkpoint that does not fit the job any more.
    StateIncompatible,
    /// The memory limit was reached and back-pressure could not help.
    Memory,
    /// A local disk: full, read-only, gone.
    Disk,
    /// The checkpoint store.
    Store,
    /// A source's outside system.
    Source,
    /// A sink's outside system.
    Sink,
    /// Committed rows that are provably gone.
    SinkDataLost,
    /// A worker or a connection to it.
    Worker,
    /// A panic or a broken invariant: a defect of ours.
    Bug,
}

impl FailureKind {
    /// Whose problem it is.
    pub fn blame(self) -> Blame {
        match self {
            Self::BadRecord | Self::Expression | Self::Config | Self::StateIncompatible => Blame::User,
            Self::StateUnreadable
            | Self::Memory
            | Self::Disk
            | Self::Store
            | Self::Source
            | Self::Sink
            | Self::SinkDataLost
            | Self::Worker => Blame::External,
            Self::Bug => Blame::Internal,
        }
    }

    /// Whether the same try may succeed later without anybody's help. What says no here ends
    /// the job whatever the restart strategy.
    pub fn retryable(self) -> bool {
        match self {
            Self::Config | Self::StateIncompatible | Self::SinkDataLost => false,
            Self::BadRecord
            | Self::Expression
            | Self::StateUnreadable
            | Self::Memory
            | Self::Disk
            | Self::Store
            | Self::Source
            | Self::Sink
            | Self::Worker
            | Self::Bug => true,
        }
    }
}

/// A failure that crosses a boundary: subtask to worker, worker to coordinator, job to user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// What happened and where, in one sentence; with what is allowed where a user chose wrongly.
    pub message: String,
}

impl Failure {
    /// A failure of a kind with its message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The same failure with the place it happened in put before its message.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
