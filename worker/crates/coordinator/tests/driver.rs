//! The driver over a real store in memory, with a worker that says what a host would say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use weir_checkpoint::journal::JournalView;
use weir_checkpoint::probe::{ProbeError, Promise};
use weir_checkpoint::store::MemoryStore;
use weir_checkpoint::{Body, StopReason, Store};
use weir_coordinator::status::JobState;
use weir_coordinator::{
    Coordinator, Exit, LinkEvent, Shell, StopRequest, WorkerLink, Workers, http, testing,
    testing::registration,
};
use weir_protocol::{
    Blob, CheckpointKind, FailureKind, FromWorker, PhaseTimes, RestoreReport, SinkHandles, Stamp, SubtaskAck,
    SubtaskId, ToWorker, TransformId, VertexId, WorkerId,
};
use weir_runtime::{SeededRandom, SystemClock};
use weir_testing::{Faults, FaultyStore, RacyStore};

/// One worker with all subtasks; its sources end when told, its sink has one handle per checkpoint.
struct Host {
    events: mpsc::Sender<LinkEvent>,
    parallelism: u32,
    /// Whether sources are at their ends from the start.
    bounded: bool,
    committed: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Host {
    fn subtasks(&self, vertex: &str) -> Vec<SubtaskId> {
        (0..self.parallelism).map(|index| SubtaskId { vertex: VertexId::of(vertex), index }).collect()
    }

    fn answers(&self, message: ToWorker) -> Vec<FromWorker> {
        match message {
            ToWorker::Deploy { .. } => vec![FromWorker::Deployed { restored: RestoreReport::default() }],
            ToWorker::Commit { id, sinks } => {
                self.committed.lock().expect("not poisoned").insert(id.0, sinks.len());
                let ended = self.subtasks("source").into_iter().filter(|_| self.bounded);
                let ended = ended.map(|subtask| FromWorker::Exhausted { subtask });
                [FromWorker::Committed { id }].into_iter().chain(ended).collect()
            }
            ToWorker::Trigger { id, .. } => {
                let all = self.subtasks("source").into_iter().chain(self.subtasks("sink"));
                all.map(|subtask| FromWorker::Ack { id, ack: Box::new(ack(subtask)) }).collect()
            }
            ToWorker::Abort { .. } => Vec::new(),
            ToWorker::Adopt { .. } => vec![FromWorker::Adopted],
            ToWorker::Cancel => vec![FromWorker::Stopped],
        }
    }
}

fn ack(subtask: SubtaskId) -> SubtaskAck {
    let handles = vec![Blob::Inline(b"file".to_vec())];
    let sink = SinkHandles { transform: TransformId::of("sink"), handles };
    SubtaskAck {
        subtask,
        objects: Vec::new(),
        new_objects: 0,
        state: Vec::new(),
        sinks: if subtask.vertex == VertexId::of("sink") { vec![sink] } else { Vec::new() },
        times: PhaseTimes::default(),
        new_bytes: 3,
        full_bytes: 5,
    }
}

impl WorkerLink for Host {
    fn send(&self, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        for message in self.answers(message) {
            let event = LinkEvent::Message { worker, stamp: stamp.clone(), message };
            self.events.try_send(event).expect("there is room");
        }
    }
}

/// A coordinator that has not begun, its status, and the way to stop it.
type Started =
    (Coordinator, tokio::sync::watch::Receiver<Arc<weir_coordinator::JobStatus>>, mpsc::Sender<StopRequest>);

struct Job {
    store: MemoryStore,
    committed: Arc<Mutex<BTreeMap<u64, usize>>>,
}

impl Job {
    fn new() -> Self {
        Self { store: MemoryStore::default(), committed: Arc::default() }
    }

    fn coordinator(&self, bounded: bool) -> Started {
        self.coordinator_over(Arc::new(self.store.clone()), bounded)
    }

    fn coordinator_over(&self, store: Arc<dyn Store>, bounded: bool) -> Started {
        let (events, received) = mpsc::channel(1000);
        let registered =
            LinkEvent::Registered { worker: WorkerId(1), registration: Box::new(registration(2, "here")) };
        events.try_send(registered).expect("there is room");
        let link = Arc::new(Host { events, parallelism: 2, bounded, committed: Arc::clone(&self.committed) });
        let (stop, stopped) = mpsc::channel(2);
        let mut options = testing::options(2);
        options.config.checkpoint.interval = Duration::from_millis(10);
        let shell = Shell {
            store,
            workers: Workers { link, events: received },
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SeededRandom::new(7)),
            stop: stopped,
            plan: Arc::new(|parallelism| Ok(testing::graph(parallelism))),
        };
        let (coordinator, status) = Coordinator::new(options, shell);
        (coordinator, status, stop)
    }

    async fn bodies(&self) -> Vec<Body> {
        let store: &dyn Store = &self.store;
        let journal = JournalView::read(store).await.expect("the journal can be read");
        journal.view.records().iter().map(|record| record.body.clone()).collect()
    }
}

#[tokio::test]
async fn a_bounded_job_takes_a_final_checkpoint_commits_it_and_is_finished_for_good() {
    let job = Job::new();
    let (coordinator, status, _stop) = job.coordinator(true);
    let exit = coordinator.run().await;
    assert!(matches!(exit, Exit::Finished { last: Some(_) }), "{exit:?}");
    assert_eq!(status.borrow().state, JobState::Finished);
    assert_eq!(status.borrow().checkpoints.success_rate, Some(1.0));
    let bodies = job.bodies().await;
    let [
        ..,
        Body::Checkpoint { id, reason: CheckpointKind::Final, .. },
        Body::Committed { id: done },
        Body::Stopped { reason, .. },
    ] = bodies.as_slice()
    else {
        panic!("{bodies:?}");
    };
    assert_eq!((id, reason), (done, &StopReason::Finished));
    assert_eq!(
        job.committed.lock().expect("not poisoned").get(&id.0),
        Some(&2),
        "one commit per sink subtask"
    );
    let (again, ..) = job.coordinator(true);
    assert!(matches!(again.run().await, Exit::AlreadyFinished { .. }));
}

