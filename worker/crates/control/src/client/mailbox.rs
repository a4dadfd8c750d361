//! What the worker says, and what becomes of it while nobody listens.

use futures::{FutureExt, Stream, StreamExt};

use super::Outgoing;

pub(super) struct Mailbox<S> {
    from: S,
    draining: bool,
    ended: bool,
}

impl<S: Stream<Item = Outgoing> + Unpin> Mailbox<S> {
    pub(super) fn new(from: S) -> Self {
        Self { from, draining: false, ended: false }
    }

    /// Whether the worker wants to end.
    pub(super) fn draining(&self) -> bool {
        self.draining
    }

    /// The next thing to say; `None` for ever after the end.
    pub(super) async fn next(&mut self) -> Option<Outgoing> {
        if self.ended {
            return None;
        }
        let next = self.from.next().await;
        self.ended = next.is_none();
        self.draining |= matches!(next, Some(Outgoing::Draining));
        next
    }

    /// Drops what is said, until the end.
    pub(super) async fn drop_all(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Drops what was said up to now.
    pub(super) fn drop_waiting(&mut self) {
        while let Some(Some(_)) = self.next().now_or_never() {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_wish_to_end_outlives_what_is_dropped() {
        let (say, said) = mpsc::unbounded_channel();
        let said = futures::stream::unfold(said, async |mut said: mpsc::UnboundedReceiver<Outgoing>| {
            said.recv().await.map(|next| (next, said))
        });
        let mut mailbox = Mailbox::new(Box::pin(said));
        mailbox.drop_waiting();
        assert!(!mailbox.draining());
        say.send(Outgoing::Draining).expect("a mailbox");
        mailbox.drop_waiting();
        assert!(mailbox.draining());
        drop(say);
        mailbox.drop_all().await;
        assert_eq!(mailbox.next().await, None);
        assert!(mailbox.draining());
    }
}
