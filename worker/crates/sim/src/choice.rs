//! What can happen next.

/// One thing that can happen in a world. `p` is a process, `w` a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "`p`, `w` and the like are said once, above")]
pub enum Choice {
    /// Another coordinator process comes up.
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
    /// Somebody asks a process to end the job after a last checkpoint.
    End { p: usize },
    /// Somebody asks a process for another parallelism.
    Rescale { p: usize, to: u32 },
    /// A worker without a coordinator connects to a process.
    Connect { w: usize, p: usize },
    /// A worker gets its next message.
    ToWorker { w: usize },
    /// The coordinator gets the next message of a worker.
    FromWorker { w: usize },
    /// The same, and the message will come once more.
    Repeat { w: usize },
    /// A message comes once more.
    Again { p: usize },
    /// A worker gets a message of a connection that is no more.
    Stray { w: usize },
    /// The source subtask `t` reads the next row of a split.
    Read { w: usize, t: u32, split: u32 },
    /// The sink subtask `t` takes the next item of a channel.
    Take { w: usize, t: u32, from: u32 },
    /// A subtask's upload is done and acknowledged, or failed and declined.
    Upload { w: usize, ok: bool },
    /// A commit that was put off is tried again.
    CommitAgain { w: usize },
    /// A coordinator loses the connection to a worker, which goes on.
    Cut { w: usize },
    /// A worker notices that its coordinator is gone, or takes one that stands still for gone.
    Notice { w: usize },
    /// A coordinator notices that a worker has left it.
    Gone { p: usize },
    /// A worker dies, and another comes in its place.
    Kill { w: usize },
    /// A worker stands still, or goes on.
    Stop { w: usize },
    /// A worker is asked to go.
    Drain { w: usize },
    /// A subtask fails.
    FailTask { w: usize },
}
