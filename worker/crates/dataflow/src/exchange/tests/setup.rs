//! Channels between two exchanges, and a peer that says whatever it is told to.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use weir_protocol::*;
use weir_runtime::tls::Transport;

use crate::Chunk;
use crate::exchange::frame::{ChannelId, Deployed, Frame, HEADER, Header, Kind};
use crate::exchange::rows::{Encoder, Form};
use crate::exchange::testing::limited;
use crate::exchange::{Exchange, ExchangeLimits, Routes, hello};
use crate::queue::{Message, Receiver, Sender, SlotWaker};

const FROM: SubtaskId = SubtaskId { vertex: VertexId(1), index: 0 };
const TO: SubtaskId = SubtaskId { vertex: VertexId(2), index: 0 };
/// The workers of those.
const SENDING: WorkerId = WorkerId(7);
const RECEIVING: WorkerId = WorkerId(8);

pub(super) fn uid() -> JobUid {
    JobUid::new("hot-items").unwrap()
}

pub(super) fn stamp(execution: u64) -> Stamp {
    Stamp { job: uid(), attempt: Attempt(1), execution: Execution(execution) }
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

pub(super) fn rows(numbers: impl IntoIterator<Item = i64>) -> Chunk {
    let column = Arc::new(Int64Array::from_iter_values(numbers));
    Chunk::inserts(RecordBatch::try_new(schema(), vec![column]).unwrap())
}

pub(super) fn numbers(message: &Message) -> Vec<i64> {
    match message {
        Message::Chunk(chunk) => chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec(),
        other => panic!("{other:?}"),
    }
}

/// A plaintext exchange with its address.
pub(super) async fn place(limits: ExchangeLimits) -> (Arc<Exchange>, String) {
    limited(&Transport::Plaintext, &uid(), limits).await
}

pub(super) type Told = mpsc::UnboundedReceiver<Failure>;

fn routes(exchange: &Arc<Exchange>, me: WorkerId, other: &str) -> Routes {
    let placement = [(FROM, SENDING, 0), (TO, RECEIVING, 0)];
    let peers = [(SENDING, other.to_owned()), (RECEIVING, other.to_owned())];
    Routes::new(Some(exchange.clone()), me, &placement, &peers)
}

/// Takes rows over edges `0 .. channels`, each into a queue of so many bytes.
pub(super) fn receive(
    exchange: &Arc<Exchange>,
    stamp: &Stamp,
    channels: usize,
    limit: usize,
) -> (Vec<Receiver>, Told) {
    let (tell, told) = mpsc::unbounded_channel();
    let routes = routes(exchange, RECEIVING, "the peer");
    let mut wiring = routes.wire(stamp, move |failure| drop(tell.send(failure)));
    let receivers = (0..channels)
        .map(|edge| wiring.receiver((edge, FROM, TO), &schema(), limit, Arc::default()).unwrap())
        .collect();
    wiring.start();
    (receivers, told)
}

/// Sends rows over edge 0.
pub(super) fn send(
    exchange: &Arc<Exchange>,
    address: &str,
    stamp: &Stamp,
    waker: &Arc<SlotWaker>,
) -> (Sender, Told) {
    let (tell, told) = mpsc::unbounded_channel();
    let routes = routes(exchange, SENDING, address);
    let wiring = routes.wire(stamp, move |failure| drop(tell.send(failure)));
    let sender = wiring.sender((0, FROM, TO), &schema(), waker.clone()).unwrap();
    wiring.start();
    (sender, told)
}

/// Waits until something holds that another task brings about.
pub(super) async fn until<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(there) = what() {
                return there;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("stuck")
}

pub(super) async fn popped(receiver: &Receiver) -> Message {
    until(|| receiver.pop()).await
}

/// A peer without manners.
pub(super) struct Raw {
    pub(super) stream: TcpStream,
    pub(super) deployed: Deployed,
    pub(super) channel: ChannelId,
    pub(super) sequence: u64,
}

impl Raw {
    /// Connects and says nothing.
    pub(super) async fn connect(address: &str) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    /// Connects and says hello.
    pub(super) async fn greet(address: &str, stamp: &Stamp, edge: u32) -> Self {
        let mut stream = Self::connect(address).await;
        stream.write_all(&hello::encode(&stamp.job)).await.unwrap();
        let mut answer = [0; hello::ANSWER];
        stream.read_exact(&mut answer).await.unwrap();
        hello::decode_answer(&answer).unwrap();
        let deployed = Deployed { attempt: stamp.attempt, execution: stamp.execution };
        let channel = ChannelId { edge, ..ChannelId::default() };
        Self { stream, deployed, channel, sequence: 0 }
    }

    /// The bytes of the next frame.
    pub(super) fn frame(&mut self, kind: Kind, payload: &[u8], metadata: usize) -> Vec<u8> {
        let header = Header {
            kind,
            deployed: self.deployed,
            channel: self.channel,
            sequence: self.sequence,
            length: payload.len() as u32,
            metadata: metadata as u32,
        };
        self.sequence += 1;
        [&header.encode()[..], payload].concat()
    }

    /// The bytes of a frame of rows.
    pub(super) fn rows(&mut self, chunk: &Chunk) -> Vec<u8> {
        let mut encoder = Encoder::new(Form::new(&schema()).unwrap()).unwrap();
        let encoded = encoder.encode(chunk).unwrap();
        self.frame(Kind::Rows, &[&encoded.body[..], &encoded.metadata].concat(), encoded.metadata.len())
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) {
        // It may have been thrown out already.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Opens its channel and waits for the first grant.
    pub(super) async fn open(&mut self) {
        let open = self.frame(Kind::Open, &[], 0);
        self.say(&open).await;
        self.grant().await;
    }

    pub(super) async fn grant(&mut self) -> u64 {
        loop {
            let mut bytes = [0; HEADER];
            self.stream.read_exact(&mut bytes).await.unwrap();
            let header = Header::decode(&bytes, 0).unwrap();
            if header.kind == Kind::Grant {
                return self.stream.read_u64_le().await.unwrap();
            }
        }
    }

    /// Waits until the other side closes.
    pub(super) async fn thrown_out(mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// A frame without payload on edge 0.
pub(super) fn control(stamp: &Stamp, kind: Kind, sequence: u64) -> Vec<u8> {
    let deployed = Deployed { attempt: stamp.attempt, execution: stamp.execution };
    Frame::control(kind, deployed, ChannelId::default(), sequence, Vec::new()).header.to_vec()
}
