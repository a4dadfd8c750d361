//! Savepoints of a running coordinator, and jobs that start from one: with real journals, objects and copies, and
//! deaths at every operation of the store.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_checkpoint::journal::{Journal, JournalView};
use weir_checkpoint::manifest::{read_manifest, verify_checkpoint, write_data};
use weir_checkpoint::savepoint::{SavepointFolder, SavepointId, list_savepoints};
use weir_checkpoint::segment::{BlockContent, BlockOwner, SegmentWriter};
use weir_checkpoint::store::{FsStore, MemoryStore, Store};
use weir_checkpoint::{Body, ClaimWanted, Restore, Start, View, layout};
use weir_coordinator::status::JobState;
use weir_coordinator::{
    Accepted, Coordinator, Exit, JobStatus, LinkEvent, Options, Request, Requests, SavepointRequest,
    SavepointState, SavepointStatus, Shell, StopRequest, WorkerLink, Workers, testing,
};
use weir_protocol::{
    Blob, CheckpointKind, FailureKind, FromWorker, PhaseTimes, RestoreReport, SinkHandles, Stamp, SubtaskAck,
    SubtaskId, ToWorker, TransformId, TransformState, VertexId, WorkerId,
};
use weir_runtime::{Clock, Random, SystemClock, SystemRandom};
use weir_testing::{CrashingStore, Death};

const PATIENCE: Duration = Duration::from_secs(60);

/// One worker with all subtasks; each puts an object into the store for every checkpoint.
struct Host {
    events: mpsc::Sender<LinkEvent>,
    store: Arc<dyn Store>,
    placed: std::sync::Mutex<Vec<SubtaskId>>,
}

impl Host {
    fn answers(&self, stamp: &Stamp, message: ToWorker) -> Vec<FromWorker> {
        match message {
            ToWorker::Deploy { placement, .. } => {
                *self.placed.lock().unwrap() = placement.into_iter().map(|(subtask, ..)| subtask).collect();
                vec![FromWorker::Deployed { restored: RestoreReport::default() }]
            }
            ToWorker::Trigger { id, .. } => {
                let placed = self.placed.lock().unwrap().clone();
                let ack = |s| FromWorker::Ack { id, ack: Box::new(self.ack(stamp, id, s)) };
                placed.into_iter().map(ack).collect()
            }
            ToWorker::Commit { id, .. } => vec![FromWorker::Committed { id }],
            ToWorker::Adopt { .. } => vec![FromWorker::Adopted],
            ToWorker::Abort { .. } => Vec::new(),
            ToWorker::Cancel => vec![FromWorker::Stopped],
        }
    }

    fn ack(&self, stamp: &Stamp, id: weir_protocol::CheckpointId, subtask: SubtaskId) -> SubtaskAck {
        let transform = TransformId(subtask.vertex.0);
        let mut writer = SegmentWriter::default();
        let owner = BlockOwner { subtask, transform, content: BlockContent::List { name: "splits".into() } };
        let block = writer.push(owner, Bytes::from(format!("{subtask} at {id}").repeat(50)), 1);
        let written =
            write_data(self.store.as_ref(), &SystemRandom, stamp.attempt, id, "w1", writer.finish());
        let object = block_on(written).expect("memory and files take it");
        let handles = vec![Blob::Inline(b"a file".to_vec())];
        let sink = (subtask.vertex == VertexId::of("sink")).then_some(SinkHandles { transform, handles });
        let lists = vec![("splits".to_owned(), vec![Blob::Block(block)])];
        SubtaskAck {
            subtask,
            objects: vec![object],
            new_objects: 1,
            state: vec![TransformState { transform, tables: Vec::new(), lists }],
            sinks: sink.into_iter().collect(),
            times: PhaseTimes::default(),
            new_bytes: 1,
            full_bytes: 1,
        }
    }
}

