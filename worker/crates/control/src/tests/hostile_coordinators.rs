//! A worker's client against coordinators that do not keep to the protocol.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http_body::{Body, Frame as BodyFrame};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use weir_protocol::{CONTROL_VERSIONS, ToWorker};
use weir_runtime::Random;

use super::hostile_workers::seed;
use super::*;
use crate::frame::{CoordinatorFrame, Envelope, FromCoordinatorFrame, Heartbeat as Beat, Welcome};
use crate::{LinkState, wire};

/// An answer whose stream ends in the middle of the protocol.
struct Answer(VecDeque<Bytes>);

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(BodyFrame::data(bytes))))
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: CONTROL_VERSIONS.1,
        worker: 1,
        config: wire::to_json(&config()).expect("JSON"),
        heartbeat_ms: 50,
        lost_after_ms: 2000,
    }
}

fn frame(content: FromCoordinatorFrame) -> Bytes {
    framed(&CoordinatorFrame::from(content))
}

/// What a hostile coordinator answers.
fn answer(seed: u64) -> Vec<Bytes> {
    let random = SeededRandom::new(seed);
    let below = |bound: usize| (random.next_u64() % bound as u64) as usize;
    let bytes = |most: usize| -> Vec<u8> { (0..below(most) + 1).map(|_| random.next_u64() as u8).collect() };
    let good = frame(FromCoordinatorFrame::Welcome(welcome()));
    let with = |change: &dyn Fn(&mut Welcome)| {
        let mut changed = welcome();
        change(&mut changed);
        vec![frame(FromCoordinatorFrame::Welcome(changed))]
    };
    let message = |body: Vec<u8>| {
        let (job, body) = ("bids".to_owned(), Bytes::from(body));
        frame(FromCoordinatorFrame::Message(Envelope { job, attempt: 1, execution: 1, body }))
    };
    match seed % 12 {
        0 => vec![prefixed(&bytes(200))],
        1 => vec![prefixed(&[])],
        2 => vec![good.slice(..below(good.len() - 1) + 1)],
        3 => vec![Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1, 2])],
        4 => vec![frame(FromCoordinatorFrame::Heartbeat(Beat {}))],
        5 => with(&|w| w.version = 99),
        6 => with(&|w| w.heartbeat_ms = 0),
        7 => with(&|w| w.config = Bytes::from_static(b"{}")),
        8 => with(&|w| w.lost_after_ms = u64::MAX),
        // Good until the worker believes it.
        9 => vec![good, message(bytes(200))],
        10 => vec![good.clone(), good],
        _ => vec![good, message(vec![b' '; limits().message_bytes + (2 << 10)])],
    }
}

async fn serve(stream: TcpStream, seed: u64) {
    if seed % 13 == 12 {
        // Not even HTTP/2.
        let mut stream = stream;
        let _ = stream.write_all(&seed.to_be_bytes()).await;
        return;
    }
    let service = service_fn(move |_| async move {
        let answer = http::Response::builder().header("content-type", "application/grpc");
        Ok::<_, Infallible>(answer.body(Answer(answer_of(seed))).expect("a response"))
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

fn answer_of(seed: u64) -> VecDeque<Bytes> {
    answer(seed).into()
}

const ANSWERS: u64 = 1_000;

#[tokio::test]
async fn a_worker_survives_a_thousand_hostile_answers_and_finds_the_good_coordinator() {
    let first = seed();
    eprintln!("WEIR_SEED={first}");
    let hostile = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = hostile.local_addr().expect("an address").to_string();
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let accepting = tokio::spawn(async move {
        for n in 0..ANSWERS {
            let (stream, _) = hostile.accept().await.expect("a connection");
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, first + n));
        }
    });
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits());
    // Many addresses make a round, between rounds there is a pause.
    let mut addresses = vec![address; 500];
    addresses.push("127.0.0.1:1".to_owned());
    let mut worker = Worker::start("a", addresses);
    within(accepting).await.expect("all are served");
    let looking = |state: &LinkState| matches!(state, LinkState::Looking { because: Some(_) });
    within(worker.link.wait_for(looking)).await.expect("a client that runs");
    assert_eq!(served.load(Ordering::Relaxed), ANSWERS);
    assert!(!worker.task.is_finished());
    let mut believed = 0;
    while let Ok(heard) = worker.hears.try_recv() {
        match heard {
            Incoming::Connected { .. } => believed += 1,
            Incoming::Disconnected => {}
            // The body of no message above can be read.
            Incoming::Message(..) | Incoming::Release { .. } => panic!("{heard:?}"),
        }
    }
    assert!(believed > 0, "some began well");
    worker.says = None;
    assert_eq!(within(worker.task).await.expect("no panic"), ClientEnd::Closed);

    // Between hostile ones the good one is found.
    let mut other = Worker::start("b", vec!["127.0.0.1:1".to_owned(), address_of(&server).1]);
    assert!(matches!(other.hear().await, Incoming::Connected { .. }));
    assert!(within(events.recv()).await.is_some());
    server.send(weir_protocol::WorkerId(1), &stamp(), &ToWorker::Cancel);
    assert_eq!(other.hear().await, Incoming::Message(stamp(), ToWorker::Cancel));
}
