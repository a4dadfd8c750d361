//! Workers for tests: each answers at once what a host would say, and keeps what it runs when its coordinator
//! goes.
#![allow(dead_code, reason = "every test target uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_checkpoint::store::MemoryStore;
use weir_coordinator::status::JobState;
use weir_coordinator::{
    Accepted, AskError, Coordinator, Exit, JobStatus, LinkEvent, Options, Request, Requests, Shell,
    StopRequest, WorkerLink, Workers, http, testing,
};
use weir_protocol::{
    CheckpointId, Failure, FailureKind, FromWorker, PhaseTimes, Registration, RestoreReport,
    RunningExecution, Stamp, SubtaskAck, SubtaskId, ToWorker, WorkerId,
};
use weir_runtime::{SeededRandom, SystemClock};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn running(status: &JobStatus) -> bool {
    status.state == JobState::Running && status.running_since_us.is_some()
}

#[derive(Clone)]
struct Fake {
    id: WorkerId,
    connected: bool,
    registration: Registration,
    refuses_adoption: bool,
}

struct State {
    fakes: BTreeMap<String, Fake>,
    next: u64,
    events: Option<mpsc::Sender<LinkEvent>>,
    deployments: usize,
    holds: Vec<CheckpointId>,
    declined: Vec<CheckpointId>,
    released: Vec<String>,
    /// What the next deployments fail with, one each.
    failing: Vec<Failure>,
}

/// A cluster of them, with the store of one job.
#[derive(Clone)]
pub(crate) struct Fakes {
    state: Arc<Mutex<State>>,
    store: MemoryStore,
}

/// A coordinator that runs.
pub(crate) struct Job {
    status: watch::Receiver<Arc<JobStatus>>,
    requests: Requests,
    running: JoinHandle<Exit>,
    _stop: mpsc::Sender<StopRequest>,
}

impl Fakes {
    pub(crate) fn new() -> Self {
        let state = State {
            fakes: BTreeMap::new(),
            next: 1,
            events: None,
            deployments: 0,
            holds: Vec::new(),
            declined: Vec::new(),
            released: Vec::new(),
            failing: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), store: MemoryStore::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// A process comes up and registers.
    pub(crate) fn come(&self, name: &str, slots: u32) {
        let registration = testing::registration(slots, name);
        self.lock().register(name, registration);
    }

    /// A process dies.
    pub(crate) fn lose(&self, name: &str) {
        let mut state = self.lock();
        if let Some(fake) = state.fakes.remove(name) {
            state.tell(lost(fake.id));
        }
    }

    /// Its connection breaks; what runs there goes on.
    pub(crate) fn cut(&self, name: &str) {
        let mut state = self.lock();
        let fake = state.fakes.get_mut(name).expect("it is there");
        fake.connected = false;
        let id = fake.id;
        state.tell(lost(id));
    }

    pub(crate) fn reconnect_one(&self, name: &str) {
        let mut state = self.lock();
        let registration = state.fakes[name].registration.clone();
        state.register(name, registration);
    }

    /// All register anew with the coordinator that comes next.
    pub(crate) fn reconnect(&self) {
        let mut state = self.lock();
        state.events = None;
        state.fakes.values_mut().for_each(|fake| fake.connected = false);
    }

    pub(crate) fn drain(&self, name: &str) {
        let mut state = self.lock();
        let fake = state.fakes.get_mut(name).expect("it is there");
        fake.registration.draining = true;
        let worker = fake.id;
        state.tell(LinkEvent::Draining { worker });
    }

    /// A process dies and another of the same name comes, with nothing running.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().fakes.get_mut(name).expect("it is there").registration.running = None;
    }

    pub(crate) fn change(&self, name: &str, how: impl FnOnce(&mut RunningExecution)) {
        let mut state = self.lock();
        let fake = state.fakes.get_mut(name).expect("it is there");
        how(fake.registration.running.as_mut().expect("something runs"));
    }

    pub(crate) fn refuse_adoption(&self, name: &str) {
        self.lock().fakes.get_mut(name).expect("it is there").refuses_adoption = true;
    }

    /// Where the source's subtasks run, by index.
    pub(crate) fn placed(&self) -> Vec<(String, u32)> {
        let state = self.lock();
        let source = weir_protocol::VertexId::of("source");
        let all = state.fakes.iter().flat_map(|(name, fake)| {
            let placed = fake.registration.running.iter().flat_map(|running| &running.placed);
            placed.map(move |(subtask, slot)| (*subtask, (name.clone(), *slot)))
        });
        let all: BTreeMap<SubtaskId, _> = all.filter(|(subtask, _)| subtask.vertex == source).collect();
        all.into_values().collect()
    }