impl WorkerLink for Host {
    fn send(&self, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        for message in self.answers(&stamp, message) {
            // A coordinator that is gone hears nothing.
            let _ = self.events.try_send(LinkEvent::Message { worker, stamp: stamp.clone(), message });
        }
    }
}

/// A coordinator that runs.
struct Job {
    status: watch::Receiver<Arc<JobStatus>>,
    requests: Requests,
    running: JoinHandle<Exit>,
    _stop: mpsc::Sender<StopRequest>,
}

/// A coordinator over `seen`, whose worker writes to `store`.
fn start_over(store: &Arc<dyn Store>, seen: Arc<dyn Store>, change: impl FnOnce(&mut Options)) -> Job {
    let (events, received) = mpsc::channel(10_000);
    let registration = Box::new(testing::registration(4, "here"));
    events.try_send(LinkEvent::Registered { worker: WorkerId(1), registration }).unwrap();
    let link = Arc::new(Host { events, store: store.clone(), placed: std::sync::Mutex::default() });
    let (stop, stopped) = mpsc::channel(2);
    let mut options = testing::options(2);
    options.config.checkpoint.interval = Duration::from_millis(10);
    options.gather = Duration::ZERO;
    change(&mut options);
    let shell = Shell {
        store: seen,
        workers: Workers { link, events: received },
        clock: Arc::new(SystemClock::default()),
        random: Arc::new(SystemRandom),
        stop: stopped,
        plan: Arc::new(|parallelism| Ok(testing::graph(parallelism))),
    };
    let (coordinator, status) = Coordinator::new(options, shell);
    let requests = coordinator.requests();
    Job { status, requests, running: tokio::spawn(coordinator.run()), _stop: stop }
}

fn start(store: &Arc<dyn Store>, change: impl FnOnce(&mut Options)) -> Job {
    start_over(store, store.clone(), change)
}

impl Job {
    async fn until(&mut self, wanted: impl Fn(&JobStatus) -> bool) -> JobStatus {
        let waited = tokio::time::timeout(PATIENCE, self.status.wait_for(|status| wanted(status))).await;
        match waited.map(|status| status.map(|status| JobStatus::clone(&status)).ok()) {
            Ok(Some(status)) => status,
            _ => panic!("it does not come to pass: {:#?}", self.status.borrow()),
        }
    }

    async fn completed(&mut self, checkpoints: u64) -> JobStatus {
        self.until(|s| s.checkpoints.counters.completed >= checkpoints).await
    }

    /// Asks for a savepoint, and waits for its end.
    async fn savepoint(&mut self, request: SavepointRequest) -> SavepointStatus {
        let asked = self.requests.ask(Request::Savepoint(request)).await;
        let Ok(Accepted::Savepoint { id, .. }) = asked else { panic!("{asked:?}") };
        self.ended(&id).await
    }

    async fn ended(&mut self, id: &SavepointId) -> SavepointStatus {
        let find = |s: &JobStatus| s.savepoints.iter().find(|s| s.id == *id).cloned();
        let status = self.until(|s| find(s).is_some_and(|s| s.state.ended())).await;
        find(&status).unwrap()
    }

    async fn exit(self) -> Exit {
        tokio::time::timeout(PATIENCE, self.running).await.expect("it ends").expect("no panic")
    }

    async fn stop(self) -> Exit {
        self.requests.ask(Request::Stop(StopRequest::Graceful)).await.expect("it stops");
        self.exit().await
    }
}

async fn view(store: &Arc<dyn Store>) -> View {
    JournalView::read(store.as_ref()).await.expect("the journal can be read").view
}

async fn whole(store: &Arc<dyn Store>, id: &SavepointId) -> weir_checkpoint::savepoint::Savepoint {
    let folder = SavepointFolder::of_job(store.clone(), id);
    let (savepoint, problems) = folder.verify().await.expect("it is a savepoint");
    assert_eq!(problems, vec![]);
    savepoint
}

