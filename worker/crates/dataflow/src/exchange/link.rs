//! A connection that this process dialled: rows go out, grants come in.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use weir_runtime::tls::Stream;

use super::counters::{Open, Tally, count};
use super::frame::{ChannelId, Deployed, Kind};
use super::outbound::Outbound;
use super::outbox::Outbox;
use super::reader::{End, FrameReader};
use super::{ExchangeOptions, Malformed, frame, hello};

/// Between two tries to reach a peer: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

#[derive(Debug, Default)]
struct State {
    channels: HashMap<(Deployed, ChannelId), Arc<Outbound>>,
    dead: Option<String>,
}

/// The connection to one peer. It is dialled once: when it is over, another one takes its place.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outbox: Outbox,
    address: String,
    state: Mutex<State>,
    task: OnceLock<AbortHandle>,
}

impl Link {
    /// Begins to dial.
    pub(super) fn start(
        address: String,
        options: &ExchangeOptions,
        tally: &Arc<Tally>,
        io: &Handle,
    ) -> Arc<Self> {
        let (outbox, state, task) = (Outbox::default(), Mutex::default(), OnceLock::new());
        let link = Arc::new(Self { outbox, address, state, task });
        let task = io.spawn(run(link.clone(), options.clone(), tally.clone()));
        // The only place that sets it.
        let _ = link.task.set(task.abort_handle());
        link
    }

    /// Ends it.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
        self.outbox.close();
    }

    pub(super) fn is_alive(&self) -> bool {
        self.lock().dead.is_none()
    }

    /// Lets a channel hear of grants, and of the end of the connection; at once if it has ended.
    pub(super) fn attach(&self, channel: &Arc<Outbound>) {
        let mut state = self.lock();
        match state.dead.clone() {
            None => {
                state.channels.insert(channel.key(), channel.clone());
            }
            Some(why) => {
                drop(state);
                channel.lost(&why);
            }
        }
    }

    /// A channel is over.
    pub(super) fn detach(&self, channel: &Outbound) {
        self.lock().channels.remove(&channel.key());
    }

    /// Waits for grants.
    async fn read(&self, mut reader: FrameReader<ReadHalf<Stream>>) -> End {
        loop {
            let taken = match reader.next().await {
                Ok((header, payload)) => match header.kind {
                    Kind::Ping => Ok(()),
                    Kind::Grant => {
                        // A channel that is over needs no more.
                        let channel = self.lock().channels.get(&(header.deployed, header.channel)).cloned();
                        frame::decode_grant(&payload).and_then(|allowed| {
                            channel.map_or(Ok(()), |channel| channel.grant(allowed, self))
                        })
                    }
                    _ => Err(Malformed("a frame that goes the other way")),
                },
                Err(end) => return end,
            };
            if let Err(malformed) = taken {
                return End::Malformed(malformed);
            }
        }
    }

    fn over(&self, why: String, tally: &Tally) {
        self.outbox.close();
        let channels = {
            let mut state = self.lock();
            state.dead = Some(why.clone());
            std::mem::take(&mut state.channels)
        };
        if !channels.is_empty() {
            count(&tally.lost_connections);
        }
        tracing::debug!(peer = %self.address, "the connection to a peer is over: {why}");
        for channel in channels.into_values() {
            channel.lost(&why);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(link: Arc<Link>, options: ExchangeOptions, tally: Arc<Tally>) {
    let why = match dial(&link.address, &options).await {
        Ok(stream) => {
            let _open = Open::new(&tally);
            let (reader, writer) = tokio::io::split(stream);
            let reader = FrameReader::new(reader, &options.limits, &tally);
            let end = tokio::select! {
                end = link.read(reader) => end,
                error = link.outbox.write(writer, options.limits.ping_every, &tally) => End::Io(error),
            };
            if matches!(end, End::Malformed(_)) {
                count(&tally.malformed_frames);
            }
            match end {
                End::Io(error) => options.transport.explain(error).to_string(),
                end => end.to_string(),
            }
        }
        Err(error) => error.to_string(),
    };
    link.over(why, &tally);
}

/// Tries until the peer answers or the time is over. Only what may pass by itself is tried again.
async fn dial(address: &str, options: &ExchangeOptions) -> io::Result<Stream> {
    let deadline = Instant::now() + options.limits.dial;
    let mut pause = RETRY.0;
    loop {
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
        let tried = tokio::time::timeout_at(deadline, reach(address, options)).await;
        match tried.unwrap_or_else(|_| late()) {
            Err(error) if passing(&error) && Instant::now() + pause < deadline => {
                tracing::debug!(peer = address, "not reached, trying on: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
            result => return result,
        }
    }
}

fn passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other)
}

/// All addresses of a name, until one answers; then the hello.
async fn reach(address: &str, options: &ExchangeOptions) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for found in lookup_host(address).await? {
        options.transport.check(found)?;
        match TcpStream::connect(found).await {
            Ok(stream) => return greet(stream, options).await,
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn greet(stream: TcpStream, options: &ExchangeOptions) -> io::Result<Stream> {
    let mut stream = options.transport.connect(stream).await?;
    stream.write_all(&hello::encode(&options.job)).await?;
    stream.flush().await?;
    let mut answer = [0; hello::ANSWER];
    stream.read_exact(&mut answer).await.map_err(|e| options.transport.explain(e))?;
    hello::decode_answer(&answer).map_err(io::Error::other)?;
    Ok(stream)
}
