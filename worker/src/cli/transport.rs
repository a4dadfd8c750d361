//! Arguments about how the processes of a job reach each other.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use weir_protocol::JobUid;
use weir_runtime::tls::{Tls, TlsFiles, Transport};

use super::{Exit, print_error};

/// Who may connect, and to whom this process connects.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct TransportArgs {
    /// Certificates of the CA that signs for the processes of this job; read again when the file changes
    #[arg(long, env = "WEIR_TLS_CA", value_name = "FILE", requires_all = ["tls_cert", "tls_key"])]
    tls_ca: Option<PathBuf>,
    /// The certificate of this process
    #[arg(long, env = "WEIR_TLS_CERT", value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(long, env = "WEIR_TLS_KEY", value_name = "FILE", requires_all = ["tls_ca", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Connects without encryption and without knowing who is at the other end; only on this machine
    /// (127.0.0.1 and ::1)
    #[arg(long)]
    plaintext: bool,
}

impl TransportArgs {
    /// How connections are made in this job.
    ///
    /// # Errors
    /// What was shown: neither certificates nor plaintext, or certificates that are not in order.
    pub(crate) fn transport(&self, job: Option<&JobUid>) -> Result<Transport, Exit> {
        let usage = |text: &str| {
            print_error(&format!("error: {text}\n"));
            Err(Exit::Usage)
        };
        if self.plaintext {
            return Ok(Transport::Plaintext);
        }
        let (Some(ca), Some(certificate), Some(key)) =
            (self.tls_ca.clone(), self.tls_cert.clone(), self.tls_key.clone())
        else {
            return usage(
                "give the process certificates by --tls-ca, --tls-cert and --tls-key (weir certificates makes them), \
                 or ask for --plaintext, which is for processes on one machine",
            );
        };
        let Some(job) = job else {
            return usage(
                "--uid is missing: with certificates a worker belongs to one job, whose uid is in them",
            );
        };
        Tls::load(TlsFiles { ca, certificate, key }, job.as_str()).map(Transport::Tls).map_err(|error| {
            print_error(&format!("error: the certificates can't be used: {error}\n"));
            Exit::File
        })
    }
}

/// Checks an address that is listened on before anything starts.
///
/// # Errors
/// What was shown.
pub(crate) fn check(flag: &str, address: SocketAddr, transport: &Transport) -> Result<(), Exit> {
    transport.check(address).map_err(|error| {
        print_error(&format!("error: {flag} {address}: {error}\n"));
        Exit::Usage
    })
}

/// Reads an address to listen on.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an address and a port, such as 127.0.0.1:7070, [::1]:0 or 0.0.0.0:7070".to_owned()
    })
}
