//! Connections that are served only after the peer has shown a certificate of the job.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use weir_runtime::tls::{Stream, Transport};

/// Handshakes at a time: each has a deadline, and a slow one holds up no other.
const AT_ONCE: usize = 32;

/// Gives out connections after their handshake. Dropping it ends the handshakes under way.
pub(super) struct SecureListener {
    address: SocketAddr,
    shaken: mpsc::Receiver<(Stream, SocketAddr)>,
    accepting: AbortHandle,
}

impl SecureListener {
    pub(super) fn new(listener: TcpListener, transport: Transport) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (give, shaken) = mpsc::channel(AT_ONCE);
        let accepting = tokio::spawn(accept_all(listener, transport, give)).abort_handle();
        Ok(Self { address, shaken, accepting })
    }
}

impl Drop for SecureListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for SecureListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.shaken.recv().await {
            Some(connection) => connection,
            // Whoever accepts holds the sender for as long as this listener lives.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept_all(
    mut listener: TcpListener,
    transport: Transport,
    give: mpsc::Sender<(Stream, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        // axum's own way to accept: errors of single connections are waited out.
        let (stream, peer): (TcpStream, SocketAddr) = Listener::accept(&mut listener).await;
        let (transport, give) = (transport.clone(), give.clone());
        tokio::spawn(async move {
            match transport.accept(stream).await {
                // A reader that is gone wants no more connections.
                Ok(shaken) => drop(give.send((shaken, peer)).await),
                Err(why) => tracing::warn!(%peer, "a connection to change the job is refused: {why}"),
            }
            drop(place);
        });
    }
}
