//! One connection to a coordinator, from the hello to its end.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use http::Uri;
use hyper::body::Incoming as Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::{Request, Streaming};
use weir_protocol::{CONTROL_VERSIONS, JobConfig, Registration, WorkerId};
use weir_runtime::tls::Transport;

use super::dial::Reached;
use super::mailbox::Mailbox;
use super::{ClientOptions, Incoming, Known, Outgoing};
use crate::codec::Frames;
use crate::frame::{
    CoordinatorFrame, Draining, FromCoordinatorFrame, FromWorkerFrame, Hello, PATH, Welcome, WorkerFrame,
};
use crate::limits::{HEADER_BYTES, Heartbeat, Limits, WINDOW_BYTES};
use crate::outbox::{Outbox, outbox};
use crate::stream::{End, beat, next_frame, root};
use crate::wire::{self, WireError};

/// For what is to be sent last.
const FAREWELL: Duration = Duration::from_secs(1);
/// For the connection to say why it broke.
const CAUSE: Duration = Duration::from_millis(200);

/// A connection whose coordinator has taken the worker.
pub(super) struct Session {
    inbound: Streaming<CoordinatorFrame>,
    outbox: Outbox<WorkerFrame>,
    connection: Connection,
    heartbeat: Heartbeat,
    limits: Limits,
}

/// What the welcome said.
pub(super) struct Greeted {
    pub(super) worker: WorkerId,
    pub(super) config: Arc<JobConfig>,
}

/// What else may come of a hello.
pub(super) enum NoGreeting {
    /// Nothing, or a refusal.
    Failed(String),
    /// The job is over.
    Released(String),
    /// What is to be done has changed.
    OtherWork,
}

/// How a session ended.
pub(super) enum Finished {
    /// The worker has nothing more to say.
    Closed,
    /// The worker may end, and the coordinator has gone.
    Released,
    /// The coordinator is gone.
    Lost(End),
}

impl Session {
    /// Makes the worker known.
    pub(super) async fn greet(
        options: &ClientOptions,
        known: &Known,
        reached: Reached,
        registration: &Registration,
    ) -> Result<(Self, Greeted), NoGreeting> {
        let patience = options.limits.handshake;
        match tokio::time::timeout(patience, Self::greet_in_time(options, known, reached, registration)).await
        {
            Ok(greeted) => greeted,
            Err(_) => Err(NoGreeting::Failed(format!("no welcome within {patience:?}"))),
        }
    }

    async fn greet_in_time(
        options: &ClientOptions,
        known: &Known,
        reached: Reached,
        registration: &Registration,
    ) -> Result<(Self, Greeted), NoGreeting> {
        let limits = options.limits;
        let hello = hello(known, registration).map_err(|e| NoGreeting::Failed(e.to_string()))?;
        let (send, connection) = Connection::open(&options.transport, reached).await?;
        let (outbox, outgoing) = outbox(limits.queue_bytes);
        // An empty outbox takes a frame of a few KiB.
        let _ = outbox.push(FromWorkerFrame::Hello(hello).into());
        let mut grpc = Grpc::with_origin(Channel(send), Uri::from_static("http://coordinator"))
            .max_decoding_message_size(limits.frame_bytes())
            .max_encoding_message_size(limits.frame_bytes());
        let codec = Frames::<WorkerFrame, CoordinatorFrame>::new();
        let path = http::uri::PathAndQuery::from_static(PATH);
        let answer = grpc.streaming(Request::new(outgoing), path, codec).await;
        let mut inbound = match answer {
            Ok(answer) => answer.into_inner(),
            Err(status) => return Err(connection.failed(status.into()).await),
        };
        let frame = match next_frame(&mut inbound, limits.handshake).await {
            Ok(frame) => frame,
            Err(end) => return Err(connection.failed(end).await),
        };
        let (greeted, heartbeat) = welcomed(known, frame)?;
        Ok((Self { inbound, outbox, connection, heartbeat, limits }, greeted))
    }

