//! The contract of a sink. The engine owns the loop; a sink only answers.

use std::pin::Pin;
use std::task::Waker;

use weir_protocol::{Attempt, CheckpointId, Execution, Failure, JobUid};

use crate::Chunk;

/// Work that goes on while the slot runs on.
pub type IoFuture<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

/// One subtask of a sink.
///
/// # Contract
/// - Nothing here blocks for long: I/O to other machines is done by tasks on [`OpenSink::io`].
/// - Rows that were written before `prepare_commit(id)` and after the one before it belong to `id`.
///   When the future is done they are durable at the sink's place, and not visible.
/// - They become visible by [`Committer::commit`] with the handles, and by nothing else; until then
///   a crash may forget them.
/// - What may pass by itself (a full disk, an unreachable store) is retried and reported through
///   [`OpenSink::troubles`]; meanwhile `ready` says no.
pub trait Sink: Send {
    /// Whether the sink has room for another chunk. If not, it calls the waker when it has.
    fn ready(&mut self) -> bool;

    /// Takes rows.
    ///
    /// # Errors
    /// Ends the execution.
    fn write(&mut self, chunk: Chunk) -> Result<(), Failure>;

    /// Finishes what was written so far, for checkpoint `id`: gives one handle per file,
    /// transaction, …, none if nothing was written.
    ///
    /// # Errors
    /// Ends the execution; an error of the future declines the checkpoint.
    fn prepare_commit(&mut self, id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure>;
}

/// Makes prepared rows visible. Lives beside the subtasks, so that a restore can commit before any
/// subtask runs.
///
/// # Contract
/// Committing the same handles again changes nothing and succeeds. Handles come from a manifest:
/// they may have been written by an older version or another subtask, and are checked.
pub trait Committer: Send + Sync {
    /// Makes everything visible that the handles of one checkpoint name.
    ///
    /// # Errors
    /// Retryable ones are tried again by the engine; [`weir_protocol::FailureKind::SinkDataLost`]
    /// when what a handle names is provably gone.
    fn commit(&self, handles: Vec<Vec<u8>>) -> IoFuture<()>;
}

/// What a sink subtask is opened with.
#[derive(Clone)]
pub struct OpenSink {
    /// This subtask's number, `0 .. parallelism`.
    pub index: u32,
    /// How many there are.
    pub parallelism: u32,
    /// The job.
    pub job: JobUid,
    /// Goes into every name that the sink makes, so that zombies write nothing anybody will name.
    pub attempt: Attempt,
    /// Likewise.
    pub execution: Execution,
    /// To be called when the sink has room again.
    pub waker: Waker,
    /// Where I/O is done.
    pub io: tokio::runtime::Handle,
    /// Where trouble that is being waited out is told.
    pub troubles: crate::Troubles,
}

/// Makes the subtasks of a sink table.
pub trait SinkFactory: Send + Sync {
    /// Whether the sink takes rows of other kinds than inserts.
    fn takes_changelog(&self) -> bool;

    /// Opens a subtask.
    ///
    /// # Errors
    /// Options that can't be met, such as a folder that can't be written.
    fn open(&self, context: OpenSink) -> Result<Box<dyn Sink>, Failure>;

    /// What commits its handles; `None` if it never has any.
    fn committer(&self, io: tokio::runtime::Handle) -> Option<Box<dyn Committer>>;
}
