//! What tests of the exchange need.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use weir_protocol::JobUid;
use weir_runtime::tls::{CertificateOptions, Tls, Transport, create_certificates};
use weir_runtime::{Clock, SystemClock};

use super::{Exchange, ExchangeLimits, ExchangeOptions};

/// An exchange on a port of its own, with its address.
pub(crate) async fn exchange(transport: &Transport, job: &JobUid) -> (Arc<Exchange>, String) {
    limited(transport, job, ExchangeLimits::default()).await
}

/// The same with limits.
pub(crate) async fn limited(
    transport: &Transport,
    job: &JobUid,
    limits: ExchangeLimits,
) -> (Arc<Exchange>, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = ExchangeOptions { transport: transport.clone(), job: job.clone(), limits };
    (Exchange::start(listener, options), address)
}

/// TLS for the processes of a job, for as long as the folder is there.
pub(crate) fn tls(job: &str) -> (tempfile::TempDir, Transport) {
    let folder = tempfile::tempdir().unwrap();
    let options = CertificateOptions {
        job,
        processes: &["worker"],
        now: SystemClock::default().now(),
        valid: Duration::from_secs(3600),
        keep_ca_key: false,
    };
    let files = create_certificates(folder.path(), &options).unwrap();
    let tls = Tls::load(files[0].clone(), job).unwrap();
    (folder, Transport::Tls(tls))
}
