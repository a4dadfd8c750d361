//! How the processes of a job reach each other: TLS, or plaintext on one machine.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::{HANDSHAKE_DEADLINE, Tls, explain};

/// What the first byte of a TLS handshake is, in both directions.
const TLS_FIRST: [u8; 2] = [0x16, 0x15];

/// How connections are made.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Mutual TLS under the job's identity.
    Tls(Tls),
    /// Nothing is encrypted and nobody says who they are: only between loopback addresses, and only when a
    /// person asked for it by name.
    Plaintext,
}

/// A connection of either kind.
#[derive(Debug)]
pub enum Stream {
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// Not encrypted.
    Plaintext(TcpStream),
}

impl Transport {
    /// Checks an address before it is listened on or dialled.
    ///
    /// # Errors
    /// Plaintext towards anything but the same machine.
    pub fn check(&self, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Tls(_) => Ok(()),
            Self::Plaintext if address.ip().is_loopback() => Ok(()),
            Self::Plaintext => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "plaintext is only for loopback addresses (127.0.0.1, ::1), not for {address}; give the process \
                     a CA, a certificate and a key"
                ),
            )),
        }
    }

    /// Takes a connection that came in; the peer must speak first.
    ///
    /// # Errors
    /// Says in words why the peer is refused; also after [`HANDSHAKE_DEADLINE`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        match self {
            Self::Tls(tls) => Ok(Stream::Tls(Box::new(tls.accept(stream).await?))),
            Self::Plaintext => {
                self.check(stream.peer_addr()?)?;
                self.check(stream.local_addr()?)?;
                first_is_not_tls(&stream).await?;
                Ok(Stream::Plaintext(stream))
            }
        }
    }

    /// Makes a connection that was dialled ready to speak.
    ///
    /// # Errors
    /// Says in words why the peer is refused; also after [`HANDSHAKE_DEADLINE`].
    pub async fn connect(&self, stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        match self {
            Self::Tls(tls) => Ok(Stream::Tls(Box::new(tls.connect(stream).await?))),
            Self::Plaintext => {
                self.check(stream.peer_addr()?)?;
                Ok(Stream::Plaintext(stream))
            }
        }
    }

    /// Puts an error of a connection into words, as [`explain`] does.
    pub fn explain(&self, error: io::Error) -> io::Error {
        match self {
            Self::Tls(tls) => explain(error, tls.job()),
            Self::Plaintext => error,
        }
    }
}

/// Looks at the first byte without taking it.
async fn first_is_not_tls(stream: &TcpStream) -> io::Result<()> {
    let mut first = [0];
    let peeked =
        tokio::time::timeout(HANDSHAKE_DEADLINE, stream.peek(&mut first)).await.map_err(|_| {
            let text = format!("the peer said nothing within {} seconds", HANDSHAKE_DEADLINE.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        })??;
    if peeked > 0 && TLS_FIRST.contains(&first[0]) {
        let text = "the peer speaks TLS and this process plaintext; both ends must be started with certificates, \
                    or both with plaintext";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Plaintext(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Plaintext(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Plaintext(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Plaintext(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Plaintext(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Plaintext(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
