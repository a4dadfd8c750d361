//! SIGINT and SIGTERM. What the first one means depends on the process; the second ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// What asked for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT (Ctrl-C).
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The exit code that shells give a process ended by the signal.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The signals of this process; clones see the same.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<Option<Signal>>);

impl Signals {
    /// Takes the signals from here on, within a tokio runtime. At the second the process ends.
    pub(crate) fn take() -> Self {
        let (seen, reader) = watch::channel(None);
        tokio::spawn(async move {
            let (Ok(mut interrupts), Ok(mut terminations)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                tracing::warn!("signals cannot be received; they end the process at once");
                return;
            };
            let mut received = async || {
                tokio::select! {
                    _ = interrupts.recv() => Signal::Interrupt,
                    _ = terminations.recv() => Signal::Terminate,
                }
            };
            let first = received().await;
            seen.send_replace(Some(first));
            let second = received().await;
            // Nothing is lost: whoever goes on does so from the last completed checkpoint.
            std::process::exit(second.exit_code());
        });
        Self(reader)
    }

    /// The first signal, if it came.
    pub(crate) fn seen(&self) -> Option<Signal> {
        *self.0.borrow()
    }

    /// Waits for the first signal.
    pub(crate) async fn first(&mut self) -> Signal {
        match self.0.wait_for(Option::is_some).await.map(|seen| *seen) {
            Ok(Some(signal)) => signal,
            // Signals can't be received, or end the process: nothing to wait for.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