    /// Passes on in both directions until one has enough.
    pub(super) async fn run<S: Stream<Item = Outgoing> + Unpin>(
        mut self,
        mailbox: &mut Mailbox<S>,
        incoming: &mpsc::UnboundedSender<Incoming>,
    ) -> Finished {
        let mut released = false;
        let end = tokio::select! {
            end = receive(&mut self.inbound, self.heartbeat, incoming, &mut released) => Some(end),
            end = send(mailbox, &self.outbox, self.limits) => end,
            end = beat(&self.outbox, self.heartbeat) => Some(end),
        };
        match end {
            None => {
                self.outbox.finish();
                self.connection.close(self.inbound).await;
                Finished::Closed
            }
            Some(_) if released => Finished::Released,
            Some(End::Broken(why)) => {
                Finished::Lost(End::Broken(self.connection.cause().await.unwrap_or(why)))
            }
            Some(end) => Finished::Lost(end),
        }
    }
}

fn hello(known: &Known, registration: &Registration) -> Result<Hello, WireError> {
    Ok(Hello {
        oldest: CONTROL_VERSIONS.0,
        newest: CONTROL_VERSIONS.1,
        job: known.job.as_ref().map(|job| job.as_str().to_owned()).unwrap_or_default(),
        registration: wire::to_json(registration)?,
    })
}

/// What the first frame of a coordinator means.
fn welcomed(known: &Known, frame: CoordinatorFrame) -> Result<(Greeted, Heartbeat), NoGreeting> {
    let failed = |what: String| NoGreeting::Failed(what);
    let welcome = match frame.content {
        Some(FromCoordinatorFrame::Welcome(welcome)) => welcome,
        Some(FromCoordinatorFrame::Refusal(refusal)) => {
            return Err(failed(format!("it refuses this worker: {}", refusal.reason)));
        }
        Some(FromCoordinatorFrame::Release(release)) => return Err(NoGreeting::Released(release.reason)),
        Some(other) => {
            let error = WireError::Order { got: name(&other), expected: "a welcome" };
            return Err(failed(error.to_string()));
        }
        None => return Err(failed(WireError::Empty.to_string())),
    };
    let Welcome { version, worker, config, heartbeat_ms, lost_after_ms } = welcome;
    if !(CONTROL_VERSIONS.0..=CONTROL_VERSIONS.1).contains(&version) {
        return Err(failed(format!("it wants to speak version {version} of control messages")));
    }
    let every = Duration::from_millis(heartbeat_ms);
    let heartbeat = Heartbeat::new(every, Duration::from_millis(lost_after_ms)).map_err(failed)?;
    let config: JobConfig = wire::of_json("config", &config).map_err(|e| failed(e.to_string()))?;
    if let Some(job) = known.job.as_ref().filter(|job| **job != config.uid) {
        return Err(failed(format!("it is of job {}, this worker belongs to job {job}", config.uid)));
    }
    if known.config.as_ref().is_some_and(|known| !known.is_same_work(&config)) {
        return Err(NoGreeting::OtherWork);
    }
    Ok((Greeted { worker: WorkerId(worker), config: Arc::new(config) }, heartbeat))
}

fn name(frame: &FromCoordinatorFrame) -> &'static str {
    match frame {
        FromCoordinatorFrame::Welcome(_) => "a welcome",
        FromCoordinatorFrame::Refusal(_) => "a refusal",
        FromCoordinatorFrame::Message(_) => "a message",
        FromCoordinatorFrame::Heartbeat(_) => "a heartbeat",
        FromCoordinatorFrame::Release(_) => "a release",
    }
}