    pub(crate) fn deployments(&self) -> usize {
        self.lock().deployments
    }

    /// The checkpoints for which sources were told to stop reading.
    pub(crate) fn holds(&self) -> Vec<CheckpointId> {
        self.lock().holds.clone()
    }

    /// Lets the next deployments fail, one with each of these.
    pub(crate) fn fail_deployments(&self, with: Vec<Failure>) {
        self.lock().failing = with;
    }

    pub(crate) fn declined(&self) -> Vec<CheckpointId> {
        self.lock().declined.clone()
    }

    pub(crate) fn released(&self) -> Vec<String> {
        self.lock().released.clone()
    }

    pub(crate) async fn until_released(&self, name: &str) {
        self.until(|state| state.released.iter().any(|released| released == name)).await;
    }

    pub(crate) async fn until_idle(&self, name: &str) {
        self.until(|state| state.fakes[name].registration.running.is_none()).await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        let waited = async {
            while !condition(&self.lock()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.expect("it comes to pass");
    }

    pub(crate) fn start(&self, parallelism: u32) -> Job {
        self.start_every(parallelism, Duration::from_millis(10))
    }

    /// With checkpoints so far apart.
    pub(crate) fn start_every(&self, parallelism: u32, interval: Duration) -> Job {
        self.start_with(parallelism, |options| options.config.checkpoint.interval = interval)
    }

    pub(crate) fn start_with(&self, parallelism: u32, change: impl FnOnce(&mut Options)) -> Job {
        let (events, received) = mpsc::channel(10_000);
        let mut state = self.lock();
        state.events = Some(events);
        let there: Vec<_> = state.fakes.iter().map(|(name, fake)| (fake.id, name.clone())).collect();
        let there: BTreeMap<_, _> = there.into_iter().collect();
        for name in there.into_values() {
            let registration = state.fakes[&name].registration.clone();
            state.register(&name, registration);
        }
        drop(state);
        let mut options = testing::options(parallelism);
        change(&mut options);
        let (stop, stopped) = mpsc::channel(2);
        let shell = Shell {
            store: Arc::new(self.store.clone()),
            workers: Workers { link: Arc::new(self.clone()), events: received },
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SeededRandom::new(7)),
            stop: stopped,
            plan: Arc::new(|parallelism| Ok(testing::graph(parallelism))),
        };
        let (coordinator, status) = Coordinator::new(options, shell);
        let requests = coordinator.requests();
        Job { status, requests, running: tokio::spawn(coordinator.run()), _stop: stop }
    }
}

fn lost(worker: WorkerId) -> LinkEvent {
    LinkEvent::Lost { worker, failure: Failure::new(FailureKind::Worker, "its connection broke") }
}

impl WorkerLink for Fakes {
    fn send(&self, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        self.lock().told(worker, stamp, message);
    }

    fn release(&self, worker: WorkerId) {
        let mut state = self.lock();
        let name = state.name(worker);
        state.released.extend(name);
    }
}

impl State {
    fn tell(&mut self, event: LinkEvent) {
        if let Some(events) = &self.events {
            // A coordinator that was killed hears nothing.
            let _ = events.try_send(event);
        }
    }

    fn register(&mut self, name: &str, registration: Registration) {
        let id = WorkerId(self.next);
        self.next += 1;
        let connected = self.events.is_some();
        let fake = Fake { id, connected, registration: registration.clone(), refuses_adoption: false };
        let refuses_adoption = self.fakes.get(name).is_some_and(|old| old.refuses_adoption);
        self.fakes.insert(name.to_owned(), Fake { refuses_adoption, ..fake });
        self.tell(LinkEvent::Registered { worker: id, registration: Box::new(registration) });
    }

    fn name(&self, worker: WorkerId) -> Option<String> {
        self.fakes.iter().find(|(_, fake)| fake.id == worker && fake.connected).map(|(name, _)| name.clone())
    }

    fn told(&mut self, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        let Some(name) = self.name(worker) else { return };
        for message in self.answers(&name, worker, &stamp, message) {
            self.tell(LinkEvent::Message { worker, stamp: stamp.clone(), message });
        }
    }