fn named(id: &str) -> SavepointRequest {
    SavepointRequest { id: Some(SavepointId::new(id).unwrap()), ..SavepointRequest::default() }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

#[tokio::test]
async fn a_running_job_makes_savepoints_and_garbage_collection_leaves_them_alone() {
    let store = memory();
    let mut job = start(&store, |_| {});
    let before = job.completed(2).await.checkpoints.last_completed;
    let made = job.savepoint(SavepointRequest::default()).await;
    assert_eq!((made.state, &made.failure), (SavepointState::Completed, &None));
    assert!(made.checkpoint > before, "a checkpoint was taken for it: {made:?}");
    let last = job.savepoint(SavepointRequest { from_last: true, ..named("last") }).await;
    assert_eq!((last.state, last.objects), (SavepointState::Completed, Some(4)));
    assert!(last.bytes > Some(0) && last.took_us.is_some());
    assert_eq!(last.place, "memory://test/test-job/savepoints/last");

    let again = job.requests.ask(Request::Savepoint(named("last"))).await;
    assert!(again.is_err_and(|e| e.to_string().contains("choose another id")));

    // All that it is a copy of is gone by now.
    let taken = last.checkpoint.unwrap();
    let kept = |s: &JobStatus| s.checkpoints.retained.iter().any(|id| *id <= taken);
    job.until(|s| !kept(s)).await;
    for id in [&made.id, &last.id] {
        assert_eq!(whole(&store, id).await.job.as_str(), "test-job");
    }
    assert_eq!(view(&store).await.pins(), BTreeMap::new());
    assert!(matches!(job.stop().await, Exit::Stopped { complete: true, .. }));
}

#[tokio::test]
async fn a_job_that_stops_with_a_savepoint_ends_when_it_is_whole_and_it_is_of_the_last_checkpoint() {
    let store = memory();
    let mut job = start(&store, |o| o.config.checkpoint.interval = Duration::from_secs(3600));
    job.until(|s| s.state == JobState::Running).await;
    let asked = job.requests.ask(Request::Savepoint(SavepointRequest { stop: true, ..named("bye") })).await;
    assert!(matches!(asked, Ok(Accepted::Savepoint { .. })), "{asked:?}");
    let status = job.status.clone();
    let Exit::Stopped { last: Some(last), complete: true } = job.exit().await else { panic!("not stopped") };
    assert_eq!(whole(&store, &named("bye").id.unwrap()).await.checkpoint, last);
    assert_eq!(status.borrow().savepoints[0].state, SavepointState::Completed);
    assert_eq!(view(&store).await.pins(), BTreeMap::new());
}

#[tokio::test]
async fn a_savepoint_of_a_job_that_can_not_run_is_of_its_last_checkpoint_or_fails_with_a_reason() {
    let store = memory();
    let mut job = start(&store, |_| {});
    job.completed(2).await;
    let Exit::Stopped { last: Some(last), .. } = job.stop().await else { panic!("not stopped") };
    // It waits for slots that never come.
    let mut job = start(&store, |o| {
        *o = Options { gather: o.gather, ..testing::options(9) };
    });
    let waits = |s: &JobStatus| s.detail.as_deref().is_some_and(|detail| detail.contains("slots"));
    job.until(|s| s.attempt.is_some_and(|a| a.0 == 2) && waits(s)).await;
    let asked = job.requests.ask(Request::Savepoint(SavepointRequest { stop: true, ..named("rest") })).await;
    assert!(asked.is_ok(), "{asked:?}");
    assert!(matches!(job.exit().await, Exit::Stopped { complete: false, .. }));
    assert_eq!(whole(&store, &named("rest").id.unwrap()).await.checkpoint, last);

    let empty = memory();
    let mut job = start(&empty, |o| *o = testing::options(9));
    job.until(|s| s.attempt.is_some()).await;
    let refused =
        job.requests.ask(Request::Savepoint(SavepointRequest { from_last: true, ..named("a") })).await;
    assert!(refused.is_err_and(|e| e.to_string().contains("no completed checkpoint")));
    job.requests.ask(Request::Savepoint(named("b"))).await.unwrap();
    let status = job.status.clone();
    job.stop().await;
    let ended = status.borrow().savepoints[0].clone();
    assert_eq!(ended.state, SavepointState::Failed);
    assert!(ended.failure.unwrap().message.contains("the job ended before"));
}

#[tokio::test]
async fn a_copy_that_finds_damage_names_it_and_leaves_neither_half_a_savepoint_nor_a_pin() {
    let store = memory();
    let mut job = start(&store, |_| {});
    job.completed(1).await;
    let Exit::Stopped { .. } = job.stop().await else { panic!("not stopped") };
    let newest = view(&store).await.newest().unwrap();
    let damaged = read_manifest(store.as_ref(), &newest.manifest).await.unwrap().objects[2].clone();
    let mut bytes = store.get(&damaged.key).await.unwrap().unwrap().to_vec();
    bytes[40] ^= 1;
    store.put(&damaged.key, bytes.into()).await.unwrap();

    let mut job = start(&store, |o| o.config.checkpoint.interval = Duration::from_secs(3600));
    job.until(|s| s.state == JobState::Running).await;
    let made = job.savepoint(SavepointRequest { from_last: true, ..named("s") }).await;
    assert_eq!(made.state, SavepointState::Failed);
    let failure = made.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::StateUnreadable);
    assert!(failure.message.contains(&damaged.key), "{failure}");
    assert_eq!(store.list(layout::SAVEPOINTS).await, Ok(vec![]));
    assert_eq!(view(&store).await.pins(), BTreeMap::new());
    // The name is free for another try.
    assert_eq!(job.savepoint(named("s")).await.state, SavepointState::Completed);
    job.stop().await;
}

