//! The task that writes a sink subtask's files in the order it is told to, and waits out a full or
//! unwritable disk. Sans-disk: [`Disk`] is what it writes to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weir_dataflow::Trouble;
use weir_protocol::{Failure, FailureKind};

/// The first pause before another try; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A file that is durable under its temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) name: String,
    pub(super) size: u64,
    /// Digest of the bytes, as hexadecimal digits.
    pub(super) blake3: String,
}

/// Where files are written. Blocking; one file is open at a time.
pub(super) trait Disk: Send + 'static {
    /// Makes the folder if need be, and a new file in it.
    fn create(&mut self, name: &str) -> std::io::Result<()>;

    /// Writes bytes at an offset of the open file; what may be there from a failed try is cut off
    /// first.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()>;

    /// Makes the open file durable and closes it.
    fn sync(&mut self) -> std::io::Result<()>;

    /// Makes the names of all files durable.
    fn sync_folder(&mut self) -> std::io::Result<()>;

    /// Where this is, for messages.
    fn place(&self) -> String;
}

enum Command {
    Create(String),
    Write(Vec<u8>),
    Finish,
    Prepare(oneshot::Sender<Vec<Done>>),
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
pub(super) struct Writer {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn start(disk: impl Disk, trouble: Trouble, waker: Waker, io: &tokio::runtime::Handle) -> Self {
        // Unbounded in number, bounded in bytes: the sink asks `has_room` first.
        let (commands, receive) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        let task = Task { disk: Some(disk), trouble, waker, shared: shared.clone(), receive, file: None, done: vec![] };
        io.spawn(task.run());
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
        self.shared.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
        self.send(Command::Write(bytes));
    }

    pub(super) fn finish(&self) {
        self.send(Command::Finish);
    }

    /// All files that were finished since the last time, when they are durable.
    pub(super) fn prepare(&self) -> impl Future<Output = Result<Vec<Done>, Failure>> + Send + 'static {
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

    fn send(&self, command: Command) {
        // The task ends early only with a failure, which `check` tells.
        drop(self.commands.send(command));
    }
}

struct Task<D> {
    /// Away while a blocking call has it.
    disk: Option<D>,
    trouble: Trouble,
    waker: Waker,
    shared: Arc<Shared>,
    receive: mpsc::UnboundedReceiver<Command>,
    file: Option<(String, u64, blake3::Hasher)>,
    done: Vec<Done>,
}

/// The sink is gone, or the task can't go on.
struct Ended;

impl<D: Disk> Task<D> {
    async fn run(mut self) {
        while let Some(command) = self.receive.recv().await {
            if self.execute(command).await.is_err() {
                break;
            }
        }
        self.waker.wake();
    }

    async fn execute(&mut self, command: Command) -> Result<(), Ended> {
        match command {
            Command::Create(name) => {
                let file = name.clone();
                self.retry(move |disk| disk.create(&file)).await?;
                self.file = Some((name, 0, blake3::Hasher::new()));
            }
            Command::Write(bytes) => {
                let Some((_, size, hasher)) = &mut self.file else { return Ok(()) };
                let offset = *size;
                *size += bytes.len() as u64;
                hasher.update(&bytes);
                let length = bytes.len();
                self.retry(move |disk| disk.write_at(offset, &bytes)).await?;
                self.shared.waiting.fetch_sub(length, Ordering::AcqRel);
                self.waker.wake_by_ref();
            }
            Command::Finish => {
                if let Some((name, size, hasher)) = self.file.take() {
                    self.once(Disk::sync).await?;
                    self.done.push(Done { name, size, blake3: hasher.finalize().to_hex().to_string() });
                }
            }
            Command::Prepare(answer) => {
                if !self.done.is_empty() {
                    self.once(Disk::sync_folder).await?;
                }
                // Nobody waits any more if the checkpoint was aborted: its files stay, unnamed.
                drop(answer.send(std::mem::take(&mut self.done)));
            }
        }
        Ok(())
    }

    /// Tries until it works. The disk is told the same thing each time.
    async fn retry(
        &mut self,
        work: impl Fn(&mut D) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Result<(), Ended> {
        let work = Arc::new(work);
        let mut pause = FIRST_PAUSE;
        loop {
            let again = work.clone();
            let Err(error) = self.block(move |disk| again(disk)).await? else {
                self.trouble.clear();
                return Ok(());
            };
            self.trouble.set(self.failure(&error));
            if self.receive.is_closed() {
                return Err(Ended);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries once: after a failed sync nobody knows what is on the disk, so the execution ends and
    /// the rows are written again from the last checkpoint.
    async fn once(&mut self, work: fn(&mut D) -> std::io::Result<()>) -> Result<(), Ended> {
        match self.block(work).await? {
            Ok(()) => Ok(()),
            Err(error) => {
                let failure = self.failure(&error);
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Err(Ended)
            }
        }
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        let place = self.disk.as_ref().map_or_else(String::new, Disk::place);
        Failure::new(FailureKind::Disk, format!("{place} cannot be written: {error}"))
    }

    async fn block(
        &mut self,
        work: impl FnOnce(&mut D) -> std::io::Result<()> + Send + 'static,
    ) -> Result<std::io::Result<()>, Ended> {
        let Some(mut disk) = self.disk.take() else { return Err(Ended) };
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut disk);
            (disk, result)
        });
        match done.await {
            Ok((disk, result)) => {
                self.disk = Some(disk);
                Ok(result)
            }
            Err(_) => Err(Ended),
        }
    }
}
