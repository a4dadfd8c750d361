//! What both ends do on a stream: frames with a deadline, signs of life, and the ways in which it can end.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Status, Streaming};

use crate::frame::Frame;
use crate::limits::Heartbeat;
use crate::outbox::Outbox;
use crate::wire::WireError;

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    #[error("its connection was closed")]
    Closed,
    #[error("its connection broke: {0}")]
    Broken(String),
    #[error("nothing was heard of it for {0:?}")]
    Silent(Duration),
    #[error("it took nothing for {after:?}, while {bytes} bytes wait to be sent to it")]
    Stalled { after: Duration, bytes: usize },
    #[error("it sent what can't be understood: {0}")]
    Malformed(String),
    /// Said by whoever ended it.
    #[error("it was ended")]
    Told,
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        // What comes from the transport brings its cause along; what comes from decoding is the cause.
        match std::error::Error::source(&status) {
            Some(_) => Self::Broken(root(&status)),
            None => Self::Malformed(status.message().to_owned()),
        }
    }
}

/// The innermost error, which says most.
pub(crate) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match inner.downcast_ref::<std::io::Error>() {
        // A process that died could not take its leave; what the TLS library says of that is of no use to anybody.
        Some(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the other end is gone".to_owned()
        }
        _ => inner.to_string(),
    }
}

/// A peer's stream with the deadline of its next frame.
pub(crate) async fn next_frame<T>(inbound: &mut Streaming<T>, patience: Duration) -> Result<T, End> {
    match tokio::time::timeout(patience, inbound.message()).await {
        Err(_) => Err(End::Silent(patience)),
        Ok(Err(status)) => Err(status.into()),
        Ok(Ok(None)) => Err(End::Closed),
        Ok(Ok(Some(frame))) => Ok(frame),
    }
}

/// Signs of life to a peer, until it takes nothing any more.
pub(crate) async fn beat<T: Frame>(outbox: &Outbox<T>, heartbeat: Heartbeat) -> End {
    let mut ticks = tokio::time::interval_at(Instant::now() + heartbeat.every, heartbeat.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        outbox.beat();
        let (after, bytes) = outbox.stalled();
        if after > heartbeat.lost_after {
            return End::Stalled { after: heartbeat.lost_after, bytes };
        }
    }
}
