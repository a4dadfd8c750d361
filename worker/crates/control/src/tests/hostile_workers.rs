//! A coordinator's server against peers that do not keep to the protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::StreamExt;
use http_body::{Body, Frame as BodyFrame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_protocol::{CONTROL_VERSIONS, FromWorker, WorkerId};
use weir_runtime::Random;

use super::*;
use crate::frame::{Draining, Envelope, FromWorkerFrame, Heartbeat as Beat, Hello, PATH, WorkerFrame};
use crate::{ServerEvent, wire};

/// A body of pieces that come one by one.
struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|next| next.map(|bytes| Ok(BodyFrame::data(bytes))))
    }
}

/// A peer that speaks HTTP/2 and may say anything on its stream.
pub(super) struct Peer {
    send: http2::SendRequest<Pieces>,
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    answer: Option<JoinHandle<()>>,
    connection: JoinHandle<()>,
}

impl Peer {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (send, connection) = within(handshake).await.expect("HTTP/2");
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, pieces: None, answer: None, connection }
    }

    /// Opens the stream; `read`: what comes back is read to its end.
    async fn open(&mut self, path: &str, kind: &str, read: bool) {
        let (pieces, body) = mpsc::unbounded_channel();
        let request = http::Request::post(format!("http://coordinator{path}"))
            .header("content-type", kind)
            .header("te", "trailers")
            .body(Pieces(body))
            .expect("a request");
        let answer = self.send.send_request(request);
        self.pieces = Some(pieces);
        self.answer = Some(tokio::spawn(async move {
            let Ok(answer) = answer.await else { return };
            let mut body = answer.into_body();
            if !read {
                return std::future::pending().await;
            }
            while let Some(Ok(_)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
        }));
    }

    fn say(&self, bytes: Bytes) {
        // A peer that was thrown out already says it to nobody.
        let _ = self.pieces.as_ref().expect("an open stream").send(bytes);
    }

    /// A good hello, after which nothing is read.
    pub(super) async fn hello(&mut self, process: &str) {
        self.open(PATH, "application/grpc", false).await;
        self.say(framed(&hello(process)));
    }

    /// Waits until the coordinator has ended the stream.
    async fn thrown_out(mut self) {
        let answer = self.answer.take().expect("an open stream");
        within(answer).await.expect("no panic");
        self.connection.abort();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.connection.abort();
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

fn hello(process: &str) -> WorkerFrame {
    let (oldest, newest) = CONTROL_VERSIONS;
    let registration = wire::to_json(&registration(process)).expect("JSON");
    FromWorkerFrame::Hello(Hello { oldest, newest, job: String::new(), registration }).into()
}

fn message() -> WorkerFrame {
    FromWorkerFrame::Message(wire::seal(&stamp(), &FromWorker::Stopped).expect("JSON")).into()
}

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    fn bytes(&self, most: usize) -> Vec<u8> {
        (0..self.below(most) + 1).map(|_| self.0.next_u64() as u8).collect()
    }

    /// Some bytes changed.
    fn mutated(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..self.below(4) + 1 {
            let at = self.below(bytes.len());
            bytes[at] ^= (self.below(255) + 1) as u8;
        }
        bytes
    }
}

/// One hostile connection; returns when the coordinator has ended it.
async fn attack(address: SocketAddr, seed: u64) {
    let dice = Dice(SeededRandom::new(seed));
    let process = format!("hostile-{seed}");
    match seed % 14 {
        0 => raw(address, &dice.bytes(400)).await,
        1 => raw(address, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &dice.bytes(400)].concat()).await,
        2 => {
            let mut peer = Peer::connect(address).await;
            peer.open("/weir.control.v9.Control/Connect", "application/grpc", true).await;
            peer.thrown_out().await;
        }
        kind => {
            let mut peer = Peer::connect(address).await;
            peer.open(PATH, "application/grpc", true).await;
            let good = hello(&process).encode_to_vec();
            match kind {
                3 => peer.say(prefixed(&dice.bytes(200))),
                4 => peer.say(prefixed(&[])),
                // Cut off.
                5 => peer.say(framed(&hello(&process)).slice(..dice.below(good.len() + 4) + 1)),
                // Longer than allowed, by its own word.
                6 => peer.say(Bytes::from(vec![0, 0xff, 0xff, 0xff, dice.below(256) as u8, 1, 2, 3])),
                // Compressed, which nobody agreed on; a flag that is not there.
                7 => peer
                    .say(Bytes::from([&[1 + dice.below(9) as u8], &framed(&hello(&process))[1..]].concat())),
                8 => peer.say(prefixed(&dice.mutated(&good))),
                9 => {
                    let content = [
                        message(),
                        FromWorkerFrame::Heartbeat(Beat {}).into(),
                        FromWorkerFrame::Draining(Draining {}).into(),
                    ];
                    peer.say(framed(&content[dice.below(3)]));
                }
                10 => {
                    let other = Hello {
                        oldest: 77,
                        newest: 78,
                        job: String::new(),
                        registration: wire::to_json(&registration(&process)).expect("JSON"),
                    };
                    let stray = Hello { oldest: 1, newest: 1, job: "asks".to_owned(), ..other.clone() };
                    let frame = if dice.below(2) == 0 { other } else { stray };
                    peer.say(framed(&WorkerFrame::from(FromWorkerFrame::Hello(frame))));
                }
                // Taken, and then:
                11 => {
                    // The same again.
                    peer.say(framed(&hello(&process)));
                    peer.say(framed(&hello(&process)));
                }
                12 => {
                    peer.say(framed(&hello(&process)));
                    let envelope = Envelope {
                        job: ["bids", "asks", "?"][dice.below(3)].to_owned(),
                        attempt: 1,
                        execution: 1,
                        body: Bytes::from(dice.bytes(200)),
                    };
                    peer.say(framed(&WorkerFrame::from(FromWorkerFrame::Message(envelope))));
                }
                _ => {
                    peer.say(framed(&hello(&process)));
                    let large = FromWorkerFrame::Message(Envelope {
                        job: "bids".to_owned(),
                        attempt: 1,
                        execution: 1,
                        body: Bytes::from(vec![b' '; limits().message_bytes + (2 << 10)]),
                    });
                    peer.say(framed(&WorkerFrame::from(large)));
                }
            }
            // Nothing more comes.
            peer.pieces = None;
            peer.thrown_out().await;
        }
    }
}

