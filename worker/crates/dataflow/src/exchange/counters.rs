//! Numbers of the exchange of one process, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the exchange did since it started. Numbers only grow, but for `connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExchangeCounters {
    /// Connections that are open now, in both directions.
    pub connections: u64,
    /// Frames read.
    pub frames_in: u64,
    /// Frames written.
    pub frames_out: u64,
    /// Bytes of frames read.
    pub bytes_in: u64,
    /// Bytes of frames written.
    pub bytes_out: u64,
    /// Connections that came in and were refused: strangers, other jobs, other versions, too slow, too many.
    pub refused_connections: u64,
    /// Frames that were dropped because they are of an older deployment than the one here.
    pub stale_frames: u64,
    /// Connections that were closed because of a frame that is malformed, too large, repeated, or without credit.
    pub malformed_frames: u64,
    /// Peers that were ahead and had to wait for a deployment here.
    pub waits: u64,
    /// Connections that broke while a deployment used them.
    pub lost_connections: u64,
}

macro_rules! tally {
    ($($name:ident),*) => {
        /// The counters as they are counted.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Tally {
            pub(super) fn read(&self) -> ExchangeCounters {
                ExchangeCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

tally!(
    connections,
    frames_in,
    frames_out,
    bytes_in,
    bytes_out,
    refused_connections,
    stale_frames,
    malformed_frames,
    waits,
    lost_connections
);

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An open connection, counted for as long as this lives.
pub(super) struct Open(std::sync::Arc<Tally>);

impl Open {
    pub(super) fn new(tally: &std::sync::Arc<Tally>) -> Self {
        count(&tally.connections);
        Self(tally.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
