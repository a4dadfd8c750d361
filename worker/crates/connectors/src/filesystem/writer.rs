//! The task that writes a sink subtask's files in the order it is told to, and waits out a full disk
//! or an unreachable store. What it writes to is a [`Target`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use weir_dataflow::Trouble;
use weir_protocol::{Failure, FailureKind};

/// The first pause before another try; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A file that is durable at its place and not visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done<F> {
    /// The name that it is to get.
    pub(super) name: String,
    pub(super) size: u64,
    /// Digest of the bytes, as hexadecimal digits.
    pub(super) blake3: String,
    /// What the target needs to make it visible.
    pub(super) finished: F,
}

/// Why something was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The same try may succeed later.
    Passing(String),
    /// What was written so far may be damaged or gone: the execution ends and the rows are written
    /// again from the last checkpoint.
    Final(String),
}

/// An answer that comes later.
pub(super) type Step<'a, T> = BoxFuture<'a, Result<T, WriteError>>;

/// Where files are written, one after the other. Each call is repeated after a passing error.
pub(super) trait Target: Send + 'static {
    /// What making a file visible needs besides its name.
    type Finished: Send + 'static;

    /// Begins a file that will have this name.
    fn create<'a>(&'a mut self, name: &'a str) -> Step<'a, ()>;

    /// Writes bytes at an offset of the open file: where the last ones ended.
    fn write<'a>(&'a mut self, offset: u64, bytes: &'a Bytes) -> Step<'a, ()>;

    /// Makes the open file durable and closes it.
    fn finish(&mut self) -> Step<'_, Self::Finished>;

    /// Makes the names of all finished files durable.
    fn prepare(&mut self) -> Step<'_, ()>;
}

enum Command<F> {
    Create(String),
    Write(Bytes),
    Finish,
    Prepare(oneshot::Sender<Vec<Done<F>>>),
}

/// What the sink and the task share.
#[derive(Default)]
struct Shared {
    /// Bytes that were handed over and not written yet.
    waiting: AtomicUsize,
    /// What ended the task.
    failure: Mutex<Option<Failure>>,
}

/// The sink's end of the task.
pub(super) struct Writer<F> {
    commands: mpsc::UnboundedSender<Command<F>>,
    shared: Arc<Shared>,
}

impl<F: Send + 'static> Writer<F> {
    pub(super) fn start<T>(target: T, trouble: Trouble, waker: Waker, io: &tokio::runtime::Handle) -> Self
    where
        T: Target<Finished = F>,
    {
        // Unbounded in number, bounded in bytes: the sink asks `has_room` first.
        let (commands, receive) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        let task = Task { target, trouble, waker, shared: shared.clone(), file: None, done: Vec::new() };
        io.spawn(task.run(receive));
        Self { commands, shared }
    }

    /// Whether fewer than `limit` bytes are waiting.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.shared.waiting.load(Ordering::Acquire) < limit
    }

    /// What ended the task, if it has ended.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn create(&self, name: String) {
        self.send(Command::Create(name));
    }

    pub(super) fn write(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.shared.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
            self.send(Command::Write(bytes.into()));
        }
    }

    pub(super) fn finish(&self) {
        self.send(Command::Finish);
    }

    /// All files that were finished since the last time, when they are durable.
    pub(super) fn prepare(&self) -> impl Future<Output = Result<Vec<Done<F>>, Failure>> + Send + use<F> {
        let (send, receive) = oneshot::channel();
        self.send(Command::Prepare(send));
        let shared = self.shared.clone();
        async move {
            receive.await.map_err(|_| {
                let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
                failure.unwrap_or_else(|| Failure::new(FailureKind::Sink, "the writing of files was stopped"))
            })
        }
    }

    fn send(&self, command: Command<F>) {
        // The task ends early only with a failure, which `check` tells.
        drop(self.commands.send(command));
    }
}

struct Task<T: Target> {
    target: T,
    trouble: Trouble,
    waker: Waker,
    shared: Arc<Shared>,
    file: Option<(String, u64, blake3::Hasher)>,
    done: Vec<Done<T::Finished>>,
}

type Commands<T> = mpsc::UnboundedReceiver<Command<<T as Target>::Finished>>;

/// The sink is gone, or the task can't go on.
struct Ended;

impl<T: Target> Task<T> {
    async fn run(mut self, mut commands: Commands<T>) {
        while let Some(command) = commands.recv().await {
            if self.execute(command, &commands).await.is_err() {
                break;
            }
        }
        self.waker.wake();
    }

    async fn execute(&mut self, command: Command<T::Finished>, commands: &Commands<T>) -> Result<(), Ended> {
        match command {
            Command::Create(name) => {
                self.create(&name, commands).await?;
                self.file = Some((name, 0, blake3::Hasher::new()));
            }
            Command::Write(bytes) => {
                let Some((_, size, hasher)) = &mut self.file else { return Ok(()) };
                let offset = *size;
                *size += bytes.len() as u64;
                hasher.update(&bytes);
                self.write(offset, &bytes, commands).await?;
                self.shared.waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
                self.waker.wake_by_ref();
            }
            Command::Finish => {
                if let Some((name, size, hasher)) = self.file.take() {
                    let finished = self.finish(commands).await?;
                    let blake3 = hasher.finalize().to_hex().to_string();
                    self.done.push(Done { name, size, blake3, finished });
                }
            }
            Command::Prepare(answer) => {
                if !self.done.is_empty() {
                    self.prepare(commands).await?;
                }
                // Nobody waits any more if the checkpoint was aborted: its files stay, unnamed.
                drop(answer.send(std::mem::take(&mut self.done)));
            }
        }
        Ok(())
    }

    async fn create(&mut self, name: &str, commands: &Commands<T>) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.target.create(name).await;
            if let Some(done) = self.judge(tried, &mut pause, commands).await? {
                return Ok(done);
            }
        }
    }

    async fn write(&mut self, offset: u64, bytes: &Bytes, commands: &Commands<T>) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.target.write(offset, bytes).await;
            if let Some(done) = self.judge(tried, &mut pause, commands).await? {
                return Ok(done);
            }
        }
    }

    async fn finish(&mut self, commands: &Commands<T>) -> Result<T::Finished, Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.target.finish().await;
            if let Some(done) = self.judge(tried, &mut pause, commands).await? {
                return Ok(done);
            }
        }
    }

    async fn prepare(&mut self, commands: &Commands<T>) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let tried = self.target.prepare().await;
            if let Some(done) = self.judge(tried, &mut pause, commands).await? {
                return Ok(done);
            }
        }
    }

    /// What a try means: done, try again (after a pause, with the trouble told), or the end.
    async fn judge<V>(
        &mut self,
        tried: Result<V, WriteError>,
        pause: &mut Duration,
        commands: &Commands<T>,
    ) -> Result<Option<V>, Ended> {
        match tried {
            Ok(value) => {
                self.trouble.clear();
                Ok(Some(value))
            }
            Err(WriteError::Passing(message)) => {
                self.trouble.set(Failure::new(FailureKind::Sink, message));
                if commands.is_closed() {
                    return Err(Ended);
                }
                tokio::time::sleep(*pause).await;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                Ok(None)
            }
            Err(WriteError::Final(message)) => {
                let failure = Failure::new(FailureKind::Sink, message);
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Err(Ended)
            }
        }
    }
}
