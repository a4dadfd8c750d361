//! Executions that are ending: their slots are told to, and what comes next waits for it.

use tokio::sync::watch;

/// What is ending here. Cheap to clone: a clone waits for what was ending when it was made.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopping(Vec<watch::Receiver<()>>);

impl Stopping {
    /// Goes on with an end in the background.
    pub(super) fn add(&mut self, end: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|ending| ending.has_changed().is_ok());
        let (over, ending) = watch::channel(());
        tokio::spawn(async move {
            end.await;
            drop(over);
        });
        self.0.push(ending);
    }

    /// Waits until all of it is over.
    pub(super) async fn over(&self) {
        for ending in &self.0 {
            // Nothing is ever sent: the channel closes.
            let _ = ending.clone().changed().await;
        }
    }
}
