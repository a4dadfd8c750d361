//! Processes of one job reach each other; everybody else is told why not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::{Clock, SystemClock, Timestamp};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Timestamp {
    SystemClock::default().now()
}

/// Certificates of a job in a folder of their own, signed by a CA of their own.
fn issue(folder: &Path, job: &str, processes: &[&str], now: Timestamp) -> Vec<TlsFiles> {
    let options = CertificateOptions { job, processes, now, valid: DAY, keep_ca_key: true };
    create_certificates(folder, &options).unwrap()
}

fn tls(files: &TlsFiles, job: &str) -> Transport {
    Transport::Tls(Tls::load(files.clone(), job).unwrap())
}

/// Connects; the client says a byte, the server answers with one. Gives what each end saw.
async fn meet(client: &Transport, server: &Transport) -> (io::Result<u8>, io::Result<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = server.accept(stream).await?;
        let got = stream.read_u8().await.map_err(|e| server.explain(e))?;
        stream.write_u8(got + 1).await?;
        stream.flush().await?;
        Ok(got)
    };
    let ask = async {
        let mut stream = client.connect(TcpStream::connect(address).await?).await?;
        stream.write_u8(41).await?;
        stream.flush().await?;
        stream.read_u8().await.map_err(|e| client.explain(e))
    };
    tokio::join!(ask, serve)
}

/// Both ends refuse, the server in the first words, the client in the second.
fn refused((client, server): (io::Result<u8>, io::Result<u8>), by_server: &str, by_client: &str) {
    let (client, server) = (client.unwrap_err().to_string(), server.unwrap_err().to_string());
    assert!(server.contains(by_server), "server: {server}");
    assert!(client.contains(by_client), "client: {client}");
}

#[tokio::test]
async fn processes_of_one_job_talk() {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path(), "orders", &["coordinator", "worker-1"], now());
    let (client, server) = meet(&tls(&files[0], "orders"), &tls(&files[1], "orders")).await;
    assert_eq!((client.unwrap(), server.unwrap()), (42, 41));
}

#[tokio::test]
async fn a_process_of_another_job_is_refused_even_under_the_same_ca() {
    let folder = tempfile::tempdir().unwrap();
    let ours = issue(folder.path(), "orders", &["a"], now());
    let theirs = issue(folder.path(), "payments", &["b"], now());
    let (ours, theirs) = (tls(&ours[0], "orders"), tls(&theirs[0], "payments"));
    // The client looks first, so the server never sees its certificate.
    refused(meet(&theirs, &ours).await, "refused this process's certificate", "the peer is of another job");
    // A client that looks at nothing but the CA is refused by the server.
    let careless = careless(folder.path(), "b");
    refused(meet(&careless, &ours).await, "the peer is of another job", "it belongs to another job");
}

/// A client that takes any server of the CA.
fn careless(folder: &Path, process: &str) -> Transport {
    let Transport::Tls(tls) = tls(&TlsFiles::in_folder(folder, process), "payments") else { unreachable!() };
    let shared = Arc::into_inner(tls.0).unwrap();
    let name = ServerName::try_from(job_name("orders")).unwrap();
    Transport::Tls(Tls(Arc::new(Shared { name, ..shared })))
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let good = issue(ours.path(), "orders", &["a"], now());
    let forged = issue(theirs.path(), "orders", &["a"], now());
    let (good, forged) = (tls(&good[0], "orders"), tls(&forged[0], "orders"));
    refused(meet(&forged, &good).await, "its CA did not sign it", "is not signed by the CA of job orders");
    refused(meet(&good, &forged).await, "its CA did not sign it", "is not signed by the CA of job orders");
    // The forger trusts our CA, but was not signed by it.
    let mixed = TlsFiles { ca: ours.path().join("ca.pem"), ..TlsFiles::in_folder(theirs.path(), "a") };
    refused(meet(&tls(&mixed, "orders"), &good).await, "is not signed by the CA", "its CA did not sign it");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = issue(folder.path(), "orders", &["a"], now());
    let last_week = Timestamp(now().0 - 7 * DAY.as_micros() as u64);
    let old = issue(folder.path(), "orders", &["old"], last_week);
    let (good, old) = (tls(&good[0], "orders"), tls(&old[0], "orders"));
    refused(meet(&old, &good).await, "the peer's certificate has expired", "it has expired");
    refused(meet(&good, &old).await, "it has expired", "the peer's certificate has expired");
}

