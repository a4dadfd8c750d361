//! Byte credits of a channel, at both of its ends. Pure.
//!
//! Both ends count the bytes of all rows that the channel ever carried. The receiver says up to which count the
//! sender may go: what was taken out of its queue plus what the queue may hold. The sender sends whenever it is below
//! that, so that the last frame may pass it: a frame larger than the queue passes alone.

use super::Malformed;

/// Most bytes that a receiver may allow beyond what it was sent: what a sender can be made to hold in memory.
pub(super) const MAX_WINDOW: u64 = 64 << 20;

/// The sender's end.
///
/// A sender begins without credit and goes at most one frame beyond what it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SendWindow {
    sent: u64,
    allowed: u64,
}

impl SendWindow {
    /// Whether another frame of rows may be sent, of any size.
    pub(super) fn is_open(&self) -> bool {
        self.sent < self.allowed
    }

    /// A frame of rows is sent.
    pub(super) fn send(&mut self, bytes: u64) {
        debug_assert!(self.is_open());
        self.sent += bytes;
    }

    /// The receiver allows that many bytes in all.
    pub(super) fn grant(&mut self, allowed: u64) -> Result<(), Malformed> {
        if allowed < self.allowed || allowed > self.sent.saturating_add(MAX_WINDOW) {
            return Err(Malformed("a grant that takes back or gives without measure"));
        }
        self.allowed = allowed;
        Ok(())
    }
}

/// The receiver's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    limit: u64,
    received: u64,
    taken: u64,
    granted: u64,
}

impl ReceiveWindow {
    /// For a queue that may hold `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: (limit as u64).clamp(1, MAX_WINDOW), received: 0, taken: 0, granted: 0 }
    }

    /// The first grant: an empty queue.
    pub(super) fn open(&mut self) -> u64 {
        self.granted = self.taken + self.limit;
        self.granted
    }

    /// A frame of rows came in.
    ///
    /// # Errors
    /// The sender had no credit for it.
    pub(super) fn receive(&mut self, bytes: u64) -> Result<(), Malformed> {
        if self.received >= self.granted {
            return Err(Malformed("rows without credit"));
        }
        self.received += bytes;
        Ok(())
    }

    /// Rows were taken out of the queue; gives the next grant once it is worth a frame.
    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        self.taken += bytes;
        let next = self.taken + self.limit;
        // At a quarter the sender never runs dry while the queue is being emptied, and frames are few.
        (next - self.granted >= self.limit.div_ceil(4)).then(|| {
            self.granted = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the sizes and whenever grants arrive: the queue holds at most one frame beyond its limit, and
        /// when everything that was sent is taken and every grant has arrived, the sender may go on.
        #[test]
        fn the_queue_is_bounded_and_nothing_gets_stuck(
            limit in 1_usize..5_000,
            steps in prop::collection::vec((0_u8..3, 1_u64..9_000), 1..200),
        ) {
            let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::new(limit));
            let mut grants = std::collections::VecDeque::from([receive.open()]);
            let mut queue = std::collections::VecDeque::new();
            for (what, bytes) in steps {
                match what {
                    0 if send.is_open() => {
                        send.send(bytes);
                        let before: u64 = queue.iter().sum();
                        prop_assert!(before < limit as u64);
                        receive.receive(bytes).unwrap();
                        queue.push_back(bytes);
                    }
                    1 => grants.extend(queue.pop_front().and_then(|b| receive.take(b))),
                    _ => if let Some(grant) = grants.pop_front() { send.grant(grant).unwrap(); }
                }
            }
            grants.extend(queue.drain(..).filter_map(|b| receive.take(b)));
            for grant in grants {
                send.grant(grant).unwrap();
            }
            prop_assert!(send.is_open());
        }
    }

    #[test]
    fn a_frame_larger_than_the_queue_passes_alone() {
        let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::new(10));
        assert!(!send.is_open());
        send.grant(receive.open()).unwrap();
        send.send(1_000);
        receive.receive(1_000).unwrap();
        assert!(!send.is_open());
        assert_eq!(receive.receive(1), Err(Malformed("rows without credit")));
        send.grant(receive.take(1_000).unwrap()).unwrap();
        assert!(send.is_open());
    }

    #[test]
    fn a_receiver_can_neither_take_back_nor_flood() {
        let mut send = SendWindow::default();
        send.grant(100).unwrap();
        assert!(send.grant(99).is_err());
        assert!(send.grant(MAX_WINDOW + 1).is_err());
        assert!(send.grant(u64::MAX).is_err());
    }
}
