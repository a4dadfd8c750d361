//! The status of a job that runs.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// What the job that listens at this address says of itself; nothing if there is no answer.
pub(crate) fn status(address: &str) -> Option<Value> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.write_all(b"GET /v1/job HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}
