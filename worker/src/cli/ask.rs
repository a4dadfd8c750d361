//! Asking a running job over HTTP: one request, one answer, nothing kept open.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use weir_coordinator::JobStatus;

/// To a connection, and between two parts of an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read: the status of a job of ten thousand subtasks has a tenth of it.
const LIMIT: u64 = 64 << 20;

/// Which running job is meant.
#[derive(Debug, Args)]
pub(super) struct JobAddress {
    /// Where the job's status is served, as its coordinator says when it starts
    #[arg(long, value_name = "HOST:PORT", env = "WEIR_HTTP")]
    http: String,
}

/// What the job answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody is there.
    #[error("no job answers at {address}: {error}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's word.
        error: std::io::Error,
    },
    /// Somebody is there, but no job.
    #[error("what answers at {0} is not a job")]
    NotAJob(String),
    /// The job says no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
}

impl JobAddress {
    /// How the job is.
    pub(super) fn status(&self) -> Result<JobStatus, AskError> {
        let answer = self.send("GET", "/v1/job", "")?;
        serde_json::from_str(&answer.body).map_err(|_| AskError::NotAJob(self.http.clone()))
    }

    /// Asks for something.
    pub(super) fn post(&self, path: &str, body: &impl serde::Serialize) -> Result<Answer, AskError> {
        self.send("POST", path, &serde_json::to_string(body).unwrap_or_default())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer, AskError> {
        let address = self.http.trim_start_matches("http://").trim_end_matches('/');
        let unreachable = |error| AskError::Unreachable { address: address.to_owned(), error };
        let text = exchange(address, method, path, body).map_err(unreachable)?;
        let answer = parse(&text).ok_or_else(|| AskError::NotAJob(address.to_owned()))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let said: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        let said = said.as_ref().and_then(|value| value.get("error")?.as_str());
        let message = said.map_or_else(|| format!("the answer has status {}", answer.status), str::to_owned);
        Err(AskError::Refused { status: answer.status, message })
    }
}

fn exchange(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for found in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&found, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                let length = body.len();
                let head = format!(
                    "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                );
                stream.write_all(head.as_bytes())?;
                stream.write_all(body.as_bytes())?;
                let mut answer = String::new();
                stream.take(LIMIT).read_to_string(&mut answer)?;
                return Ok(answer);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The parts of an answer of HTTP/1.0, which ends with its connection and is never sent in chunks.
fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse("HTTP/1.0 409 Conflict\r\ncontent-length: 2\r\n\r\n{}");
        assert_eq!(answer, Some(Answer { status: 409, body: "{}".to_owned() }));
        for bad in ["", "SSH-2.0-x\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