/// Hands over what the coordinator says, until nothing comes any more.
async fn receive(
    inbound: &mut Streaming<CoordinatorFrame>,
    heartbeat: Heartbeat,
    incoming: &mpsc::UnboundedSender<Incoming>,
    released: &mut bool,
) -> End {
    loop {
        let frame = match next_frame(inbound, heartbeat.lost_after).await {
            Ok(frame) => frame,
            Err(end) => return end,
        };
        let heard = match frame.content {
            Some(FromCoordinatorFrame::Message(envelope)) => match wire::open(envelope) {
                Ok((stamp, message)) => Incoming::Message(stamp, message),
                Err(error) => return error.into(),
            },
            Some(FromCoordinatorFrame::Release(release)) => {
                *released = true;
                Incoming::Release { reason: release.reason }
            }
            Some(FromCoordinatorFrame::Heartbeat(_)) => continue,
            Some(other) => return WireError::Order { got: name(&other), expected: "a message" }.into(),
            None => return WireError::Empty.into(),
        };
        // A worker that hears nothing any more ends its part too.
        let _ = incoming.send(heard);
    }
}

/// Sends what the worker says; `None` at the end of that.
async fn send<S: Stream<Item = Outgoing> + Unpin>(
    mailbox: &mut Mailbox<S>,
    outbox: &Outbox<WorkerFrame>,
    limits: Limits,
) -> Option<End> {
    loop {
        let frame = match mailbox.next().await? {
            Outgoing::Draining => FromWorkerFrame::Draining(Draining {}),
            Outgoing::Message(stamp, message) => match wire::seal(&stamp, &message) {
                Ok(envelope) if envelope.body.len() > limits.message_bytes => {
                    let (bytes, limit) = (envelope.body.len(), limits.message_bytes);
                    return Some(End::Broken(format!("a message of {bytes} bytes; {limit} are allowed")));
                }
                Ok(envelope) => FromWorkerFrame::Message(envelope),
                Err(error) => return Some(error.into()),
            },
        };
        if let Err(full) = outbox.push(frame.into()) {
            let bytes = full.waiting_bytes;
            return Some(End::Broken(format!("it does not keep up: {bytes} bytes wait to be sent to it")));
        }
    }
}

/// HTTP/2 under a session.
struct Connection {
    task: JoinHandle<()>,
    /// Why nothing could be read any more, in words.
    cause: Arc<Mutex<Option<String>>>,
}

impl Connection {
    async fn open(
        transport: &Transport,
        reached: Reached,
    ) -> Result<(http2::SendRequest<tonic::body::Body>, Self), NoGreeting> {
        let cause = Arc::default();
        let stream =
            Observed { stream: reached.stream, transport: transport.clone(), cause: Arc::clone(&cause) };
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| NoGreeting::Failed(root(&e)))?;
        let task = tokio::spawn(async move {
            // Its end shows in the stream of frames, the reason in `cause`.
            let _ = connection.await;
        });
        Ok((send, Self { task, cause }))
    }

    async fn cause(mut self) -> Option<String> {
        let _ = tokio::time::timeout(CAUSE, &mut self.task).await;
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn failed(self, end: End) -> NoGreeting {
        NoGreeting::Failed(self.cause().await.unwrap_or_else(|| end.to_string()))
    }

    /// Lets the last frames go out.
    async fn close(mut self, mut inbound: Streaming<CoordinatorFrame>) {
        let _ = tokio::time::timeout(FAREWELL, async {
            // The other end answers the end of this stream by that of its own.
            while let Ok(Some(_)) = inbound.message().await {}
            drop(inbound);
            let _ = (&mut self.task).await;
        })
        .await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A stream that remembers in words why reading failed: HTTP/2 and gRPC do not pass that on.
struct Observed {
    stream: weir_runtime::tls::Stream,
    transport: Transport,
    cause: Arc<Mutex<Option<String>>>,
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, to);
        if let Poll::Ready(Err(error)) = read {
            let error = self.transport.explain(error);
            *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            return Poll::Ready(Err(error));
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection as tonic calls it.
struct Channel(http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
