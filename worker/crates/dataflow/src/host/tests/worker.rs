//! One worker, told what a coordinator would tell it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_checkpoint::manifest::write_manifest;
use weir_checkpoint::store::Store;
use weir_checkpoint::{Manifest, Part};
use weir_protocol::*;
use weir_runtime::{SystemClock, SystemRandom};

use super::LONG;
use super::job::Controls;
use crate::host::{Scratch, WorkerEnd, WorkerInput, WorkerOptions, WorkerOutput, run_with};
use crate::sizes::Sizes;

const WORKER: WorkerId = WorkerId(1);

pub(super) struct TestWorker {
    controls: Controls,
    store: Arc<dyn Store>,
    input: mpsc::UnboundedSender<WorkerInput>,
    output: mpsc::UnboundedReceiver<WorkerOutput>,
    _running: watch::Receiver<Option<RunningExecution>>,
    task: JoinHandle<WorkerEnd>,
    stamp: Stamp,
    parallelism: u32,
}

impl TestWorker {
    pub(super) fn start(controls: &Controls, store: Arc<dyn Store>) -> Self {
        Self::start_with(controls, store, Sizes::of(1 << 30), None)
    }

    pub(super) fn start_with(
        controls: &Controls,
        store: Arc<dyn Store>,
        sizes: Sizes,
        scratch: Option<Scratch>,
    ) -> Self {
        let config = config();
        let stamp = Stamp { job: config.uid.clone(), attempt: Attempt(1), execution: Execution(0) };
        let planned = controls.clone();
        let options = WorkerOptions {
            plan: Arc::new(move |parallelism| Ok(Arc::new(planned.plan(parallelism)))),
            config: Arc::new(config),
            store: store.clone(),
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            scratch,
            coordinator_timeout: LONG,
            exchange: None,
        };
        let (input, told) = mpsc::unbounded_channel();
        let (says, output) = mpsc::unbounded_channel();
        let (shows, running) = watch::channel(None);
        let task = tokio::spawn(run_with(options, sizes, told, says, shows));
        input.send(WorkerInput::Connected { worker: WORKER }).unwrap();
        Self {
            controls: controls.clone(),
            store,
            input,
            output,
            _running: running,
            task,
            stamp,
            parallelism: 1,
        }
    }

    pub(super) fn send(&self, input: WorkerInput) {
        self.input.send(input).unwrap();
    }

    pub(super) fn tell(&self, message: ToWorker) {
        self.send(WorkerInput::Message(self.stamp.clone(), message));
    }

    /// Waits for something that the worker says of the newest execution.
    pub(super) async fn hear<T>(&mut self, mut wanted: impl FnMut(FromWorker) -> Option<T>) -> T {
        let hearing = async {
            loop {
                match self.output.recv().await.expect("the worker lives") {
                    WorkerOutput::Message(_, FromWorker::Failed { subtask, failure }) => {
                        panic!("{subtask:?}: {failure}")
                    }
                    WorkerOutput::Message(stamp, message) if stamp == self.stamp => {
                        if let Some(wanted) = wanted(message) {
                            return wanted;
                        }
                    }
                    WorkerOutput::Message(..) | WorkerOutput::Draining => {}
                }
            }
        };
        tokio::time::timeout(LONG, hearing).await.expect("in time")
    }

    pub(super) fn send_deploy(&mut self, parallelism: u32, restore: Option<ManifestRef>) {
        self.stamp.execution.0 += 1;
        self.parallelism = parallelism;
        let graph = self.controls.plan(parallelism).graph;
        let placement = graph.subtasks().map(|s| (s, WORKER, s.index)).collect();
        self.tell(ToWorker::Deploy { parallelism, placement, peers: Vec::new(), restore });
    }

    /// Deploys the job, and lets its sources read.
    pub(super) async fn deploy(&mut self, parallelism: u32, restore: Option<ManifestRef>) -> RestoreReport {
        self.send_deploy(parallelism, restore);
        let deployed = |m| match m {
            FromWorker::Deployed { restored } => Some(restored),
            _ => None,
        };
        let restored = self.hear(deployed).await;
        self.tell(ToWorker::Commit { id: CheckpointId(0), sinks: Vec::new() });
        restored
    }