    fn answers(&mut self, name: &str, worker: WorkerId, stamp: &Stamp, message: ToWorker) -> Vec<FromWorker> {
        let Some(fake) = self.fakes.get_mut(name) else { return Vec::new() };
        let running = &mut fake.registration.running;
        match message {
            ToWorker::Deploy { .. } if !self.failing.is_empty() => {
                *running = None;
                vec![FromWorker::Failed { subtask: None, failure: self.failing.remove(0) }]
            }
            ToWorker::Deploy { parallelism, placement, restore, .. } => {
                self.deployments += 1;
                let mine = placement.into_iter().filter(|(_, to, _)| *to == worker);
                *running = Some(RunningExecution {
                    stamp: stamp.clone(),
                    deployed: stamp.clone(),
                    parallelism,
                    placed: mine.map(|(subtask, _, slot)| (subtask, slot)).collect(),
                    exhausted: Vec::new(),
                    completed: restore.as_ref().and_then(|at| number(&at.key)),
                    acknowledged: None,
                    triggered: CheckpointId(0),
                });
                let stored_bytes = if restore.is_some() { 10 } else { 0 };
                vec![FromWorker::Deployed { restored: RestoreReport { stored_bytes, ..Default::default() } }]
            }
            ToWorker::Adopt { deployed } => match running {
                Some(running) if running.deployed == deployed && !fake.refuses_adoption => {
                    running.stamp = stamp.clone();
                    vec![FromWorker::Adopted]
                }
                _ => {
                    let failure = Failure::new(FailureKind::Worker, "it does not run here");
                    vec![FromWorker::Failed { subtask: None, failure }]
                }
            },
            ToWorker::Trigger { id, hold, .. } => {
                let Some(running) = running else { return Vec::new() };
                if id <= running.triggered {
                    self.declined.push(id);
                }
                if hold && !self.holds.contains(&id) {
                    self.holds.push(id);
                }
                (running.triggered, running.acknowledged) = (id, Some(id));
                running.placed.iter().map(|(s, _)| FromWorker::Ack { id, ack: Box::new(ack(*s)) }).collect()
            }
            ToWorker::Commit { id, .. } => {
                if let Some(running) = running
                    && running.acknowledged == Some(id)
                {
                    (running.completed, running.acknowledged) = (Some(id), None);
                }
                vec![FromWorker::Committed { id }]
            }
            ToWorker::Abort { .. } => Vec::new(),
            ToWorker::Cancel => {
                *running = None;
                vec![FromWorker::Stopped]
            }
        }
    }
}

/// The checkpoint of a manifest's key.
fn number(key: &str) -> Option<CheckpointId> {
    let name = key.rsplit('/').next()?.strip_prefix('c')?;
    name.split('-').next()?.parse().ok().map(CheckpointId)
}

fn ack(subtask: SubtaskId) -> SubtaskAck {
    SubtaskAck {
        subtask,
        objects: Vec::new(),
        new_objects: 0,
        state: Vec::new(),
        sinks: Vec::new(),
        times: PhaseTimes::default(),
        new_bytes: 3,
        full_bytes: 5,
    }
}

impl Job {
    /// Waits until the status is as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&JobStatus) -> bool) -> JobStatus {
        let waited = tokio::time::timeout(PATIENCE, self.status.wait_for(|status| wanted(status))).await;
        let found = waited.map(|status| status.map(|status| JobStatus::clone(&status)).ok());
        match found {
            Ok(Some(status)) => status,
            _ => panic!("not {what}: {:#?}", self.status.borrow()),
        }
    }

    pub(crate) fn status(&self) -> Arc<JobStatus> {
        self.status.borrow().clone()
    }

    /// The status, also after the end.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<JobStatus>> {
        self.status.clone()
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Accepted, AskError> {
        self.requests.ask(request).await
    }

    /// The process of the coordinator dies.
    pub(crate) async fn kill(self) {
        self.running.abort();
        // Killed, or at its end: either way it does nothing any more.
        drop(self.running.await);
    }

    pub(crate) async fn exit(self) -> Exit {
        let ended = tokio::time::timeout(PATIENCE, self.running).await.expect("it ends");
        ended.expect("no panic")
    }

    /// Stops the job after a last checkpoint.
    pub(crate) async fn stop(self) {
        self.ask(Request::Stop(StopRequest::Graceful)).await.expect("it stops");
        let exit = self.exit().await;
        assert!(matches!(exit, Exit::Stopped { .. }), "{exit:?}");
    }

    /// Serves it over HTTP.
    pub(crate) async fn serve(&self) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("an address");
        let api = http::Api { status: self.status.clone(), requests: self.requests.clone(), more: None };
        tokio::spawn(http::serve(listener, api, std::future::pending()));
        Server(at)
    }
}

/// Where a job is served.
pub(crate) struct Server(std::net::SocketAddr);

impl Server {
    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }

    pub(crate) async fn post(&self, path: &str, kind: &str, body: &str) -> String {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}");
        self.send(&format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await
    }

    async fn send(&self, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.0).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }
}
