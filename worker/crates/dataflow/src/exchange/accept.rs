//! Accepting peers: a handshake with a deadline, then frames into the queues of subtasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_runtime::tls::Stream;

use super::counters::{Open, count};
use super::frame::{Header, Kind};
use super::outbox::Outbox;
use super::reader::{End, FrameReader};
use super::registry::{Admission, Registration};
use super::{Inner, Malformed, Peer, hello};

/// After an error of the listener (no more files, say).
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts until it is aborted.
pub(super) async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let limits = &inner.options.limits;
    let places = Arc::new(Semaphore::new(limits.connections));
    // Who has not said who it is takes no place of those who have.
    let strangers = Arc::new(Semaphore::new(limits.handshakes));
    // Dropped with this task: then all connections end.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection of a peer can't be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(stranger) = strangers.clone().try_acquire_owned() else {
            count(&inner.tally.refused_connections);
            continue;
        };
        connections.spawn(serve(inner.clone(), stream, address, stranger, places.clone()));
    }
}

/// One connection to its end.
async fn serve(
    inner: Arc<Inner>,
    stream: TcpStream,
    address: SocketAddr,
    stranger: OwnedSemaphorePermit,
    places: Arc<Semaphore>,
) {
    let limits = &inner.options.limits;
    let greeted = tokio::time::timeout(limits.handshake, greet(&inner, stream)).await;
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long to say who it is"));
    let (stream, place) = match (greeted.unwrap_or_else(|_| late()), places.try_acquire_owned()) {
        (Ok(stream), Ok(place)) => (stream, place),
        (Ok(_), Err(_)) => {
            count(&inner.tally.refused_connections);
            tracing::warn!(peer = %address, "a connection is refused: there are {} already", limits.connections);
            return;
        }
        (Err(error), _) => {
            count(&inner.tally.refused_connections);
            tracing::warn!(peer = %address, "a connection is refused: {error}");
            return;
        }
    };
    drop(stranger);
    let _open = Open::new(&inner.tally);
    let (reader, writer) = tokio::io::split(stream);
    let outbox = Arc::new(Outbox::default());
    let mut incoming = Incoming { inner: &inner, outbox: &outbox, serves: None };
    let end = tokio::select! {
        end = incoming.read(FrameReader::new(reader, limits, &inner.tally)) => end,
        error = outbox.write(writer, limits.ping_every, &inner.tally) => End::Io(error),
    };
    outbox.close();
    incoming.ended(&end, address);
    drop(place);
}

/// TLS, then the hello.
async fn greet(inner: &Inner, stream: TcpStream) -> io::Result<Stream> {
    let mut stream = inner.options.transport.accept(stream).await?;
    let mut fixed = [0; hello::FIXED];
    stream.read_exact(&mut fixed).await?;
    let job = match hello::decode_fixed(&fixed) {
        Ok(length) => {
            let mut uid = vec![0; length];
            stream.read_exact(&mut uid).await?;
            hello::check_job(&uid, &inner.options.job)
        }
        Err(refused) => Err(refused),
    };
    stream.write_all(&hello::encode_answer(job)).await?;
    stream.flush().await?;
    job.map_err(io::Error::other)?;
    Ok(stream)
}

/// A connection over which rows come in.
struct Incoming<'a> {
    inner: &'a Arc<Inner>,
    outbox: &'a Arc<Outbox>,
    /// The execution that its frames were for last, once it opened a channel, with the name of the peer.
    serves: Option<(Arc<Registration>, Peer)>,
}

impl Incoming<'_> {
    async fn read(&mut self, mut reader: FrameReader<ReadHalf<Stream>>) -> End {
        loop {
            let taken = match reader.next().await {
                Ok((header, payload)) => self.take(header, payload).await,
                Err(end) => return end,
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    async fn take(&mut self, header: Header, payload: Vec<u8>) -> Result<(), End> {
        if header.kind == Kind::Ping {
            return Ok(());
        }
        let registration = match &self.serves {
            Some((serves, _)) if serves.deployed == header.deployed && !serves.is_over() => serves.clone(),
            _ => {
                let wait = self.inner.options.limits.wait_for_deployment;
                match self.inner.registry.admit(header.deployed, wait, &self.inner.tally).await {
                    Admission::To(registration) => registration,
                    Admission::Ahead => return Err(End::Ahead(wait)),
                    Admission::Stale => {
                        count(&self.inner.tally.stale_frames);
                        return Ok(());
                    }
                }
            }
        };
        let channel = registration.channels.get().and_then(|channels| channels.get(&header.channel));
        let channel = channel.ok_or(Malformed("a frame for a subtask that is not here"))?;
        channel.take(&header, payload, self.outbox)?;
        if header.kind == Kind::Open {
            self.serves = Some((registration.clone(), channel.peer.clone()));
        }
        Ok(())
    }

    fn ended(self, end: &End, address: SocketAddr) {
        if let End::Malformed(malformed) = end {
            count(&self.inner.tally.malformed_frames);
            tracing::warn!(peer = %address, "the connection of a peer is closed: it sent {malformed}");
        }
        match self.serves {
            Some((registration, peer)) if !registration.is_over() => {
                count(&self.inner.tally.lost_connections);
                registration.fail(peer.lost(&end.to_string()));
            }
            _ => tracing::debug!(peer = %address, "the connection of a peer is over: {end}"),
        }
    }
}