    /// Waits for numbers of subtasks.
    pub(super) async fn progress(
        &mut self,
        wanted: impl Fn(&[(SubtaskId, SubtaskProgress)]) -> bool,
    ) -> Vec<(SubtaskId, SubtaskProgress)> {
        self.hear(|m| match m {
            FromWorker::Progress { subtasks, .. } => wanted(&subtasks).then_some(subtasks),
            _ => None,
        })
        .await
    }

    /// Takes a checkpoint, writes its manifest, and tells that it is durable.
    pub(super) async fn checkpoint(&mut self, id: u64, completed: Option<u64>) -> ManifestRef {
        let (id, completed) = (CheckpointId(id), completed.map(CheckpointId));
        let (kind, mode) = (CheckpointKind::Periodic, CheckpointMode::ExactlyOnce);
        self.tell(ToWorker::Trigger { id, kind, mode, completed, at_us: 0, hold: false });
        let graph = self.controls.plan(self.parallelism).graph;
        let mut acks = BTreeMap::new();
        while acks.len() < graph.subtasks().count() {
            let ack = |m| match m {
                FromWorker::Ack { id: of, ack } if of == id => Some(ack),
                FromWorker::Decline { failure, .. } => panic!("{failure}"),
                _ => None,
            };
            let ack = self.hear(ack).await;
            acks.insert(ack.subtask, *ack);
        }
        let mut objects: Vec<ObjectRef> = Vec::new();
        let parts =
            graph.subtasks().filter_map(|s| acks.remove(&s)).map(|ack| part(&mut objects, ack)).collect();
        let manifest = Manifest {
            job: self.stamp.job.clone(),
            attempt: self.stamp.attempt,
            execution: self.stamp.execution,
            id,
            reason: kind,
            triggered_us: 0,
            max_parallelism: 16,
            parallelism: None,
            graph,
            objects,
            parts,
        };
        let written = write_manifest(self.store.as_ref(), &SystemRandom, &manifest).await.unwrap();
        self.tell(ToWorker::Commit { id, sinks: Vec::new() });
        self.hear(|m| matches!(m, FromWorker::Committed { id: of } if of == id).then_some(())).await;
        written
    }

    /// Waits for its end; gives all that it said until then and was not heard.
    pub(super) async fn rest_until(mut self, end: WorkerEnd) -> Vec<WorkerOutput> {
        let ended = tokio::time::timeout(LONG, &mut self.task).await.expect("in time");
        assert_eq!(ended.unwrap(), end);
        std::iter::from_fn(|| self.output.try_recv().ok()).collect()
    }

    pub(super) async fn end(self) {
        drop(self.input);
        assert_eq!(self.task.await.unwrap(), WorkerEnd::Closed);
    }
}

/// As the coordinator does it: objects once each, blocks numbered by them.
fn part(objects: &mut Vec<ObjectRef>, ack: SubtaskAck) -> Part {
    let mut state = ack.state;
    for block in state.iter_mut().flat_map(|s| &mut s.tables).flat_map(|t| &mut t.blocks) {
        let object = &ack.objects[block.object as usize];
        let at = objects.iter().position(|o| o == object).unwrap_or_else(|| {
            objects.push(object.clone());
            objects.len() - 1
        });
        block.object = at as u32;
    }
    Part {
        subtask: ack.subtask,
        state,
        sinks: ack.sinks,
        times: ack.times,
        new_bytes: ack.new_bytes,
        full_bytes: ack.full_bytes,
    }
}

/// Waits until it is so.
pub(super) async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("in time");
}

/// All copies below a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|e| e.path());
    let inside = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    paths.flat_map(inside).filter(|p| p.extension().is_none()).collect()
}

fn config() -> JobConfig {
    JobConfig { parallelism: 2, ..crate::topologies::config() }
}
