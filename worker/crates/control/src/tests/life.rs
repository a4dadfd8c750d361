//! What both ends do for each other when all goes well, and when one is slow, silent or gone.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_protocol::{FromWorker, ToWorker, WorkerId};

use super::*;
use crate::{Events, ServerEvent};

async fn next(events: &mut Events) -> ServerEvent {
    within(events.recv()).await.expect("a server that runs")
}

fn stopped() -> Outgoing {
    Outgoing::Message(stamp(), FromWorker::Stopped)
}

#[tokio::test]
async fn a_worker_is_taken_and_both_hear_what_the_other_says() {
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits());
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    let ServerEvent::Registered { worker: number, registration: said } = next(&mut events).await else {
        panic!("first a registration")
    };
    assert_eq!((number, *said), (WorkerId(1), registration("a")));
    assert_eq!(worker.hear().await, Incoming::Connected { worker: number, config: Arc::new(config()) });
    server.send(number, &stamp(), &ToWorker::Cancel);
    assert_eq!(worker.hear().await, Incoming::Message(stamp(), ToWorker::Cancel));
    worker.say(stopped());
    let expected = ServerEvent::Message { worker: number, stamp: stamp(), message: FromWorker::Stopped };
    assert_eq!(next(&mut events).await, expected);
    worker.say(Outgoing::Draining);
    assert_eq!(next(&mut events).await, ServerEvent::Draining { worker: number });

    // It has nothing more to say: whoever releases it waits for that, and no longer.
    worker.says = None;
    server.release_all("over", LONG).await;
}

#[tokio::test]
async fn a_worker_that_is_released_says_its_last_words_and_ends() {
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits());
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    next(&mut events).await;
    worker.hear().await;
    let server = Arc::new(server);
    let released = tokio::spawn({
        let server = server.clone();
        async move { server.release_all("the job is over", LONG).await }
    });
    assert_eq!(worker.hear().await, Incoming::Release { reason: "the job is over".to_owned() });
    worker.say(stopped());
    worker.says = None;
    assert_eq!(within(worker.task).await.expect("no panic"), ClientEnd::Closed);
    assert!(matches!(next(&mut events).await, ServerEvent::Message { .. }));
    assert!(matches!(next(&mut events).await, ServerEvent::Lost { .. }));
    within(released).await.expect("all are gone");
    assert_eq!(server.counters().lost, 0, "it has only done as it was told");

    // One that comes now hears it instead of a welcome.
    let mut late = Worker::start("b", vec![address_of(&server).1]);
    assert_eq!(late.hear().await, Incoming::Release { reason: "the job is over".to_owned() });
}

#[tokio::test]
async fn a_worker_finds_the_next_coordinator_and_tells_it_what_runs() {
    let listener = listener().await;
    let (server, mut events) = server_on(listener.clone(), HEARTBEAT, limits());
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    next(&mut events).await;
    worker.hear().await;
    let running = RunningExecution {
        stamp: stamp(),
        deployed: stamp(),
        parallelism: 1,
        placed: Vec::new(),
        exhausted: Vec::new(),
        completed: None,
        triggered: weir_protocol::CheckpointId(0),
        acknowledged: None,
    };
    worker.running.send_replace(Some(running.clone()));
    drop((server, events));
    assert_eq!(worker.hear().await, Incoming::Disconnected);
    let (_server, mut events) = server_on(listener, HEARTBEAT, limits());
    let ServerEvent::Registered { registration, .. } = next(&mut events).await else {
        panic!("first a registration")
    };
    assert_eq!(registration.running, Some(running));
    assert!(matches!(worker.hear().await, Incoming::Connected { .. }));
}

#[tokio::test]
async fn other_work_of_the_same_job_ends_the_client() {
    let listener = listener().await;
    let (server, mut events) = server_on(listener.clone(), HEARTBEAT, limits());
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    next(&mut events).await;
    worker.hear().await;
    drop((server, events));
    let options = ServerOptions {
        config: Arc::new(JobConfig { sql: "SELECT 2".to_owned(), ..config() }),
        transport: Transport::Plaintext,
        heartbeat: HEARTBEAT,
        limits: limits(),
        first_worker: 1,
    };
    let _server = Server::start(listener, options).expect("a server");
    assert_eq!(within(worker.task).await.expect("no panic"), ClientEnd::OtherWork);
}

