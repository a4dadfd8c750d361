//! Who may talk to a process of a job: mutual TLS 1.3 under the job's own identity.
//!
//! Both ends show a certificate that the job's CA has signed and that carries the DNS name
//! `<job uid>.job.weir`. A process of another job is refused even if the same CA signed for it. The files are
//! read again when they change, so certificates are renewed without a restart.
//!
//! It does not own: addresses, what is said over a connection, and when to try again.

mod certificates;
mod explain;
mod files;
mod identity;
#[cfg(test)]
mod tests;
mod transport;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use certificates::{CertificateOptions, create_certificates};
pub use explain::explain;
pub use transport::{Stream, Transport};

use files::Seen;

/// How long a TLS handshake may take, either side.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The DNS name that the certificates of a job's processes carry.
pub fn job_name(job: &str) -> String {
    format!("{job}.job.weir")
}

/// The PEM files of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the CAs that sign for the job; several while one is being replaced.
    pub ca: PathBuf,
    /// The process's certificate, then those between it and the CA, if any.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

impl TlsFiles {
    /// The files of a process in a folder as [`create_certificates`] lays them out.
    pub fn in_folder(folder: &Path, name: &str) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

/// What a handshake needs, made from the files once.
struct Loaded {
    seen: Seen,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

struct Shared {
    files: TlsFiles,
    job: String,
    name: ServerName<'static>,
    loaded: Mutex<Loaded>,
}

/// The identity of this process in its job; cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("job", &self.0.job).field("files", &self.0.files).finish()
    }
}

impl Tls {
    /// Reads the files. `job`: the uid of the job that this process belongs to.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, named; a certificate that is not of this job or
    /// does not fit its key.
    pub fn load(files: TlsFiles, job: &str) -> io::Result<Self> {
        let name = ServerName::try_from(job_name(job)).map_err(|_| {
            let text = format!("the job uid {job:?} does not make a DNS name");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let loaded = Mutex::new(files::load(&files, job, &name)?);
        Ok(Self(Arc::new(Shared { files, job: job.to_owned(), name, loaded })))
    }

    /// The uid of the job.
    pub fn job(&self) -> &str {
        &self.0.job
    }

    /// The server's part of a handshake.
    ///
    /// # Errors
    /// Says in words what the peer lacks; also after [`HANDSHAKE_DEADLINE`].
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let (_, server) = self.current();
        let shaken = within_deadline(TlsAcceptor::from(server).accept(stream)).await;
        shaken.map(TlsStream::from).map_err(|e| explain(e, self.job()))
    }

    /// The client's part of a handshake. The server may refuse this process's certificate only after it:
    /// [`explain`] says so when the first read fails.
    ///
    /// # Errors
    /// Says in words what the peer lacks; also after [`HANDSHAKE_DEADLINE`].
    pub async fn connect(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let (client, _) = self.current();
        let connector = TlsConnector::from(client);
        let shaken = within_deadline(connector.connect(self.0.name.clone(), stream)).await;
        shaken.map(TlsStream::from).map_err(|e| explain(e, self.job()))
    }

    /// What the files say now. Files that are not in order (half of them replaced, perhaps) leave what was read
    /// before in force; the next connection looks again.
    fn current(&self) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let shared = &self.0;
        let mut loaded = shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if Seen::of(&shared.files).ok().as_ref() != Some(&loaded.seen) {
            match files::load(&shared.files, &shared.job, &shared.name) {
                Ok(new) => {
                    tracing::info!(certificate = %shared.files.certificate.display(), "certificates read again");
                    *loaded = new;
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificates are not in order, the old ones stay")
                }
            }
        }
        (loaded.client.clone(), loaded.server.clone())
    }
}

async fn within_deadline<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await.unwrap_or_else(|_| {
        let text = format!("no TLS handshake within {} seconds", HANDSHAKE_DEADLINE.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}
