//! The certificates of a job. What they are follows from the operator's key, the job and the time, so that they
//! are made again, never read.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::certificates::Authority;
use crate::controller::validate::{CERTIFICATES, Wanted};

/// The Secret's name.
pub(super) fn name(wanted: &Wanted) -> String {
    format!("{}{CERTIFICATES}", wanted.identity.base())
}

/// The Secret: the job's CA, and a certificate with its key, which its processes share.
pub(super) fn secret(wanted: &Wanted, authority: &Authority, epoch: u64) -> Secret {
    let made = authority.job(&wanted.identity.uid, epoch);
    let files = [("ca.pem", made.ca), ("process.pem", made.certificate), ("process.key", made.key)];
    Secret {
        metadata: wanted.identity.metadata(name(wanted)),
        type_: Some("Opaque".to_owned()),
        data: Some(files.map(|(file, pem)| (file.to_owned(), ByteString(pem.into_bytes()))).into()),
        ..Secret::default()
    }
}
