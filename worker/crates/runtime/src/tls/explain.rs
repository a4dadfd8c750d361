//! Errors of TLS in words that say what to do.

use std::{error, fmt, io};

use rustls::{AlertDescription, CertificateError, Error};

use super::job_name;

/// Puts what TLS says of a failed handshake, or of the first read after it, into words. `job`: the job of this
/// process. Errors of other kinds are given back as they are.
pub fn explain(error: io::Error, job: &str) -> io::Error {
    let words = match error.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(tls) => words(tls, job),
        None if error.kind() == io::ErrorKind::UnexpectedEof => Some(
            "the peer closed the connection without a word; if it does so at every try, it may speak plaintext, or \
             refuse this process's certificate"
                .to_owned(),
        ),
        None => None,
    };
    match words {
        Some(words) => io::Error::new(error.kind(), Explained { words, source: error }),
        None => error,
    }
}

/// Words of ours for an error, which is kept as its source.
#[derive(Debug)]
struct Explained {
    words: String,
    source: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl error::Error for Explained {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

fn words(error: &Error, job: &str) -> Option<String> {
    let words = match error {
        Error::InvalidCertificate(certificate) => of_peer(certificate, job)?,
        Error::AlertReceived(alert) => of_ours(*alert, job)?,
        Error::InvalidMessage(_) => {
            "the peer does not speak TLS; both ends must be started with certificates, or both with plaintext"
                .to_owned()
        }
        Error::NoCertificatesPresented => {
            format!(
                "the peer shows no certificate; processes of job {job} need one that carries {}",
                job_name(job)
            )
        }
        Error::PeerIncompatible(_) => {
            "the peer does not speak TLS 1.3, which is the only version allowed".to_owned()
        }
        _ => return None,
    };
    Some(words)
}

/// What is wrong with the certificate that the peer shows.
fn of_peer(error: &CertificateError, job: &str) -> Option<String> {
    use CertificateError::*;
    let words = match error {
        NotValidForName | NotValidForNameContext { .. } => format!(
            "the peer is of another job: its certificate does not carry {}, and only processes of job {job} may \
             talk to this one",
            job_name(job)
        ),
        UnknownIssuer | BadSignature => {
            format!(
                "the peer's certificate is not signed by the CA of job {job}; give all its processes the same CA"
            )
        }
        Expired | ExpiredContext { .. } => "the peer's certificate has expired; renew it".to_owned(),
        NotValidYet | NotValidYetContext { .. } => {
            "the peer's certificate is not valid yet; compare the clocks of the two machines".to_owned()
        }
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the peer's certificate must be allowed for both server and client authentication".to_owned()
        }
        _ => return None,
    };
    Some(words)
}

/// What the peer has against the certificate of this process.
fn of_ours(alert: AlertDescription, job: &str) -> Option<String> {
    let words = match alert {
        AlertDescription::BadCertificate => {
            format!("the peer refused this process's certificate: it belongs to another job than {job}")
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the peer refused this process's certificate: its CA did not sign it".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the peer refused this process's certificate: it has expired, or the clocks differ; renew it"
                .to_owned()
        }
        AlertDescription::CertificateRequired => "the peer asks for a certificate".to_owned(),
        AlertDescription::UnsupportedCertificate => {
            "the peer refused this process's certificate: it must be allowed for both server and client \
             authentication"
                .to_owned()
        }
        AlertDescription::ProtocolVersion => "the peer does not speak TLS 1.3".to_owned(),
        _ => return None,
    };
    Some(words)
}