#[tokio::test]
async fn plaintext_and_tls_do_not_mix_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let tls = tls(&issue(folder.path(), "orders", &["a"], now())[0], "orders");
    let (_, server) = meet(&Transport::Plaintext, &tls).await;
    let server = server.unwrap_err().to_string();
    assert!(server.contains("the peer does not speak TLS"), "{server}");
    let (client, server) = meet(&tls, &Transport::Plaintext).await;
    let (client, server) = (client.unwrap_err().to_string(), server.unwrap_err().to_string());
    assert!(server.contains("the peer speaks TLS and this process plaintext"), "{server}");
    assert!(client.contains("plaintext") || client.contains("reset"), "{client}");
    let (client, server) = meet(&Transport::Plaintext, &Transport::Plaintext).await;
    assert_eq!((client.unwrap(), server.unwrap()), (42, 41));
}

#[test]
fn plaintext_is_for_loopback_addresses_only() {
    for good in ["127.0.0.1:80", "[::1]:80", "127.9.9.9:1"] {
        assert!(Transport::Plaintext.check(good.parse().unwrap()).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "192.0.2.1:443"] {
        let error = Transport::Plaintext.check(bad.parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("give the process a CA, a certificate and a key"), "{error}");
    }
}

#[tokio::test]
async fn certificates_that_are_replaced_on_disk_are_used_by_the_next_connection() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = issue(old.path(), "orders", &["a", "b"], now());
    let renewed = issue(new.path(), "orders", &["a", "b"], now());
    let (a, b) = (tls(&files[0], "orders"), tls(&files[1], "orders"));
    assert!(meet(&a, &b).await.0.is_ok());

    // Half of b's files: nothing changes yet, the old ones stay in force.
    fs::copy(&renewed[1].key, &files[1].key).unwrap();
    assert!(meet(&a, &b).await.0.is_ok());
    fs::copy(&renewed[1].certificate, &files[1].certificate).unwrap();
    // b shows a certificate of the new CA, which a does not know yet: so it was read.
    refused(meet(&a, &b).await, "its CA did not sign it", "is not signed by the CA");

    fs::copy(&renewed[0].key, &files[0].key).unwrap();
    fs::copy(&renewed[0].certificate, &files[0].certificate).unwrap();
    fs::copy(&renewed[0].ca, &files[0].ca).unwrap();
    let (client, server) = meet(&a, &b).await;
    assert_eq!((client.unwrap(), server.unwrap()), (42, 41));
}

#[test]
fn keys_are_for_their_owner_alone_and_the_key_of_the_ca_is_kept_only_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut options =
        CertificateOptions { job: "orders", processes: &["a"], now: now(), valid: DAY, keep_ca_key: false };
    let files = create_certificates(folder.path(), &options).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&files[0].key), mode(&files[0].certificate)), (0o600, 0o644));
    assert!(!folder.path().join("ca.key").exists());
    let error = create_certificates(folder.path(), &options).unwrap_err().to_string();
    assert!(error.contains("its key was not kept"), "{error}");
    options.processes = &["../a"];
    assert_eq!(create_certificates(folder.path(), &options).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn files_that_are_not_in_order_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = issue(folder.path(), "orders", &["a", "b"], now());
    let error = |files: TlsFiles, job| Tls::load(files, job).unwrap_err().to_string();
    let (a, b) = (files[0].clone(), files[1].clone());
    let absent = error(TlsFiles { key: folder.path().join("none.key"), ..a.clone() }, "orders");
    assert!(absent.contains("none.key"), "{absent}");
    let swapped = error(TlsFiles { key: b.key.clone(), ..a.clone() }, "orders");
    assert!(swapped.contains("a.pem") && swapped.contains("b.key"), "{swapped}");
    let wrong = error(TlsFiles { ca: a.key.clone(), ..a.clone() }, "orders");
    assert!(wrong.contains("no certificate in it"), "{wrong}");
    let foreign = error(a, "payments");
    assert!(foreign.contains("payments.job.weir"), "{foreign}");
}
