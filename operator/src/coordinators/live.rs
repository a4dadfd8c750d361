//! Coordinators over the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Address, Ask, AskError, Coordinators};
use crate::certificates::{Authority, epoch, job_name};
use crate::names::{ADMIN_PORT, HTTP_PORT};
use crate::report::Report;

/// How long an answer may take, with the connection.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest status that is read.
const LONGEST: usize = 32 << 20;

/// Coordinators by the addresses of their pods.
#[derive(Debug, Clone)]
pub struct LiveCoordinators {
    authority: Authority,
}

impl LiveCoordinators {
    /// The client's certificates come from the authority.
    pub fn new(authority: Authority) -> Self {
        Self { authority }
    }

    async fn secure(
        &self,
        address: &Address,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, AskError> {
        let config = tls(&self.authority, &address.job).map_err(unreachable)?;
        let name = ServerName::try_from(job_name(&address.job)).map_err(unreachable)?;
        let stream = dial(address, ADMIN_PORT).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(unreachable)
    }
}

impl Coordinators for LiveCoordinators {
    async fn status(&self, address: &Address) -> Result<Report, AskError> {
        within(async {
            let stream = dial(address, HTTP_PORT).await?;
            let (status, body) = send(stream, Method::GET, "/v1/job", None).await?;
            if status != StatusCode::OK {
                return Err(unreachable(format!("it answers {status}")));
            }
            let report: Report = serde_json::from_slice(&body).map_err(unreachable)?;
            match report.job == address.job {
                true => Ok(report),
                // An address that has gone to another pod meanwhile.
                false => Err(unreachable("another job answers there")),
            }
        })
        .await
    }

    async fn ask(&self, address: &Address, ask: &Ask) -> Result<(), AskError> {
        within(async {
            let stream = self.secure(address).await?;
            let (path, body) = ask.request();
            let (status, body) = send(stream, Method::POST, path, Some(body.to_string())).await?;
            let why = || {
                let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
                answer["error"].as_str().map_or_else(|| status.to_string(), str::to_owned)
            };
            match status {
                StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
                StatusCode::CONFLICT => Err(AskError::NotNow(why())),
                StatusCode::UNPROCESSABLE_ENTITY => Err(AskError::Refused(why())),
                _ => Err(unreachable(why())),
            }
        })
        .await
    }
}

fn unreachable(why: impl std::fmt::Display) -> AskError {
    AskError::Unreachable(why.to_string())
}

async fn within<T>(answer: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    let late = || unreachable(format!("no answer within {} seconds", DEADLINE.as_secs()));
    tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(late()))
}

async fn dial(address: &Address, port: u16) -> Result<TcpStream, AskError> {
    let stream = TcpStream::connect(SocketAddr::new(address.pod, port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<(StatusCode, Bytes), AskError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    // Ends with the sender.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "coordinator")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.unwrap_or_default())))
        .map_err(unreachable)?;
    let answer = sender.send_request(request).await.map_err(unreachable)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(unreachable)?;
    Ok((status, body.to_bytes()))
}

fn tls(authority: &Authority, job: &str) -> Result<ClientConfig, rustls::Error> {
    let made = authority.operator(job, epoch(job, Timestamp::now()));
    let pem = |e: rustls::pki_types::pem::Error| rustls::Error::General(e.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.ca.as_bytes()).map_err(pem)?)?;
    let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).map_err(pem)?];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).map_err(pem)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}
