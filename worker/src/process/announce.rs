//! Telling others the addresses of a process, which the system may have chosen.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunError;

/// What a process writes into the file of `--announce` as soon as it can be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// The process's number.
    pub process: u32,
    /// Where workers connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<SocketAddr>,
    /// Where status and metrics are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Where other workers connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<SocketAddr>,
}

impl Announced {
    /// Writes it as JSON; whoever waits for the file never sees half of it.
    pub(crate) fn write(&self, path: &Path) -> Result<(), RunError> {
        let file = |error| RunError::File {
            what: format!("the file to announce addresses in, {}", path.display()),
            error,
        };
        let json = serde_json::to_string(self).map_err(|e| file(e.into()))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(name);
        let mut out = std::fs::File::create(&beside).map_err(file)?;
        writeln!(out, "{json}").map_err(file)?;
        std::fs::rename(&beside, path).map_err(file)
    }
}
