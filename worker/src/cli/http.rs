//! Asking a running job over HTTP, as its status is served: JSON in, JSON out.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// To a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// To the end of an answer; longer than a request that waits for something is held.
const ANSWER: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const LIMIT: usize = 64 << 20;

/// An answer, whatever it says.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What was wrong, in the job's words.
    pub(super) fn error(&self) -> String {
        match self.body.get("error").and_then(Value::as_str) {
            Some(error) => error.to_owned(),
            None => format!("it answered with status {}", self.status),
        }
    }
}

/// Sends one request to `address` (`host:port`, as `weir run --listen` takes it).
///
/// # Errors
/// A sentence: nobody listens there, or what answers is not a job.
pub(super) async fn ask(
    address: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, String> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let failed = |what: String| format!("the job at {address} can't be asked: {what}");
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(address));
    let stream = match connecting.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no connection within {CONNECT:?}"))),
    };
    let asking = tokio::time::timeout(ANSWER, exchange(stream, address, method, path, body));
    match asking.await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed(format!("no answer within {ANSWER:?}"))),
    }
}

async fn exchange(
    stream: TcpStream,
    host: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // It ends when the sender is dropped.
    let connection = tokio::spawn(connection);
    let text = body.map_or_else(String::new, Value::to_string);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(text)
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let read = Limited::new(response.into_body(), LIMIT).collect().await;
    let bytes = read.map_err(|error| error.to_string())?.to_bytes();
    drop(sender);
    // What became of a connection that has given its answer is of no interest.
    drop(connection.await);
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status, body })
}