#[tokio::test]
async fn a_worker_of_another_job_is_refused_and_hears_why() {
    let (server, _events) = server_on(listener().await, HEARTBEAT, limits());
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    worker.hear().await;
    let options = ServerOptions {
        config: Arc::new(JobConfig { uid: JobUid::new("asks").expect("a uid"), ..config() }),
        transport: Transport::Plaintext,
        heartbeat: HEARTBEAT,
        limits: limits(),
        first_worker: 1,
    };
    let other_listener = listener().await;
    let (other, _other_events) = Server::start(other_listener, options).expect("a server");
    // It knows its job by now; the coordinator goes, and another job's answers.
    let address = address_of(&other).1;
    drop(worker);
    let mut stray = Worker::start("b", vec![address_of(&server).1, address]);
    stray.hear().await;
    drop(server);
    let because = |state: &LinkState| match state {
        LinkState::Looking { because } => {
            because.as_deref().is_some_and(|b| b.contains("of job asks") && b.contains("to job bids"))
                || because.as_deref().is_some_and(|b| b.contains("the worker belongs to job bids"))
        }
        LinkState::Connected { .. } => false,
    };
    within(stray.link.wait_for(because)).await.expect("a client that runs");
    assert_eq!(other.counters().registered, 0);
    assert!(other.counters().refused > 0);
}

#[tokio::test]
async fn a_worker_that_takes_nothing_is_lost_and_costs_no_more_than_its_queue() {
    let patient = Heartbeat { every: ms(50), lost_after: LONG };
    let (server, mut events) = server_on(listener().await, patient, limits());
    let mut peer = super::hostile_workers::Peer::connect(server.address()).await;
    peer.hello("a").await;
    assert!(matches!(next(&mut events).await, ServerEvent::Registered { .. }));
    let long = ToWorker::Commit { id: weir_protocol::CheckpointId(1), sinks: Vec::new() };
    // Never read by the peer: windows of the connection fill, then the queue.
    let lost = async {
        loop {
            for _ in 0..1000 {
                server.send(WorkerId(1), &stamp(), &long);
            }
            tokio::task::yield_now().await;
            if server.counters().lost > 0 {
                break;
            }
        }
    };
    within(lost).await;
    let ServerEvent::Lost { failure, .. } = next(&mut events).await else { panic!("it is lost") };
    assert!(failure.to_string().contains("does not keep up"), "{failure}");
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_lost() {
    let heartbeat = Heartbeat { every: ms(20), lost_after: ms(200) };
    let (server, mut events) = server_on(listener().await, heartbeat, limits());
    let mut peer = super::hostile_workers::Peer::connect(server.address()).await;
    peer.hello("a").await;
    assert!(matches!(next(&mut events).await, ServerEvent::Registered { .. }));
    let ServerEvent::Lost { failure, .. } = next(&mut events).await else { panic!("it is lost") };
    assert!(failure.to_string().contains("nothing was heard of it for 200ms"), "{failure}");
}

#[tokio::test]
async fn connections_that_say_nothing_make_way() {
    let limits = Limits { handshake: ms(100), connections: 4, ..limits() };
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits);
    let mut silent = Vec::new();
    for n in 0..8 {
        let mut stream = TcpStream::connect(server.address()).await.expect("a listener");
        if n % 2 == 0 {
            // Half of a preface.
            let _ = stream.write_all(b"PRI * HT").await;
        }
        silent.push(stream);
    }
    let _worker = Worker::start("a", vec![address_of(&server).1]);
    assert!(matches!(next(&mut events).await, ServerEvent::Registered { .. }));
    let counters = server.counters();
    assert!(counters.failed_handshakes + counters.turned_away >= 1, "{counters:?}");
}

#[tokio::test]
async fn a_worker_that_talks_without_end_waits_while_the_coordinator_takes_nothing() {
    let limits = limits();
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits);
    let mut worker = Worker::start("a", vec![address_of(&server).1]);
    worker.hear().await;
    let failure = weir_protocol::Failure::new(weir_protocol::FailureKind::Worker, "x".repeat(1000));
    let talk = || Outgoing::Message(stamp(), FromWorker::Failed { subtask: None, failure: failure.clone() });
    // More than both ends keep: the worker's end gives up rather than keep it all.
    for _ in 0..4_000 {
        worker.say(talk());
    }
    let overrun = async {
        loop {
            if worker.hear().await == Incoming::Disconnected {
                break;
            }
        }
    };
    within(overrun).await;
    let mut bytes = 0;
    loop {
        match next(&mut events).await {
            ServerEvent::Message { .. } => bytes += 1000,
            ServerEvent::Lost { .. } => break,
            _ => {}
        }
    }
    // One queue here, windows and one queue there.
    assert!(bytes < 2 * limits.queue_bytes + (4 << 20), "{bytes}");
}