#[tokio::test]
async fn what_was_being_copied_is_finished_by_the_next_coordinator() {
    let (temp, store) = (tempfile::tempdir().unwrap(), memory());
    let mut job = start(&store, |_| {});
    job.completed(1).await;
    job.stop().await;
    let newest = view(&store).await.newest().unwrap();
    let to = format!("file://{}", temp.path().display());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    let wanted = ClaimWanted { spec: "s".into(), start: Start::Continue, restore_from: None, patience: None };
    let (mut journal, _) = Journal::claim(store.clone(), clock, random, wanted).await.unwrap();
    for name in ["savepoint/near".to_owned(), format!("savepoint/far to {to}"), "upgrade/7".to_owned()] {
        journal.append(Body::Pin { name, id: newest.id }).await.unwrap();
    }
    drop(journal);

    let mut job = start(&store, |_| {});
    for id in ["near", "far"] {
        let ended = job.ended(&SavepointId::new(id).unwrap()).await;
        assert_eq!(
            (ended.state, ended.checkpoint),
            (SavepointState::Completed, Some(newest.id)),
            "{ended:?}"
        );
    }
    job.completed(3).await;
    job.stop().await;
    whole(&store, &SavepointId::new("near").unwrap()).await;
    let far: Arc<dyn Store> = Arc::new(FsStore::new(temp.path().join("far")));
    assert_eq!(SavepointFolder::at(far).verify().await.unwrap().1, vec![]);
    let pins: Vec<String> = view(&store).await.pins().into_keys().collect();
    assert_eq!(pins, ["upgrade/7"], "pins of others stay");
}

