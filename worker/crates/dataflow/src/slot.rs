//! A task slot: one thread that runs one subtask of each vertex, in small steps, and sleeps when
//! there is nothing to do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self as std_mpsc, TryRecvError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_protocol::{CheckpointId, Failure, FailureKind, SubtaskId, TransformId};
use weir_runtime::{Clock, Timestamp};

use crate::queue::SlotWaker;
use crate::snapshot::Collected;
use crate::subtask::{Step, Subtask};
use crate::{Barrier, IoFuture};

/// How many inputs a subtask takes before the next subtask of the slot has its turn.
const TURN: u32 = 4;
/// How often the numbers of subtasks are made visible.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);

/// What the worker tells a slot.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// Sources may read.
    Admit,
    /// Sources read nothing until that checkpoint is given up; or they do again.
    Hold(Option<CheckpointId>),
    /// Sources insert this barrier.
    Trigger(Barrier),
    /// A checkpoint will not complete.
    Abort(CheckpointId),
    /// A checkpoint is durable.
    Complete(CheckpointId),
    /// The execution is over.
    Stop,
}

/// What a slot tells the worker.
pub(crate) enum SlotEvent {
    /// A sink prepares what it wrote up to a barrier; sent before the subtask's part is complete.
    Prepared { id: CheckpointId, subtask: SubtaskId, transform: TransformId, handles: IoFuture<Vec<Vec<u8>>> },
    /// Its subtasks are made and restored.
    Opened,
    /// A source subtask read everything.
    Exhausted(SubtaskId),
    /// A subtask failed; the slot has stopped.
    Failed(Option<SubtaskId>, Failure),
}

/// The slot's way out: events for the worker, frozen rows for the encoder.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) worker: mpsc::UnboundedSender<SlotEvent>,
    pub(crate) encoder: std_mpsc::Sender<Collected>,
    pub(crate) waiting: Waiting,
}

/// Rows that a sweep is asked for at a time, at most.
const PIECE_ROWS: u64 = 4096;
/// And no more than one for so many bytes that may wait for the encoder.
const BYTES_PER_PIECE_ROW: u64 = 1024;

/// Bytes of frozen rows that wait for the encoder, over all slots of the worker.
#[derive(Clone)]
pub(crate) struct Waiting {
    bytes: Arc<AtomicU64>,
    most: u64,
}

impl Waiting {
    pub(crate) fn new(most: u64) -> Self {
        Self { bytes: Arc::default(), most }
    }

    /// Some are encoded. Whether there is room for others now, and was none before.
    pub(crate) fn encoded(&self, bytes: u64) -> bool {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        before >= self.most && before - bytes < self.most
    }
}

impl Events {
    pub(crate) fn send(&self, event: SlotEvent) {
        // Nobody listens any more when the execution is being torn down.
        let _ = self.worker.send(event);
    }

    /// Whether the encoder keeps up.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.bytes.load(Ordering::Acquire) < self.waiting.most
    }

    /// How many rows a sweep is asked for at a time.
    pub(crate) fn piece_rows(&self) -> usize {
        (self.waiting.most / BYTES_PER_PIECE_ROW).clamp(1, PIECE_ROWS) as usize
    }

    pub(crate) fn collect(&self, collected: Collected) {
        self.waiting.bytes.fetch_add(collected.bytes(), Ordering::AcqRel);
        let _ = self.encoder.send(collected);
    }
}

/// Makes the subtasks of a slot, on the slot's own thread.
pub(crate) type Build = Box<dyn FnOnce() -> Result<Vec<Subtask>, (Option<SubtaskId>, Failure)> + Send>;

/// The worker's hold on a slot.
pub(crate) struct SlotHandle {
    commands: std_mpsc::Sender<Command>,
    waker: Arc<SlotWaker>,
    thread: Option<thread::JoinHandle<()>>,
}