#[tokio::test]
async fn a_stopped_job_has_a_last_checkpoint_and_goes_on_from_it() {
    let job = Job::new();
    let (coordinator, mut status, stop) = job.coordinator(false);
    let running = tokio::spawn(coordinator.run());
    status.wait_for(|s| s.checkpoints.counters.completed >= 3).await.expect("the coordinator lives");
    stop.send(StopRequest::Graceful).await.expect("the coordinator lives");
    let exit = running.await.expect("no panic");
    let Exit::Stopped { last: Some(last), complete: true } = exit else { panic!("{exit:?}") };

    let (coordinator, mut status, stop) = job.coordinator(false);
    let running = tokio::spawn(coordinator.run());
    let seen = status.wait_for(|s| s.state == JobState::Running).await.expect("the coordinator lives");
    assert_eq!(seen.checkpoints.restored, Some(last));
    assert!(seen.attempt.is_some_and(|attempt| attempt.0 == 2));
    drop(seen);
    stop.send(StopRequest::Now).await.expect("the coordinator lives");
    assert!(matches!(running.await.expect("no panic"), Exit::Stopped { complete: false, .. }));
}

#[tokio::test]
async fn a_coordinator_that_is_overtaken_says_so_and_exits() {
    let job = Job::new();
    let (first, mut status, _stop) = job.coordinator(false);
    let first = tokio::spawn(first.run());
    status.wait_for(|s| s.checkpoints.counters.completed >= 1).await.expect("the coordinator lives");
    let (second, _status, stop) = job.coordinator(false);
    let second = tokio::spawn(second.run());
    assert!(matches!(first.await.expect("no panic"), Exit::Fenced(_)));
    assert_eq!(status.borrow().state, JobState::Fenced);
    stop.send(StopRequest::Graceful).await.expect("the coordinator lives");
    assert!(matches!(second.await.expect("no panic"), Exit::Stopped { complete: true, .. }));
}

#[tokio::test]
async fn a_store_that_is_away_at_the_start_is_waited_for_and_the_status_says_so() {
    let job = Job::new();
    let inner: Arc<dyn Store> = Arc::new(job.store.clone());
    let store = Arc::new(FaultyStore::new(inner, 1, Faults::outage()));
    let (mut coordinator, mut status, _stop) = job.coordinator_over(store.clone(), true);
    let trying = tokio::spawn(async move {
        let tried = coordinator.try_store().await;
        (coordinator, tried)
    });
    let waits = |s: &Arc<weir_coordinator::JobStatus>| s.detail.as_deref() == Some("waiting for the storage");
    let seen = status.wait_for(waits).await.expect("the coordinator lives").clone();
    assert_eq!((seen.state, seen.troubles[0].kind), (JobState::Starting, FailureKind::Store));
    store.set(Faults::default());
    let (coordinator, tried) = trying.await.expect("no panic");
    assert_eq!(tried, Ok(None));
    assert_eq!(status.borrow().troubles, []);
    assert!(matches!(coordinator.run().await, Exit::Finished { .. }));
}

#[tokio::test]
async fn whoever_waits_for_a_store_can_be_told_to_stop() {
    let job = Job::new();
    let inner: Arc<dyn Store> = Arc::new(job.store.clone());
    let store = Arc::new(FaultyStore::new(inner, 1, Faults::outage()));
    let (mut coordinator, _status, stop) = job.coordinator_over(store, true);
    stop.send(StopRequest::Graceful).await.expect("the coordinator lives");
    assert_eq!(coordinator.try_store().await, Ok(Some(Exit::Stopped { last: None, complete: false })));
}

#[tokio::test]
async fn a_store_that_answers_and_breaks_its_promises_is_refused_at_once() {
    let job = Job::new();
    let (mut coordinator, ..) = job.coordinator_over(Arc::new(RacyStore::default()), true);
    let tried = coordinator.try_store().await;
    assert!(matches!(tried, Err(ProbeError::Broken { promise: Promise::OneCreator, .. })), "{tried:?}");
}

#[tokio::test]
async fn the_status_is_served_and_what_is_not_there_is_said_clearly() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let job = Job::new();
    let (coordinator, status, _stop) = job.coordinator(true);
    let requests = coordinator.requests();
    coordinator.run().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("an address");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server =
        tokio::spawn(http::serve(listener, http::Api { status, requests, more: None }, async move {
            drop(ended.await)
        }));
    for (path, expected) in [
        (
            "/v1/job",
            vec!["HTTP/1.1 200", "\"state\":\"Finished\"", "\"successRate\":1.0", "\"lastCompleted\":"],
        ),
        (
            "/metrics",
            vec![
                "HTTP/1.1 200",
                "weir_checkpoints_completed_total{job=\"test-job\"",
                "weir_checkpoint_success_ratio",
            ],
        ),
        ("/healthz", vec!["HTTP/1.1 200", "ok"]),
        ("/v2/job", vec!["HTTP/1.1 404", "nothing is at /v2/job; there are GET /v1/job"]),
    ] {
        let mut stream = tokio::net::TcpStream::connect(at).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        for part in expected {
            assert!(answer.contains(part), "{path}: {part} is not in {answer}");
        }
    }
    drop(end);
    server.await.expect("no panic").expect("it ends well");
}