/// The coordinator's store dies at each operation on the way of a savepoint; the next coordinator leaves it whole, or
/// it was never held on to and nothing is left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_dies_at_any_step_of_a_savepoint_leaves_no_half_of_it_and_no_pin() {
    let mut finished = 0;
    for step in 1..=40 {
        for after in [false, true] {
            let store = memory();
            let mut job = start(&store, |_| {});
            job.completed(1).await;
            job.stop().await;
            // How many operations come before the request varies; those after it are what counts.
            let quiet = |o: &mut Options| o.config.checkpoint.interval = Duration::from_secs(3600);
            let death = |at| if after { Death::After(at) } else { Death::Before(at) };
            let dying = Arc::new(CrashingStore::new(store.clone(), death(step + 12)));
            let mut job = start_over(&store, dying.clone(), quiet);
            // It may die before it runs at all.
            let up = tokio::time::timeout(
                Duration::from_millis(300),
                job.status.wait_for(|s| s.state == JobState::Running),
            );
            let up = up.await.is_ok();
            if up {
                let _ = job.requests.ask(Request::Savepoint(named("s"))).await;
                let dead = async {
                    while dying.operations() < step + 12 && !ended(&job) {
                        tokio::task::yield_now().await
                    }
                };
                let _ = tokio::time::timeout(Duration::from_secs(5), dead).await;
            }
            job.running.abort();
            let _ = job.running.await;

            let mut job = start(&store, quiet);
            job.until(|s| s.state == JobState::Running).await;
            job.until(|s| s.savepoints.iter().all(|s| s.state.ended())).await;
            job.stop().await;
            assert_eq!(view(&store).await.pins(), BTreeMap::new(), "{step}");
            for found in list_savepoints(&store, layout::SAVEPOINTS).await.unwrap() {
                assert_eq!(found.problem(), None, "{step} {after}");
                whole(&store, &SavepointId::new(found.id()).unwrap()).await;
                finished += 1;
            }
        }
    }
    assert!(finished > 20, "{finished} of 80 were finished");
}

fn ended(job: &Job) -> bool {
    job.status.borrow().savepoints.iter().any(|s| s.state.ended())
}

/// A job in files that stopped with a savepoint: the URL of the savepoint.
async fn saved(folder: &std::path::Path) -> String {
    let store: Arc<dyn Store> = Arc::new(FsStore::new(folder));
    let mut job = start(&store, |_| {});
    job.completed(2).await;
    job.requests.ask(Request::Savepoint(SavepointRequest { stop: true, ..named("s") })).await.unwrap();
    job.exit().await;
    format!("file://{}/savepoints/s", folder.display())
}

#[tokio::test]
async fn a_new_job_takes_a_savepoint_over_once() {
    let temp = tempfile::tempdir().unwrap();
    let url = saved(temp.path()).await;
    let store = memory();
    let from = |url: &str| {
        let url = url.to_owned();
        move |o: &mut Options| o.restore_from = Some(url)
    };
    // What was taken over is looked at below: the checkpoints after it must not let it be collected before.
    let mut job = start(&store, |o| {
        from(&url)(o);
        o.config.checkpoint.retain = u32::MAX;
    });
    let running = job.until(|s| s.state == JobState::Running).await;
    assert_eq!(running.checkpoints.restored.map(|id| id.0), Some(1));
    let first = view(&store).await;
    let bodies: Vec<_> = first.records().iter().map(|r| r.body.clone()).collect();
    let [Body::Claim { restore, .. }, Body::Checkpoint { id, reason, manifest, commits, .. }, ..] =
        &bodies[..]
    else {
        panic!("{bodies:?}")
    };
    assert_eq!(*restore, Restore::Genesis { restore_from: Some(url.clone()) });
    assert_eq!((id.0, *reason, *commits), (1, CheckpointKind::Import, false));
    assert_eq!(verify_checkpoint(store.as_ref(), manifest).await, vec![]);
    let own = read_manifest(store.as_ref(), manifest).await.unwrap();
    assert!(
        own.parts.iter().flat_map(|p| &p.sinks).all(|s| s.handles.is_empty()),
        "no commit of another job"
    );
    job.completed(1).await;
    job.stop().await;

    // Never again: not after it is gone, not from another one, not if it is not asked for any more.
    std::fs::remove_dir_all(temp.path()).unwrap();
    for change in [Some(url.as_str()), Some("savepoint/other"), None] {
        let mut job = start(&store, |o| o.restore_from = change.map(str::to_owned));
        let running = job.until(|s| s.state == JobState::Running).await;
        assert!(running.checkpoints.restored.is_some_and(|id| id.0 > 1), "{change:?}");
        job.stop().await;
    }
    let imports = |view: &View| {
        let all = view.records().iter();
        all.filter(|r| matches!(r.body, Body::Checkpoint { reason: CheckpointKind::Import, .. })).count()
    };
    assert!(imports(&view(&store).await) <= 1);
}

