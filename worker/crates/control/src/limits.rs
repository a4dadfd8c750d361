//! Limits of the link: times and sizes.

use std::time::Duration;

/// How the two ends of a connection know that the other is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one sign of life to the next.
    pub every: Duration,
    /// A peer of which nothing was heard for this long is lost; so is one that took nothing for this long
    /// although something waits for it. More than twice `every`.
    pub lost_after: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { every: Duration::from_millis(500), lost_after: Duration::from_secs(5) }
    }
}

impl Heartbeat {
    /// The shortest interval that may be asked for.
    pub const SHORTEST: Duration = Duration::from_millis(10);
    /// The longest silence that may be asked for.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// Checks and takes the two times.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(every: Duration, lost_after: Duration) -> Result<Self, String> {
        if every < Self::SHORTEST || lost_after > Self::LONGEST || lost_after < every * 2 {
            return Err(format!(
                "heartbeats come every {:?} at most often, a peer is lost after {:?} at the latest and after two \
                 heartbeats at the earliest; got one every {every:?} and lost after {lost_after:?}",
                Self::SHORTEST,
                Self::LONGEST
            ));
        }
        Ok(Self { every, lost_after })
    }
}

/// Bytes of a stream that a peer may send before they are read.
pub(crate) const WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of a request's headers.
pub(crate) const HEADER_BYTES: u32 = 16 << 10;

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub message_bytes: usize,
    /// Bytes of frames that may wait for one peer; at least `message_bytes`. A peer behind which more piles
    /// up is lost.
    pub queue_bytes: usize,
    /// Connections at a time, those included that have not said yet who they are.
    pub connections: usize,
    /// From the acceptance of a connection to the end of its handshakes, and from there to the first
    /// frame.
    pub handshake: Duration,
}

/// Of a frame, besides the body of its message.
const ENVELOPE_BYTES: usize = 1 << 10;

impl Limits {
    /// Bytes of a whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.message_bytes.saturating_add(ENVELOPE_BYTES)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 << 20,
            queue_bytes: 128 << 20,
            connections: 4096,
            handshake: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_not_lost_between_two_heartbeats() {
        let ms = Duration::from_millis;
        assert!(Heartbeat::new(ms(500), ms(5000)).is_ok());
        for (every, lost_after) in [(ms(500), ms(999)), (ms(1), ms(5000)), (ms(500), ms(3_600_001))] {
            let error = Heartbeat::new(every, lost_after).expect_err("refused");
            assert!(error.contains("at the earliest"), "{error}");
        }
    }
}
