//! What waits to be sent to one peer: bounded in bytes, never blocks who puts something in.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use tokio::time::Instant;

use crate::frame::Frame;

/// Too much waits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting_bytes: usize,
}

/// The end where frames are put in. Clones put into the same queue.
#[derive(Clone)]
pub(crate) struct Outbox<T>(Arc<Mutex<State<T>>>);

/// The end where the connection takes them out.
pub(crate) struct Outgoing<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    limit: usize,
    /// A sign of life is due.
    beat: bool,
    /// Nothing comes after what waits.
    finished: bool,
    /// The connection takes nothing any more.
    dropped: bool,
    /// When the first of what waits came to be the first.
    since: Instant,
    taker: Option<Waker>,
}

/// A queue that holds this many bytes.
pub(crate) fn outbox<T: Frame>(limit: usize) -> (Outbox<T>, Outgoing<T>) {
    let state = Arc::new(Mutex::new(State {
        waiting: VecDeque::new(),
        bytes: 0,
        limit,
        beat: false,
        finished: false,
        dropped: false,
        since: Instant::now(),
        taker: None,
    }));
    (Outbox(state.clone()), Outgoing(state))
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> State<T> {
    fn wake(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.beat
    }
}

impl<T: Frame> Outbox<T> {
    /// Puts a frame at the end. Behind the end of the queue it is dropped: the connection is over.
    ///
    /// # Errors
    /// [`Full`] if it does not fit behind what waits.
    pub(crate) fn push(&self, frame: T) -> Result<(), Full> {
        let bytes = frame.encoded_len();
        let mut state = lock(&self.0);
        if state.finished || state.dropped {
            return Ok(());
        }
        if state.bytes + bytes > state.limit {
            return Err(Full { waiting_bytes: state.bytes });
        }
        if state.is_idle() {
            state.since = Instant::now();
        }
        state.bytes += bytes;
        state.waiting.push_back((frame, bytes));
        state.wake();
        Ok(())
    }

    /// Lets a sign of life follow what waits; at most one waits at a time.
    pub(crate) fn beat(&self) {
        let mut state = lock(&self.0);
        if !state.finished && !state.beat {
            if state.is_idle() {
                state.since = Instant::now();
            }
            state.beat = true;
            state.wake();
        }
    }

    /// The stream ends after what waits.
    pub(crate) fn finish(&self) {
        let mut state = lock(&self.0);
        state.finished = true;
        state.beat = false;
        state.wake();
    }

    /// For how long nothing was taken although something waits, and how many bytes wait.
    pub(crate) fn stalled(&self) -> (Duration, usize) {
        let state = lock(&self.0);
        if state.is_idle() || state.dropped {
            return (Duration::ZERO, 0);
        }
        (state.since.elapsed(), state.bytes)
    }
}

impl<T: Frame> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        if let Some((frame, bytes)) = state.waiting.pop_front() {
            state.bytes -= bytes;
            state.since = Instant::now();
            return Poll::Ready(Some(frame));
        }
        if std::mem::take(&mut state.beat) {
            return Poll::Ready(Some(T::heartbeat()));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        state.taker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Outgoing<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.dropped = true;
        state.waiting.clear();
        state.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::frame::{CoordinatorFrame, FromCoordinatorFrame, Release};

    fn frame(text: &str) -> CoordinatorFrame {
        FromCoordinatorFrame::Release(Release { reason: text.to_owned() }).into()
    }

    #[tokio::test]
    async fn what_is_put_in_comes_out_in_order_with_the_sign_of_life_last() {
        let (outbox, mut outgoing) = outbox(1000);
        outbox.beat();
        outbox.push(frame("a")).expect("room");
        outbox.beat();
        outbox.push(frame("b")).expect("room");
        assert_eq!(outgoing.next().await, Some(frame("a")));
        outbox.finish();
        outbox.push(frame("too late")).expect("dropped, not full");
        assert_eq!(outgoing.next().await, Some(frame("b")));
        assert_eq!(outgoing.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_sleeps_is_noticed_by_bytes_and_by_time() {
        let (outbox, mut outgoing) = outbox(300);
        assert_eq!(outbox.stalled(), (Duration::ZERO, 0));
        let long = "x".repeat(100);
        outbox.push(frame(&long)).expect("room");
        outbox.push(frame(&long)).expect("room");
        let full = outbox.push(frame(&long)).expect_err("full");
        assert!(full.waiting_bytes > 200, "{full:?}");
        assert!(outbox.stalled().1 == full.waiting_bytes);
        outgoing.next().await.expect("the first");
        outbox.push(frame(&long)).expect("room again");
        drop(outgoing);
        outbox.push(frame(&long)).expect("nobody takes it: it is dropped");
        assert_eq!(outbox.stalled(), (Duration::ZERO, 0));
    }
}
