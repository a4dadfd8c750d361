//! HTTP to a collector in the neighbourhood.

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use tokio::net::TcpStream;

/// An answer says little; more is not read.
const ANSWER_BYTES: usize = 1 << 20;

/// One connection per request, and no TLS: a collector stands beside the process, and passes on from there.
#[derive(Debug)]
pub(super) struct Plain;

#[async_trait]
impl HttpClient for Plain {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut head, body) = request.into_parts();
        let authority = authority(&head.uri)?;
        let stream = TcpStream::connect(&authority).await?;
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        head.headers.insert(header::HOST, HeaderValue::from_str(&authority)?);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = Uri::try_from(path)?;
        let answer = send.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

/// Host and port.
fn authority(uri: &Uri) -> Result<String, HttpError> {
    let host = uri.host().ok_or("the collector's address has no host")?;
    match uri.scheme_str() {
        Some("http") => Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80))),
        _ => Err(format!(
            "{uri}: traces are sent over http:// only; let a collector near this process pass them on over TLS"
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_reached_by_http_alone() {
        let check = |uri: &'static str| authority(&Uri::from_static(uri)).map_err(|e| e.to_string());
        assert_eq!(check("http://127.0.0.1:4318/v1/traces"), Ok("127.0.0.1:4318".to_owned()));
        assert_eq!(check("http://collector/v1/traces"), Ok("collector:80".to_owned()));
        assert_eq!(check("http://[::1]:4318/"), Ok("[::1]:4318".to_owned()));
        let error = check("https://collector/v1/traces").expect_err("not over TLS");
        assert!(error.contains("over http:// only"), "{error}");
    }
}
