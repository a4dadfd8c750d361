//! Accepting connections: handshakes with a deadline, HTTP/2 with one stream, and an end for whoever does
//! not use it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Ready, ready};
use futures::stream::BoxStream;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::events::Shared;
use super::{Given, count, session};
use crate::codec::Frames;
use crate::frame::{CoordinatorFrame, PATH, WorkerFrame};
use crate::limits::{HEADER_BYTES, WINDOW_BYTES};
use crate::outbox::outbox;

/// After an error of the listener (no more files, say).
const PAUSE: Duration = Duration::from_millis(100);
/// For what was put last into a connection that ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts until it is aborted.
pub(super) async fn accept(listener: Arc<TcpListener>, given: Arc<Given>, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(given.limits.connections));
    // Dropped with this task: then all connections end.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection can't be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            count(&given.counts.turned_away);
            continue;
        };
        count(&given.counts.connections);
        let (given, shared) = (given.clone(), shared.clone());
        connections.spawn(async move {
            serve(given, shared, stream, peer).await;
            drop(place);
        });
    }
}

/// One connection to its end.
async fn serve(given: Arc<Given>, shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Only slower without it.
    let _ = stream.set_nodelay(true);
    let secured = tokio::time::timeout(given.limits.handshake, given.transport.accept(stream)).await;
    let stream = match secured {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            count(&given.counts.failed_handshakes);
            tracing::warn!(%peer, "a connection is refused: {error}");
            return;
        }
        Err(_) => {
            count(&given.counts.failed_handshakes);
            tracing::debug!(%peer, "a handshake took too long");
            return;
        }
    };
    let (used, mut use_of) = watch::channel(Use::None);
    let used_at_all = use_of.clone();
    let service = Service { given: given.clone(), shared, peer, taken: Arc::default(), used };
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(1)
            .max_header_list_size(HEADER_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(|request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.answer(request).await) }
                }),
            )
    );
    let opened = tokio::select! {
        _ = connection.as_mut() => {
            // What became of a stream was counted there.
            if *used_at_all.borrow() == Use::None {
                count(&given.counts.failed_handshakes);
                tracing::debug!(%peer, "a connection without a stream");
            }
            return;
        }
        opened = tokio::time::timeout(given.limits.handshake, use_of.wait_for(|u| *u != Use::None)) => opened.is_ok(),
    };
    if !opened {
        count(&given.counts.failed_handshakes);
        tracing::debug!(%peer, "a connection without a stream");
        return;
    }
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = use_of.wait_for(|u| *u == Use::Over) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL, connection).await;
}

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    None,
    Stream,
    Over,
}

#[derive(Clone)]
struct Service {
    given: Arc<Given>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    /// A connection carries one stream in its life.
    taken: Arc<AtomicBool>,
    used: watch::Sender<Use>,
}

impl Service {
    async fn answer(self, request: hyper::Request<Incoming>) -> hyper::Response<tonic::body::Body> {
        if request.uri().path() != PATH {
            return Status::unimplemented(format!("there is {PATH} only")).into_http();
        }
        if self.taken.swap(true, Ordering::Relaxed) {
            return Status::resource_exhausted("a connection carries one stream").into_http();
        }
        let limit = self.given.limits.frame_bytes();
        let mut grpc = Grpc::new(Frames::<CoordinatorFrame, WorkerFrame>::new())
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit);
        grpc.streaming(self, request).await
    }
}

impl StreamingService<WorkerFrame> for Service {
    type Response = CoordinatorFrame;
    type ResponseStream = BoxStream<'static, Result<CoordinatorFrame, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<WorkerFrame>>) -> Self::Future {
        let (outbox, outgoing) = outbox(self.given.limits.queue_bytes);
        let (given, shared, peer) = (self.given.clone(), self.shared.clone(), self.peer);
        let used = self.used.clone();
        used.send_replace(Use::Stream);
        // Ends with the connection: then its stream of frames does.
        tokio::spawn(async move {
            session::run(given, shared, peer, request.into_inner(), outbox).await;
            used.send_replace(Use::Over);
        });
        ready(Ok(Response::new(outgoing.map(Ok).boxed())))
    }
}
