//! What can happen next.

/// One thing that can happen in a world. `p` is a process, `w` one of its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`p`, `w` and the like are said once, above")]
pub enum Choice {
    /// Another coordinator process comes up, with its workers.
    Start,
    /// A process dies with all it has in memory.
    Crash { p: usize },
    /// A process stands still, or goes on.
    Pause { p: usize },
    /// The journal's request of a process is carried out and answered.
    Store { p: usize },
    /// A create of a process is carried out, but the answer is lost.
    LoseAnswer { p: usize },
    /// A create of a process gets no answer, and may be carried out much later.
    Late { p: usize },
    /// A create that got no answer is carried out now.
    Arrive { i: usize },
    /// A manifest of a process is written, or not.
    Manifest { p: usize, ok: bool },
    /// Garbage collection of a process does one more step.
    Sweep { p: usize },
    /// The timer of a process rings.
    Timer { p: usize },
    /// Somebody asks a process to stop after a last checkpoint.
    Stop { p: usize },
    /// A worker gets its next message.
    ToWorker { p: usize, w: usize },
    /// The coordinator gets the next message of a worker.
    FromWorker { p: usize, w: usize },
    /// The same, and the message will come once more.
    Repeat { p: usize, w: usize },
    /// A message comes once more.
    Again { p: usize },
    /// A source subtask reads the next row of a split.
    Read { p: usize, w: usize, split: u32 },
    /// A sink subtask takes the next item of a channel.
    Take { p: usize, from: usize, w: usize },
    /// A subtask's upload is done and acknowledged, or failed and declined.
    Upload { p: usize, w: usize, ok: bool },
    /// A commit that was put off is tried again.
    CommitAgain { p: usize, w: usize },
    /// A worker is lost, and another comes in its place.
    LoseWorker { p: usize, w: usize },
    /// A subtask fails.
    FailTask { p: usize, w: usize },
}
