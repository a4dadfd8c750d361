//! Requests to the coordinator of a job.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

/// The JSON at this path; nothing if there is no answer, or another one than 200.
pub(crate) fn get(address: impl ToSocketAddrs, path: &str) -> Option<Value> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: job\r\nConnection: close\r\n\r\n"))
}

/// The text at this path, likewise.
pub(crate) fn text(address: impl ToSocketAddrs, path: &str) -> Option<String> {
    answer(address, &format!("GET {path} HTTP/1.1\r\nHost: job\r\nConnection: close\r\n\r\n"))
}

/// Sends JSON to this path; the answer if it is one of success.
pub(crate) fn post(address: impl ToSocketAddrs, path: &str, body: &str) -> Option<Value> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: job\r\nConnection: close\r\n");
    ask(address, &format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn ask(address: impl ToSocketAddrs, request: &str) -> Option<Value> {
    serde_json::from_str(&answer(address, request)?).ok()
}

/// The body of an answer of success.
fn answer(address: impl ToSocketAddrs, request: &str) -> Option<String> {
    let address = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 2").then(|| body.to_owned())
}
