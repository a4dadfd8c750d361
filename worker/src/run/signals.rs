//! SIGINT and SIGTERM: the first asks for a last checkpoint, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weir_coordinator::StopRequest;

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

/// Passes signals on as requests to stop; the first one stays readable.
pub(super) fn watch(stop: mpsc::Sender<StopRequest>) -> watch::Receiver<Option<Signal>> {
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
        tracing::info!("stopping after a last checkpoint; a second signal stops at once");
        let _ = stop.send(StopRequest::Graceful).await;
        let second = received().await;
        // Nothing is lost: the next start goes on from the last completed checkpoint.
        std::process::exit(second.exit_code());
    });
    reader
}
