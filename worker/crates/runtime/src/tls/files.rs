//! Reads the PEM files of a process and makes of them what handshakes need.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::identity::{JobClientVerifier, check_name};
use super::{Loaded, TlsFiles};

/// Most bytes that a PEM file may have.
const MAX_FILE: u64 = 1024 * 1024;

/// What tells a file from the one that was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// The three files as they were when they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen([Fingerprint; 3]);

impl Seen {
    /// Looks at the files without reading them; links are followed, so a swapped folder shows.
    pub(super) fn of(files: &TlsFiles) -> io::Result<Self> {
        let look = |path: &Path| {
            let found = fs::metadata(path).map_err(|e| at(path, e))?;
            Ok::<_, io::Error>(Fingerprint {
                device: found.dev(),
                inode: found.ino(),
                length: found.len(),
                modified: (found.mtime(), found.mtime_nsec()),
            })
        };
        Ok(Self([look(&files.ca)?, look(&files.certificate)?, look(&files.key)?]))
    }
}

/// Reads and checks all three.
pub(super) fn load(files: &TlsFiles, job: &str, name: &ServerName<'static>) -> io::Result<Loaded> {
    // Looked at before they are read: a change while reading is seen at the next connection.
    let seen = Seen::of(files)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate).map_err(|e| invalid(&files.ca, format!("not a CA certificate: {e}")))?;
    }
    let roots = Arc::new(roots);
    let chain = certificates(&files.certificate)?;
    check_name(&chain[0], name).map_err(|e| {
        let text =
            format!("this certificate is not of job {job}: it must carry the DNS name {}", name.to_str());
        invalid(&files.certificate, format!("{text} ({e})"))
    })?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|e| invalid(&files.key, format!("not a private key in PEM form: {e}")))?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let fits = |e: rustls::Error| {
        invalid(&files.key, format!("not the key of {}: {e}", files.certificate.display()))
    };
    let server = server(&provider, &roots, name, chain.clone(), key.clone_key(), &fits)?;
    let client = client(&provider, roots, chain, key, &fits)?;
    Ok(Loaded { seen, client: Arc::new(client), server: Arc::new(server) })
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    name: &ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fits: &dyn Fn(rustls::Error) -> io::Error,
) -> io::Result<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(io::Error::other)?;
    let verifier = Arc::new(JobClientVerifier { chain: verifier, name: name.clone() });
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(fits)?;
    // Every connection shows its certificate anew: one that expired or was replaced must not live on in tickets.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fits: &dyn Fn(rustls::Error) -> io::Error,
) -> io::Result<ClientConfig> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(io::Error::other)?;
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(fits)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| invalid(path, format!("not PEM: {e}")))?;
    if found.is_empty() {
        return Err(invalid(path, "no certificate in it (expected -----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let length = fs::metadata(path).map_err(|e| at(path, e))?.len();
    if length > MAX_FILE {
        return Err(invalid(path, format!("{length} bytes are more than the {MAX_FILE} of a PEM file")));
    }
    fs::read(path).map_err(|e| at(path, e))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn invalid(path: &Path, text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", path.display()))
}