#[tokio::test]
async fn what_can_not_be_started_from_is_said_before_anything_is_written() {
    let temp = tempfile::tempdir().unwrap();
    let url = saved(temp.path()).await;
    for (from, words) in [
        ("savepoint/none".to_owned(), "holds no savepoint none; savepoints there: there is none"),
        (format!("{url}x"), "holds neither a savepoint nor a job"),
        ("s3:/x".to_owned(), "not a storage URL"),
    ] {
        let store = memory();
        let job = start(&store, |o| o.restore_from = Some(from.clone()));
        let Exit::Failed(failure) = job.exit().await else { panic!("{from}: not failed") };
        assert!(failure.message.contains(words) && failure.message.contains(&from), "{from}: {failure}");
        assert!(!JournalView::read(store.as_ref()).await.unwrap().exists, "{from}: a claim was written");
    }
    let store = memory();
    let job = start(&store, |o| {
        o.restore_from = Some(url.clone());
        o.config.max_parallelism = 64;
    });
    let Exit::Failed(failure) = job.exit().await else { panic!("not failed") };
    assert_eq!(failure.kind, FailureKind::StateIncompatible);
    assert!(failure.message.contains("maxParallelism 128"), "{failure}");
    // Corrected, it goes on with what was claimed.
    let mut job = start(&store, |_| {});
    job.until(|s| s.state == JobState::Running && s.checkpoints.restored.is_some()).await;
    job.stop().await;
}

/// Rows flow only from state that is the job's own, whatever operation of the store the coordinator died at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_dies_at_any_step_of_taking_over_leaves_that_to_the_next_one() {
    let temp = tempfile::tempdir().unwrap();
    let url = saved(temp.path()).await;
    let counted = Arc::new(CrashingStore::new(memory(), Death::Never));
    let mut job = start_over(&memory(), counted.clone(), |o| o.restore_from = Some(url.clone()));
    job.until(|s| s.state == JobState::Running).await;
    let operations = counted.operations();
    job.running.abort();
    for at in 1..=operations {
        for death in [Death::Before(at), Death::After(at)] {
            let store = memory();
            let dying = Arc::new(CrashingStore::new(store.clone(), death));
            let quiet = |o: &mut Options| o.config.checkpoint.interval = Duration::from_secs(3600);
            let job = start_over(&store, dying.clone(), |o| {
                o.restore_from = Some(url.clone());
                quiet(o);
            });
            let dead = async {
                while dying.operations() <= at && job.status.borrow().state != JobState::Running {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(5), dead).await;
            job.running.abort();
            let _ = job.running.await;

            let mut job = start(&store, |o| {
                o.restore_from = Some(url.clone());
                quiet(o);
            });
            let running = job.until(|s| s.state == JobState::Running).await;
            assert_eq!(running.checkpoints.restored.map(|id| id.0), Some(1), "{death:?}");
            let newest = view(&store).await.newest().unwrap();
            assert_eq!(newest.reason, CheckpointKind::Import, "{death:?}");
            assert_eq!(verify_checkpoint(store.as_ref(), &newest.manifest).await, vec![], "{death:?}");
            job.stop().await;
        }
    }
}