impl SlotHandle {
    /// Starts the thread.
    pub(crate) fn start(
        number: u32,
        waker: Arc<SlotWaker>,
        clock: Arc<dyn Clock>,
        events: Events,
        build: Build,
    ) -> Result<Self, Failure> {
        let (commands, receiver) = std_mpsc::channel();
        let slot_waker = waker.clone();
        let thread = thread::Builder::new()
            .name(format!("slot-{number}"))
            .spawn(move || {
                slot_waker.attach();
                run(&slot_waker, clock.as_ref(), &events, &receiver, build);
            })
            .map_err(|e| {
                Failure::new(FailureKind::Worker, format!("cannot start the thread of slot {number}: {e}"))
            })?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    pub(crate) fn tell(&self, command: Command) {
        // A slot that failed has left; the failure was told.
        let _ = self.commands.send(command);
        self.waker.signal();
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of a subtask is caught inside; one of the slot itself was told as a failure.
            let _ = thread.join();
        }
    }
}

fn run(
    waker: &SlotWaker,
    clock: &dyn Clock,
    events: &Events,
    commands: &std_mpsc::Receiver<Command>,
    build: Build,
) {
    let mut subtasks = match guarded(None, build) {
        Ok(subtasks) => subtasks,
        Err((subtask, failure)) => return events.send(SlotEvent::Failed(subtask, failure)),
    };
    events.send(SlotEvent::Opened);
    let mut publish_at = clock.now();
    loop {
        let mut worked = false;
        for at in 0..subtasks.len() {
            // Between any two subtasks: an end must not wait for all of a slot with much to do.
            loop {
                match commands.try_recv() {
                    Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                        // The last numbers are the ones that people compare.
                        subtasks.iter_mut().for_each(Subtask::publish);
                        return;
                    }
                    Ok(command) => subtasks.iter_mut().for_each(|s| obey(s, command)),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let subtask = &mut subtasks[at];
            let id = subtask.id;
            match guarded(Some(id), || turn(subtask, clock).map_err(|f| (Some(id), f))) {
                Ok(did) => worked |= did,
                Err((subtask, failure)) => return events.send(SlotEvent::Failed(subtask, failure)),
            }
        }
        let now = clock.now();
        if now >= publish_at {
            subtasks.iter_mut().for_each(Subtask::publish);
            publish_at = now.after(PUBLISH_EVERY);
        }
        if !worked && !waker.take() {
            let timer = subtasks.iter().filter_map(Subtask::next_timer).min();
            thread::park_timeout(until(now, publish_at, timer));
        }
    }
}

fn until(now: Timestamp, publish_at: Timestamp, timer: Option<Timestamp>) -> Duration {
    // A timer that is due but could not be served must not make the slot spin.
    let timer = timer.map_or(publish_at, |t| t.max(now.after(Duration::from_millis(1))));
    publish_at.min(timer).since(now)
}

fn obey(subtask: &mut Subtask, command: Command) {
    match command {
        Command::Admit => subtask.admit(),
        Command::Hold(checkpoint) => subtask.hold(checkpoint),
        Command::Trigger(barrier) => subtask.trigger(barrier),
        Command::Abort(id) => subtask.abort(id),
        Command::Complete(id) => subtask.complete(id),
        Command::Stop => {}
    }
}

/// Lets a subtask take a few inputs.
fn turn(subtask: &mut Subtask, clock: &dyn Clock) -> Result<bool, Failure> {
    let start = clock.now();
    subtask.tick(start);
    let mut worked = 0;
    let last = loop {
        let step = subtask.step()?;
        worked += u32::from(step == Step::Worked);
        if step != Step::Worked || worked == TURN {
            break step;
        }
    };
    subtask.account(start, clock.now(), worked > 0, last);
    Ok(worked > 0)
}

/// Turns a panic into a failure: it ends the execution, not the process.
fn guarded<T>(
    subtask: Option<SubtaskId>,
    work: impl FnOnce() -> Result<T, (Option<SubtaskId>, Failure)>,
) -> Result<T, (Option<SubtaskId>, Failure)> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Err((subtask, Failure::new(FailureKind::Bug, format!("panic: {text}"))))
    })
}