/// Bytes without HTTP/2; then until the other end closes.
async fn raw(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
}

const ATTACKS: u64 = 1_000;

#[tokio::test]
async fn a_thousand_hostile_connections_are_refused_and_a_good_worker_does_not_notice() {
    let first = seed();
    eprintln!("WEIR_SEED={first}");
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits());
    let address = server.address();
    let mut worker = Worker::start("good", vec![address.to_string()]);
    assert!(matches!(worker.hear().await, Incoming::Connected { worker: WorkerId(1), .. }));

    let heard = tokio::spawn(async move {
        let (mut messages, mut good_lost) = (0, None);
        while let Some(event) = events.recv().await {
            match event {
                ServerEvent::Message { worker: WorkerId(1), .. } => messages += 1,
                ServerEvent::Lost { worker: WorkerId(1), failure } => good_lost = Some(failure),
                _ => {}
            }
        }
        (messages, good_lost)
    });
    let attacks = futures::stream::iter(first..first + ATTACKS).map(|seed| attack(address, seed));
    let mut attacks = attacks.buffer_unordered(16);
    let mut said = 0;
    while attacks.next().await.is_some() {
        worker.say(Outgoing::Message(stamp(), FromWorker::Stopped));
        said += 1;
    }
    assert_eq!(said, ATTACKS);
    drop(attacks);

    // A changed byte may leave a hello good; all others are counted as what they are, some a moment after the
    // peer saw its end.
    let harmless = (first..first + ATTACKS).filter(|seed| seed % 14 == 8).count() as u64;
    let counted = async {
        loop {
            let counters = server.counters();
            if counters.malformed + counters.refused + counters.failed_handshakes >= ATTACKS - harmless {
                return counters;
            }
            tokio::task::yield_now().await;
        }
    };
    let counters = tokio::time::timeout(LONG, counted).await;
    eprintln!("{counters:?} {:?}", server.counters());
    assert!(counters.is_ok(), "not all were counted");
    assert_eq!(server.counters().connections, ATTACKS + 1);

    // What the good one said has arrived, over the connection that it has had all the time.
    let server = Arc::new(server);
    let goodbye = tokio::spawn({
        let server = server.clone();
        async move { server.release_all("over", LONG).await }
    });
    assert!(matches!(worker.hear().await, Incoming::Release { .. }));
    worker.says = None;
    within(worker.task).await.expect("no panic");
    within(goodbye).await.expect("no panic");
    drop(server);
    let (messages, lost) = within(heard).await.expect("no panic");
    assert_eq!(messages, ATTACKS, "{lost:?}");
    assert!(lost.is_some_and(|f| f.to_string().contains("was closed")), "it went last, in good order");
}

#[tokio::test]
async fn what_is_pulled_to_pieces_is_put_together_again() {
    let (server, mut events) = server_on(listener().await, HEARTBEAT, limits());
    let mut peer = Peer::connect(server.address()).await;
    peer.open(PATH, "application/grpc", false).await;
    for frame in [hello("slow"), message()] {
        for byte in framed(&frame) {
            peer.say(Bytes::copy_from_slice(&[byte]));
            tokio::task::yield_now().await;
        }
    }
    assert!(matches!(within(events.recv()).await, Some(ServerEvent::Registered { .. })));
    assert!(matches!(within(events.recv()).await, Some(ServerEvent::Message { .. })));
}

/// The seed of this run: `WEIR_SEED`, or a new one.
pub(super) fn seed() -> u64 {
    match std::env::var("WEIR_SEED") {
        Ok(text) => text.parse().expect("WEIR_SEED is a number"),
        Err(_) => weir_runtime::SystemRandom.next_u64() % 1_000_000_007,
    }
}
